"""The rules of a job's spec: counts, indexes, and the policies for failure and success.

Source: https://kubernetes.io/docs/reference/kubernetes-api/workload-resources/job-v1/#JobSpec
"""

from typing import Any, Final

from skiff.api.kinds import errors as fe
from skiff.api.kinds import names
from skiff.api.kinds.errors import FieldErrors
from skiff.api.kinds.pod_spec import validate_template
from skiff.api.kinds.strategy import Object
from skiff.api.kinds.workloads import validate_not_negative

COMPLETIONS_SOFT_LIMIT: Final = 100_000
_PARALLELISM_MAX: Final = 100_000
_PARALLELISM_MAX_BEYOND: Final = 10_000
_FAILED_INDEXES_MAX: Final = 100_000
_FAILED_INDEXES_MAX_BEYOND: Final = 10_000
_MANAGED_BY_MAX: Final = 63
_RULES_MAX: Final = 20
_EXIT_CODES_MAX: Final = 255
_INDEXES_TEXT_MAX: Final = 64 * 1024
_ACTIONS: Final = ("Count", "FailIndex", "FailJob", "Ignore")
_STATUSES: Final = ("False", "True", "Unknown")
_MODES: Final = ("NonIndexed", "Indexed")


def validate_job_spec(spec: Object, path: str) -> FieldErrors:
    """The rules of a job's spec but for its selector (a CronJob's jobs have none yet)."""
    errors = validate_not_negative(
        spec, path, "parallelism", "completions", "activeDeadlineSeconds", "backoffLimit",
        "ttlSecondsAfterFinished", "backoffLimitPerIndex", "maxFailedIndexes",
    )  # fmt: skip
    if spec.get("maxFailedIndexes") is not None and spec.get("backoffLimitPerIndex") is None:
        errors.append(
            fe.required(f"{path}.backoffLimitPerIndex", "when maxFailedIndexes is specified")
        )
    errors += _validate_managed_by(spec.get("managedBy"), f"{path}.managedBy")
    mode = spec.get("completionMode")
    if mode is not None and mode not in _MODES:
        errors.append(fe.not_supported(f"{path}.completionMode", mode, _MODES))
    elif mode == "Indexed":
        errors += _validate_indexed(spec, path)
    else:
        errors += [
            fe.invalid(f"{path}.{field}", spec[field], "requires indexed completion mode")
            for field in ("backoffLimitPerIndex", "maxFailedIndexes")
            if spec.get(field) is not None
        ]
    failure, success = spec.get("podFailurePolicy"), spec.get("successPolicy")
    if failure is not None:
        errors += _validate_failure_policy(spec, failure, f"{path}.podFailurePolicy")
    if success is not None:
        at = f"{path}.successPolicy"
        if mode != "Indexed":
            errors.append(fe.invalid(at, success, "requires indexed completion mode"))
        else:
            errors += _validate_success_policy(spec, success, at)
    errors += _validate_replacement(spec, f"{path}.podReplacementPolicy")
    errors += validate_template(spec.get("template", {}), f"{path}.template")
    return errors + _validate_restart(spec, f"{path}.template.spec.restartPolicy")


def _validate_restart(spec: Object, at: str) -> FieldErrors:
    restart = spec.get("template", {}).get("spec", {}).get("restartPolicy", "")
    if restart in ("", "Always"):
        # A job's pods end: the default of pods does not fit.
        return [fe.required(at, 'valid values: "OnFailure", "Never"')]
    if restart not in ("OnFailure", "Never"):
        return [fe.not_supported(at, restart, ("OnFailure", "Never"))]
    if spec.get("podFailurePolicy") is not None and restart != "Never":
        message = 'only "Never" is supported when podFailurePolicy is specified'
        return [fe.invalid(at, restart, message)]
    return []


def _validate_managed_by(name: str | None, at: str) -> FieldErrors:
    if name is None:
        return []
    errors = _validate_domain_prefixed(name, at)
    if len(name) > _MANAGED_BY_MAX:
        errors.append(fe.too_long(at, _MANAGED_BY_MAX))
    return errors


def _validate_domain_prefixed(name: str, at: str) -> FieldErrors:
    """`example.com/path`, as names of controllers are."""
    if not name:
        return [fe.required(at)]
    domain, _, rest = name.partition("/")
    if not domain or not rest:
        return [fe.invalid(at, name, 'must be a domain-prefixed path (such as "acme.io/foo")')]
    errors = [fe.invalid(at, domain, m) for m in names.dns1123_subdomain(domain)]
    if not names.http_path(rest):
        errors.append(fe.invalid(at, rest, names.BAD_PATH))
    return errors


def _validate_replacement(spec: Object, at: str) -> FieldErrors:
    policy = spec.get("podReplacementPolicy")
    if policy is None:
        return []
    supported = ["Failed", "TerminatingOrFailed"]
    if spec.get("podFailurePolicy") is not None:
        supported = ["Failed"]
    return [] if policy in supported else [fe.not_supported(at, policy, supported)]


# Indexes


def _validate_indexed(spec: Object, path: str) -> FieldErrors:
    completions = spec.get("completions")
    errors: FieldErrors = []
    if completions is None:
        message = "when completion mode is Indexed"
        errors.append(fe.required(f"{path}.completions", message))
    parallelism = spec.get("parallelism")
    if parallelism is not None and parallelism > _PARALLELISM_MAX:
        message = (
            f"must be less than or equal to {_PARALLELISM_MAX} when completion mode is Indexed"
        )
        errors.append(fe.invalid(f"{path}.parallelism", parallelism, message))
    most, at = spec.get("maxFailedIndexes"), f"{path}.maxFailedIndexes"
    if most is not None and completions is not None and most > completions:
        errors.append(fe.invalid(at, most, "must be less than or equal to completions"))
    if most is not None and most > _FAILED_INDEXES_MAX:
        message = f"must be less than or equal to {_FAILED_INDEXES_MAX}"
        errors.append(fe.invalid(at, most, message))
    limited = spec.get("backoffLimitPerIndex") is not None
    if limited and (completions or 0) > COMPLETIONS_SOFT_LIMIT:
        errors += _validate_many(spec, path)
    return errors


def _validate_many(spec: Object, path: str) -> FieldErrors:
    """Very many indexes with a limit of their own: how many may run and fail is bounded."""
    errors: FieldErrors = []
    above = (
        f"when completions are above {COMPLETIONS_SOFT_LIMIT} and used with backoff limit per index"
    )
    most, at = spec.get("maxFailedIndexes"), f"{path}.maxFailedIndexes"
    if most is None:
        message = f"must be specified when completions is above {COMPLETIONS_SOFT_LIMIT}"
        errors.append(fe.required(at, message))
    parallelism = spec.get("parallelism")
    if parallelism is not None and parallelism > _PARALLELISM_MAX_BEYOND:
        message = f"must be less than or equal to {_PARALLELISM_MAX_BEYOND} {above}"
        errors.append(fe.invalid(f"{path}.parallelism", parallelism, message))
    if most is not None and most > _FAILED_INDEXES_MAX_BEYOND:
        message = f"must be less than or equal to {_FAILED_INDEXES_MAX_BEYOND} {above}"
        errors.append(fe.invalid(at, most, message))
    return errors


def read_indexes(text: str, completions: int) -> list[range]:
    """Indexes as `0-3,7`, ascending and below `completions`. Raises ValueError."""
    found: list[range] = []
    for part in text.split(",") if text else ():
        first_text, *rest = part.split("-")
        if len(rest) > 1:
            raise ValueError(
                f"the fragment {fe.quote(part)} violates the requirement that an index interval can"
                " have at most two parts separated by '-'"
            )
        first = _index(first_text, completions)
        last = _index(rest[0], completions) if rest else first
        if rest and first >= last:
            raise ValueError(f"non-increasing order, previous: {first}, current: {last}")
        if found and found[-1][-1] >= first:
            raise ValueError(f"non-increasing order, previous: {found[-1][-1]}, current: {first}")
        found.append(range(first, last + 1))
    return found


def _index(text: str, completions: int) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise ValueError(f"cannot convert string to integer for index: {fe.quote(text)}")
    if int(text) >= completions:
        raise ValueError(f"too large index: {fe.quote(text)}")
    return int(text)


# Policies


def _validate_success_policy(spec: Object, policy: Object, path: str) -> FieldErrors:
    rules, at = policy.get("rules") or [], f"{path}.rules"
    errors: FieldErrors = []
    if not rules:
        message = "at least one rules must be specified when the successPolicy is specified"
        errors.append(fe.required(at, message))
    if len(rules) > _RULES_MAX:
        errors.append(fe.too_many(at, len(rules), _RULES_MAX))
    for i, rule in enumerate(rules):
        errors += _validate_success_rule(rule, spec.get("completions") or 0, f"{at}[{i}]")
    return errors


def _validate_success_rule(rule: Object, completions: int, path: str) -> FieldErrors:
    indexes, count = rule.get("succeededIndexes"), rule.get("succeededCount")
    if indexes is None and count is None:
        message = "at least one of succeededCount or succeededIndexes must be specified"
        return [fe.required(path, message)]
    errors: FieldErrors = []
    total = 0
    if indexes is not None:
        at = f"{path}.succeededIndexes"
        if len(indexes) > _INDEXES_TEXT_MAX:
            errors.append(fe.too_long(at, _INDEXES_TEXT_MAX))
        try:
            total = sum(map(len, read_indexes(indexes, completions)))
        except ValueError as e:
            errors.append(fe.invalid(at, indexes, f"error parsing succeededIndexes: {e}"))
    if count is not None:
        at = f"{path}.succeededCount"
        errors += validate_not_negative(rule, path, "succeededCount")
        if count > completions:
            message = (
                f"must be less than or equal to {completions} (the number of specified completions)"
            )
            errors.append(fe.invalid(at, count, message))
        if indexes is not None and count > total:
            message = (
                f"must be less than or equal to {total} (the number of indexes in the specified "
                "succeededIndexes field)"
            )
            errors.append(fe.invalid(at, count, message))
    return errors


def _validate_failure_policy(spec: Object, policy: Object, path: str) -> FieldErrors:
    rules, at = policy.get("rules") or [], f"{path}.rules"
    errors: FieldErrors = []
    if len(rules) > _RULES_MAX:
        errors.append(fe.too_many(at, len(rules), _RULES_MAX))
    for i, rule in enumerate(rules):
        errors += _validate_failure_rule(spec, rule, f"{at}[{i}]")
    return errors


def _validate_failure_rule(spec: Object, rule: Object, path: str) -> FieldErrors:
    errors: FieldErrors = []
    action, at = rule.get("action", ""), f"{path}.action"
    if not action:
        errors.append(fe.required(at, _listed(_ACTIONS)))
    elif action == "FailIndex" and spec.get("backoffLimitPerIndex") is None:
        errors.append(fe.invalid(at, action, "requires the backoffLimitPerIndex to be set"))
    elif action not in _ACTIONS:
        errors.append(fe.not_supported(at, action, _ACTIONS))
    codes, patterns = rule.get("onExitCodes"), rule.get("onPodConditions")
    if codes is not None:
        errors += _validate_exit_codes(spec, codes, f"{path}.onExitCodes")
    if patterns:
        errors += _validate_conditions(patterns, f"{path}.onPodConditions")
    if codes is not None and patterns:
        message = "specifying both OnExitCodes and OnPodConditions is not supported"
        errors.append(fe.invalid(path, fe.OMITTED, message))
    if codes is None and not patterns:
        message = "specifying one of OnExitCodes and OnPodConditions is required"
        errors.append(fe.invalid(path, fe.OMITTED, message))
    return errors


def _validate_exit_codes(spec: Object, codes: Object, path: str) -> FieldErrors:
    errors: FieldErrors = []
    operator, values = codes.get("operator", ""), codes.get("values") or []
    if not operator:
        errors.append(fe.required(f"{path}.operator", _listed(("In", "NotIn"))))
    elif operator not in ("In", "NotIn"):
        errors.append(fe.not_supported(f"{path}.operator", operator, ("In", "NotIn")))
    name = codes.get("containerName")
    if name is not None and name not in _container_names(spec):
        message = "must be one of the container or initContainer names in the pod template"
        errors.append(fe.invalid(f"{path}.containerName", name, message))
    at = f"{path}.values"
    if not values:
        errors.append(fe.invalid(at, values, "at least one value is required"))
    elif len(values) > _EXIT_CODES_MAX:
        errors.append(fe.too_many(at, len(values), _EXIT_CODES_MAX))
    for i, value in enumerate(values):
        if operator == "In" and value == 0:
            errors.append(fe.invalid(f"{at}[{i}]", value, "must not be 0 for the In operator"))
        if value in values[:i]:
            errors.append(fe.duplicate(f"{at}[{i}]", value))
    if values != sorted(values):
        errors.append(fe.invalid(at, values, "must be ordered"))
    return errors


def _container_names(spec: Object) -> set[str]:
    pod = spec.get("template", {}).get("spec", {})
    both = (*pod.get("containers", ()), *pod.get("initContainers", ()))
    return {container.get("name", "") for container in both}


def _validate_conditions(patterns: list[Object], path: str) -> FieldErrors:
    errors: FieldErrors = []
    if len(patterns) > _RULES_MAX:
        errors.append(fe.too_many(path, len(patterns), _RULES_MAX))
    for i, pattern in enumerate(patterns):
        kind, status = pattern.get("type", ""), pattern.get("status", "")
        at = f"{path}[{i}].type"
        errors += [fe.invalid(at, kind, m) for m in names.qualified_name(kind)]
        at = f"{path}[{i}].status"
        if not status:
            errors.append(fe.required(at, _listed(_STATUSES)))
        elif status not in _STATUSES:
            errors.append(fe.not_supported(at, status, _STATUSES))
    return errors


def _listed(values: tuple[str, ...]) -> str:
    return f"valid values: [{' '.join(map(fe.quote, values))}]"


# Changes


def template_may_change(new: Object, old: Object, status: Object) -> bool:
    """Whether the template of a suspended job that runs nothing changed only in where its pods go
    and what they ask for."""
    if not old.get("suspend") or status.get("active"):
        return False
    if status.get("startTime") and not _is_suspended(status):
        return False
    return _fixed(new.get("template", {})) == _fixed(old.get("template", {}))


def _is_suspended(status: Object) -> bool:
    found = status.get("conditions") or ()
    return any(c.get("type") == "Suspended" and c.get("status") == "True" for c in found)


def _fixed(template: Object) -> Object:
    """What of a template never changes."""
    meta = {
        k: v for k, v in template.get("metadata", {}).items() if k not in ("labels", "annotations")
    }
    moving = ("nodeSelector", "affinity", "tolerations", "schedulingGates")
    spec: dict[str, Any] = {k: v for k, v in template.get("spec", {}).items() if k not in moving}
    affinity = template.get("spec", {}).get("affinity") or {}
    spec["affinity"] = {k: v for k, v in affinity.items() if k != "nodeAffinity" and v}
    for field in ("containers", "initContainers"):
        spec[field] = [
            {k: v for k, v in container.items() if k != "resources"}
            for container in spec.get(field, ())
        ]
    return {"metadata": meta, "spec": spec}
