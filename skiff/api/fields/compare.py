"""By which fields two objects differ: the set that is changed or new, and the set that is gone.

Equal parts are passed over whole (one comparison in C), so the cost follows the size of the change.
"""

from typing import Any, Final

from skiff.api.fields.extract import SERVER_METADATA, TYPE_META, added, field_below
from skiff.api.fields.sets import LEAF as MEMBER
from skiff.api.fields.sets import SELF, FieldSet, in_order
from skiff.api.fields.types import ANY, KEYED, MAP, SET, Type

Difference = tuple[FieldSet, FieldSet]
"""(what is changed or added, what is removed)"""

_WHOLE: Final[Difference] = (MEMBER, {})


def compare(t: Type, old: dict[str, Any], new: dict[str, Any], ignored: FieldSet) -> Difference:
    """The difference of two whole objects, without what the server owns or the caller ignores."""
    changed: FieldSet = {}
    removed: FieldSet = {}
    t.fields  # noqa: B018 expands the type: `always` is known from here on
    for name in sorted(old.keys() | new.keys()):
        if name in TYPE_META or "f:" + name in ignored:
            continue
        if name == "metadata":
            inner = _fields(
                t.child(name), old.get(name) or {}, new.get(name) or {}, SERVER_METADATA
            )
            _collect("f:metadata", inner, changed, removed)
        else:
            _field(t, name, old, new, changed, removed)
    return changed, removed


def _fields(
    t: Type, old: dict[str, Any], new: dict[str, Any], passed_over: frozenset[str] = frozenset()
) -> Difference:
    changed: FieldSet = {}
    removed: FieldSet = {}
    t.fields  # noqa: B018 as above
    for name in new:
        if name not in passed_over:
            _field(t, name, old, new, changed, removed)
    for name in old:
        if name not in new and name not in passed_over:
            _field(t, name, old, new, changed, removed)
    return in_order(changed), in_order(removed)


def _field(
    t: Type,
    name: str,
    old: dict[str, Any],
    new: dict[str, Any],
    changed: FieldSet,
    removed: FieldSet,
) -> None:
    element = "f:" + name
    if name not in new:
        node = field_below(t, name, old[name])
        if node is not None:
            removed[element] = node
    elif name not in old:
        node = field_below(t, name, new[name])
        if node is not None:
            changed[element] = node
    else:
        left, right = old[name], new[name]
        if left is right or left == right:
            return
        _collect(element, _values(t.child(name), left, right), changed, removed)


def _values(t: Type, old: Any, new: Any) -> Difference:
    """The difference below two unequal values; MEMBER as what is changed: the value as a whole."""
    kind = t.kind
    if kind in (MAP, ANY):
        if _empty_or(old, dict) and _empty_or(new, dict) and (old or new):
            return _fields(t, old or {}, new or {})
        if kind == ANY:
            # The value has another form now: what it had in the old form is gone.
            gone = added(t, old) if old.__class__ is dict else {}
            return added(t, new), {e: node for e, node in gone.items() if e != SELF}
    elif kind in (KEYED, SET) and _empty_or(old, list) and _empty_or(new, list) and (old or new):
        return _items(t, old or [], new or [])
    return _WHOLE


def _empty_or(value: Any, form: type) -> bool:
    return value is None or value.__class__ is form


def _items(t: Type, old: list[Any], new: list[Any]) -> Difference:
    changed: FieldSet = {}
    removed: FieldSet = {}
    items = t.items
    left, right = _by_element(t, old), _by_element(t, new)
    for element, after in right.items():
        before = left.get(element, _NOTHING)
        if len(before) > 1 and len(after) > 1:
            if before != after:
                changed[element] = MEMBER
        elif len(after) > 1:
            # Items that have become ambiguous are owned as one.
            changed[element] = MEMBER
            if before:
                removed[element] = added(items, before[0])
        elif len(before) > 1:
            changed[element] = added(items, after[0])
            removed[element] = MEMBER
        elif not before:
            changed[element] = added(items, after[0])
        elif before[0] != after[0]:
            _collect(element, _values(items, before[0], after[0]), changed, removed)
    for element, before in left.items():
        if element not in right:
            removed[element] = MEMBER if len(before) > 1 else added(items, before[0])
    return in_order(changed), in_order(removed)


_NOTHING: list[Any] = []


def _by_element(t: Type, values: list[Any]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for item in values:
        found.setdefault(t.item_element(item), []).append(item)
    return found


def _collect(element: str, inner: Difference, changed: FieldSet, removed: FieldSet) -> None:
    if inner[0] or inner[0] is MEMBER:
        changed[element] = inner[0]
    if inner[1]:
        removed[element] = inner[1]
