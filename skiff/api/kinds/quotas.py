"""ResourceQuotas and LimitRanges.

Source: https://kubernetes.io/docs/concepts/policy/resource-quotas/ and .../limit-range/
"""

from typing import Any, ClassVar, Final

from skiff.api.kinds import errors as fe
from skiff.api.kinds import names
from skiff.api.kinds.columns import AGE, CREATED_AT, NAME, Columns, columns, since
from skiff.api.kinds.errors import FieldErrors, immutable
from skiff.api.kinds.resource_amounts import (
    NOT_NEGATIVE,
    amount,
    validate_quantity,
    validate_resource_name,
)
from skiff.api.kinds.strategy import Object, Strategy

_SCOPES: Final = (
    "BestEffort", "CrossNamespacePodAffinity", "NotBestEffort", "NotTerminating", "PriorityClass",
    "Terminating", "VolumeAttributesClass",
)  # fmt: skip
_QUOTAS: Final = frozenset(
    (
        "cpu", "memory", "ephemeral-storage", "requests.cpu", "requests.memory",
        "requests.storage", "requests.ephemeral-storage", "limits.cpu", "limits.memory",
        "limits.ephemeral-storage", "persistentvolumeclaims", "pods", "resourcequotas", "services",
        "replicationcontrollers", "secrets", "configmaps", "services.nodeports",
        "services.loadbalancers",
    )
)  # fmt: skip


def _quota_cells(obj: Object, now: float) -> list[Any]:
    meta = obj["metadata"]
    hard = obj.get("status", {}).get("hard", {})
    used = obj.get("status", {}).get("used", {})
    requests: list[str] = []
    limits: list[str] = []
    for name in sorted(hard):
        text = f"{name}: {used.get(name, '0')}/{hard[name]}"
        (limits if name.startswith("limits") else requests).append(text)
    return [
        meta.get("name", ""),
        ", ".join(requests),
        ", ".join(limits),
        since(meta.get("creationTimestamp"), now),
    ]


class ResourceQuotaStrategy(Strategy):
    columns: ClassVar[Columns] = Columns(columns(NAME, "Request", "Limit", AGE), _quota_cells)

    def default(self, obj: Object) -> None:
        obj.setdefault("spec", {})

    def validate_body(self, obj: Object) -> FieldErrors:
        spec = obj.get("spec", {})
        errors: FieldErrors = []
        for name, value in spec.get("hard", {}).items():
            at = f"spec.hard[{name}]"
            errors += [fe.invalid(at, name, m) for m in names.qualified_name(name)]
            if "/" not in name and name not in _QUOTAS and "hugepages-" not in name:
                message = "must be a standard resource for quota"
                errors.append(fe.invalid(at, name, message))
            errors += validate_quantity(name, value, at)
        if any(scope not in _SCOPES for scope in spec.get("scopes", ())):
            errors.append(fe.invalid("spec.scopes", spec["scopes"], "unsupported scope"))
        for i, found in enumerate((spec.get("scopeSelector") or {}).get("matchExpressions", ())):
            at = f"spec.scopeSelector.matchExpressions[{i}]"
            scope, operator = found.get("scopeName", ""), found.get("operator", "")
            if scope not in _SCOPES:
                errors.append(fe.invalid(f"{at}.scopeName", scope, "unsupported scope"))
            if operator in ("In", "NotIn") and not found.get("values"):
                message = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"
                errors.append(fe.required(f"{at}.values", message))
            elif operator in ("Exists", "DoesNotExist") and found.get("values"):
                message = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"
                errors.append(fe.invalid(f"{at}.values", found["values"], message))
            elif operator not in ("In", "NotIn", "Exists", "DoesNotExist"):
                message = "not a valid selector operator"
                errors.append(fe.invalid(f"{at}.operator", operator, message))
        return errors

    def validate_change(self, new: Object, old: Object) -> FieldErrors:
        after, before = new.get("spec", {}), old.get("spec", {})
        if set(after.get("scopes", ())) != set(before.get("scopes", ())):
            return immutable("spec.scopes", after.get("scopes"), before.get("scopes"))
        return []


class LimitRangeStrategy(Strategy):
    columns: ClassVar[Columns] = Columns(
        (NAME, CREATED_AT),
        lambda obj, _now: [
            obj["metadata"].get("name", ""),
            obj["metadata"].get("creationTimestamp"),
        ],
    )

    def default(self, obj: Object) -> None:
        for limit in obj.setdefault("spec", {}).setdefault("limits", []):
            if limit.get("type") != "Container":
                continue
            most, least = limit.get("max", {}), limit.get("min", {})
            for name, value in most.items():
                limit.setdefault("default", {}).setdefault(name, value)
            for name, value in limit.get("default", {}).items():
                limit.setdefault("defaultRequest", {}).setdefault(name, value)
            for name, value in least.items():
                limit.setdefault("defaultRequest", {}).setdefault(name, value)

    def validate_body(self, obj: Object) -> FieldErrors:
        errors: FieldErrors = []
        seen: set[str] = set()
        for i, limit in enumerate(obj.get("spec", {}).get("limits", ())):
            at = f"spec.limits[{i}]"
            kind = limit.get("type", "")
            if kind in seen:
                errors.append(fe.duplicate(f"{at}.type", kind))
            seen.add(kind)
            errors += _validate_limit(limit, at, kind)
        return errors


def _validate_limit(limit: Object, at: str, kind: str) -> FieldErrors:
    errors: FieldErrors = []
    errors += [fe.invalid(f"{at}.type", kind, m) for m in names.qualified_name(kind)]
    least, most = limit.get("min", {}), limit.get("max", {})
    default, request = limit.get("default", {}), limit.get("defaultRequest", {})
    if kind == "Pod":
        for field, found in (("default", default), ("defaultRequest", request)):
            if found:
                message = "may not be specified when `type` is 'Pod'"
                errors.append(fe.forbidden(f"{at}.{field}", message))
    if kind == "PersistentVolumeClaim" and "storage" not in least and "storage" not in most:
        message = "either minimum or maximum storage value is required, but neither was provided"
        errors.append(fe.required(f"{at}.limits", message))
    for field in ("min", "max", "default", "defaultRequest", "maxLimitRequestRatio"):
        for name, value in limit.get(field, {}).items():
            where = f"{at}.{field}[{name}]"
            errors += validate_resource_name(name, where)
            if amount(value) < 0:
                errors.append(fe.invalid(where, value, NOT_NEGATIVE))
    # Each pair: the first may not exceed the second.
    pairs = (
        ("min", least, "max", most, "min value {a} is greater than max value {b}"),
        ("defaultRequest", request, "max", most, "default request value {a} is greater than max value {b}"),
        ("defaultRequest", request, "default", default,
         "default request value {a} is greater than default limit value {b}"),
        ("default", default, "max", most, "default value {a} is greater than max value {b}"),
        ("default", least, "default", default, "min value {a} is greater than default value {b}"),
        ("defaultRequest", least, "defaultRequest", request,
         "min value {a} is greater than default request value {b}"),
    )  # fmt: skip
    for field, low, _, high, message in pairs:
        for name in low.keys() & high.keys():
            if amount(low[name]) > amount(high[name]):
                shown = low[name] if field != "default" or low is not least else high[name]
                text = message.format(a=low[name], b=high[name])
                errors.append(fe.invalid(f"{at}.{field}[{name}]", shown, text))
    return errors
