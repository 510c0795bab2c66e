"""What the workload kinds share: a selector that matches the template, replicas, rolling parameters."""

from collections.abc import Iterable
from typing import Any, Final

from skiff.api.kinds import errors as fe
from skiff.api.kinds import names
from skiff.api.kinds.errors import FieldErrors
from skiff.api.kinds.metadata import validate_label_selector
from skiff.api.kinds.pod_spec import validate_template
from skiff.api.kinds.resource_amounts import NOT_NEGATIVE

_NO_TEMPLATE: Final = {
    "Deployment": "invalid label selector",
    "ReplicaSet": "invalid label selector",
    "StatefulSet": "",
}
_MISMATCH: Final = "`selector` does not match template `labels`"


def selector_matches(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Whether a LabelSelector matches these labels (an empty one matches all)."""
    for key, value in selector.get("matchLabels", {}).items():
        if labels.get(key) != value:
            return False
    for requirement in selector.get("matchExpressions", ()):
        key, operator = requirement.get("key", ""), requirement.get("operator")
        values = requirement.get("values", ())
        if operator == "In" and labels.get(key) not in values:
            return False
        if operator == "NotIn" and key in labels and labels[key] in values:
            return False
        if operator == "Exists" and key not in labels:
            return False
        if operator == "DoesNotExist" and key in labels:
            return False
    return True


def validate_selector(
    spec: dict[str, Any], path: str, empty_message: str, *, required: str = ""
) -> FieldErrors:
    """The selector is there, valid, not empty, and matches the template's labels."""
    selector = spec.get("selector")
    at = f"{path}.selector"
    if selector is None:
        return [fe.required(at, required)]
    errors = validate_label_selector(selector, at)
    if not selector.get("matchLabels") and not selector.get("matchExpressions"):
        errors.append(fe.invalid(at, selector, empty_message))
    return errors


def validate_workload_template(
    spec: dict[str, Any],
    path: str,
    *,
    policies: tuple[str, ...] = ("Always",),
    kind: str = "",
    claims: Iterable[str] = (),
) -> FieldErrors:
    """The template is valid, its labels match the selector, and its pods restart as the kind needs.

    `claims` are the names of volumes that pods will have besides those of the template.
    """
    template = spec.get("template", {})
    at = f"{path}.template"
    labels = template.get("metadata", {}).get("labels", {})
    errors: FieldErrors = []
    selector = spec.get("selector")
    broken = bool(selector and validate_label_selector(selector, ""))
    if broken and kind in _NO_TEMPLATE:
        # Without a selector that can be read, Kubernetes does not look at the template.
        return [fe.invalid(f"{path}.selector", selector, _NO_TEMPLATE[kind])]
    selects = (
        not broken
        and selector
        and (selector.get("matchLabels") or selector.get("matchExpressions"))
    )
    if selector and selects and not selector_matches(selector, labels):
        errors.append(fe.invalid(f"{at}.metadata.labels", labels, _MISMATCH))
    errors += validate_template(_with_claims(template, claims), at)
    pod = template.get("spec", {})
    policy = pod.get("restartPolicy")
    if policy and policy not in policies:
        errors.append(fe.not_supported(f"{at}.spec.restartPolicy", policy, policies))
    if kind and pod.get("activeDeadlineSeconds") is not None:
        message = f"activeDeadlineSeconds in {kind} is not Supported"
        errors.append(fe.forbidden(f"{at}.spec.activeDeadlineSeconds", message))
    return errors


def _with_claims(template: dict[str, Any], claims: Iterable[str]) -> dict[str, Any]:
    """The template as pods will have it, claims among its volumes."""
    pod = template.get("spec", {})
    volumes = pod.get("volumes", [])
    known = {v.get("name") for v in volumes}
    more = [
        {"name": name, "persistentVolumeClaim": {"claimName": name}}
        for name in claims
        if name not in known and not names.dns1123_label(name)
    ]
    if not more:
        return template
    return {**template, "spec": {**pod, "volumes": [*volumes, *more]}}


def validate_not_negative(spec: dict[str, Any], path: str, *fields: str) -> FieldErrors:
    return [
        fe.invalid(f"{path}.{f}", spec[f], NOT_NEGATIVE)
        for f in fields
        if spec.get(f) is not None and spec[f] < 0
    ]


def validate_int_or_percent(value: int | str, path: str) -> FieldErrors:
    """A count that is not negative, or a percentage."""
    if isinstance(value, str):
        return [] if names.percent(value) else [fe.invalid(path, value, names.PERCENT_MESSAGE)]
    return [] if value >= 0 else [fe.invalid(path, value, NOT_NEGATIVE)]


def at_most_hundred(value: int | str | None, path: str) -> FieldErrors:
    if isinstance(value, str) and names.percent(value) and int(value[:-1]) > 100:
        return [fe.invalid(path, value, "must not be greater than 100%")]
    return []


def is_zero(value: int | str | None) -> bool:
    return value is None or value in (0, "0%")


EMPTY_SELECTOR: Final = {
    "Deployment": "empty selector is invalid for deployment",
    "StatefulSet": "empty selector is invalid for statefulset",
    "DaemonSet": "empty selector is invalid for daemonset",
}


def validate_status_counts(status: dict[str, Any], *fields: str) -> FieldErrors:
    """Counts of a status are not negative, and no part exceeds the whole (the first field)."""
    errors = validate_not_negative(status, "status", *fields)
    whole = status.get(fields[0], 0)
    for field in fields[1:]:
        if field.endswith("eplicas") and status.get(field, 0) > whole:
            message = f"cannot be greater than status.{fields[0]}"
            errors.append(fe.invalid(f"status.{field}", status.get(field, 0), message))
    if status.get("availableReplicas", 0) > status.get("readyReplicas", 0):
        message = "cannot be greater than readyReplicas"
        available = status.get("availableReplicas", 0)
        errors.append(fe.invalid("status.availableReplicas", available, message))
    return errors
