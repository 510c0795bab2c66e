"""FlowSchemas and PriorityLevelConfigurations.

Source: https://kubernetes.io/docs/concepts/cluster-administration/flow-control/
"""

from typing import Any, ClassVar, Final

from skiff.api.kinds import errors as fe
from skiff.api.kinds.columns import AGE, NAME, Columns, columns, since
from skiff.api.kinds.errors import FieldErrors
from skiff.api.kinds.strategy import Object, Strategy

_PRECEDENCE_MAX: Final = 10000
_SUBJECTS: Final = ("Group", "ServiceAccount", "User")
_NONE: Final = "<none>"


def _schema_cells(obj: Object, now: float) -> list[Any]:
    meta, spec = obj["metadata"], obj.get("spec", {})
    level = spec.get("priorityLevelConfiguration", {}).get("name", "")
    method = (spec.get("distinguisherMethod") or {}).get("type") or _NONE
    missing = "?"
    for condition in obj.get("status", {}).get("conditions", ()):
        if condition.get("type") == "Dangling":
            missing = condition.get("status", "?")
    return [
        meta.get("name", ""),
        level,
        spec.get("matchingPrecedence", 0),
        method,
        since(meta.get("creationTimestamp"), now),
        missing,
    ]


class FlowSchemaStrategy(Strategy):
    columns: ClassVar[Columns] = Columns(
        columns(
            NAME, "PriorityLevel", "MatchingPrecedence:integer", "DistinguisherMethod", AGE,
            "MissingPL",
        ),
        _schema_cells,
    )  # fmt: skip
    has_generation: ClassVar[bool] = True

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        if not spec.get("matchingPrecedence"):
            spec["matchingPrecedence"] = 1000

    def validate_body(self, obj: Object) -> FieldErrors:
        spec = obj.get("spec", {})
        errors: FieldErrors = []
        precedence = spec.get("matchingPrecedence", 0)
        if not 1 <= precedence <= _PRECEDENCE_MAX:
            message = f"must be between 1 and {_PRECEDENCE_MAX}, inclusive"
            if precedence > _PRECEDENCE_MAX:
                message = f"must not be greater than {_PRECEDENCE_MAX}"
            errors.append(fe.invalid("spec.matchingPrecedence", precedence, message))
        if not spec.get("priorityLevelConfiguration", {}).get("name"):
            message = "must reference a priority level"
            errors.append(fe.required("spec.priorityLevelConfiguration.name", message))
        method = (spec.get("distinguisherMethod") or {}).get("type")
        if method is not None and method not in ("ByNamespace", "ByUser"):
            at = "spec.distinguisherMethod"
            errors.append(fe.not_supported(at, method, ("ByNamespace", "ByUser")))
        for i, rule in enumerate(spec.get("rules", ())):
            errors += _validate_rule(rule, f"spec.rules[{i}]")
        return errors


def _validate_rule(rule: Object, path: str) -> FieldErrors:
    errors: FieldErrors = []
    if not rule.get("subjects"):
        errors.append(fe.required(f"{path}.subjects", "subjects must contain at least one value"))
    for i, subject in enumerate(rule.get("subjects", ())):
        kind = subject.get("kind", "")
        at = f"{path}.subjects[{i}]"
        if kind not in _SUBJECTS:
            errors.append(fe.not_supported(f"{at}.kind", kind, _SUBJECTS))
            continue
        field = kind[:1].lower() + kind[1:]
        found = subject.get(field)
        if found is None:
            message = f"{field} is required when subject kind is '{kind}'"
            errors.append(fe.required(f"{at}.{field}", message))
        elif not found.get("name"):
            errors.append(fe.required(f"{at}.{field}.name"))
    if not rule.get("resourceRules") and not rule.get("nonResourceRules"):
        message = "at least one of resourceRules and nonResourceRules has to be non-empty"
        errors.append(fe.required(path, message))
    for i, found in enumerate(rule.get("resourceRules", ())):
        at = f"{path}.resourceRules[{i}]"
        errors += [
            fe.required(f"{at}.{f}", f"{f} must contain at least one value")
            for f in ("verbs", "apiGroups", "resources")
            if not found.get(f)
        ]
        if not found.get("namespaces") and not found.get("clusterScope"):
            message = (
                "resource rules that are not cluster scoped must supply at least one namespace"
            )
            errors.append(fe.required(f"{at}.namespaces", message))
    for i, found in enumerate(rule.get("nonResourceRules", ())):
        at = f"{path}.nonResourceRules[{i}]"
        errors += [
            fe.required(f"{at}.{f}", f"{f} must contain at least one value")
            for f in ("verbs", "nonResourceURLs")
            if not found.get(f)
        ]
    return errors


def _level_cells(obj: Object, now: float) -> list[Any]:
    meta, spec = obj["metadata"], obj.get("spec", {})
    limited = spec.get("limited") or {}
    queuing = (limited.get("limitResponse") or {}).get("queuing") or {}
    return [
        meta.get("name", ""),
        spec.get("type", ""),
        limited.get("nominalConcurrencyShares", _NONE),
        queuing.get("queues", _NONE),
        queuing.get("handSize", _NONE),
        queuing.get("queueLengthLimit", _NONE),
        since(meta.get("creationTimestamp"), now),
    ]


class PriorityLevelConfigurationStrategy(Strategy):
    columns: ClassVar[Columns] = Columns(
        columns(
            NAME, "Type", "NominalConcurrencyShares:integer", "Queues:integer", "HandSize:integer",
            "QueueLengthLimit:integer", AGE,
        ),
        _level_cells,
    )  # fmt: skip
    has_generation: ClassVar[bool] = True

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        if spec.get("exempt") is not None or spec.get("type") == "Exempt":
            exempt = spec.setdefault("exempt", {})
            exempt.setdefault("nominalConcurrencyShares", 0)
            exempt.setdefault("lendablePercent", 0)
        limited = spec.get("limited")
        if limited is not None:
            limited.setdefault("nominalConcurrencyShares", 30)
            limited.setdefault("lendablePercent", 0)
            queuing = (limited.get("limitResponse") or {}).get("queuing")
            if queuing is not None:
                queuing.setdefault("queues", 64)
                queuing.setdefault("handSize", 8)
                queuing.setdefault("queueLengthLimit", 50)

    def validate_body(self, obj: Object) -> FieldErrors:
        spec = obj.get("spec", {})
        errors: FieldErrors = []
        kind = spec.get("type", "")
        if kind == "Exempt":
            if spec.get("limited") is not None:
                message = "must be nil if the type is not Limited"
                errors.append(fe.forbidden("spec.limited", message))
        elif kind == "Limited":
            limited = spec.get("limited")
            if spec.get("exempt") is not None:
                errors.append(fe.forbidden("spec.exempt", "must be nil if the type is Limited"))
            if limited is None:
                message = "must not be empty when type is Limited"
                errors.append(fe.required("spec.limited", message))
            else:
                errors += _validate_limited(limited)
        else:
            errors.append(fe.not_supported("spec.type", kind, ("Exempt", "Limited")))
        return errors


def _validate_limited(limited: Object) -> FieldErrors:
    errors: FieldErrors = []
    shares = limited.get("nominalConcurrencyShares", 30)
    if shares < 0:
        message = "must be a non-negative integer"
        errors.append(fe.invalid("spec.limited.nominalConcurrencyShares", shares, message))
    response = limited.get("limitResponse") or {}
    kind, queuing = response.get("type", ""), response.get("queuing")
    at = "spec.limited.limitResponse"
    if kind == "Reject":
        if queuing is not None:
            message = "must be nil if limited.limitResponse.type is not Limited"
            errors.append(fe.forbidden(f"{at}.queuing", message))
    elif kind == "Queue":
        if queuing is None:
            message = "must not be empty if limited.limitResponse.type is Limited"
            errors.append(fe.required(f"{at}.queuing", message))
        else:
            for field in ("queues", "handSize", "queueLengthLimit"):
                if queuing.get(field, 1) <= 0:
                    value = queuing[field]
                    errors.append(fe.invalid(f"{at}.queuing.{field}", value, "must be positive"))
            if queuing.get("handSize", 8) > queuing.get("queues", 64):
                message = f"should not be greater than queues ({queuing.get('queues', 64)})"
                value = queuing.get("handSize", 8)
                errors.append(fe.invalid(f"{at}.queuing.handSize", value, message))
    else:
        errors.append(fe.not_supported(f"{at}.type", kind, ("Queue", "Reject")))
    return errors
