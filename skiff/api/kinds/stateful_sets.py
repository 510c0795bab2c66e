"""StatefulSets.

Source: https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/stateful-set-v1/
"""

from typing import ClassVar, Final

from skiff.api.kinds import errors as fe
from skiff.api.kinds import names, pod_warnings
from skiff.api.kinds.columns import Columns
from skiff.api.kinds.errors import FieldErrors
from skiff.api.kinds.pod_defaults import default_template
from skiff.api.kinds.strategy import Object, Strategy
from skiff.api.kinds.template_columns import STATEFUL_SET
from skiff.api.kinds.volume_claims import default_claim, validate_claim_spec
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

_MUTABLE: Final = (
    "replicas", "template", "updateStrategy", "minReadySeconds",
    "persistentVolumeClaimRetentionPolicy", "ordinals", "revisionHistoryLimit",
)  # fmt: skip
_FORBIDDEN: Final = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', "
    "'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and "
    "'minReadySeconds' are forbidden"
)


class StatefulSetStrategy(Strategy):
    columns: ClassVar[Columns] = STATEFUL_SET
    has_generation: ClassVar[bool] = True
    empty_status: ClassVar[Object | None] = {"replicas": 0, "availableReplicas": 0}

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        if not spec.get("podManagementPolicy"):
            spec["podManagementPolicy"] = "OrderedReady"
        update = spec.setdefault("updateStrategy", {})
        if not update.get("type"):
            update["type"] = "RollingUpdate"
            update.setdefault("rollingUpdate", {})
        if update["type"] == "RollingUpdate" and "rollingUpdate" in update:
            update["rollingUpdate"].setdefault("partition", 0)
            update["rollingUpdate"].setdefault("maxUnavailable", 1)
        policy = spec.setdefault("persistentVolumeClaimRetentionPolicy", {})
        policy.setdefault("whenDeleted", "Retain")
        policy.setdefault("whenScaled", "Retain")
        spec.setdefault("replicas", 1)
        spec.setdefault("revisionHistoryLimit", 10)
        default_template(spec.setdefault("template", {}))
        for claim in spec.get("volumeClaimTemplates", ()):
            claim.setdefault("apiVersion", "v1")
            claim.setdefault("kind", "PersistentVolumeClaim")
            default_claim(claim)

    def validate_body(self, obj: Object) -> FieldErrors:
        spec = obj.get("spec", {})
        errors: FieldErrors = []
        policy = spec.get("podManagementPolicy")
        if policy not in ("OrderedReady", "Parallel"):
            message = "must be 'OrderedReady' or 'Parallel'"
            errors.append(fe.invalid("spec.podManagementPolicy", policy, message))
        errors += _validate_update_strategy(spec.get("updateStrategy", {}))
        errors += _validate_retention(spec.get("persistentVolumeClaimRetentionPolicy", {}))
        errors += validate_not_negative(spec, "spec", "replicas", "minReadySeconds")
        start = (spec.get("ordinals") or {}).get("start", 0)
        if start < 0:
            message = "must be greater than or equal to 0"
            errors.append(fe.invalid("spec.ordinals.start", start, message))
        errors += validate_selector(spec, "spec", EMPTY_SELECTOR["StatefulSet"])
        claims = [
            c.get("metadata", {}).get("name", "") for c in spec.get("volumeClaimTemplates", ())
        ]
        errors += validate_workload_template(spec, "spec", kind="StatefulSet", claims=claims)
        for i, claim in enumerate(spec.get("volumeClaimTemplates", ())):
            at = f"spec.volumeClaimTemplates[{i}].spec"
            errors += validate_claim_spec(claim.get("spec", {}), at)
        service = spec.get("serviceName")
        if service:
            errors += [
                fe.invalid("spec.serviceName", service, m) for m in names.dns1123_subdomain(service)
            ]
        return errors

    def validate_change(self, new: Object, old: Object) -> FieldErrors:
        after = {k: v for k, v in new["spec"].items() if k not in _MUTABLE}
        before = {k: v for k, v in old["spec"].items() if k not in _MUTABLE}
        # Labels and annotations of claim templates may change: they only reach new claims.
        if after != before:
            return [fe.forbidden("spec", _FORBIDDEN)]
        return []

    def validate_status_update(self, new: Object, old: Object) -> FieldErrors:
        status = new.get("status", {})
        errors = validate_not_negative(status, "status", "observedGeneration")
        errors += validate_status_counts(
            status, "replicas", "readyReplicas", "currentReplicas", "updatedReplicas"
        )
        if status.get("collisionCount", 0) < old.get("status", {}).get("collisionCount", 0):
            value = status.get("collisionCount", 0)
            errors.append(fe.invalid("status.collisionCount", value, "cannot be decremented"))
        return errors

    def warnings(self, obj: Object, old: Object | None = None) -> list[str]:
        if old is not None and old.get("spec") == obj.get("spec"):
            return []
        spec = obj.get("spec", {})
        out = pod_warnings.of_spec(spec.get("template", {}).get("spec", {}), "spec.template.spec")
        if (spec.get("revisionHistoryLimit") or 0) < 0:
            out.append(
                "spec.revisionHistoryLimit: a negative value retains all historical revisions; "
                "a value >= 0 is recommended"
            )
        return out


def _validate_update_strategy(strategy: Object) -> FieldErrors:
    kind, rolling = strategy.get("type"), strategy.get("rollingUpdate")
    path = "spec.updateStrategy"
    if kind == "OnDelete":
        if rolling is None:
            return []
        message = "only allowed for updateStrategy 'RollingUpdate'"
        return [fe.invalid(f"{path}.rollingUpdate", rolling, message)]
    if kind != "RollingUpdate":
        return [fe.invalid(path, strategy, "must be 'RollingUpdate' or 'OnDelete'")]
    if rolling is None:
        return []
    at = f"{path}.rollingUpdate"
    errors = validate_not_negative(rolling, at, "partition")
    unavailable = rolling.get("maxUnavailable")
    if unavailable is not None:
        errors += validate_int_or_percent(unavailable, f"{at}.maxUnavailable")
        if is_zero(unavailable):
            errors.append(fe.invalid(f"{at}.maxUnavailable", unavailable, "cannot be 0"))
        errors += at_most_hundred(unavailable, f"{at}.maxUnavailable")
    return errors


def _validate_retention(policy: Object) -> FieldErrors:
    errors: FieldErrors = []
    for field in ("whenDeleted", "whenScaled"):
        value = policy.get(field, "Retain")
        if value not in ("Retain", "Delete"):
            at = f"spec.persistentVolumeClaimRetentionPolicy.{field}"
            errors.append(fe.not_supported(at, value, ("Retain", "Delete")))
    return errors
