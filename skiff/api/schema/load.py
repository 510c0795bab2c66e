"""Reads `schema.bin`, which `build_schemas.py` compiles: definitions by name, each only when asked for.

Holds the index alone in memory (some hundred kilobytes); a definition's lean form is read from the
file when a kind is first used, its full form (with descriptions) only for OpenAPI documents.
"""

import zlib
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

MAGIC = b"SKIFFSC1"
FILE = Path(__file__).resolve().parent.parent / "schema.bin"


class _Head(msgspec.Struct, gc=False):
    index: dict[str, tuple[int, int, int, int]]
    kinds: dict[str, str]


class SchemaFileError(RuntimeError):
    """The compiled schemas are missing or not ours: the package was not built."""


@cache
def _head() -> tuple[_Head, int]:
    """The index, and where the blobs start."""
    try:
        with FILE.open("rb") as f:
            start = f.read(12)
            if len(start) != 12 or start[:8] != MAGIC:
                raise SchemaFileError(f"{FILE} is no schema file: run `python build_schemas.py`")
            size = int.from_bytes(start[8:], "big")
            return msgspec.msgpack.decode(f.read(size), type=_Head), 12 + size
    except FileNotFoundError as e:
        raise SchemaFileError(f"{FILE} is missing: run `python build_schemas.py`") from e


def names() -> list[str]:
    """The names of all definitions (`io.k8s.api.core.v1.Pod`), sorted."""
    return sorted(_head()[0].index)


def name_of_kind(api_version: str, kind: str) -> str:
    """The definition that carries this apiVersion and kind. Raises KeyError when there is none."""
    group, _, version = api_version.rpartition("/")
    return _head()[0].kinds[f"{group}/{version}/{kind}"]


def kinds() -> dict[str, str]:
    """`group/version/Kind` to definition name, of all kinds."""
    return _head()[0].kinds


def lean(name: str) -> dict[str, Any]:
    """A definition without its descriptions. Raises KeyError when there is none of this name."""
    head, base = _head()
    at, size, _, _ = head.index[name]
    with FILE.open("rb") as f:
        f.seek(base + at)
        out: dict[str, Any] = msgspec.json.decode(f.read(size))
    return out


def definition_json(name: str) -> bytes:
    """A definition's whole text as JSON, as in Kubernetes' OpenAPI v2 document."""
    head, base = _head()
    _, _, at, size = head.index[name]
    with FILE.open("rb") as f:
        f.seek(base + at)
        return zlib.decompress(f.read(size))


def definition(name: str) -> dict[str, Any]:
    """A definition as in Kubernetes' OpenAPI v2 document, descriptions and all."""
    out: dict[str, Any] = msgspec.json.decode(definition_json(name))
    return out
