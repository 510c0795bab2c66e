"""DaemonSets.

Source: https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/daemon-set-v1/
"""

from typing import ClassVar, Final

from skiff.api.kinds import errors as fe
from skiff.api.kinds import pod_warnings
from skiff.api.kinds.columns import Columns
from skiff.api.kinds.errors import FieldErrors, immutable
from skiff.api.kinds.pod_defaults import default_template
from skiff.api.kinds.strategy import Object, Strategy
from skiff.api.kinds.template_columns import DAEMON_SET
from skiff.api.kinds.workloads import (
    EMPTY_SELECTOR,
    at_most_hundred,
    is_zero,
    validate_int_or_percent,
    validate_not_negative,
    validate_selector,
    validate_workload_template,
)

TEMPLATE_GENERATION: Final = "deprecated.daemonset.template.generation"
"""How often the template changed. Clients cannot set it; daemon pods carry it as a label."""
_COUNTS: Final = (
    "currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady",
    "observedGeneration", "updatedNumberScheduled", "numberAvailable", "numberUnavailable",
)  # fmt: skip


class DaemonSetStrategy(Strategy):
    columns: ClassVar[Columns] = DAEMON_SET
    has_generation: ClassVar[bool] = True
    empty_status: ClassVar[Object | None] = {
        "currentNumberScheduled": 0,
        "numberMisscheduled": 0,
        "desiredNumberScheduled": 0,
        "numberReady": 0,
    }

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        update = spec.setdefault("updateStrategy", {})
        if not update.get("type"):
            update["type"] = "RollingUpdate"
        if update["type"] == "RollingUpdate":
            rolling = update.setdefault("rollingUpdate", {})
            rolling.setdefault("maxUnavailable", 1)
            rolling.setdefault("maxSurge", 0)
        spec.setdefault("revisionHistoryLimit", 10)
        default_template(spec.setdefault("template", {}))

    def prepare_create(self, obj: Object) -> None:
        super().prepare_create(obj)
        given = obj["metadata"].get("annotations", {}).get(TEMPLATE_GENERATION, "")
        _count_template(obj, max(1, int(given) if given.isdecimal() else 1))

    def prepare_update(self, new: Object, old: Object, subresource: str = "") -> None:
        super().prepare_update(new, old, subresource)
        before = old["metadata"].get("annotations", {}).get(TEMPLATE_GENERATION, "")
        number = int(before) if before.isdecimal() else 0
        changed = new["spec"].get("template") != old["spec"].get("template")
        _count_template(new, number + changed)

    def validate_body(self, obj: Object) -> FieldErrors:
        spec = obj.get("spec", {})
        errors = validate_selector(spec, "spec", EMPTY_SELECTOR["DaemonSet"])
        errors += validate_workload_template(spec, "spec", kind="DaemonSet")
        errors += validate_not_negative(spec, "spec", "minReadySeconds")
        errors += _validate_update_strategy(spec.get("updateStrategy", {}))
        return errors + validate_not_negative(spec, "spec", "revisionHistoryLimit")

    def validate_change(self, new: Object, old: Object) -> FieldErrors:
        return immutable("spec.selector", new["spec"].get("selector"), old["spec"].get("selector"))

    def validate_status_update(self, new: Object, old: Object) -> FieldErrors:
        status = new.get("status", {})
        errors = validate_not_negative(status, "status", *_COUNTS)
        if status.get("collisionCount", 0) < old.get("status", {}).get("collisionCount", 0):
            value = status.get("collisionCount", 0)
            errors.append(fe.invalid("status.collisionCount", value, "cannot be decremented"))
        return errors

    def warnings(self, obj: Object, old: Object | None = None) -> list[str]:
        if old is not None and old.get("spec") == obj.get("spec"):
            return []
        pod = obj.get("spec", {}).get("template", {}).get("spec", {})
        return pod_warnings.of_spec(pod, "spec.template.spec")


def _count_template(obj: Object, number: int) -> None:
    obj["metadata"].setdefault("annotations", {})[TEMPLATE_GENERATION] = str(number)


def _validate_update_strategy(strategy: Object) -> FieldErrors:
    kind = strategy.get("type")
    path = "spec.updateStrategy"
    if kind == "OnDelete":
        return []
    if kind != "RollingUpdate":
        return [fe.not_supported(f"{path}.type", kind, ("OnDelete", "RollingUpdate"))]
    rolling = strategy.get("rollingUpdate")
    at = f"{path}.rollingUpdate"
    if rolling is None:
        return [fe.required(at)]
    unavailable, surge = rolling.get("maxUnavailable", 0), rolling.get("maxSurge", 0)
    errors = validate_int_or_percent(unavailable, f"{at}.maxUnavailable")
    errors += validate_int_or_percent(surge, f"{at}.maxSurge")
    errors += at_most_hundred(unavailable, f"{at}.maxUnavailable")
    errors += at_most_hundred(surge, f"{at}.maxSurge")
    if is_zero(unavailable) and is_zero(surge):
        message = "cannot be 0 when maxSurge is 0"
        errors.append(fe.invalid(f"{at}.maxUnavailable", unavailable, message))
    elif not is_zero(unavailable) and not is_zero(surge):
        message = "may not be set when maxUnavailable is non-zero"
        errors.append(fe.invalid(f"{at}.maxSurge", surge, message))
    return errors
