"""Field sets: the algebra on fieldsV1 trees.

A set is a dict from path element to node. A node is a dict as well: empty, it is a member without
members below it; with a ".", a member with members below; else only a step on the way. The set's own
dict is never a member. Elements: `f:name` (a field), `k:{"name":"x"}` (an item of an associative list,
its keys sorted), `v:"x"` (an item of a set), `i:0` (an index).

Trees are immutable by convention: results share nodes with arguments, and all leaves may be one dict.

Source: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/object-meta/ (fieldsV1)
"""

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Final

import orjson

FieldSet = dict[str, Any]
"""A tree as above; its values are FieldSets too (mypy has no recursive dict that is worth its noise)."""

LEAF: Final[FieldSet] = {}
SELF: Final = "."
DEPTH_MAX: Final = 500  # nesting of a set that a client sends


class FieldSetError(ValueError):
    """The JSON value is no fieldsV1."""


def is_member(node: FieldSet) -> bool:
    """Whether the path that leads to this node is in the set."""
    return not node or SELF in node


def with_self(children: FieldSet) -> FieldSet:
    """A node that is a member and has these members below it."""
    if not children or SELF in children:
        return children
    return {SELF: LEAF, **children}


def union(a: FieldSet, b: FieldSet) -> FieldSet:
    """All paths of both."""
    if not a or a is b:
        return b
    if not b:
        return a
    out: FieldSet | None = None
    grown = False
    for element, right in b.items():
        left = a.get(element)
        if left is None:
            grown = True
            node = right
        elif left is right or left == right:
            continue
        elif not left:
            node = with_self(right)
        elif not right:
            node = with_self(left)
        else:
            node = union(left, right)
        if out is None:
            out = dict(a)
        out[element] = node
    if out is None:
        return a
    return in_order(out) if grown else out


def difference(a: FieldSet, b: FieldSet) -> FieldSet:
    """The paths of `a` that are not in `b`. What lies below a path of `b` stays."""
    return _difference(a, b, _less_self)


def recursive_difference(a: FieldSet, b: FieldSet) -> FieldSet:
    """The paths of `a` that are neither in `b` nor below a path of `b`."""
    return _difference(a, b, _nothing)


def _difference(
    a: FieldSet, b: FieldSet, below_member: Callable[[FieldSet], FieldSet | None]
) -> FieldSet:
    out: FieldSet | None = None
    few, many = (a, b) if len(a) <= len(b) else (b, a)
    for element in few:
        if element not in many or element == SELF:
            continue
        left, right = a[element], b[element]
        if not left:
            rest: FieldSet | None = None if is_member(right) else left
        elif is_member(right):
            rest = below_member(left)
            if rest and right:
                rest = _node(_difference(rest, right, below_member))
        else:
            rest = _node(_difference(left, right, below_member))
        if rest is left:
            continue
        if out is None:
            out = dict(a)
        if rest is None:
            del out[element]
        else:
            out[element] = rest
    return a if out is None else out


def _node(children: FieldSet) -> FieldSet | None:
    """Children as a node: None where nothing is left, a leaf where only "." is."""
    if not children:
        return None
    return LEAF if len(children) == 1 and SELF in children else children


def _less_self(node: FieldSet) -> FieldSet | None:
    if SELF not in node:
        return node
    return {k: v for k, v in node.items() if k != SELF} or None


def _nothing(_node: FieldSet) -> None:
    return None


def intersection(a: FieldSet, b: FieldSet) -> FieldSet:
    """The paths that are in both."""
    if a is b:
        return a
    out: FieldSet = {}
    few, many = (a, b) if len(a) <= len(b) else (b, a)
    for element in few:
        if element not in many or element == SELF:
            continue
        left, right = a[element], b[element]
        if left is right:
            out[element] = left
            continue
        below = intersection(left, right) if left and right else {}
        if is_member(left) and is_member(right):
            out[element] = with_self(below) if below else LEAF
        elif below:
            out[element] = below
    return out


def contains(fields: FieldSet, path: tuple[str, ...]) -> bool:
    """Whether this path (of elements) is in the set."""
    node = fields
    for element in path:
        found = node.get(element)
        if found is None:
            return False
        node = found
    return is_member(node)


def paths(fields: FieldSet) -> Iterator[tuple[str, ...]]:
    """Every path in the set, in the tree's order: at each level members first, then what is below."""
    inner = [(element, node) for element, node in fields.items() if element != SELF]
    for element, node in inner:
        if is_member(node):
            yield (element,)
    for element, node in inner:
        for rest in paths(node):
            yield (element, *rest)


def of_paths(members: Iterator[tuple[str, ...]] | list[tuple[str, ...]]) -> FieldSet:
    """The set of these paths."""
    out: FieldSet = {}
    for path in members:
        node: FieldSet = LEAF
        for element in reversed(path):
            node = {element: node}
        out = union(out, node)
    return out


# --- path elements -------------------------------------------------------------------------------


def key_element(keys: dict[str, Any]) -> str:
    """The element of an associative list's item; `keys` must be sorted by name."""
    return "k:" + orjson.dumps(keys).decode()


def value_element(value: Any) -> str:
    """The element of a set's item."""
    return "v:" + orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


@lru_cache(maxsize=8192)
def element_text(element: str) -> str:
    """An element as Kubernetes prints it in a path: `.name`, `[name="x"]`, `[="x"]`, `[0]`."""
    kind, content = element[:2], element[2:]
    if kind == "f:":
        return f".{content}"
    if kind == "k:":
        keys = orjson.loads(content)
        return f"[{','.join(f'{k}={_value_text(v)}' for k, v in keys.items())}]"
    if kind == "v:":
        return f"[={_value_text(orjson.loads(content))}]"
    return f"[{content}]"


def path_text(path: tuple[str, ...]) -> str:
    """`.spec.containers[name="web"].image`."""
    return "".join(map(element_text, path))


def _value_text(value: Any) -> str:
    if isinstance(value, (dict, list)):
        return orjson.dumps(value).decode()
    return orjson.dumps(value).decode()


# --- order and decoding --------------------------------------------------------------------------

_KIND_ORDER: Final = {".": 0, "f": 1, "k": 2, "v": 3, "i": 4}


def in_order(fields: FieldSet) -> FieldSet:
    """The same node with its elements in Kubernetes' order."""
    elements = list(fields)
    ordered = sorted(elements, key=_order) if _odd(elements) else sorted(elements)
    return fields if ordered == elements else {e: fields[e] for e in ordered}


def _odd(elements: list[str]) -> bool:
    """Whether plain text order may be wrong: only fields (and ".") sort as texts."""
    return any(e[0] not in ".f" for e in elements)


@lru_cache(maxsize=8192)
def _order(element: str) -> tuple[Any, ...]:
    kind = element[0]
    if kind in ".f":
        return (_KIND_ORDER[kind], element)
    value = orjson.loads(element[2:])
    if kind == "k":
        return (2, tuple((name, *_value_order(v)) for name, v in value.items()))
    return (_KIND_ORDER[kind], *_value_order(value))


def _value_order(value: Any) -> tuple[int, Any]:
    """Values compare by kind (numbers, text, booleans, …), then among themselves."""
    if isinstance(value, bool):
        return (2, value)
    if isinstance(value, (int, float)):
        return (0, value)
    if isinstance(value, str):
        return (1, value)
    return (3, orjson.dumps(value, option=orjson.OPT_SORT_KEYS))


def decode(fields: Any, depth: int = 0) -> FieldSet:
    """A fieldsV1 value from a client, checked and in canonical form. Raises FieldSetError."""
    if fields.__class__ is not dict:
        raise FieldSetError("expected an object")
    if depth > DEPTH_MAX:
        raise FieldSetError("nested too deeply")
    out: FieldSet = {}
    for element, node in fields.items():
        if element == SELF:
            out[SELF] = LEAF
            continue
        children = decode(node, depth + 1)
        if len(children) == 1 and SELF in children:
            children = LEAF
        out[_canonical_element(element)] = children
    return in_order(out)


def _canonical_element(element: str) -> str:
    kind, content = element[:2], element[2:]
    if kind == "f:":
        return element
    try:
        if kind == "k:":
            keys = orjson.loads(content)
            if not isinstance(keys, dict) or not keys:
                raise FieldSetError(f"expected an object of keys: {element}")
            return key_element(dict(sorted(keys.items())))
        if kind == "v:":
            return value_element(orjson.loads(content))
        if kind == "i:":
            return f"i:{int(content)}"
    except ValueError as e:
        raise FieldSetError(f"cannot decode path element {element}") from e
    raise FieldSetError(f"unknown path element {element}")
