"""Decoding the protobuf form of built-in kinds.

A body is four bytes `k8s\\0` and a runtime.Unknown: apiVersion, kind, and the object's own message.
Message types are rows of `messages.txt`: `name:number:type` a field, where a type is s (string), b
(bool), i (integer), d (double), f (float), y (bytes), another message's name, or one of those behind * (repeated),
% (map from string) or ^ (the JSON has the message's fields in its parent). Go's protobuf writes zero
values of plain fields, its JSON leaves them out: they are dropped, but for fields marked !, which are
pointers in Go or required.

The field numbers are facts of the wire; unknown ones are skipped, as protobuf has it.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#protobuf-encoding and
https://protobuf.dev/programming-guides/encoding/
"""

import base64
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from skiff.api.schema import load

MAGIC: Final = b"k8s\x00"
_TABLE: Final = Path(__file__).with_name("messages.txt")
_PACKAGES: Final = (
    ("io.k8s.apimachinery.pkg.apis.meta.v1.", "meta.v1."),
    ("io.k8s.api.", ""),
)
_ANY_GROUP: Final = frozenset(
    {"DeleteOptions", "Status", "ListOptions", "CreateOptions", "UpdateOptions", "PatchOptions"}
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DEPTH_MAX: Final = 100
_MISSING: Final = object()


class ProtobufError(ValueError):
    """The bytes are no object of a kind that we know."""


class _Field(NamedTuple):
    name: str
    shape: str
    type: str
    keep_zero: bool


@cache
def _rows() -> dict[str, str]:
    """Every message's row by name."""
    rows = (line.partition(" ") for line in _TABLE.read_text().splitlines())
    return {name: rest for name, _, rest in rows}


@cache
def _fields(message: str) -> dict[int, _Field]:
    """A message's fields by number. Raises ProtobufError."""
    row = _rows().get(message)
    if row is None:
        raise ProtobufError(f"unknown message {message}")
    found = {}
    for text in row.split():
        name, number, kind = text.split(":")
        keep = kind.endswith("!")
        kind = kind.rstrip("!")
        shape = kind[0] if kind[0] in "*%^" else ""
        found[int(number)] = _Field(name, shape, kind[len(shape) :], keep)
    return found


def decode(body: bytes) -> dict[str, Any]:
    """The object in a protobuf body, apiVersion and kind included. Raises ProtobufError."""
    if body[:4] != MAGIC:
        raise ProtobufError("provided data does not appear to be a protobuf message")
    api_version = kind = ""
    raw = b""
    try:
        for number, wire, value in _wire(body, 4, len(body)):
            if number == 1 and wire == 2:
                for inner, _, text in _wire(value, 0, len(value)):
                    if inner == 1:
                        api_version = text.decode()
                    elif inner == 2:
                        kind = text.decode()
            elif number == 2 and wire == 2:
                raw = value
        obj = {"apiVersion": api_version, "kind": kind}
        obj.update(_message(_message_of(api_version, kind), raw, 0))
    except (IndexError, UnicodeDecodeError, orjson.JSONDecodeError, AttributeError) as e:
        raise ProtobufError(f"malformed protobuf: {e}") from e
    return obj


def _message_of(api_version: str, kind: str) -> str:
    """The message name of a kind. Raises ProtobufError."""
    if kind in _ANY_GROUP:
        return f"meta.v1.{kind}"
    try:
        name = load.name_of_kind(api_version, kind)
    except KeyError:
        raise ProtobufError(f'no kind "{kind}" is registered for version "{api_version}"') from None
    for prefix, short in _PACKAGES:
        if name.startswith(prefix):
            return short + name[len(prefix) :]
    return name


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ProtobufError("malformed protobuf: a varint is too long")


def _wire(data: bytes, at: int, end: int) -> list[tuple[int, int, Any]]:
    """(number, wire type, value) of every field: an int, or bytes. Raises IndexError, ProtobufError."""
    found: list[tuple[int, int, Any]] = []
    while at < end:
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        value: int | bytes
        if wire == 2:
            size, at = _varint(data, at)
            value = data[at : at + size]
            if len(value) != size:
                raise ProtobufError("malformed protobuf: a field is cut off")
            at += size
        elif wire == 0:
            value, at = _varint(data, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
            value = data[at : at + size]
            at += size
        else:
            raise ProtobufError(f"malformed protobuf: wire type {wire}")
        found.append((number, wire, value))
    return found


def _message(message: str, data: bytes, depth: int) -> dict[str, Any]:
    """A message as a JSON object."""
    if depth > _DEPTH_MAX:
        raise ProtobufError("malformed protobuf: exceeded max depth")
    fields = _fields(message)
    out: dict[str, Any] = {}
    for number, wire, value in _wire(data, 0, len(data)):
        field = fields.get(number)
        if field is None:
            continue
        name = field.name
        if field.shape == "*":
            items = out.setdefault(name, [])
            if field.type == "i" and wire == 2:
                items += [_signed(v) for v in _packed(value)]
            else:
                items.append(_value(field.type, value, depth))
        elif field.shape == "%":
            key, item = _entry(field.type, value, depth)
            out.setdefault(name, {})[key] = item
        elif field.shape == "^":
            out.update(_message(field.type, value, depth + 1))
        else:
            item = _value(field.type, value, depth)
            if item is _MISSING or (not item and _is_zero(item) and not field.keep_zero):
                out.pop(name, None)
            else:
                out[name] = item
    return out


def _is_zero(item: Any) -> bool:
    """A zero of a plain Go field; an empty object or list says something."""
    return item == "" or item is False or (item == 0 and not isinstance(item, dict | list))


def _packed(data: bytes) -> list[int]:
    values, at = [], 0
    while at < len(data):
        value, at = _varint(data, at)
        values.append(value)
    return values


def _entry(kind: str, data: bytes, depth: int) -> tuple[str, Any]:
    key: str = ""
    item: Any = _MISSING
    for number, _, value in _wire(data, 0, len(data)):
        if number == 1:
            key = value.decode()
        elif number == 2:
            item = _value(kind, value, depth)
    if item is _MISSING:
        item = _value(kind, 0 if kind in "bi" else b"", depth)
    return key, {} if item is _MISSING else item


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _value(kind: str, value: Any, depth: int) -> Any:
    """One field's value as JSON, or _MISSING for what JSON leaves out."""
    scalar = _SCALARS.get(kind)
    if scalar is not None:
        return scalar(value)
    special = _SPECIAL.get(kind)
    if special is not None:
        return special(value)
    if kind.endswith(".ExtraValue"):
        return [text.decode() for _, _, text in _wire(value, 0, len(value))]
    return _message(kind, value, depth + 1)


def _float(value: bytes) -> float:
    import struct

    found: float = struct.unpack("<d" if len(value) == 8 else "<f", value)[0]
    return found


def _first(value: bytes, number: int = 1) -> Any:
    return next((v for n, _, v in _wire(value, 0, len(value)) if n == number), None)


def _quantity(value: bytes) -> str:
    return (_first(value) or b"0").decode()


def _int_or_string(value: bytes) -> Any:
    parts = {n: v for n, _, v in _wire(value, 0, len(value))}
    if parts.get(1, 0) == 1:
        return parts.get(3, b"").decode()
    return _signed(parts.get(2, 0))


def _time(value: bytes) -> Any:
    return _timestamp(value, micro=False)


def _micro_time(value: bytes) -> Any:
    return _timestamp(value, micro=True)


def _timestamp(value: bytes, *, micro: bool) -> Any:
    if not value:
        return _MISSING
    parts = {n: v for n, _, v in _wire(value, 0, len(value))}
    seconds, nanos = _signed(parts.get(1, 0)), _signed(parts.get(2, 0))
    try:
        at = _EPOCH + timedelta(seconds=seconds, microseconds=nanos // 1000)
    except OverflowError:
        raise ProtobufError("malformed protobuf: a time is out of range") from None
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ" if micro else "%Y-%m-%dT%H:%M:%SZ")


def _duration(value: bytes) -> str:
    return f"{_signed(_first(value) or 0) / 1e9:g}s"


def _raw_json(value: bytes) -> Any:
    raw = _first(value)
    if not raw:
        return _MISSING
    return decode(raw) if raw[:4] == MAGIC else orjson.loads(raw)


_SCALARS: Final[dict[str, Callable[[Any], Any]]] = {
    "s": lambda value: value.decode(),
    "b": bool,
    "i": _signed,
    "d": _float,
    "f": _float,
    "y": lambda value: base64.b64encode(value).decode(),
}
_SPECIAL: Final[dict[str, Callable[[bytes], Any]]] = {
    "Quantity": _quantity,
    "IntOrString": _int_or_string,
    "meta.v1.Time": _time,
    "meta.v1.MicroTime": _micro_time,
    "meta.v1.Duration": _duration,
    "meta.v1.FieldsV1": _raw_json,
    "RawExtension": _raw_json,
}
