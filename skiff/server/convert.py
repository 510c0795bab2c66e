"""Which resources are stored in another version, and how they convert.

The conversions themselves are pure code of the kinds (`api/convert.py`).
"""

from collections.abc import Callable
from typing import Any

from skiff.api.resources import Resource
from skiff.api.schema import Schema, schema_of_kind

Convert = Callable[[dict[str, Any]], dict[str, Any]]


def converters(resource: Resource) -> dict[str, Convert]:
    """`to_storage` and `from_storage` of a resource that is kept in another version, else nothing."""
    if not resource.persisted or resource.storage_version == resource.api_version:
        return {}
    return {
        "to_storage": _to(resource.storage_version),
        "from_storage": _to(resource.api_version),
    }


def _to(api_version: str) -> Convert:
    def run(obj: dict[str, Any]) -> dict[str, Any]:
        from skiff.api.convert import convert  # few objects are ever converted

        return convert(obj, api_version)

    return run


class KindVersions:
    """How managed fields reach another version of a kind's objects."""

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def convert(self, obj: dict[str, Any], api_version: str) -> dict[str, Any]:
        """`obj` in another version. Raises KeyError where there is none."""
        return _to(api_version)(obj)

    def schema(self, api_version: str) -> Schema | None:
        """The type in that version. Raises KeyError where there is none."""
        return schema_of_kind(api_version, self._kind)
