"""DefaultTolerationSeconds: pods stay five minutes on a node that is not ready or not reachable."""

from typing import Any

from skiff.api.resources import Resource
from skiff.server.admission.rule import CREATE, UPDATE, Object, Rule
from skiff.server.seams import Attributes

DEFAULT_SECONDS = 300
NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"


class DefaultTolerationSeconds(Rule):
    """See the module's text."""

    name = "DefaultTolerationSeconds"

    def concerns(self, operation: str, resource: Resource, subresource: str) -> bool:
        pods = resource.plural == "pods" and not resource.group
        return pods and not subresource and operation in (CREATE, UPDATE)

    def admit(self, attributes: Attributes, obj: Object, old: Object | None) -> None:
        spec = obj["spec"]
        tolerations = spec.get("tolerations")
        if not tolerations:
            spec["tolerations"] = [_toleration(NOT_READY), _toleration(UNREACHABLE)]
            return
        ready = any(_covers(t, NOT_READY) for t in tolerations)
        reachable = any(_covers(t, UNREACHABLE) for t in tolerations)
        if not ready:
            tolerations.append(_toleration(NOT_READY))
        if not reachable:
            tolerations.append(_toleration(UNREACHABLE))


def _toleration(key: str) -> dict[str, Any]:
    return {
        "key": key,
        "operator": "Exists",
        "effect": "NoExecute",
        "tolerationSeconds": DEFAULT_SECONDS,
    }


def _covers(toleration: dict[str, Any], key: str) -> bool:
    return toleration.get("key", "") in ("", key) and toleration.get("effect", "") in (
        "",
        "NoExecute",
    )
