"""The field set of an object: as created, as added to another, as applied.

Three readings of one walk. `added`: the value is new, so it and everything below it are members.
`below`: the value's place was there already (Kubernetes' zero structs), so only what is in it counts.
`applied`: what an applied configuration claims, which leaves objects that are merely steps unclaimed.
"""

from typing import Any, Final

import orjson

from skiff.api.fields.sets import LEAF as MEMBER
from skiff.api.fields.sets import SELF, FieldSet, in_order, with_self
from skiff.api.fields.types import ANY, DEDUCED, KEYED, LEAF, MAP, SET, Type

# metadata that the server owns; never in anybody's set. Source: StripMeta in Kubernetes' field manager.
SERVER_METADATA: Final = frozenset(
    {
        "clusterName", "creationTimestamp", "generation", "managedFields", "name", "namespace",
        "resourceVersion", "selfLink", "uid",
    }
)  # fmt: skip
TYPE_META: Final = frozenset({"apiVersion", "kind"})

_CACHE_SHAPES: Final = 512  # field sets of created specs; the oldest goes first
_CACHE_BYTES_MAX: Final = 8192  # larger values are walked each time


def added(t: Type, value: Any) -> FieldSet:
    """The node of a value that was not there before: a member with everything below it."""
    kind = t.kind
    form = value.__class__
    if kind == LEAF or not value:
        return MEMBER
    if form is dict:
        if kind in (MAP, ANY):
            out: FieldSet = {SELF: MEMBER}
            fields, element = t.fields, t.element
            for name in sorted(value):
                inner = value[name]
                form = inner.__class__
                if form is dict or form is list:
                    out["f:" + name] = added(fields.get(name) or element or DEDUCED, inner)
                else:
                    out["f:" + name] = MEMBER
            return out
    elif form is list and kind in (KEYED, SET):
        return with_self(_items(t, value))
    return MEMBER


def _items(t: Type, value: list[Any]) -> FieldSet:
    """All items of an associative list. Items that share an element are owned as one."""
    if t.kind == SET:
        return in_order({t.item_element(item): MEMBER for item in value})
    out: FieldSet = {}
    items = t.items
    for item in value:
        element = t.item_element(item)
        out[element] = MEMBER if element in out else added(items, item)
    return in_order(out) if len(out) > 1 else out


def below(t: Type, value: Any) -> FieldSet:
    """What is new inside a value whose place exists already; no member for the place itself.

    Not for LEAF types. Required fields and structs by value exist as zeros too.
    """
    if value.__class__ is list:
        return _items(t, value) if t.kind in (KEYED, SET) else {}
    if value.__class__ is not dict:
        return {}
    out: FieldSet = {}
    for name in sorted(value):
        node = field_below(t, name, value[name])
        if node is not None:
            out["f:" + name] = node
    return out


def field_below(t: Type, name: str, value: Any) -> FieldSet | None:
    """The node of one field that is new in an object that exists; None where it is only a zero."""
    child = t.child(name)
    if name not in t.always:
        return added(child, value)
    if child.kind != LEAF and value.__class__ in (dict, list):
        return below(child, value) or None
    return MEMBER if value else None


def created(t: Type, obj: dict[str, Any], ignored: FieldSet) -> FieldSet:
    """The set that a create gives its manager, without what the server owns or ignores."""
    out: FieldSet = {}
    t.fields  # noqa: B018 expands the type: `always` is known from here on
    for name in sorted(obj):
        if name in TYPE_META or "f:" + name in ignored:
            continue
        node = _metadata(t, obj[name]) if name == "metadata" else _remembered(t, name, obj[name])
        if node is not None:
            out["f:" + name] = node
    return out


def _metadata(t: Type, metadata: Any) -> FieldSet | None:
    if metadata.__class__ is not dict:
        return None
    own = {k: v for k, v in metadata.items() if k not in SERVER_METADATA}
    return below(t.child("metadata"), own) or None


_remembered_shapes: dict[tuple[Type, str, bytes], FieldSet | None] = {}


def _remembered(t: Type, name: str, value: Any) -> FieldSet | None:
    """`field_below`, remembered: the pods of one template are alike."""
    if value.__class__ is not dict:
        return field_below(t, name, value)
    data = orjson.dumps(value)
    if len(data) > _CACHE_BYTES_MAX:
        return field_below(t, name, value)
    key = (t, name, data)
    try:
        return _remembered_shapes[key]
    except KeyError:
        pass
    node = field_below(t, name, value)
    if len(_remembered_shapes) >= _CACHE_SHAPES:
        del _remembered_shapes[next(iter(_remembered_shapes))]
    _remembered_shapes[key] = node
    return node


def applied(t: Type, value: Any) -> FieldSet:
    """What an applied configuration claims below `value`; `{}` where it claims nothing there."""
    out: FieldSet = {}
    if value.__class__ is dict and t.kind in (MAP, ANY):
        fields = t.fields
        for name in sorted(value):
            inner = value[name]
            child = fields.get(name) or t.element or DEDUCED
            if inner is None or inner == {} or claimed_whole(child, inner):
                out["f:" + name] = MEMBER
                continue
            node = applied(child, inner)
            if name not in fields:
                out["f:" + name] = with_self(node)
            elif node:
                out["f:" + name] = node
    elif value.__class__ is list and t.kind in (KEYED, SET):
        items = t.items
        for item in value:
            out[t.item_element(item)] = (
                MEMBER if claimed_whole(items, item) else with_self(applied(items, item))
            )
        return in_order(out)
    return out


def claimed_whole(t: Type, value: Any) -> bool:
    """Whether a value of this type is one field, not a place of fields."""
    form = value.__class__
    if form is dict:
        return t.kind not in (MAP, ANY)
    if form is list:
        return t.kind not in (KEYED, SET)
    return True
