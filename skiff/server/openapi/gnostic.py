"""The v2 document in gnostic's protobuf form, which kubectl and Helm ask for. Pure.

A protobuf message is its fields one after another, each a key (number and wire type) and a value, so a
document is written piece by piece too. The field numbers are those of gnostic's `openapi.v2` package.
Extensions and enum values travel as YAML text; JSON is YAML.

Source: https://protobuf.dev/programming-guides/encoding/.
"""

import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import orjson

from skiff.server.openapi.definitions import Definitions
from skiff.server.openapi.operations import Path
from skiff.server.openapi.v2 import INFO, SECURITY, SECURITY_DEFINITIONS, path_item

_VARINT, _FIXED64, _BYTES = 0, 1, 2

Encode = Callable[[Any], bytes]


def varint(number: int) -> bytes:
    """A base-128 varint of a number that is not negative."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def message(field: int, body: bytes) -> bytes:
    """A field that holds a message, bytes or text."""
    return varint(field << 3 | _BYTES) + varint(len(body)) + body


def text(field: int, value: str) -> bytes:
    return message(field, value.encode())


def boolean(field: int, value: bool) -> bytes:
    return varint(field << 3 | _VARINT) + varint(int(value))


def integer(field: int, value: int) -> bytes:
    """An int64 (negative ones take ten bytes)."""
    return varint(field << 3 | _VARINT) + varint(value & 0xFFFF_FFFF_FFFF_FFFF)


def double(field: int, value: float) -> bytes:
    return varint(field << 3 | _FIXED64) + struct.pack("<d", value)


def texts(field: int, values: Iterable[str]) -> bytes:
    return b"".join(text(field, v) for v in values)


def named(field: int, name: str, body: bytes) -> bytes:
    """A Named… message: name = 1, value = 2."""
    return message(field, text(1, name) + message(2, body))


def any_value(value: Any) -> bytes:
    """An Any: its YAML text in field 2."""
    return message(2, orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE))


def extensions(field: int, obj: Mapping[str, Any]) -> bytes:
    """All `x-…` entries, as NamedAny."""
    return b"".join(named(field, k, any_value(v)) for k, v in obj.items() if k.startswith("x-"))


# --- schemas ----------------------------------------------------------------------------------


def _additional(field: int, value: Any) -> bytes:
    body = boolean(2, value) if isinstance(value, bool) else message(1, schema(value))
    return message(field, body)


def _items(field: int, value: Any) -> bytes:
    schemas = value if isinstance(value, list) else [value]
    return message(field, b"".join(message(1, schema(s)) for s in schemas))


def _type(field: int, value: Any) -> bytes:
    return message(field, texts(1, [value] if isinstance(value, str) else value))


def _properties(field: int, value: Mapping[str, Any]) -> bytes:
    return message(field, b"".join(named(1, k, schema(v)) for k, v in value.items()))


# A Schema's fields: the JSON key → (field number, how it is written).
_SCHEMA: dict[str, tuple[int, Callable[[int, Any], bytes]]] = {
    "$ref": (1, text),
    "format": (2, text),
    "title": (3, text),
    "description": (4, text),
    "default": (5, lambda n, v: message(n, any_value(v))),
    "multipleOf": (6, double),
    "maximum": (7, double),
    "exclusiveMaximum": (8, boolean),
    "minimum": (9, double),
    "exclusiveMinimum": (10, boolean),
    "maxLength": (11, integer),
    "minLength": (12, integer),
    "pattern": (13, text),
    "maxItems": (14, integer),
    "minItems": (15, integer),
    "uniqueItems": (16, boolean),
    "maxProperties": (17, integer),
    "minProperties": (18, integer),
    "required": (19, texts),
    "enum": (20, lambda n, v: b"".join(message(n, any_value(e)) for e in v)),
    "additionalProperties": (21, _additional),
    "type": (22, _type),
    "items": (23, _items),
    "allOf": (24, lambda n, v: b"".join(message(n, schema(s)) for s in v)),
    "properties": (25, _properties),
    "readOnly": (27, boolean),
    "example": (30, lambda n, v: message(n, any_value(v))),
}
_SCHEMA_EXTENSIONS = 31


def schema(value: Mapping[str, Any]) -> bytes:
    """A Schema."""
    out = bytearray()
    for key, item in value.items():
        row = _SCHEMA.get(key)
        if row is not None:
            out += row[1](row[0], item)
        elif key.startswith("x-"):
            out += named(_SCHEMA_EXTENSIONS, key, any_value(item))
    return bytes(out)


# --- paths ------------------------------------------------------------------------------------

_METHODS = {"get": 2, "put": 3, "post": 4, "delete": 5, "options": 6, "head": 7, "patch": 8}
_IN_QUERY, _IN_PATH = 3, 4


def _parameters_item(parameter: Mapping[str, Any]) -> bytes:
    """A ParametersItem: a reference, or the parameter itself."""
    if "$ref" in parameter:
        return message(2, text(1, parameter["$ref"]))
    return message(1, _parameter(parameter))


def _parameter(parameter: Mapping[str, Any]) -> bytes:
    """A Parameter: body, or one of the non-body forms."""
    if parameter["in"] == "body":
        body = text(2, parameter["name"]) + text(3, "body")
        if parameter.get("required"):
            body += boolean(4, True)
        return message(1, body + message(5, schema(parameter["schema"])))
    in_path = parameter["in"] == "path"
    out = boolean(1, True) if parameter.get("required") else b""
    out += text(2, parameter["in"]) + text(3, parameter["description"])
    out += text(4, parameter["name"])
    # A path parameter's form has no allow_empty_value: what follows it counts one lower.
    out += text(5 if in_path else 6, parameter["type"])
    out += boolean(19 if in_path else 20, parameter["uniqueItems"])
    return message(2, message(_IN_PATH if in_path else _IN_QUERY, out))


def _response(response: Mapping[str, Any]) -> bytes:
    """A ResponseValue."""
    out = text(1, response["description"])
    if "schema" in response:
        out += message(2, message(1, schema(response["schema"])))
    return message(1, out)


def _operation(operation: Mapping[str, Any]) -> bytes:
    out = texts(1, operation["tags"]) + text(3, operation["description"])
    out += text(5, operation["operationId"])
    out += texts(6, operation["produces"]) + texts(7, operation.get("consumes", ()))
    for parameter in operation.get("parameters", ()):
        out += message(8, _parameters_item(parameter))
    responses = (named(1, code, _response(r)) for code, r in operation["responses"].items())
    out += message(9, b"".join(responses)) + texts(10, operation["schemes"])
    return out + extensions(13, operation)


def _path_item(item: Mapping[str, Any]) -> bytes:
    out = bytearray()
    for key, value in item.items():
        if key == "parameters":
            for parameter in value:
                out += message(9, _parameters_item(parameter))
        else:
            out += message(_METHODS[key], _operation(value))
    return bytes(out)


def pieces(
    paths: Iterable[Path], names: Iterable[str], definitions: Definitions
) -> Iterator[bytes]:
    """The Document, piece by piece. A message may come in parts: a field that stands several times
    is merged, so that each path and each definition is a part of `paths` and `definitions`."""
    shared: dict[str, dict[str, Any]] = {}
    yield text(1, "2.0") + message(2, text(1, INFO["title"]) + text(2, INFO["version"]))
    for path in sorted(paths, key=lambda p: p.path):
        yield message(8, named(2, path.path, _path_item(path_item(path, shared))))
    for name in names:
        yield message(9, named(1, name, schema(definitions.get(name))))
    parameters = (named(1, k, _parameter(v)) for k, v in sorted(shared.items()))
    yield message(10, b"".join(parameters))
    for requirement in SECURITY:
        yield message(12, b"".join(named(1, k, texts(1, v)) for k, v in requirement.items()))
    for name, security in SECURITY_DEFINITIONS.items():
        key = text(1, security["type"]) + text(2, security["name"]) + text(3, security["in"])
        key += text(4, security["description"])
        yield message(13, named(1, name, message(2, key)))
