"""The quick check: does an object fit its type exactly, with no null and no unknown field, and nothing
empty that is not written when empty (`zeros.py`)?

Each definition becomes a msgspec Struct type that forbids unknown fields; converting the object to it
(in C, some microseconds; the result is dropped) is the check. What fits needs no walk. What does not
goes to `walk.py`, which is slower and says what is wrong.

The types are made when a kind is first used. A type that contains itself (JSONSchemaProps) has no
quick check.
"""

from collections.abc import Callable
from datetime import datetime
from functools import cache
from typing import Annotated, Any, Final, cast

import msgspec

from skiff.api.schema.model import MICRO_TIME, QUANTITY, TIME, Schema
from skiff.api.schema.zeros import vanishing

_INT32 = Annotated[int, msgspec.Meta(ge=-(1 << 31), le=(1 << 31) - 1)]
_INT64 = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
_ABOVE_ZERO_INT32 = Annotated[int, msgspec.Meta(ge=1, le=(1 << 31) - 1)]
_ABOVE_ZERO_INT64 = Annotated[int, msgspec.Meta(ge=1, le=(1 << 63) - 1)]
_MOMENT = Annotated[datetime, msgspec.Meta(tz=True)]
_LEAVES: Final[dict[str, Any]] = {"string": str, "boolean": bool, "number": float}
_SPECIAL: Final[dict[str, Any]] = {TIME: _MOMENT, MICRO_TIME: _MOMENT, QUANTITY: str | int | float}

Check = Callable[[Any], bool]


class _RecursiveTypeError(Exception):
    """The type contains itself."""


_made: dict[str, Any] = {}


def _type_of(schema: Schema, within: tuple[str, ...]) -> Any:
    special = _SPECIAL.get(schema.name)
    if special is not None:
        return special
    if schema.any_fields:
        return Any
    if schema.int_or_string:
        return _INT32 | str
    if schema.type == "object":
        if schema.additional is not None:
            return dict[str, _type_of(schema.additional, within)]  # type: ignore[misc] # made at run time
        return _struct_of(schema, within)
    if schema.type == "array":
        return list[_type_of(schema.items, within) if schema.items else Any]  # type: ignore[misc] # made at run time
    if schema.type == "integer":
        return _INT32 if schema.format == "int32" else _INT64
    if schema.format == "byte":
        return bytes
    return _LEAVES.get(schema.type, Any)


def _struct_of(schema: Schema, within: tuple[str, ...]) -> Any:
    found = _made.get(schema.name) if schema.name else None
    if found is not None:
        return found
    if schema.name and schema.name in within:
        raise _RecursiveTypeError
    inside = (*within, schema.name)
    fields: list[tuple[str, Any, Any]] = []
    wire: dict[str, str] = {}
    empty = vanishing(schema)
    for i, (key, child) in enumerate(schema.properties.items()):
        attribute = f"f{i}"
        wanted = _type_of(child, inside)
        if key in empty:
            wanted = _not_empty(child, wanted)
        fields.append((attribute, wanted, None))
        wire[attribute] = key
    made = msgspec.defstruct(
        f"T{len(_made)}", fields, rename=wire, forbid_unknown_fields=True, gc=False
    )
    if schema.name:
        _made[schema.name] = made
    return made


def _not_empty(schema: Schema, wanted: Any) -> Any:
    """The type without its empty value. (A false is dropped by `canonical.py`.)"""
    if schema.type == "integer":
        return _ABOVE_ZERO_INT32 if schema.format == "int32" else _ABOVE_ZERO_INT64
    if schema.type in ("boolean", "number"):
        return wanted
    return Annotated[wanted, msgspec.Meta(min_length=1)]


@cache
def check_for(schema: Schema) -> Check | None:
    """A function that is true for objects that fit exactly; None for types that contain themselves."""
    try:
        wanted = _struct_of(schema, ())
    except _RecursiveTypeError:
        return None
    convert = cast("Callable[[Any, Any], Any]", msgspec.convert)
    wrong = msgspec.ValidationError

    def fits(obj: Any) -> bool:
        try:
            convert(obj, wanted)
        except wrong:
            return False
        return True

    return fits
