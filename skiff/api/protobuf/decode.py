"""From a protobuf message to the JSON object that it means.

Theory: one loop reads key after key and acts on the field's operation (`layout.py`); a message calls it
again for its bytes. What the loop yields is what a Go client's JSON encoder would send for the same
object: fields that are no pointers are dropped when zero where JSON leaves them out, and kept where it
does not; a message without fields is `{}`. Field numbers that nobody knows are skipped.

Reads past the end surface as IndexError; a field that reaches past its message is noticed when the
message ends.

Source: https://protobuf.dev/programming-guides/encoding/ and
https://kubernetes.io/docs/reference/using-api/api-concepts/#protobuf-encoding
"""

import base64
import struct
from typing import Any, Final

from skiff.api.protobuf.layout import (
    BINARY,
    BOOL,
    BYTES,
    DOUBLE,
    FIXED32,
    FIXED64,
    INLINED,
    INT32,
    INT64,
    MESSAGE,
    MESSAGES,
    NUMBER,
    NUMBERS,
    OTHER,
    PACKED,
    STRUCT,
    TEXT,
    TEXT_KEPT,
    TEXT_MAP,
    TEXT_OR_NONE,
    TEXTS,
    VARINT,
    WRAPPED,
    Field,
    Layout,
    Malformed,
    Wrapper,
    layout_of,
)
from skiff.api.schema.load import name_of_kind

MAGIC: Final = b"k8s\0"
_META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1."
# Kinds that every API group has.
_EVERYWHERE: Final = frozenset(
    {"CreateOptions", "DeleteOptions", "ListOptions", "PatchOptions", "Status", "UpdateOptions"}
)
_EOF: Final = "unexpected EOF"
_DOUBLE: Final = struct.Struct("<d")


class UnknownKind(Malformed):
    """There is no such kind, or its messages are not known."""


def layout_of_kind(api_version: str, kind: str) -> Layout:
    """The layout of a kind's messages. Raises UnknownKind."""
    try:
        return layout_of(name_of_kind(api_version, kind))
    except KeyError:
        if kind in _EVERYWHERE:
            return layout_of(_META + kind)
        message = f'no kind "{kind}" is registered for version "{api_version}" in scheme'
        raise UnknownKind(message) from None


def known(api_version: str, kind: str) -> bool:
    """Whether a kind has messages."""
    try:
        layout_of_kind(api_version, kind)
    except UnknownKind:
        return False
    return True


def decode_message(layout: Layout, data: bytes, out: dict[str, Any]) -> None:
    """Reads a message's fields into `out`. Raises Malformed."""
    try:
        _fields(data, 0, len(data), layout, out)
    except (IndexError, struct.error) as e:
        raise Malformed(_EOF) from e
    except RecursionError as e:
        raise Malformed("proto: nested too deeply") from e


def decode_envelope(body: bytes, api_version: str = "", kind: str = "") -> dict[str, Any]:
    """An object from its envelope, with apiVersion and kind (those given, where it does not say).

    Raises Malformed, UnknownKind.
    """
    if not body.startswith(MAGIC):
        raise Malformed(
            "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]"
            if body
            else "empty data"
        )
    if body == MAGIC:
        raise Malformed("empty body")
    version, name, raw = _open(body)
    version, name = version or api_version, name or kind
    if not name:
        raise Malformed("Object 'Kind' is missing in '<protobuf encoded body>'")
    out: dict[str, Any] = {"apiVersion": version, "kind": name}
    try:
        decode_message(layout_of_kind(version, name), raw, out)
    except Malformed as e:
        e.version, e.kind = version.rpartition("/")[2], name
        raise
    return out


def _open(body: bytes) -> tuple[str, str, bytes]:
    """apiVersion, kind and the object's own bytes, of a runtime.Unknown."""
    version = kind = ""
    raw = b""
    try:
        for number, value in _top(body, len(MAGIC), len(body)):
            if number == 1:
                for inner, text in _top(value, 0, len(value)):
                    if inner == 1:
                        version = text.decode("utf-8", "replace")
                    elif inner == 2:
                        kind = text.decode("utf-8", "replace")
            elif number == 2:
                raw = value
    except IndexError as e:
        raise Malformed(_EOF) from e
    return version, kind, raw


def _top(data: bytes, at: int, end: int) -> list[tuple[int, bytes]]:
    """The sized fields of a message, with their numbers."""
    found = []
    while at < end:
        key, at = _varint(data, at)
        if key & 7 == BYTES and key > 7:
            size, at = _varint(data, at)
            found.append((key >> 3, data[at : at + size]))
            at += size
        else:
            at = _skip(data, at, end, key)
    if at != end:
        raise Malformed(_EOF)
    return found


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of up to 64 bits, and where it ends. Raises IndexError at the end of the data."""
    value = data[at]
    at += 1
    if value < 128:
        return value, at
    value &= 127
    shift = 7
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & 0xFFFFFFFFFFFFFFFF, at
        shift += 7
        if shift > 63:
            raise Malformed("proto: integer overflow")


def _skip(data: bytes, at: int, end: int, key: int) -> int:
    """The end of the value of a field that nobody knows."""
    wire = key & 7
    if key < 8:
        raise Malformed(f"proto: illegal tag {key >> 3} (wire type {wire})")
    if wire == VARINT:
        return _varint(data, at)[1]
    if wire == FIXED64:
        return at + 8
    if wire == FIXED32:
        return at + 4
    if wire == BYTES:
        size, at = _varint(data, at)
        return at + size
    if wire == 3:
        return _skip_group(data, at, end)
    raise Malformed(f"proto: illegal wireType {wire}")


def _skip_group(data: bytes, at: int, end: int) -> int:
    """The end of a group (an old form, which Kubernetes never writes), groups inside it and all."""
    depth = 1
    while depth and at < end:
        key, at = _varint(data, at)
        wire = key & 7
        if wire == 3:
            depth += 1
        elif wire == 4:
            depth -= 1
        else:
            at = _skip(data, at, end, key)
    return at if not depth else end + 1


def _fields(data: bytes, at: int, end: int, layout: Layout, out: dict[str, Any]) -> None:  # noqa: C901
    """Reads fields until `end` into `out`. One function, because calls are what costs."""
    tags = layout.tags
    value: Any
    while at < end:
        key = data[at]
        at += 1
        if key > 127:
            byte = data[at]
            if byte < 128:
                key += (byte - 1) << 7
                at += 1
            else:
                key, at = _varint(data, at - 1)
        step = tags.get(key) or layout.step(key)
        if step is None:
            at = _skip(data, at, end, key)
            continue
        code, name, more = step
        size = data[at]  # or the number itself
        at += 1
        if code >= NUMBER:
            if size > 127 or more == DOUBLE:
                value, at = _number(data, at - 1, more)
            else:
                value = size != 0 if more == BOOL else size
            if code == NUMBERS:
                out.setdefault(name, []).append(value)
            elif value or code == NUMBER:
                out[name] = value
            else:
                out.pop(name, None)
            continue
        if size > 127:
            size, at = _varint(data, at - 1)
        stop = at + size
        if stop > end:
            raise Malformed(_EOF)
        if code == TEXT_KEPT:
            out[name] = data[at:stop].decode("utf-8", "replace")
        elif code == TEXT_OR_NONE:
            if size:
                out[name] = data[at:stop].decode("utf-8", "replace")
            else:
                out.pop(name, None)
        elif code == MESSAGE:
            value = out.get(name)  # there, if it comes in pieces: they are merged
            if value is None:
                value = out[name] = {}
            if size:
                _fields(data, at, stop, more, value)
        elif code == MESSAGES:
            value = {}
            _fields(data, at, stop, more, value)
            if name in out:
                out[name].append(value)
            else:
                out[name] = [value]
        elif code == TEXTS:
            value = data[at:stop].decode("utf-8", "replace")
            if name in out:
                out[name].append(value)
            else:
                out[name] = [value]
        elif code == INLINED:
            _fields(data, at, stop, more, out)
        elif code == OTHER:
            _other(data, at, stop, more, out)
        else:
            _map_entry(data, at, stop, code, more, out.setdefault(name, {}))
        at = stop
    if at != end:
        raise Malformed(_EOF)


def _map_entry(
    data: bytes, at: int, stop: int, code: int, entry: Layout, out: dict[str, Any]
) -> None:
    """One entry of a map: field 1 is the key, a text, field 2 the value."""
    if code == TEXT_MAP and stop - at > 3 and data[at] == 10 and data[at + 1] < 128:
        middle = at + 2 + data[at + 1]
        if middle + 1 < stop and data[middle] == 18 and data[middle + 1] == stop - middle - 2 < 128:
            key = data[at + 2 : middle].decode("utf-8", "replace")
            out[key] = data[middle + 2 : stop].decode("utf-8", "replace")
            return
    pair: dict[str, Any] = {}
    _fields(data, at, stop, entry, pair)
    out[pair.get("key", "")] = pair["value"] if "value" in pair else _zero(entry)


def _other(data: bytes, at: int, stop: int, field: Field, out: dict[str, Any]) -> None:
    """The rarer fields with a length."""
    op, name, more, repeated, optional = field
    value: Any
    if op == WRAPPED:
        value = _unwrap(data, at, stop, more)
        if value is None and not repeated:
            out.pop(name, None)
            return
    elif op == BINARY:
        value = base64.b64encode(data[at:stop]).decode()
        if optional and not value:
            out.pop(name, None)
            return
    else:
        assert op == PACKED
        many = out.setdefault(name, [])
        while at < stop:
            value, at = _number(data, at, more)
            many.append(value)
        if at != stop:
            raise Malformed(_EOF)
        return
    if repeated:
        out.setdefault(name, []).append(value)
    else:
        out[name] = value


def _unwrap(data: bytes, at: int, stop: int, wrapper: Wrapper) -> Any:
    """The one value that JSON has for a message."""
    size = stop - at
    if wrapper.text and 2 < size < 130 and data[at] == 10 and data[at + 1] == size - 2:
        return data[at + 2 : stop].decode("utf-8", "replace")
    fields: dict[str, Any] = {}
    _fields(data, at, stop, wrapper.layout, fields)
    try:
        return wrapper.to_json(fields)
    except Malformed:
        raise
    except OverflowError as e:
        raise Malformed("a time is out of range") from e
    except ValueError as e:
        raise Malformed(str(e)) from e


def _number(data: bytes, at: int, op: int) -> tuple[Any, int]:
    """One number or truth value, and where it ends."""
    if op == DOUBLE:
        value: float = _DOUBLE.unpack_from(data, at)[0]
        whole = value.is_integer() and abs(value) < 1e15
        return (int(value) if whole else value), at + 8
    number = data[at]
    at += 1
    if number > 127:
        number, at = _varint(data, at - 1)
    if op == BOOL:
        return number != 0, at
    if op == INT32:
        number &= 0xFFFFFFFF
        return (number - (1 << 32) if number >> 31 else number), at
    assert op == INT64
    return (number - (1 << 64) if number >> 63 else number), at


def _zero(entry: Layout) -> Any:
    """The value of a map's entry that leaves it out."""
    _, (_, field) = entry.fields
    if field.op == STRUCT:
        return {}
    if field.op == WRAPPED:
        return field.more.to_json({})
    if field.op == BOOL:
        return False
    return "" if field.op in (TEXT, BINARY) else 0
