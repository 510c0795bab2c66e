"""Validation of ObjectMeta: names, labels, annotations, owners, finalizers; what may change.

Source: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/object-meta/ and the
messages of apimachinery `api/validation`.
"""

from typing import Any, Final

from skiff.api.kinds import errors as fe
from skiff.api.kinds import names
from skiff.api.kinds.errors import FieldError, FieldErrors

ANNOTATIONS_MAX_BYTES: Final = 256 * 1024
ORPHAN: Final = "orphan"
FOREGROUND: Final = "foregroundDeletion"
STANDARD_FINALIZERS: Final = frozenset(("kubernetes", ORPHAN, FOREGROUND))


def validate_metadata(
    meta: dict[str, Any], name_rule: names.Names, namespaced: bool, path: str = "metadata"
) -> FieldErrors:
    """The faults of an object's metadata, as they are checked on create and on update."""
    errors: FieldErrors = []
    prefix = meta.get("generateName")
    if prefix:
        for message in name_rule(names.mask_trailing_dash(prefix)):
            errors.append(fe.invalid(f"{path}.generateName", prefix, message))
    name = meta.get("name")
    if not name:
        errors.append(fe.required(f"{path}.name", "name or generateName is required"))
    else:
        for message in name_rule(name):
            errors.append(fe.invalid(f"{path}.name", name, message))
    namespace = meta.get("namespace")
    if namespaced:
        if not namespace:
            errors.append(fe.required(f"{path}.namespace"))
        else:
            for message in names.dns1123_label(namespace):
                errors.append(fe.invalid(f"{path}.namespace", namespace, message))
    elif namespace:
        errors.append(fe.forbidden(f"{path}.namespace", "not allowed on this type"))
    labels = meta.get("labels")
    if labels:
        errors += validate_labels(labels, f"{path}.labels")
    annotations = meta.get("annotations")
    if annotations:
        errors += validate_annotations(annotations, f"{path}.annotations")
    owners = meta.get("ownerReferences")
    if owners:
        errors += validate_owners(owners, f"{path}.ownerReferences")
    finalizers = meta.get("finalizers")
    if finalizers:
        errors += validate_finalizers(finalizers, f"{path}.finalizers")
    return errors


def validate_labels(labels: dict[str, str], path: str) -> FieldErrors:
    errors: FieldErrors = []
    for key, value in labels.items():
        for message in names.qualified_name(key):
            errors.append(fe.invalid(path, key, message))
        for message in names.label_value(value):
            errors.append(fe.invalid(path, value, message))
    return errors


def validate_annotations(annotations: dict[str, str], path: str) -> FieldErrors:
    errors: FieldErrors = []
    total = 0
    for key, value in annotations.items():
        for message in names.qualified_name(key.lower()):
            errors.append(fe.invalid(path, key, message))
        total += len(key) + (len(value) if value.isascii() else len(value.encode()))
    if total > ANNOTATIONS_MAX_BYTES:
        errors.append(fe.too_long(path, ANNOTATIONS_MAX_BYTES))
    return errors


def validate_owners(owners: list[dict[str, Any]], path: str) -> FieldErrors:
    errors: FieldErrors = []
    controller = ""
    for owner in owners:
        api_version = owner.get("apiVersion", "")
        group, _, version = api_version.rpartition("/")
        if api_version.count("/") > 1:
            message = f"unexpected GroupVersion string: {api_version}"
            errors.append(fe.invalid(f"{path}.apiVersion", api_version, message))
        if not version:
            errors.append(
                fe.invalid(f"{path}.apiVersion", api_version, "version must not be empty")
            )
        for field in ("kind", "name", "uid"):
            if not owner.get(field):
                errors.append(
                    fe.invalid(f"{path}.{field}", owner.get(field, ""), "must not be empty")
                )
        if (group, version, owner.get("kind")) == ("", "v1", "Event"):
            message = "/v1, Kind=Event is disallowed from being an owner"
            errors.append(fe.invalid(path, owner, message))
        if owner.get("controller"):
            name = f"{owner.get('kind', '')}/{owner.get('name', '')}"
            if controller:
                message = (
                    'Only one reference can have Controller set to true. Found "true" in references'
                    f" for {controller} and {name}"
                )
                errors.append(fe.invalid(path, owners, message))
            else:
                controller = name
    return errors


def validate_finalizers(finalizers: list[str], path: str) -> FieldErrors:
    errors: FieldErrors = []
    for finalizer in finalizers:
        messages = names.qualified_name(finalizer)
        for message in messages:
            errors.append(fe.invalid(path, finalizer, message))
        if not messages and "/" not in finalizer and finalizer not in STANDARD_FINALIZERS:
            message = "name is neither a standard finalizer name nor is it fully qualified"
            errors.append(fe.invalid(path, finalizer, message))
    if ORPHAN in finalizers and FOREGROUND in finalizers:
        message = f"finalizer {ORPHAN} and {FOREGROUND} cannot be both set"
        errors.append(fe.invalid(path, finalizers, message))
    return errors


_KEPT: Final = ("name", "namespace", "uid", "creationTimestamp", "deletionTimestamp")


def validate_metadata_update(
    new: dict[str, Any], old: dict[str, Any], path: str = "metadata"
) -> FieldErrors:
    """What an update of metadata may not do: the server has filled in what the client left out."""
    errors: FieldErrors = []
    if old.get("deletionTimestamp"):
        added = sorted(set(new.get("finalizers", ())) - set(old.get("finalizers", ())))
        if added:
            message = (
                "no new finalizers can be added if the object is being deleted, found new finalizers "
                f"[]string{{{', '.join(fe.quote(f) for f in added)}}}"
            )
            errors.append(fe.forbidden(f"{path}.finalizers", message))
    if not new.get("resourceVersion"):
        message = "must be specified for an update"
        errors.append(
            fe.invalid(f"{path}.resourceVersion", new.get("resourceVersion", ""), message)
        )
    if new.get("generation", 0) < old.get("generation", 0):
        message = "must not be decremented"
        errors.append(fe.invalid(f"{path}.generation", new.get("generation", 0), message))
    for field in _KEPT:
        if new.get(field) != old.get(field):
            errors.append(fe.invalid(f"{path}.{field}", new.get(field), fe.IMMUTABLE))
    if new.get("deletionGracePeriodSeconds") != old.get("deletionGracePeriodSeconds"):
        value = new.get("deletionGracePeriodSeconds")
        errors.append(fe.invalid(f"{path}.deletionGracePeriodSeconds", value, fe.IMMUTABLE))
    return errors


def validate_label_selector(
    selector: dict[str, Any] | None, path: str, invalid_values: bool = False
) -> FieldErrors:
    """The faults of a LabelSelector. `invalid_values`: values need not be valid label values."""
    errors: FieldErrors = []
    if not selector:
        return errors
    match = selector.get("matchLabels")
    if match:
        errors += validate_labels(match, f"{path}.matchLabels")
    for i, requirement in enumerate(selector.get("matchExpressions", ())):
        at = f"{path}.matchExpressions[{i}]"
        errors += _validate_requirement(requirement, at, invalid_values)
    return errors


def _validate_requirement(
    requirement: dict[str, Any], at: str, invalid_values: bool
) -> list[FieldError]:
    errors: FieldErrors = []
    operator = requirement.get("operator", "")
    values = requirement.get("values") or []
    if operator in ("In", "NotIn"):
        if not values:
            message = "must be specified when `operator` is 'In' or 'NotIn'"
            errors.append(fe.required(f"{at}.values", message))
    elif operator in ("Exists", "DoesNotExist"):
        if values:
            message = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
            errors.append(fe.forbidden(f"{at}.values", message))
    else:
        errors.append(fe.invalid(f"{at}.operator", operator, "not a valid selector operator"))
    for message in names.qualified_name(requirement.get("key", "")):
        errors.append(fe.invalid(f"{at}.key", requirement.get("key", ""), message))
    if not invalid_values:
        for j, value in enumerate(values):
            for message in names.label_value(value):
                errors.append(fe.invalid(f"{at}.values[{j}]", value, message))
    return errors
