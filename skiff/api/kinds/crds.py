"""CustomResourceDefinitions: names, versions, schemas that are structural.

Source: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/
"""

from typing import Any, ClassVar, Final

from skiff.api.kinds import errors as fe
from skiff.api.kinds import names
from skiff.api.kinds.columns import CREATED_AT, NAME, Columns
from skiff.api.kinds.errors import FieldErrors
from skiff.api.kinds.strategy import Object, Strategy
from skiff.api.kinds.structural import validate_structural
from skiff.api.kinds.webhook_clients import default_service, validate_client

_COLUMN_TYPES: Final = ("boolean", "date", "integer", "number", "string")
_COLUMN_FORMATS: Final = (
    "byte",
    "date",
    "date-time",
    "double",
    "float",
    "int32",
    "int64",
    "password",
)
_APPROVAL: Final = "api-approved.kubernetes.io"


def _cells(obj: Object, _now: float) -> list[Any]:
    meta = obj["metadata"]
    return [meta.get("name", ""), meta.get("creationTimestamp")]


class CustomResourceDefinitionStrategy(Strategy):
    columns: ClassVar[Columns] = Columns((NAME, CREATED_AT), _cells)
    has_generation: ClassVar[bool] = True
    empty_status: ClassVar[Object | None] = {
        "conditions": [],
        "acceptedNames": {"plural": "", "kind": ""},
        "storedVersions": [],
    }

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        conversion = spec.setdefault("conversion", {})
        conversion.setdefault("strategy", "None")
        webhook = conversion.get("webhook")
        if webhook is not None and webhook.get("clientConfig"):
            default_service(webhook["clientConfig"])
        found = spec.setdefault("names", {})
        kind = found.get("kind", "")
        if not found.get("singular") and kind:
            found["singular"] = kind.lower()
        if not found.get("listKind") and kind:
            found["listKind"] = kind + "List"

    def prepare_create(self, obj: Object) -> None:
        super().prepare_create(obj)
        versions = obj["spec"].get("versions", ())
        stored = [v.get("name", "") for v in versions if v.get("storage")]
        obj["status"]["storedVersions"] = stored

    def prepare_update(self, new: Object, old: Object, subresource: str = "") -> None:
        super().prepare_update(new, old, subresource)
        if not subresource and "status" in new:
            stored = list(new["status"].get("storedVersions", ()))
            for version in new["spec"].get("versions", ()):
                name = version.get("name", "")
                if version.get("storage") and name not in stored:
                    new["status"] = {**new["status"], "storedVersions": [*stored, name]}

    def validate_body(self, obj: Object) -> FieldErrors:
        spec = obj.get("spec", {})
        found, group = spec.get("names", {}), spec.get("group", "")
        errors: FieldErrors = []
        expected = f"{found.get('plural', '')}.{group}"
        if obj["metadata"].get("name") != expected:
            name = obj["metadata"].get("name", "")
            message = 'must be spec.names.plural+"."+spec.group'
            errors.append(fe.invalid("metadata.name", name, message))
        errors += _validate_group(obj, group)
        scope = spec.get("scope", "")
        if not scope:
            errors.append(fe.required("spec.scope"))
        elif scope not in ("Cluster", "Namespaced"):
            errors.append(fe.not_supported("spec.scope", scope, ("Cluster", "Namespaced")))
        errors += _validate_names(found)
        errors += _validate_versions(spec)
        return errors + _validate_conversion(spec)

    def validate_change(self, new: Object, old: Object) -> FieldErrors:
        errors: FieldErrors = []
        after, before = new["spec"], old["spec"]
        established = any(
            c.get("type") == "Established" and c.get("status") == "True"
            for c in old.get("status", {}).get("conditions") or ()
        )
        if established:
            for field in ("group", "scope"):
                errors += fe.immutable(f"spec.{field}", after.get(field), before.get(field))
            for field in ("kind", "plural"):
                has, had = after.get("names", {}).get(field), before.get("names", {}).get(field)
                errors += fe.immutable(f"spec.names.{field}", has, had)
        served = {v.get("name") for v in after.get("versions", ())}
        for i, version in enumerate(new.get("status", {}).get("storedVersions") or ()):
            if version not in served:
                message = (
                    f"missing from spec.versions; {version} was previously a storage version, and "
                    "must remain in spec.versions until a storage migration ensures no data remains "
                    f"persisted in {version} and removes {version} from status.storedVersions"
                )
                at = f"status.storedVersions[{i}]"
                errors.append(fe.invalid(at, version, message))
        return errors


def _validate_group(obj: Object, group: str) -> FieldErrors:
    if not group:
        return [fe.required("spec.group")]
    errors = [fe.invalid("spec.group", group, m) for m in names.dns1123_subdomain(group)]
    if not errors and "." not in group:
        message = "should be a domain with at least one dot"
        errors.append(fe.invalid("spec.group", group, message))
    if group.endswith((".k8s.io", ".kubernetes.io")) or group in ("k8s.io", "kubernetes.io"):
        approval = obj["metadata"].get("annotations", {}).get(_APPROVAL, "")
        if not approval:
            message = (
                "protected groups must have approval annotation "
                f'"{_APPROVAL}", see https://github.com/kubernetes/enhancements/pull/1111'
            )
            errors.append(fe.required(f"metadata.annotations[{_APPROVAL}]", message))
    return errors


def _validate_names(found: Object) -> FieldErrors:
    errors: FieldErrors = []
    for field in ("plural", "singular", "kind", "listKind"):
        value = found.get(field, "")
        at = f"spec.names.{field}"
        if not value:
            if field != "singular":
                errors.append(fe.required(at))
            continue
        lowered = value.lower() if field in ("kind", "listKind") else value
        message = ""
        if field in ("kind", "listKind"):
            message = "may have mixed case, but should otherwise match: "
        errors += [fe.invalid(at, value, message + m) for m in names.dns1035_label(lowered)]
    for i, short in enumerate(found.get("shortNames", ())):
        at = f"spec.names.shortNames[{i}]"
        errors += [fe.invalid(at, short, m) for m in names.dns1035_label(short)]
    for i, category in enumerate(found.get("categories", ())):
        at = f"spec.names.categories[{i}]"
        errors += [fe.invalid(at, category, m) for m in names.dns1035_label(category)]
    if found.get("kind") and found.get("kind") == found.get("listKind"):
        message = "kind and listKind may not be the same"
        errors.append(fe.invalid("spec.names.listKind", found["listKind"], message))
    return errors


def _validate_versions(spec: Object) -> FieldErrors:
    errors: FieldErrors = []
    versions = spec.get("versions", ())
    if not versions:
        return [fe.required("spec.versions", "must have at least one version")]
    seen: set[str] = set()
    for i, version in enumerate(versions):
        at, name = f"spec.versions[{i}]", version.get("name", "")
        errors += [fe.invalid(f"{at}.name", name, m) for m in names.dns1035_label(name)]
        if name in seen:
            message = "must contain unique version names"
            errors.append(fe.invalid("spec.versions", versions, message))
        seen.add(name)
        errors += _validate_version(version, at, bool(spec.get("preserveUnknownFields")))
    if sum(bool(v.get("storage")) for v in versions) != 1:
        message = "must have exactly one version marked as storage version"
        shown = [{"name": v.get("name"), "storage": bool(v.get("storage"))} for v in versions]
        errors.append(fe.invalid("spec.versions", shown, message))
    return errors


def _validate_version(version: Object, at: str, preserve: bool) -> FieldErrors:
    errors: FieldErrors = []
    schema = (version.get("schema") or {}).get("openAPIV3Schema")
    if schema is None:
        errors.append(fe.required(f"{at}.schema.openAPIV3Schema", "schemas are required"))
    else:
        errors += validate_structural(schema, f"{at}.schema.openAPIV3Schema", preserve=preserve)
    for i, column in enumerate(version.get("additionalPrinterColumns", ())):
        where = f"{at}.additionalPrinterColumns[{i}]"
        if not column.get("name"):
            errors.append(fe.required(f"{where}.name"))
        kind = column.get("type", "")
        if not kind:
            errors.append(fe.required(f"{where}.type", f"must be one of {','.join(_COLUMN_TYPES)}"))
        elif kind not in _COLUMN_TYPES:
            message = f"must be one of {','.join(_COLUMN_TYPES)}"
            errors.append(fe.invalid(f"{where}.type", kind, message))
        form = column.get("format", "")
        if form and form not in _COLUMN_FORMATS:
            message = f"must be one of {','.join(_COLUMN_FORMATS)}"
            errors.append(fe.invalid(f"{where}.format", form, message))
        if not column.get("jsonPath"):
            errors.append(fe.required(f"{where}.jsonPath"))
    scale = (version.get("subresources") or {}).get("scale")
    if scale is not None:
        where = f"{at}.subresources.scale"
        for field, prefix in (
            ("specReplicasPath", ".spec."), ("statusReplicasPath", ".status."),
        ):  # fmt: skip
            value = scale.get(field, "")
            if not value:
                errors.append(fe.required(f"{where}.{field}"))
            elif not value.startswith(prefix):
                message = f"should be a json path under {prefix[:-1]}"
                errors.append(fe.invalid(f"{where}.{field}", value, message))
    return errors


def _validate_conversion(spec: Object) -> FieldErrors:
    conversion = spec.get("conversion", {})
    strategy, webhook = conversion.get("strategy", ""), conversion.get("webhook")
    at = "spec.conversion"
    if strategy not in ("None", "Webhook"):
        if not strategy:
            return [fe.required(f"{at}.strategy")]
        return [fe.not_supported(f"{at}.strategy", strategy, ("None", "Webhook"))]
    if strategy == "None":
        if webhook is None:
            return []
        message = "should not be set when strategy is not set to Webhook"
        return [fe.forbidden(f"{at}.webhook", message)]
    if spec.get("preserveUnknownFields"):
        message = "must be false if spec.conversion.strategy is Webhook"
        return [fe.invalid(f"{at}.strategy", strategy, message)]
    if webhook is None or webhook.get("clientConfig") is None:
        message = "required when strategy is set to Webhook"
        return [fe.required(f"{at}.webhook.clientConfig", message)]
    errors = validate_client(webhook["clientConfig"], f"{at}.webhook.clientConfig")
    versions = webhook.get("conversionReviewVersions", ())
    if not versions:
        errors.append(fe.required(f"{at}.webhook.conversionReviewVersions"))
    elif not set(versions) & {"v1", "v1beta1"}:
        message = "must include at least one of v1, v1beta1"
        errors.append(fe.invalid(f"{at}.webhook.conversionReviewVersions", versions, message))
    return errors
