"""RuntimeClass: a pod that names one gets its overhead and its scheduling constraints.

Source: https://kubernetes.io/docs/concepts/containers/runtime-class/.
"""

from typing import Any

from skiff.api.resources import RUNTIMECLASSES, Resource
from skiff.server.admission.rule import CREATE, Object, Rule, refuse
from skiff.server.seams import Attributes, Objects


class RuntimeClass(Rule):
    """See the module's text."""

    name = "RuntimeClass"

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def concerns(self, operation: str, resource: Resource, subresource: str) -> bool:
        pods = resource.plural == "pods" and not resource.group
        return pods and operation == CREATE and not subresource

    def admit(self, attributes: Attributes, obj: Object, old: Object | None) -> None:
        found = self._class(attributes, obj)
        if found is None:
            return
        spec = obj["spec"]
        overhead = (found.get("overhead") or {}).get("podFixed")
        if overhead:
            if spec.get("overhead") and spec["overhead"] != overhead:
                raise refuse(
                    attributes,
                    obj,
                    "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead",
                )
            spec["overhead"] = dict(overhead)
        self._schedule(attributes, obj, found.get("scheduling") or {})

    def validate(self, attributes: Attributes, obj: Object, old: Object | None) -> None:
        spec = obj["spec"]
        if not spec.get("overhead"):
            return
        if not spec.get("runtimeClassName"):
            text = (
                "pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead"
            )
            raise refuse(attributes, obj, text)
        found = self._class(attributes, obj) or {}
        if (found.get("overhead") or {}).get("podFixed") != spec["overhead"]:
            text = "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead"
            raise refuse(attributes, obj, text)

    def _class(self, attributes: Attributes, obj: Object) -> dict[str, Any] | None:
        name = obj["spec"].get("runtimeClassName")
        if not name:
            return None
        found = self._objects.get(RUNTIMECLASSES, name)
        if found is None:
            raise refuse(attributes, obj, f'pod rejected: RuntimeClass "{name}" not found')
        return found

    @staticmethod
    def _schedule(attributes: Attributes, obj: Object, scheduling: dict[str, Any]) -> None:
        spec = obj["spec"]
        selector = scheduling.get("nodeSelector") or {}
        own = spec.get("nodeSelector") or {}
        for key, value in sorted(selector.items()):
            if own.get(key, value) != value:
                text = (
                    f"conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value};"
                    f" pod.spec.nodeSelector[{key}] = {own[key]}"
                )
                raise refuse(attributes, obj, text)
        if selector:
            spec["nodeSelector"] = {**own, **selector}
        tolerations = spec.get("tolerations") or []
        added = [t for t in scheduling.get("tolerations") or () if t not in tolerations]
        if added:
            spec["tolerations"] = [*tolerations, *added]
