"""The OpenAPI v2 (Swagger 2.0) document. Pure; handed out in pieces, so that nobody waits for all of it."""

from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from skiff.server.discovery.version import GIT_VERSION
from skiff.server.openapi.definitions import Definitions
from skiff.server.openapi.operations import Operation, Path
from skiff.server.openapi.parameters import Parameter

_UNAUTHORIZED = {"description": "Unauthorized"}
_STATUS_TEXTS = {200: "OK", 201: "Created", 202: "Accepted"}
SECURITY_DEFINITIONS = {
    "BearerToken": {
        "description": "Bearer Token authentication",
        "type": "apiKey",
        "name": "authorization",
        "in": "header",
    }
}
SECURITY: list[dict[str, list[str]]] = [{"BearerToken": []}]
INFO = {"title": "Kubernetes", "version": GIT_VERSION}


def pieces(
    paths: Iterable[Path], names: Iterable[str], definitions: Definitions
) -> Iterator[bytes]:
    """The document's JSON, piece by piece."""
    shared: dict[str, dict[str, Any]] = {}
    yield b'{"swagger":"2.0","info":' + orjson.dumps(INFO) + b',"paths":{'
    for number, path in enumerate(sorted(paths, key=lambda p: p.path)):
        item = path_item(path, shared)
        comma = b"," if number else b""
        yield comma + orjson.dumps(path.path) + b":" + orjson.dumps(item)
    yield b'},"definitions":{'
    for number, name in enumerate(names):
        comma = b"," if number else b""
        yield comma + orjson.dumps(name) + b":" + orjson.dumps(definitions.get(name))
    yield b'},"parameters":' + orjson.dumps(dict(sorted(shared.items())))
    yield b',"securityDefinitions":' + orjson.dumps(SECURITY_DEFINITIONS)
    yield b',"security":' + orjson.dumps(SECURITY) + b"}"


def path_item(path: Path, shared: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """One path; parameters that documents share are put into `shared`."""
    item: dict[str, Any] = {o.method: operation(o, shared) for o in path.operations}
    if path.parameters:
        item["parameters"] = _parameters(path.parameters, shared)
    return item


def operation(o: Operation, shared: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """One method of a path."""
    out: dict[str, Any] = {"description": o.description}
    if o.consumes:
        out["consumes"] = list(o.consumes)
    out["produces"] = list(o.produces)
    out["schemes"] = ["https"]
    out["tags"] = [o.tag]
    out["operationId"] = o.operation_id
    parameters = _parameters(o.parameters, shared)
    if o.body:
        body: dict[str, Any] = {"name": "body", "in": "body"}
        if o.body_required:
            body["required"] = True
        parameters.insert(0, {**body, "schema": _reference(o.body)})
    if parameters:
        out["parameters"] = parameters
    out["responses"] = {
        **{
            str(code): {"description": _STATUS_TEXTS[code], "schema": _schema(name)}
            for code, name in o.responses.items()
        },
        "401": _UNAUTHORIZED,
    }
    if o.action:
        out["x-kubernetes-action"] = o.action
    if o.gvk:
        group, version, kind = o.gvk
        out["x-kubernetes-group-version-kind"] = {"group": group, "version": version, "kind": kind}
    return out


def _parameters(
    parameters: Iterable[Parameter], shared: dict[str, dict[str, Any]]
) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    for parameter in parameters:
        text = _parameter(parameter)
        if parameter.shared:
            shared[parameter.definition] = text
            out.append({"$ref": f"#/parameters/{parameter.definition}"})
        else:
            out.append(text)
    return out


def _parameter(parameter: Parameter) -> dict[str, Any]:
    out: dict[str, Any] = {
        "uniqueItems": True,
        "type": parameter.kind,
        "description": parameter.description,
        "name": parameter.name,
        "in": parameter.where,
    }
    if parameter.required:
        out["required"] = True
    return out


def _schema(name: str) -> dict[str, str]:
    return {"type": "string"} if name == "string" else _reference(name)


def _reference(name: str) -> dict[str, str]:
    return {"$ref": f"#/definitions/{name}"}
