"""Deployments.

Source: https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/deployment-v1/
"""

from typing import ClassVar

from skiff.api.kinds import errors as fe
from skiff.api.kinds import pod_warnings
from skiff.api.kinds.columns import Columns
from skiff.api.kinds.errors import FieldErrors, immutable
from skiff.api.kinds.pod_defaults import default_template
from skiff.api.kinds.strategy import Object, Strategy
from skiff.api.kinds.template_columns import DEPLOYMENT
from skiff.api.kinds.workloads import (
    EMPTY_SELECTOR,
    at_most_hundred,
    is_zero,
    validate_int_or_percent,
    validate_not_negative,
    validate_selector,
    validate_status_counts,
    validate_workload_template,
)


class DeploymentStrategy(Strategy):
    columns: ClassVar[Columns] = DEPLOYMENT
    has_generation: ClassVar[bool] = True

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        spec.setdefault("replicas", 1)
        strategy = spec.setdefault("strategy", {})
        if not strategy.get("type"):
            strategy["type"] = "RollingUpdate"
        if strategy["type"] == "RollingUpdate":
            rolling = strategy.setdefault("rollingUpdate", {})
            rolling.setdefault("maxUnavailable", "25%")
            rolling.setdefault("maxSurge", "25%")
        spec.setdefault("revisionHistoryLimit", 10)
        spec.setdefault("progressDeadlineSeconds", 600)
        default_template(spec.setdefault("template", {}))

    def prepare_update(self, new: Object, old: Object, subresource: str = "") -> None:
        super().prepare_update(new, old, subresource)
        if subresource == "status":  # the status' writer does not own the labels
            if "labels" in old["metadata"]:
                new["metadata"]["labels"] = old["metadata"]["labels"]
            else:
                new["metadata"].pop("labels", None)

    def changed(self, new: Object, old: Object) -> bool:
        # Annotations count as well: they are copied to the ReplicaSets.
        if new["metadata"].get("annotations") != old["metadata"].get("annotations"):
            return True
        return super().changed(new, old)

    def validate_body(self, obj: Object) -> FieldErrors:
        spec = obj.get("spec", {})
        errors = validate_not_negative(spec, "spec", "replicas")
        errors += validate_selector(spec, "spec", EMPTY_SELECTOR["Deployment"])
        errors += validate_workload_template(spec, "spec", kind="Deployment")
        errors += _validate_strategy(spec.get("strategy", {}))
        errors += validate_not_negative(spec, "spec", "minReadySeconds", "revisionHistoryLimit")
        deadline = spec.get("progressDeadlineSeconds")
        if deadline is not None:
            at = "spec.progressDeadlineSeconds"
            errors += validate_not_negative(spec, "spec", "progressDeadlineSeconds")
            if deadline <= spec.get("minReadySeconds", 0):
                errors.append(fe.invalid(at, deadline, "must be greater than minReadySeconds"))
        return errors

    def validate_change(self, new: Object, old: Object) -> FieldErrors:
        return immutable("spec.selector", new["spec"].get("selector"), old["spec"].get("selector"))

    def validate_status_update(self, new: Object, old: Object) -> FieldErrors:
        status = new.get("status", {})
        errors = validate_not_negative(
            status, "status", "observedGeneration", "unavailableReplicas"
        )
        errors += validate_status_counts(
            status, "replicas", "updatedReplicas", "readyReplicas", "availableReplicas"
        )
        before, after = old.get("status", {}), status
        if after.get("collisionCount", 0) < before.get("collisionCount", 0):
            value = after.get("collisionCount", 0)
            errors.append(fe.invalid("status.collisionCount", value, "cannot be decremented"))
        return errors

    def warnings(self, obj: Object, old: Object | None = None) -> list[str]:
        if old is not None and old.get("spec") == obj.get("spec"):
            return []
        pod = obj.get("spec", {}).get("template", {}).get("spec", {})
        out = pod_warnings.of_name(obj) if old is None else []
        return out + pod_warnings.of_spec(pod, "spec.template.spec")


def _validate_strategy(strategy: Object) -> FieldErrors:
    kind = strategy.get("type")
    rolling = strategy.get("rollingUpdate")
    path = "spec.strategy"
    if kind == "Recreate":
        if rolling is None:
            return []
        message = "may not be specified when strategy `type` is 'Recreate'"
        return [fe.forbidden(f"{path}.rollingUpdate", message)]
    if kind != "RollingUpdate":
        return [fe.not_supported(f"{path}.type", kind, ("Recreate", "RollingUpdate"))]
    if rolling is None:
        message = "this should be defaulted and never be nil"
        return [fe.required(f"{path}.rollingUpdate", message)]
    at = f"{path}.rollingUpdate"
    unavailable, surge = rolling.get("maxUnavailable", 0), rolling.get("maxSurge", 0)
    errors = validate_int_or_percent(unavailable, f"{at}.maxUnavailable")
    errors += validate_int_or_percent(surge, f"{at}.maxSurge")
    if is_zero(unavailable) and is_zero(surge):
        message = "may not be 0 when `maxSurge` is 0"
        errors.append(fe.invalid(f"{at}.maxUnavailable", unavailable, message))
    return errors + at_most_hundred(unavailable, f"{at}.maxUnavailable")
