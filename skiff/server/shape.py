"""How stored bytes become what a client asked to see.

A `Presenter` turns one stored object into the bytes of one representation: as it is, converted to
another served version, as PartialObjectMetadata, as a row of a Table. Lists and watches use the same
presenters, so that every client with the same wish shares the work.
"""

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from skiff.server.negotiate import Shape

_LINE = {
    "ADDED": b'{"type":"ADDED","object":',
    "MODIFIED": b'{"type":"MODIFIED","object":',
    "DELETED": b'{"type":"DELETED","object":',
    "BOOKMARK": b'{"type":"BOOKMARK","object":',
    "ERROR": b'{"type":"ERROR","object":',
}

Convert = Callable[[dict[str, Any]], dict[str, Any]]


class Presenter:
    """One representation. `key` tells representations apart (it is hashable)."""

    key: object = "stored"

    def object(self, value: bytes) -> bytes:
        """One object, as a get or a watch event shows it. This one: as it is stored."""
        return value

    def made(self, obj: dict[str, Any]) -> bytes:
        """An object that is not stored, for an event: a bookmark, an error's Status."""
        return orjson.dumps(obj)

    def event(self, kind: str, obj: bytes) -> bytes:
        """A watch event on the wire."""
        return b"%b%b}\n" % (_LINE[kind], obj)


class Converted(Presenter):
    """Another served version of the same objects."""

    def __init__(self, api_version: str, convert: Convert) -> None:
        self.key = ("version", api_version)
        self._convert = convert

    def object(self, value: bytes) -> bytes:
        return orjson.dumps(self._convert(orjson.loads(value)))


class Partial(Presenter):
    """PartialObjectMetadata: apiVersion, kind and metadata alone."""

    def __init__(self, shape: Shape) -> None:
        self.key = ("partial", shape.version)
        self._api_version = f"meta.k8s.io/{shape.version}"

    def object(self, value: bytes) -> bytes:
        return orjson.dumps(partial(orjson.loads(value), self._api_version))


def partial(obj: Mapping[str, Any], api_version: str) -> dict[str, Any]:
    """An object's PartialObjectMetadata."""
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": api_version,
        "metadata": obj["metadata"],
    }


class Protobuf(Presenter):
    """The watch events of clients that read protobuf alone: frames of a length (four bytes, big-endian)
    and a WatchEvent message, whose object is in its envelope.

    Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#protobuf-encoding and
    apimachinery's length-delimited framer.
    """

    def __init__(self, base: Presenter) -> None:
        self.key = ("protobuf", base.key)
        self._base = base

    def object(self, value: bytes) -> bytes:
        return self.made(orjson.loads(self._base.object(value)))

    def made(self, obj: dict[str, Any]) -> bytes:
        from skiff.api.protobuf import encode  # its tables are read when first needed

        return encode(obj)

    def event(self, kind: str, obj: bytes) -> bytes:
        raw = _field(1, obj)
        message = _field(1, kind.encode()) + _field(2, raw)
        return len(message).to_bytes(4, "big") + message


def _field(number: int, data: bytes) -> bytes:
    """A length-delimited field of a protobuf message."""
    size = bytearray()
    left = len(data)
    while left > 0x7F:
        size.append(left & 0x7F | 0x80)
        left >>= 7
    size.append(left)
    return bytes((number << 3 | 2,)) + bytes(size) + data


STORED = Presenter()
