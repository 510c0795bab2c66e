"""PriorityClasses, RuntimeClasses and Leases.

Source: https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/priority-class-v1/,
https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/ (runtime-class-v1, lease-v1)
"""

from typing import Any, ClassVar, Final

from skiff.api.kinds import errors as fe
from skiff.api.kinds import names
from skiff.api.kinds.columns import AGE, NAME, Columns, columns, since
from skiff.api.kinds.errors import FieldErrors, immutable
from skiff.api.kinds.metadata import validate_labels
from skiff.api.kinds.resource_amounts import validate_amounts
from skiff.api.kinds.scheduling_rules import validate_tolerations
from skiff.api.kinds.strategy import Object, Strategy

HIGHEST_USER_PRIORITY: Final = 1_000_000_000
_SYSTEM: Final = "system-"
SYSTEM_CLASSES: Final = {
    "system-node-critical": 2_000_001_000,
    "system-cluster-critical": 2_000_000_000,
}


def _priority_cells(obj: Object, now: float) -> list[Any]:
    meta = obj["metadata"]
    return [
        meta.get("name", ""),
        obj.get("value", 0),
        bool(obj.get("globalDefault")),
        since(meta.get("creationTimestamp"), now),
        obj.get("preemptionPolicy", ""),
    ]


class PriorityClassStrategy(Strategy):
    columns: ClassVar[Columns] = Columns(
        columns(NAME, "Value:integer", "Global-Default:boolean", AGE, "PreemptionPolicy"),
        _priority_cells,
    )
    has_generation: ClassVar[bool] = True

    def default(self, obj: Object) -> None:
        obj.setdefault("preemptionPolicy", "PreemptLowerPriority")
        obj.setdefault("value", 0)

    def validate_body(self, obj: Object) -> FieldErrors:
        name, value = obj["metadata"].get("name", ""), obj.get("value", 0)
        errors: FieldErrors = []
        if name.startswith(_SYSTEM):
            if SYSTEM_CLASSES.get(name) != value or obj.get("globalDefault"):
                message = (
                    f"priority class names with '{_SYSTEM}' prefix are reserved for system use only. "
                    f"error: {_system_fault(name, obj)}"
                )
                errors.append(fe.forbidden("metadata.name", message))
        elif value > HIGHEST_USER_PRIORITY:
            message = f"maximum allowed value of a user defined priority is {HIGHEST_USER_PRIORITY}"
            errors.append(fe.forbidden("value", message))
        policy = obj.get("preemptionPolicy")
        if policy not in ("Never", "PreemptLowerPriority"):
            supported = ("Never", "PreemptLowerPriority")
            errors.append(fe.not_supported("preemptionPolicy", policy, supported))
        return errors

    def validate_change(self, new: Object, old: Object) -> FieldErrors:
        errors: FieldErrors = []
        if new.get("value") != old.get("value"):
            errors.append(fe.forbidden("value", "may not be changed in an update."))
        after, before = new.get("preemptionPolicy"), old.get("preemptionPolicy")
        return errors + immutable("preemptionPolicy", after, before)


def _system_fault(name: str, obj: Object) -> str:
    if name not in SYSTEM_CLASSES:
        return f"{name} is not a known system priority class"
    if obj.get("value") != SYSTEM_CLASSES[name]:
        return f"value of {name} PriorityClass must be {SYSTEM_CLASSES[name]}"
    return f"globalDefault of {name} PriorityClass must be false"


def _runtime_cells(obj: Object, now: float) -> list[Any]:
    meta = obj["metadata"]
    age = since(meta.get("creationTimestamp"), now)
    return [meta.get("name", ""), obj.get("handler", ""), age]


class RuntimeClassStrategy(Strategy):
    columns: ClassVar[Columns] = Columns(columns(NAME, "Handler", AGE), _runtime_cells)

    def validate_body(self, obj: Object) -> FieldErrors:
        handler = obj.get("handler", "")
        errors = [fe.invalid("handler", handler, m) for m in names.dns1123_label(handler)]
        fixed = (obj.get("overhead") or {}).get("podFixed", {})
        errors += validate_amounts(fixed, "overhead.podFixed")
        scheduling = obj.get("scheduling") or {}
        errors += validate_labels(scheduling.get("nodeSelector", {}), "scheduling.nodeSelector")
        at = "scheduling.tolerations"
        return errors + validate_tolerations(scheduling.get("tolerations", []), at)

    def validate_change(self, new: Object, old: Object) -> FieldErrors:
        return immutable("handler", new.get("handler"), old.get("handler"))


def _lease_cells(obj: Object, now: float) -> list[Any]:
    meta = obj["metadata"]
    holder = obj.get("spec", {}).get("holderIdentity", "")
    return [meta.get("name", ""), holder, since(meta.get("creationTimestamp"), now)]


class LeaseStrategy(Strategy):
    columns: ClassVar[Columns] = Columns(columns(NAME, "Holder", AGE), _lease_cells)
    create_on_update: ClassVar[bool] = True

    def validate_body(self, obj: Object) -> FieldErrors:
        spec = obj.get("spec", {})
        errors: FieldErrors = []
        seconds = spec.get("leaseDurationSeconds")
        if seconds is not None and seconds <= 0:
            message = "must be greater than 0"
            errors.append(fe.invalid("spec.leaseDurationSeconds", seconds, message))
        transitions = spec.get("leaseTransitions")
        if transitions is not None and transitions < 0:
            message = "must be greater than or equal to 0"
            errors.append(fe.invalid("spec.leaseTransitions", transitions, message))
        strategy = spec.get("strategy")
        if strategy:
            errors += [
                fe.invalid("spec.strategy", strategy, m) for m in names.qualified_name(strategy)
            ]
        elif spec.get("preferredHolder"):
            message = "may only be specified when `strategy` is defined"
            errors.append(fe.forbidden("spec.preferredHolder", message))
        return errors
