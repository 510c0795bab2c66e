"""Whether a custom resource's schema is structural: what pruning, defaulting and patches build upon.

Source: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema
"""

import re
from typing import Any, Final

from skiff.api.kinds import errors as fe
from skiff.api.kinds.errors import FieldErrors

Node = dict[str, Any]

_TYPES: Final = ("array", "boolean", "integer", "number", "object", "string")
_FORBIDDEN: Final = (
    "definitions", "dependencies", "deprecated", "discriminator", "id", "patternProperties",
    "readOnly", "writeOnly", "xml", "$ref",
)  # fmt: skip
_VALUE_ONLY: Final = (
    "description", "type", "default", "additionalProperties", "nullable", "title",
    "x-kubernetes-preserve-unknown-fields", "x-kubernetes-embedded-resource",
    "x-kubernetes-int-or-string", "x-kubernetes-list-type", "x-kubernetes-list-map-keys",
    "x-kubernetes-map-type", "x-kubernetes-validations",
)  # fmt: skip
_LOGIC: Final = ("allOf", "anyOf", "oneOf")


def validate_structural(schema: Node, path: str, *, preserve: bool = False) -> FieldErrors:
    """The faults of a version's whole schema."""
    errors: FieldErrors = []
    if preserve:
        message = "must be false"
        errors.append(fe.invalid("spec.preserveUnknownFields", True, message))
    if schema.get("type") != "object":
        if "type" not in schema:
            errors.append(fe.required(f"{path}.type", "must not be empty at the root"))
        else:
            message = "must be object at the root"
            errors.append(fe.invalid(f"{path}.type", schema["type"], message))
    errors += _validate_metadata(schema, path)
    return errors + _validate_node(schema, path, root=True)


def _validate_metadata(schema: Node, path: str) -> FieldErrors:
    meta = schema.get("properties", {}).get("metadata")
    if not meta:
        return []
    errors: FieldErrors = []
    at = f"{path}.properties[metadata]"
    if meta.get("type") != "object":
        errors.append(fe.invalid(f"{at}.type", meta.get("type", ""), "must be object"))
    extra = set(meta.get("properties", ())) - {"name", "generateName"}
    if extra:
        message = "must not specify anything other than name and generateName, but metadata is implicitly specified"
        errors.append(fe.forbidden(at, message))
    return errors


def _validate_node(node: Node, path: str, *, root: bool = False) -> FieldErrors:
    errors: FieldErrors = []
    errors += [
        fe.forbidden(f"{path}.{f}", f"{f} is not supported") for f in _FORBIDDEN if f in node
    ]
    kind = node.get("type", "")
    int_or_string = node.get("x-kubernetes-int-or-string")
    errors += _validate_type(node, path, kind, root=root)
    errors += _validate_list(node, path, kind)
    if "pattern" in node:
        errors += _validate_pattern(node["pattern"], f"{path}.pattern")
    for name, child in node.get("properties", {}).items():
        errors += _validate_node(child, f"{path}.properties[{name}]")
    if isinstance(node.get("additionalProperties"), dict):
        errors += _validate_node(node["additionalProperties"], f"{path}.additionalProperties")
    if isinstance(node.get("items"), dict):
        errors += _validate_node(node["items"], f"{path}.items")
    for field in _LOGIC:
        for i, branch in enumerate(node.get(field, ())):
            if not int_or_string:
                errors += _validate_branch(branch, f"{path}.{field}[{i}]")
    if isinstance(node.get("not"), dict):
        errors += _validate_branch(node["not"], f"{path}.not")
    return errors


def _validate_type(node: Node, path: str, kind: str, *, root: bool) -> FieldErrors:
    errors: FieldErrors = []
    anything = node.get("x-kubernetes-preserve-unknown-fields")
    int_or_string = node.get("x-kubernetes-int-or-string")
    if not kind:
        if not root and not int_or_string and not anything:
            message = "must not be empty for specified object fields"
            errors.append(fe.required(f"{path}.type", message))
    elif kind not in _TYPES:
        errors.append(fe.not_supported(f"{path}.type", kind, _TYPES))
    if int_or_string and kind:
        message = "must be empty if x-kubernetes-int-or-string is true"
        errors.append(fe.invalid(f"{path}.type", kind, message))
    if node.get("uniqueItems"):
        message = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        errors.append(fe.forbidden(f"{path}.uniqueItems", message))
    if node.get("additionalProperties") is False:
        message = "additionalProperties cannot be set to false"
        errors.append(fe.forbidden(f"{path}.additionalProperties", message))
    if node.get("additionalProperties") is not None and node.get("properties"):
        message = "additionalProperties and properties are mutual exclusive"
        errors.append(fe.forbidden(f"{path}.additionalProperties", message))
    return errors


def _validate_list(node: Node, path: str, kind: str) -> FieldErrors:
    errors: FieldErrors = []
    items = node.get("items")
    if kind == "array" and not items:
        errors.append(fe.required(f"{path}.items", "must be specified"))
    if isinstance(items, list):
        message = "items must be a schema object and not an array"
        errors.append(fe.forbidden(f"{path}.items", message))
    list_type = node.get("x-kubernetes-list-type")
    keys = node.get("x-kubernetes-list-map-keys", ())
    if list_type is not None and list_type not in ("atomic", "map", "set"):
        at = f"{path}.x-kubernetes-list-type"
        errors.append(fe.not_supported(at, list_type, ("atomic", "map", "set")))
    if list_type is not None and kind != "array":
        message = "must be array if x-kubernetes-list-type is specified"
        errors.append(fe.invalid(f"{path}.type", kind, message))
    if list_type == "map":
        if not keys:
            message = "must not be empty if x-kubernetes-list-type is map"
            errors.append(fe.required(f"{path}.x-kubernetes-list-map-keys", message))
        fields = items.get("properties", {}) if isinstance(items, dict) else {}
        required = items.get("required", ()) if isinstance(items, dict) else ()
        for key in keys:
            if key not in fields:
                message = "entries must all be names of item properties"
                at = f"{path}.x-kubernetes-list-map-keys"
                errors.append(fe.invalid(at, list(keys), message))
            elif key not in required and "default" not in fields[key]:
                message = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"
                errors.append(fe.required(f"{path}.items.properties[{key}].default", message))
    elif keys:
        message = "must be map if x-kubernetes-list-map-keys is non-empty"
        at = f"{path}.x-kubernetes-list-type"
        errors.append(fe.invalid(at, list_type or "", message))
    map_type = node.get("x-kubernetes-map-type")
    if map_type is not None:
        if map_type not in ("atomic", "granular"):
            at = f"{path}.x-kubernetes-map-type"
            errors.append(fe.not_supported(at, map_type, ("atomic", "granular")))
        if kind != "object":
            message = "must be object if x-kubernetes-map-type is specified"
            errors.append(fe.invalid(f"{path}.type", kind, message))
    return errors


def _validate_pattern(pattern: str, path: str) -> FieldErrors:
    try:
        re.compile(pattern)
    except re.error as e:
        if not re.search(r"\\[pPzCQ]|\[\[:", pattern):  # forms that RE2 has and this engine has not
            message = f"must be a valid regular expression, but isn't: {e}"
            return [fe.invalid(path, pattern, message)]
    return []


def _validate_branch(branch: Node, path: str) -> FieldErrors:
    """Inside allOf, anyOf, oneOf, not: value checks alone, no structure of its own."""
    errors: FieldErrors = []
    for field in _VALUE_ONLY:
        if field in branch and not (field == "type" and branch.get("type") == ""):
            message = "must be empty to be structural"
            if field in ("nullable", "x-kubernetes-preserve-unknown-fields"):
                message = "must be false to be structural"
            if field in ("default", "additionalProperties"):
                message = "must be undefined to be structural"
            errors.append(fe.forbidden(f"{path}.{field}", message))
    for name, child in branch.get("properties", {}).items():
        errors += _validate_branch(child, f"{path}.properties[{name}]")
    if isinstance(branch.get("items"), dict):
        errors += _validate_branch(branch["items"], f"{path}.items")
    for field in _LOGIC:
        for i, inner in enumerate(branch.get(field, ())):
            errors += _validate_branch(inner, f"{path}.{field}[{i}]")
    if isinstance(branch.get("not"), dict):
        errors += _validate_branch(branch["not"], f"{path}.not")
    return errors
