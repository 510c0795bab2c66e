"""ResourceQuotas and LimitRanges.

Source: https://kubernetes.io/docs/concepts/policy/resource-quotas/ and .../limit-range/
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Final

from skiff.api import quantity
from skiff.api.kinds import errors as fe
from skiff.api.kinds import names
from skiff.api.kinds.columns import AGE, CREATED_AT, NAME, Columns, columns, since
from skiff.api.kinds.errors import FieldErrors, immutable
from skiff.api.kinds.resource_amounts import (
    amount,
    is_hugepages,
    is_native,
    validate_container_resource,
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


_LIMIT_TYPES: Final = ("Pod", "Container", "PersistentVolumeClaim")
# Of two amounts of a limit the first may not exceed the second: the field that is told of, the two, whose
# value is shown, the message.
_ORDER: Final = (
    ("min", "min", "max", "min", "min value {a} is greater than max value {b}"),
    ("defaultRequest", "min", "defaultRequest", "defaultRequest",
     "min value {a} is greater than default request value {b}"),
    ("defaultRequest", "defaultRequest", "max", "defaultRequest",
     "default request value {a} is greater than max value {b}"),
    ("defaultRequest", "defaultRequest", "default", "defaultRequest",
     "default request value {a} is greater than default limit value {b}"),
    ("default", "min", "default", "min", "min value {a} is greater than default value {b}"),
    ("default", "default", "max", "max", "default value {a} is greater than max value {b}"),
)  # fmt: skip


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
    errors = _validate_limit_type(kind, f"{at}.type")
    resource_name = (
        validate_container_resource if kind in ("Pod", "Container") else validate_resource_name
    )
    fields = ["max", "min"]
    if kind == "Pod":
        message = "may not be specified when `type` is 'Pod'"
        errors += [
            fe.forbidden(f"{at}.{field}", message)
            for field in ("default", "defaultRequest")
            if limit.get(field)
        ]
    else:
        fields += ["default", "defaultRequest"]
    fields.append("maxLimitRequestRatio")
    amounts: dict[str, dict[str, str]] = {field: limit.get(field, {}) for field in fields}
    for field in fields:
        for name in amounts[field]:
            errors += resource_name(name, f"{at}.{field}[{name}]")
    if kind == "PersistentVolumeClaim" and not any(
        "storage" in amounts[field] for field in ("min", "max")
    ):
        message = "either minimum or maximum storage value is required, but neither was provided"
        errors.append(fe.required(f"{at}.limits", message))
    for name in sorted({name for found in amounts.values() for name in found}):
        given = {field: found[name] for field, found in amounts.items() if name in found}
        errors += _validate_amounts_of(given, at, name)
    return errors


def _validate_limit_type(kind: str, path: str) -> FieldErrors:
    errors = [fe.invalid(path, kind, m) for m in names.qualified_name(kind)]
    if not errors and "/" not in kind and kind not in _LIMIT_TYPES:
        message = "must be a standard limit type or fully qualified"
        errors.append(fe.invalid(path, kind, message))
    return errors


def _validate_amounts_of(given: dict[str, str], at: str, name: str) -> FieldErrors:
    """What the amounts of one resource must be to each other."""
    errors: FieldErrors = []
    for field, low, high, shown, message in _ORDER:
        if low in given and high in given and amount(given[low]) > amount(given[high]):
            text = message.format(a=given[low], b=given[high])
            errors.append(fe.invalid(f"{at}.{field}[{name}]", given[shown], text))
    where = f"{at}.maxLimitRequestRatio[{name}]"
    ratio = given.get("maxLimitRequestRatio")
    if ratio is not None and amount(ratio) < quantity.NANO:
        errors.append(fe.invalid(where, ratio, f"ratio {ratio} is less than 1"))
    if ratio is not None and "min" in given and "max" in given:
        most, least = amount(given["max"]), amount(given["min"])
        if least and amount(ratio) / quantity.NANO > most / least:
            text = f"ratio {ratio} is greater than max/min = {most / least:f}"
            errors.append(fe.invalid(where, ratio, text))
    default, request = given.get("default"), given.get("defaultRequest")
    overcommitted = is_native(name) and not is_hugepages(name)
    if default and request and not overcommitted and amount(default) != amount(request):
        text = f"default value {default} must equal to defaultRequest value {request} in {name}"
        errors.append(fe.invalid(f"{at}.defaultRequest[{name}]", request, text))
    return errors
