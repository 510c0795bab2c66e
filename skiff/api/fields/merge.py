"""What apply does to objects: merging a configuration into one, and removing fields from one.

Objects merge field by field and keyed lists item by item; all else the configuration replaces. Items
that both have come in the configuration's order; those of the live list alone keep their place before
the next item that both have; new ones come where the configuration has them.

Source: https://kubernetes.io/docs/reference/using-api/server-side-apply/#merge-strategy
"""

from typing import Any

from skiff.api.fields.sets import FieldSet, is_member, with_self
from skiff.api.fields.types import ANY, KEYED, MAP, SET, Type


def merge(t: Type, live: Any, config: Any) -> Any:
    """`live` with `config` merged into it. The result shares parts with both."""
    if t.kind in (MAP, ANY):
        if _empty_or(live, dict) and _empty_or(config, dict) and (live or config):
            return _merge_maps(t, live or {}, config or {})
    elif (
        t.kind in (KEYED, SET)
        and _empty_or(live, list)
        and _empty_or(config, list)
        and (live or config)
    ):
        return _merge_lists(t, live or [], config or [])
    return config


def _empty_or(value: Any, form: type) -> bool:
    return value is None or value.__class__ is form


def _merge_maps(t: Type, live: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    out = dict(live)
    for name, value in config.items():
        if name in live:
            before = live[name]
            if before is not value and before != value:
                out[name] = merge(t.child(name), before, value)
        else:
            out[name] = value
    return out


def _merge_lists(t: Type, live: list[Any], config: list[Any]) -> list[Any]:
    live_elements = [t.item_element(item) for item in live]
    wanted = {t.item_element(item): item for item in config}
    present: dict[str, Any] = {}
    repeated: set[str] = set()
    for element, item in zip(live_elements, live, strict=True):
        if element in present:
            repeated.add(element)
        present[element] = item
    items = t.items

    def merged(element: str) -> Any:
        if element not in present or element in repeated:
            return wanted[element]
        return merge(items, present[element], wanted[element])

    shared = [e for e in wanted if e in present]
    next_shared = 0
    at = 0
    out: list[Any] = []
    for element in wanted:
        while at < len(live) and live_elements[at] != element:
            here = live_elements[at]
            if here not in wanted:
                out.append(live[at])
            elif next_shared < len(shared) and shared[next_shared] == here:
                break  # what the configuration has before this item goes before it
            at += 1
        if at < len(live) and live_elements[at] == element:
            at += 1
        if next_shared < len(shared) and shared[next_shared] == element:
            next_shared += 1
        out.append(merged(element))
    out += [
        item
        for element, item in zip(live_elements[at:], live[at:], strict=True)
        if element not in wanted
    ]
    return out


def remove(t: Type, value: Any, fields: FieldSet) -> Any:
    """`value` without the members of `fields`; None where nothing is left of it."""
    if not fields:
        return value
    if value.__class__ is dict:
        out = {}
        for name, inner in value.items():
            node = fields.get("f:" + name)
            if node is None:
                out[name] = inner
            elif not is_member(node):
                out[name] = remove(t.child(name), inner, node)
        return out or None
    if value.__class__ is list and t.kind in (KEYED, SET):
        kept = []
        for item in value:
            node = fields.get(t.item_element(item))
            if node is None:
                kept.append(item)
            elif not is_member(node):
                kept.append(remove(t.items, item, node))
        return kept or None
    return value


def with_named(t: Type, fields: FieldSet) -> FieldSet:
    """The set with every named field on the way to a member as a member too."""
    out: FieldSet = {}
    for element, node in fields.items():
        if not node:
            out[element] = node
        elif element[:2] == "f:":
            name = element[2:]
            inner = with_named(t.child(name), node)
            out[element] = with_self(inner) if t.kind == MAP and name in t.fields else inner
        else:
            out[element] = with_named(t.items, node)
    return out
