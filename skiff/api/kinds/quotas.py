"""ResourceQuotas and LimitRanges.

Source: https://kubernetes.io/docs/concepts/policy/resource-quotas/ and .../limit-range/
"""

from collections.abc import Sequence
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

_OF_PODS: Final = frozenset(
    ("pods", "cpu", "memory", "limits.cpu", "limits.memory", "requests.cpu", "requests.memory")
)
_SUITED: Final = {
    "BestEffort": frozenset(("pods",)),
    "NotBestEffort": _OF_PODS,
    "Terminating": _OF_PODS,
    "NotTerminating": _OF_PODS,
    "PriorityClass": _OF_PODS,
    "CrossNamespacePodAffinity": _OF_PODS,
    "VolumeAttributesClass": frozenset(("persistentvolumeclaims", "requests.storage")),
}
"""What a scope may limit, of the resources that are Kubernetes' own."""
_OPPOSITES: Final = (("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating"))
_PLAIN_SCOPES: Final = frozenset(_SUITED) - {"PriorityClass", "VolumeAttributesClass"}
_MUST_EXIST: Final = (
    "must be 'Exist' when scope is any of ResourceQuotaScopeTerminating,"
    " ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort,"
    " ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity"
)


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
            if "/" not in name and not _is_standard(name):
                message = "must be a standard resource for quota"
                errors.append(fe.invalid(at, name, message))
            errors += validate_quantity(name, value, at)
        return errors + _validate_scopes(spec) + _validate_selector(spec)

    def validate_change(self, new: Object, old: Object) -> FieldErrors:
        after, before = new.get("spec", {}), old.get("spec", {})
        if set(after.get("scopes", ())) != set(before.get("scopes", ())):
            return immutable("spec.scopes", after.get("scopes"), before.get("scopes"))
        return []


def _is_standard(name: str) -> bool:
    return name in _QUOTAS or name.startswith(("hugepages-", "requests.hugepages-"))


def _validate_scopes(spec: Object) -> FieldErrors:
    """Each scope exists, suits every resource, and contradicts no other."""
    at, scopes = "spec.scopes", spec.get("scopes", [])
    errors: FieldErrors = []
    for scope in scopes:
        if scope not in _SCOPES:
            errors.append(fe.invalid(at, scopes, "unsupported scope"))
        errors += _unsuited(scope, spec, at, scopes)
    return errors + _conflicting(scopes, spec, at)


def _validate_selector(spec: Object) -> FieldErrors:
    selector = spec.get("scopeSelector") or {}
    at = "spec.scopeSelector.matchExpressions"
    errors: FieldErrors = []
    found = selector.get("matchExpressions", ())
    for one in found:
        scope, operator = one.get("scopeName", ""), one.get("operator", "")
        if scope not in _SCOPES:
            errors.append(fe.invalid(f"{at}.scopeName", scope, "unsupported scope"))
        errors += _unsuited(scope, spec, at, selector)
        if scope in _PLAIN_SCOPES and operator != "Exists":
            errors.append(fe.invalid(f"{at}.operator", operator, _MUST_EXIST))
        values = one.get("values")
        if operator in ("In", "NotIn"):
            if not values:
                message = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"
                errors.append(fe.required(f"{at}.values", message))
        elif operator in ("Exists", "DoesNotExist"):
            if values:
                message = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"
                errors.append(fe.invalid(f"{at}.values", values, message))
        else:
            errors.append(fe.invalid(f"{at}.operator", operator, "not a valid selector operator"))
    return errors + _conflicting([o.get("scopeName", "") for o in found], spec, at)


def _unsuited(scope: str, spec: Object, at: str, value: Any) -> FieldErrors:
    """An error for each of the quota's resources that the scope says nothing of."""
    suited = _SUITED.get(scope)
    if suited is None:
        return []
    return [
        fe.invalid(at, value, "unsupported scope applied to resource")
        for name in sorted(spec.get("hard", {}))
        if _is_standard(name) and name not in suited
    ]


def _conflicting(scopes: Sequence[str], spec: Object, at: str) -> FieldErrors:
    return [
        fe.invalid(at, spec.get("scopes"), "conflicting scopes")
        for one, other in _OPPOSITES
        if one in scopes and other in scopes
    ]


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
