"""From a JSON object to the protobuf message for it, for clients that read nothing else.

Fields that the schema does not have are left out. Where Kubernetes writes the zero of a field that is no
pointer, nothing is written: readers see the same.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#protobuf-encoding
"""

import base64
import struct
from typing import Any

from skiff.api.protobuf.decode import MAGIC, layout_of_kind
from skiff.api.protobuf.layout import (
    BINARY,
    BOOL,
    BYTES,
    DOUBLE,
    FIXED64,
    INLINE,
    LAST_SIZED,
    MAP,
    STRUCT,
    TEXT,
    VARINT,
    WRAPPED,
    Field,
    Layout,
)


def encode_envelope(obj: dict[str, Any]) -> bytes:
    """An object in its envelope. Raises UnknownKind where its kind has no messages."""
    version, kind = obj.get("apiVersion", ""), obj.get("kind", "")
    raw = encode_message(layout_of_kind(version, kind), obj)
    meta = bytearray()
    _put_bytes(meta, 1, version.encode())
    _put_bytes(meta, 2, kind.encode())
    out = bytearray(MAGIC)
    _put_bytes(out, 1, meta)
    _put_bytes(out, 2, raw)
    _put_bytes(out, 3, b"")
    _put_bytes(out, 4, b"")
    return bytes(out)


def encode_message(layout: Layout, obj: dict[str, Any]) -> bytes:
    """A message's bytes."""
    out = bytearray()
    for number, field in layout.fields:
        if field.op == INLINE:
            inner = encode_message(field.more, obj)
            if inner:
                _put_bytes(out, number, inner)
            continue
        value = obj.get(field.name)
        if value is None:
            continue
        if field.op == MAP:
            for key in value:
                _put_bytes(
                    out, number, encode_message(field.more, {"key": key, "value": value[key]})
                )
        elif field.repeated:
            for item in value:
                _put(out, number, field, item)
        else:
            _put(out, number, field, value)
    return bytes(out)


def _put(out: bytearray, number: int, field: Field, value: Any) -> None:
    op = field.op
    if op > LAST_SIZED:
        _put_number(out, number, op, value)
    elif op == TEXT:
        _put_bytes(out, number, value.encode("utf-8", "replace"))
    elif op == STRUCT:
        _put_bytes(out, number, encode_message(field.more, value))
    elif op == WRAPPED:
        fields = field.more.to_fields(value)
        _put_bytes(out, number, encode_message(field.more.layout, fields))
    else:
        assert op == BINARY
        _put_bytes(out, number, base64.b64decode(value))


def _put_bytes(out: bytearray, number: int, data: bytes | bytearray) -> None:
    _put_varint(out, number << 3 | BYTES)
    _put_varint(out, len(data))
    out += data


def _put_number(out: bytearray, number: int, op: int, value: Any) -> None:
    if op == DOUBLE:
        _put_varint(out, number << 3 | FIXED64)
        out += struct.pack("<d", value)
        return
    _put_varint(out, number << 3 | VARINT)
    _put_varint(out, int(value) if op == BOOL else value & 0xFFFFFFFFFFFFFFFF)


def _put_varint(out: bytearray, value: int) -> None:
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
