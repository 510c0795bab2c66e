"""PodDisruptionBudgets.

Source: https://kubernetes.io/docs/reference/kubernetes-api/policy-resources/pod-disruption-budget-v1/
"""

from typing import Any, ClassVar

from skiff.api.kinds import errors as fe
from skiff.api.kinds.columns import AGE, NAME, Columns, columns, since
from skiff.api.kinds.errors import FieldErrors
from skiff.api.kinds.metadata import validate_label_selector
from skiff.api.kinds.strategy import Object, Strategy
from skiff.api.kinds.workloads import at_most_hundred, validate_int_or_percent


def _cells(obj: Object, now: float) -> list[Any]:
    meta, spec = obj["metadata"], obj.get("spec", {})
    least, most = spec.get("minAvailable"), spec.get("maxUnavailable")
    return [
        meta.get("name", ""),
        "N/A" if least is None else str(least),
        "N/A" if most is None else str(most),
        obj.get("status", {}).get("disruptionsAllowed", 0),
        since(meta.get("creationTimestamp"), now),
    ]


class PodDisruptionBudgetStrategy(Strategy):
    columns: ClassVar[Columns] = Columns(
        columns(NAME, "Min Available", "Max Unavailable", "Allowed Disruptions:integer", AGE),
        _cells,
    )
    has_generation: ClassVar[bool] = True
    empty_status: ClassVar[Object | None] = {
        "disruptionsAllowed": 0,
        "currentHealthy": 0,
        "desiredHealthy": 0,
        "expectedPods": 0,
    }

    def validate_body(self, obj: Object) -> FieldErrors:
        spec = obj.get("spec", {})
        errors: FieldErrors = []
        if spec.get("minAvailable") is not None and spec.get("maxUnavailable") is not None:
            message = "minAvailable and maxUnavailable cannot be both set"
            errors.append(fe.invalid("spec", spec, message))
        for field in ("minAvailable", "maxUnavailable"):
            value = spec.get(field)
            if value is not None:
                errors += validate_int_or_percent(value, f"spec.{field}")
                errors += at_most_hundred(value, f"spec.{field}")
        errors += validate_label_selector(spec.get("selector"), "spec.selector")
        policy = spec.get("unhealthyPodEvictionPolicy")
        if policy not in (None, "AlwaysAllow", "IfHealthyBudget"):
            supported = ("AlwaysAllow", "IfHealthyBudget")
            errors.append(fe.not_supported("spec.unhealthyPodEvictionPolicy", policy, supported))
        return errors
