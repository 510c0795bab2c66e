"""The OpenAPI v3 documents, one for each group version. Pure."""

from collections.abc import Iterable
from typing import Any

from skiff.server.openapi.definitions import Definitions, used
from skiff.server.openapi.operations import Operation, Path
from skiff.server.openapi.parameters import Parameter
from skiff.server.openapi.v2 import INFO, SECURITY_DEFINITIONS

_OLD, _NEW = "#/definitions/", "#/components/schemas/"
_STATUS_TEXTS = {200: "OK", 201: "Created", 202: "Accepted"}


def document(paths: Iterable[Path], definitions: Definitions) -> dict[str, Any]:
    """The document of some paths, with the schemas that they refer to."""
    paths = sorted(paths, key=lambda p: p.path)
    schemas = definitions.closure(used(paths))
    return {
        "openapi": "3.0.0",
        "info": INFO,
        "paths": {path.path: path_item(path) for path in paths},
        "components": {
            "schemas": {name: convert(schema) for name, schema in schemas.items()},
            "securitySchemes": SECURITY_DEFINITIONS,
        },
    }


def path_item(path: Path) -> dict[str, Any]:
    """One path."""
    item: dict[str, Any] = {o.method: operation(o) for o in path.operations}
    if path.parameters:
        item["parameters"] = [_parameter(p) for p in path.parameters]
    return item


def operation(o: Operation) -> dict[str, Any]:
    """One method of a path."""
    out: dict[str, Any] = {
        "tags": [o.tag],
        "description": o.description,
        "operationId": o.operation_id,
    }
    if o.parameters:
        out["parameters"] = [_parameter(p) for p in o.parameters]
    if o.body:
        body: dict[str, Any] = {
            "content": {media: {"schema": _reference(o.body)} for media in o.consumes}
        }
        if o.body_required:
            body["required"] = True
        out["requestBody"] = body
    out["responses"] = {
        **{
            str(code): {
                "description": _STATUS_TEXTS[code],
                "content": {media: {"schema": _schema(name)} for media in o.produces},
            }
            for code, name in o.responses.items()
        },
        "401": {"description": "Unauthorized"},
    }
    if o.action:
        out["x-kubernetes-action"] = o.action
    if o.gvk:
        group, version, kind = o.gvk
        out["x-kubernetes-group-version-kind"] = {"group": group, "version": version, "kind": kind}
    return out


def convert(schema: Any) -> Any:
    """A v2 schema as v3 has it: references elsewhere, and wrapped where something stands beside them
    (v3 ignores what stands beside a reference); unions spelled out."""
    if isinstance(schema, list):
        return [convert(s) for s in schema]
    if not isinstance(schema, dict):
        return schema
    reference = schema.get("$ref")
    if isinstance(reference, str):
        moved = {"$ref": reference.replace(_OLD, _NEW, 1)}
        rest = {k: convert(v) for k, v in schema.items() if k != "$ref"}
        return {"allOf": [moved], **rest} if rest else moved
    out = {k: convert(v) for k, v in schema.items()}
    kind, form = out.get("type"), out.get("format")
    if kind == "string" and form == "int-or-string":
        del out["type"]
        out["oneOf"] = [{"type": "integer"}, {"type": "string"}]
    return out


def _parameter(parameter: Parameter) -> dict[str, Any]:
    out: dict[str, Any] = {
        "name": parameter.name,
        "in": parameter.where,
        "description": parameter.description,
    }
    if parameter.required:
        out["required"] = True
    out["schema"] = {"type": parameter.kind, "uniqueItems": True}
    return out


def _schema(name: str) -> dict[str, str]:
    return {"type": "string"} if name == "string" else _reference(name)


def _reference(name: str) -> dict[str, str]:
    return {"$ref": _NEW + name}
