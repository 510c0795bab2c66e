"""Validation of the fields that steer scheduling: affinity, tolerations, taints, topology spread.

Source: https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/, .../taint-and-toleration/
and .../topology-spread-constraints/
"""

from typing import Any, Final

from skiff.api.kinds import errors as fe
from skiff.api.kinds import names
from skiff.api.kinds.errors import FieldErrors
from skiff.api.kinds.metadata import validate_label_selector

_EFFECTS: Final = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_SPREAD_ACTIONS: Final = ("DoNotSchedule", "ScheduleAnyway")
_SPREAD_POLICIES: Final = ("Honor", "Ignore")


def validate_node_selector(selector: dict[str, Any], path: str) -> FieldErrors:
    terms = selector.get("nodeSelectorTerms")
    if not terms:
        message = "must have at least one node selector term"
        return [fe.required(f"{path}.nodeSelectorTerms", message)]
    errors: FieldErrors = []
    for i, term in enumerate(terms):
        errors += validate_node_term(term, f"{path}.nodeSelectorTerms[{i}]")
    return errors


def validate_node_term(term: dict[str, Any], path: str) -> FieldErrors:
    errors: FieldErrors = []
    for i, requirement in enumerate(term.get("matchExpressions", ())):
        errors += _node_requirement(requirement, f"{path}.matchExpressions[{i}]")
    for i, requirement in enumerate(term.get("matchFields", ())):
        errors += _node_field(requirement, f"{path}.matchFields[{i}]")
    return errors


def _node_requirement(requirement: dict[str, Any], path: str) -> FieldErrors:
    errors: FieldErrors = []
    operator, values = requirement.get("operator", ""), requirement.get("values") or []
    if operator in ("In", "NotIn"):
        if not values:
            message = "must be specified when `operator` is 'In' or 'NotIn'"
            errors.append(fe.required(f"{path}.values", message))
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            message = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            errors.append(fe.forbidden(f"{path}.values", message))
    elif operator in ("Gt", "Lt"):
        if len(values) != 1:
            message = "must be specified single value when `operator` is 'Lt' or 'Gt'"
            errors.append(fe.required(f"{path}.values", message))
    else:
        errors.append(fe.invalid(f"{path}.operator", operator, "not a valid selector operator"))
    key = requirement.get("key", "")
    errors += [fe.invalid(f"{path}.key", key, m) for m in names.qualified_name(key)]
    if operator not in ("Gt", "Lt"):
        for i, value in enumerate(values):
            at = f"{path}.values[{i}]"
            errors += [fe.invalid(at, value, m) for m in names.label_value(value)]
    return errors


def _node_field(requirement: dict[str, Any], path: str) -> FieldErrors:
    errors: FieldErrors = []
    operator, values = requirement.get("operator", ""), requirement.get("values") or []
    if operator in ("In", "NotIn"):
        if len(values) != 1:
            message = (
                "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
            )
            errors.append(fe.required(f"{path}.values", message))
    else:
        errors.append(fe.invalid(f"{path}.operator", operator, "not a valid selector operator"))
    key = requirement.get("key", "")
    if key != "metadata.name":
        errors.append(fe.invalid(f"{path}.key", key, "not a valid field selector key"))
    else:
        for i, value in enumerate(values):
            at = f"{path}.values[{i}]"
            errors += [fe.invalid(at, value, m) for m in names.dns1123_subdomain(value)]
    return errors


def validate_affinity(affinity: dict[str, Any], path: str) -> FieldErrors:
    errors: FieldErrors = []
    node = affinity.get("nodeAffinity")
    if node:
        at = f"{path}.nodeAffinity"
        required = node.get("requiredDuringSchedulingIgnoredDuringExecution")
        if required is not None:
            where = f"{at}.requiredDuringSchedulingIgnoredDuringExecution"
            errors += validate_node_selector(required, where)
        for i, term in enumerate(node.get("preferredDuringSchedulingIgnoredDuringExecution", ())):
            where = f"{at}.preferredDuringSchedulingIgnoredDuringExecution[{i}]"
            errors += _weight(term, where)
            errors += validate_node_term(term.get("preference", {}), f"{where}.preference")
    for kind in ("podAffinity", "podAntiAffinity"):
        pods = affinity.get(kind)
        if not pods:
            continue
        at = f"{path}.{kind}"
        for i, term in enumerate(pods.get("requiredDuringSchedulingIgnoredDuringExecution", ())):
            where = f"{at}.requiredDuringSchedulingIgnoredDuringExecution[{i}]"
            errors += _pod_term(term, where)
        for i, term in enumerate(pods.get("preferredDuringSchedulingIgnoredDuringExecution", ())):
            where = f"{at}.preferredDuringSchedulingIgnoredDuringExecution[{i}]"
            errors += _weight(term, where)
            errors += _pod_term(term.get("podAffinityTerm", {}), f"{where}.podAffinityTerm")
    return errors


def _weight(term: dict[str, Any], path: str) -> FieldErrors:
    weight = term.get("weight", 0)
    if 1 <= weight <= 100:
        return []
    return [fe.invalid(f"{path}.weight", weight, "must be in the range 1-100")]


def _pod_term(term: dict[str, Any], path: str) -> FieldErrors:
    errors = validate_label_selector(term.get("labelSelector"), f"{path}.labelSelector")
    errors += validate_label_selector(term.get("namespaceSelector"), f"{path}.namespaceSelector")
    for name in term.get("namespaces", ()):
        at = f"{path}.namespace"
        errors += [fe.invalid(at, name, m) for m in names.dns1123_label(name)]
    errors += _label_keys(term, path)
    topology, at = term.get("topologyKey", ""), f"{path}.topologyKey"
    if not topology:
        errors.append(fe.required(at, "can not be empty"))
    errors += [fe.invalid(at, topology, m) for m in names.qualified_name(topology)]
    return errors


def _label_keys(term: dict[str, Any], path: str) -> FieldErrors:
    """matchLabelKeys and mismatchLabelKeys: valid, not both, and only beside a selector."""
    errors: FieldErrors = []
    keys: list[str] = term.get("matchLabelKeys", [])
    others: list[str] = term.get("mismatchLabelKeys", [])
    for field, found in (("matchLabelKeys", keys), ("mismatchLabelKeys", others)):
        if found and term.get("labelSelector") is None:
            message = "must not be specified when labelSelector is not set"
            errors.append(fe.forbidden(f"{path}.{field}", message))
        for i, key in enumerate(found):
            at = f"{path}.{field}[{i}]"
            errors += [fe.invalid(at, key, m) for m in names.qualified_name(key)]
    for i, key in enumerate(keys):
        if key in others:
            message = "exists in both matchLabelKeys and mismatchLabelKeys"
            errors.append(fe.invalid(f"{path}.matchLabelKeys[{i}]", key, message))
    return errors


def validate_tolerations(tolerations: list[dict[str, Any]], path: str) -> FieldErrors:
    errors: FieldErrors = []
    for i, toleration in enumerate(tolerations):
        at = f"{path}[{i}]"
        key = toleration.get("key", "")
        operator = toleration.get("operator") or "Equal"
        value, effect = toleration.get("value", ""), toleration.get("effect", "")
        if key:
            errors += [fe.invalid(f"{at}.key", key, m) for m in names.qualified_name(key)]
        elif operator != "Exists":
            message = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
            errors.append(fe.invalid(f"{at}.operator", toleration.get("operator", ""), message))
        if toleration.get("tolerationSeconds") is not None and effect != "NoExecute":
            message = "effect must be 'NoExecute' when `tolerationSeconds` is set"
            errors.append(fe.invalid(f"{at}.effect", effect, message))
        if operator == "Equal":
            errors += [fe.invalid(f"{at}.operator", value, m) for m in names.label_value(value)]
        elif operator == "Exists":
            if value:
                message = "value must be empty when `operator` is 'Exists'"
                errors.append(fe.invalid(f"{at}.operator", toleration, message))
        elif operator not in ("Lt", "Gt"):
            errors.append(fe.not_supported(f"{at}.operator", operator, ("Equal", "Exists")))
        if effect:
            errors += validate_effect(effect, f"{at}.effect", allow_empty=True)
    return errors


def validate_effect(effect: str, path: str, *, allow_empty: bool = False) -> FieldErrors:
    if effect in _EFFECTS or (allow_empty and not effect):
        return []
    if not effect:
        return [fe.required(path)]
    return [fe.not_supported(path, effect, _EFFECTS)]


def validate_taints(taints: list[dict[str, Any]], path: str) -> FieldErrors:
    errors: FieldErrors = []
    seen: set[tuple[str, str]] = set()
    for i, taint in enumerate(taints):
        at = f"{path}[{i}]"
        key, value, effect = taint.get("key", ""), taint.get("value", ""), taint.get("effect", "")
        errors += [fe.invalid(f"{at}.key", key, m) for m in names.qualified_name(key)]
        errors += [fe.invalid(f"{at}.value", value, m) for m in names.label_value(value)]
        errors += validate_effect(effect, f"{at}.effect")
        if (key, effect) in seen:
            duplicate = fe.duplicate(at, taint)
            message = "taints must be unique by key and effect pair"
            errors.append(fe.FieldError(duplicate.type, at, message, taint))
        seen.add((key, effect))
    return errors


def validate_spread(constraints: list[dict[str, Any]], path: str) -> FieldErrors:
    errors: FieldErrors = []
    pairs = [(c.get("topologyKey", ""), c.get("whenUnsatisfiable", "")) for c in constraints]
    for i, constraint in enumerate(constraints):
        at = f"{path}[{i}]"
        skew, key = constraint.get("maxSkew", 0), constraint.get("topologyKey", "")
        action = constraint.get("whenUnsatisfiable", "")
        if skew <= 0:
            errors.append(fe.invalid(f"{at}.maxSkew", skew, "must be greater than zero"))
        if not key:
            errors.append(fe.required(f"{at}.topologyKey", "can not be empty"))
        else:
            errors += [fe.invalid(f"{at}.topologyKey", key, m) for m in names.qualified_name(key)]
        if action not in _SPREAD_ACTIONS:
            where = f"{at}.whenUnsatisfiable"
            errors.append(fe.not_supported(where, action, _SPREAD_ACTIONS))
        for _ in range(pairs[i + 1 :].count((key, action))):
            where = f"{at}.{{topologyKey, whenUnsatisfiable}}"
            errors.append(fe.duplicate(where, f"{{{key}, {action}}}"))
        domains = constraint.get("minDomains")
        if domains is not None:
            if domains <= 0:
                errors.append(fe.invalid(f"{at}.minDomains", domains, "must be greater than zero"))
            if action != "DoNotSchedule":
                message = (
                    f"can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}"
                )
                errors.append(fe.invalid(f"{at}.minDomains", domains, message))
        for field in ("nodeAffinityPolicy", "nodeTaintsPolicy"):
            policy = constraint.get(field)
            if policy is not None and policy not in _SPREAD_POLICIES:
                errors.append(fe.not_supported(f"{at}.{field}", policy, _SPREAD_POLICIES))
        errors += _spread_keys(constraint, at)
        errors += validate_label_selector(constraint.get("labelSelector"), f"{at}.labelSelector")
    return errors


def _spread_keys(constraint: dict[str, Any], at: str) -> FieldErrors:
    keys = constraint.get("matchLabelKeys")
    if not keys:
        return []
    errors: FieldErrors = []
    selector = constraint.get("labelSelector")
    if selector is None:
        message = "must not be specified when labelSelector is not set"
        return [fe.forbidden(f"{at}.matchLabelKeys", message)]
    used = set(selector.get("matchLabels", ()))
    # A pod's own values have been written into the selector when it was created.
    used |= {
        r.get("key")
        for r in selector.get("matchExpressions", ())
        if not (r.get("operator") == "In" and len(r.get("values", ())) == 1)
    }
    for i, key in enumerate(keys):
        where = f"{at}.matchLabelKeys[{i}]"
        errors += [fe.invalid(where, key, m) for m in names.qualified_name(key)]
        if key in used:
            message = "exists in both matchLabelKeys and labelSelector"
            errors.append(fe.invalid(where, key, message))
    return errors
