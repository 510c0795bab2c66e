"""How stored bytes become what a client asked to see.

A `Presenter` turns one stored object into the bytes of one representation: as it is, converted to
another served version, as PartialObjectMetadata, as a row of a Table. Lists and watches use the same
presenters, so that every client with the same wish shares the work.
"""

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from skiff.server.negotiate import Shape

Convert = Callable[[dict[str, Any]], dict[str, Any]]


class Presenter:
    """One representation. `key` tells representations apart (it is hashable)."""

    key: object = "stored"

    def object(self, value: bytes) -> bytes:
        """One object, as a get or a watch event shows it. This one: as it is stored."""
        return value


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


STORED = Presenter()
