"""Makes the times and quantities of a checked object canonical, in place, and drops what is false where
that is the same as absent (`zeros.py`; other empty values the quick check has refused already).

For each type a function is built that visits only the paths under which such leaves lie; for a Pod
these are a handful of look-ups.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

from skiff.api.schema.leaves import micro_time_text, quantity_text, time_text
from skiff.api.schema.model import MICRO_TIME, QUANTITY, TIME, Schema
from skiff.api.schema.zeros import vanishing

# Takes a value, the container that holds it, and its key or index there.
Visit = Callable[[Any, Any, Any], None]


def _quantity(value: Any, holder: Any, key: Any) -> None:
    text = quantity_text(value)
    if text is not value:
        holder[key] = text


def _time(value: Any, holder: Any, key: Any) -> None:
    holder[key] = time_text(value)


def _micro_time(value: Any, holder: Any, key: Any) -> None:
    if len(value) != 27 or value[-1] != "Z" or value[10] != "T" or value[19] != ".":
        holder[key] = micro_time_text(value)


def _flag(value: Any, holder: Any, key: Any) -> None:
    if value is False:
        del holder[key]


_LEAVES: dict[str, Visit] = {QUANTITY: _quantity, TIME: _time, MICRO_TIME: _micro_time}
_made: dict[str, Visit | None] = {}


def _visit(schema: Schema) -> Visit | None:
    """The function for this type, or None where nothing below it needs one."""
    leaf = _LEAVES.get(schema.name)
    if leaf is not None:
        return leaf
    if schema.type == "array" and schema.items is not None:
        return _list_visit(_visit(schema.items))
    if schema.type != "object":
        return None
    if schema.additional is not None:
        return _map_visit(_visit(schema.additional))
    if schema.name in _made:
        return _made[schema.name]
    _made[schema.name] = None  # a type that contains itself (JSONSchemaProps) holds no such leaf
    pairs = []
    empty = vanishing(schema)
    for key, child in schema.properties.items():
        inner = _flag if child.type == "boolean" and key in empty else _visit(child)
        if inner is not None:
            pairs.append((key, inner))
    found = _struct_visit(tuple(pairs)) if pairs else None
    if schema.name:
        _made[schema.name] = found
    return found


def _struct_visit(pairs: tuple[tuple[str, Visit], ...]) -> Visit:
    def visit(value: Any, _holder: Any, _key: Any) -> None:
        for key, inner in pairs:
            if key in value:
                inner(value[key], value, key)

    return visit


def _list_visit(inner: Visit | None) -> Visit | None:
    if inner is None:
        return None

    def visit(value: Any, _holder: Any, _key: Any) -> None:
        for i, item in enumerate(value):
            inner(item, value, i)

    return visit


def _map_visit(inner: Visit | None) -> Visit | None:
    if inner is None:
        return None

    def visit(value: Any, _holder: Any, _key: Any) -> None:
        for key, item in value.items():
            inner(item, value, key)

    return visit


@cache
def canonical_for(schema: Schema) -> Callable[[dict[str, Any]], None]:
    """A function that makes an object's times and quantities canonical. It raises LeafError."""
    visit = _visit(schema)

    def run(obj: dict[str, Any]) -> None:
        if visit is not None:
            visit(obj, None, None)

    return run
