"""Priority: a pod's priorityClassName becomes its priority; at most one class is the default.

Source: https://kubernetes.io/docs/concepts/scheduling-eviction/pod-priority-preemption/.
"""

from typing import Any

from skiff.api.resources import PRIORITYCLASSES, Resource
from skiff.server.admission.rule import CREATE, UPDATE, Object, Rule, refuse
from skiff.server.seams import Attributes, Objects

_DEFAULT_POLICY = "PreemptLowerPriority"


class Priority(Rule):
    """See the module's text."""

    name = "Priority"

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._default: dict[str, Any] | None = None
        self._fresh = False
        objects.subscribe(PRIORITYCLASSES, self._forget)

    def concerns(self, operation: str, resource: Resource, subresource: str) -> bool:
        if subresource or operation not in (CREATE, UPDATE):
            return False
        if resource.plural == "pods" and not resource.group:
            return True
        return resource.plural == PRIORITYCLASSES.plural and resource.group == PRIORITYCLASSES.group

    def admit(self, attributes: Attributes, obj: Object, old: Object | None) -> None:
        if attributes.resource.plural != "pods":
            return
        spec = obj["spec"]
        if attributes.operation == UPDATE:
            # An update cannot change these; one that leaves them out keeps them.
            before = (old or {}).get("spec") or {}
            for field in ("priority", "preemptionPolicy"):
                if spec.get(field) is None and before.get(field) is not None:
                    spec[field] = before[field]
            return
        name, value, policy = self._priority(attributes, obj, spec.get("priorityClassName", ""))
        if spec.get("priority") is not None and spec["priority"] != value:
            raise refuse(
                attributes,
                obj,
                f"the integer value of priority ({spec['priority']}) must not be provided in pod"
                f" spec; priority admission controller computed {value} from the given"
                " PriorityClass name",
            )
        if spec.get("preemptionPolicy") is not None and spec["preemptionPolicy"] != policy:
            raise refuse(
                attributes,
                obj,
                f"the string value of PreemptionPolicy ({spec['preemptionPolicy']}) must not be"
                f" provided in pod spec; priority admission controller computed {policy} from the"
                " given PriorityClass name",
            )
        if name:
            spec["priorityClassName"] = name
        spec["priority"] = value
        spec["preemptionPolicy"] = policy

    def validate(self, attributes: Attributes, obj: Object, old: Object | None) -> None:
        if attributes.resource.plural == "pods" or not obj.get("globalDefault"):
            return
        if old is not None and old.get("globalDefault"):
            return
        default = self._default_class()
        if default is not None and default["metadata"]["name"] != obj["metadata"]["name"]:
            raise refuse(
                attributes,
                obj,
                f"PriorityClass {default['metadata']['name']} is already marked as default. Only"
                " one default can exist",
            )

    def _priority(self, attributes: Attributes, obj: Object, name: str) -> tuple[str, int, str]:
        if not name:
            default = self._default_class()
            if default is None:
                return "", 0, _DEFAULT_POLICY
            found: dict[str, Any] | None = default
        else:
            found = self._objects.get(PRIORITYCLASSES, name)
            if found is None:
                raise refuse(attributes, obj, f"no PriorityClass with name {name} was found")
        assert found is not None
        policy = found.get("preemptionPolicy") or _DEFAULT_POLICY
        return found["metadata"]["name"], int(found.get("value", 0)), policy

    def _default_class(self) -> dict[str, Any] | None:
        """The class that is marked as default; of several, the one of lowest value."""
        if not self._fresh:
            marked = [c for c in self._objects.list(PRIORITYCLASSES) if c.get("globalDefault")]
            self._default = min(marked, key=lambda c: int(c.get("value", 0)), default=None)
            self._fresh = True
        return self._default

    def _forget(self, changes: object) -> None:
        self._fresh = False
