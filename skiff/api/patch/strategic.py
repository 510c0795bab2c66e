"""Strategic merge patch: merge patch that knows which lists merge, and by which key.

Maps merge member by member and null removes. A list merges when its schema says so
(`patchStrategy: merge`): items of objects by the merge key, scalars as a set; any other list is
replaced. Directives within the patch ask for more:

- `$patch: replace` in a map takes the map as it is, in a list replaces the list; `$patch: delete`
  empties a map, and in a list's item removes the item with that key;
- `$retainKeys: [..]` drops the members of the map that are not named;
- `$deleteFromPrimitiveList/<list>: [..]` removes scalars; `$setElementOrder/<list>: [..]` orders.

Merged lists keep the patch's order for what the patch names and the server's for the rest; where both
place two items, the server's item comes first if it did before.

Source: https://github.com/kubernetes/community/blob/master/contributors/devel/sig-api-machinery/strategic-merge-patch.md
and https://kubernetes.io/docs/tasks/manage-kubernetes-objects/update-api-object-kubectl-patch/
"""

from collections.abc import Callable
from typing import Any, Final

from skiff.api.errors import BadRequest, Invalid
from skiff.api.patch import values
from skiff.api.patch.values import PatchFailed
from skiff.api.schema.model import Schema

DIRECTIVE: Final = "$patch"
RETAIN_KEYS: Final = "$retainKeys"
DELETE_PREFIX: Final = "$deleteFromPrimitiveList"
ORDER_PREFIX: Final = "$setElementOrder"

_BAD_PRIMITIVE_LIST: Final = "invalid patch format of primitive list"
_BAD_RETAIN_KEYS: Final = "invalid patch format of retainKeys"
_BAD_ORDER: Final = "invalid patch format of setElementOrder list"


def apply(obj: dict[str, Any], patch: Any, schema: Schema | None) -> dict[str, Any]:
    """`obj` with the decoded `patch` merged into it under `schema`.

    Raises BadRequest (malformed directives), Invalid (lists of lists), PatchFailed (a list item
    without its merge key, an unknown directive), each with Kubernetes' message.
    """
    if patch is None:
        patch = {}
    if not isinstance(patch, dict):
        raise values.wrong_type(patch, "map[string]interface {}")
    try:
        return _merge_map(values.copy(obj), values.copy(patch), schema)
    except RecursionError as e:
        raise BadRequest("exceeded max depth") from e


def _merge_map(
    original: dict[str, Any], patch: dict[str, Any], schema: Schema | None
) -> dict[str, Any]:
    """Merges `patch` into `original`; both are changed and the result holds parts of them."""
    if DIRECTIVE in patch:
        directive = patch.pop(DIRECTIVE)
        if directive == "replace":
            replaced: dict[str, Any] = _plain(patch)
            return replaced
        if directive == "delete":
            return {}
        raise _bad_directive(directive, {DIRECTIVE: directive, **patch})
    if RETAIN_KEYS in patch:
        _retain_keys(original, patch)
    for key in [k for k in patch if k.startswith(DELETE_PREFIX)]:
        _delete_from_list(original, key, patch.pop(key))
    for key in [k for k in patch if k.startswith(ORDER_PREFIX)]:
        _merge_ordered(original, key, patch, schema)
    for key, value in patch.items():
        if value is None:
            original.pop(key, None)
            continue
        current: Any = original.get(key)
        kind = value.__class__
        if current.__class__ is not kind or kind not in (dict, list):
            original[key] = _plain(value)
            continue
        child = schema.child(key) if schema is not None else None
        if kind is list:
            original[key] = _merge_list(current, value, child)
        elif child is not None and "replace" in child.strategy:
            original[key] = _plain(value)
        else:
            original[key] = _merge_map(current, value, child)
    return original


def _plain(value: Any) -> Any:
    """A patch's value as it stands where there is nothing to merge with: no nulls, no directives."""
    if isinstance(value, dict):
        return {
            k: _plain(v)
            for k, v in value.items()
            if v is not None
            and k not in (DIRECTIVE, RETAIN_KEYS)
            and not k.startswith((DELETE_PREFIX, ORDER_PREFIX))
        }
    if isinstance(value, list):
        return [_plain(v) for v in value if not _only_a_directive(v)]
    return value


def _only_a_directive(item: Any) -> bool:
    """Whether a list's item removes another, or speaks of the whole list."""
    return isinstance(item, dict) and (
        item.get(DIRECTIVE) == "delete" or (DIRECTIVE in item and len(item) == 1)
    )


def _retain_keys(original: dict[str, Any], patch: dict[str, Any]) -> None:
    keys = patch.pop(RETAIN_KEYS)
    if not isinstance(keys, list):
        raise BadRequest(_BAD_RETAIN_KEYS)
    for key, value in patch.items():
        if (
            value is not None
            and key not in keys
            and not key.startswith((DELETE_PREFIX, ORDER_PREFIX))
        ):
            raise BadRequest(_BAD_RETAIN_KEYS)
    for key in [k for k in original if k not in keys]:
        del original[key]


def _list_name(key: str, prefix: str, message: str) -> str:
    name = key[len(prefix) :]
    if len(name) < 2 or name[0] != "/":
        raise BadRequest(message)
    return name[1:]


def _delete_from_list(original: dict[str, Any], key: str, doomed: Any) -> None:
    name = _list_name(key, DELETE_PREFIX, _BAD_PRIMITIVE_LIST)
    current = original.get(name)
    if not isinstance(current, list):
        return
    if not isinstance(doomed, list):
        raise BadRequest(_BAD_PRIMITIVE_LIST)
    original[name] = [v for v in current if not any(values.same(v, d) for d in doomed)]


# --- lists ---------------------------------------------------------------------------------------


def _merge_list(original: list[Any], patch: list[Any], schema: Schema | None) -> list[Any]:
    if schema is None or "merge" not in schema.strategy:
        plain: list[Any] = _plain(patch)
        return plain
    if not original and not patch:
        return original
    if not _items_are_maps(original, patch):
        merged = _without_duplicates(original + patch)
        return _in_order(merged, patch, original, _identity)
    merge_key = schema.merge_key
    if not merge_key:
        raise PatchFailed(f"cannot merge lists without merge key for {schema.name or schema.type}")
    original, patch = _apply_item_directives(original, patch, merge_key)
    merged = _merge_items(original, patch, merge_key, schema.items)
    return _in_order(merged, patch, original, _key_of(merge_key))


def _items_are_maps(*lists: list[Any]) -> bool:
    """Whether the items of all these lists are objects. They must all be of one kind."""
    kinds = {v.__class__ for items in lists for v in items}
    if list in kinds:
        raise Invalid("the server rejected our request due to an error in our request")
    if dict in kinds and len(kinds) > 1:
        raise PatchFailed("list element types are not identical")
    return dict in kinds


def _apply_item_directives(
    original: list[Any], patch: list[Any], merge_key: str
) -> tuple[list[Any], list[Any]]:
    """`original` after deletions (or replaced as a whole), and the patch's items that merge."""
    if not any(DIRECTIVE in item for item in patch):
        return original, patch
    items, replace = [], False
    for item in patch:
        directive = item.get(DIRECTIVE)
        if directive is None:
            items.append(item)
        elif directive == "delete":
            if merge_key not in item:
                raise _no_merge_key(item, merge_key)
            doomed = item[merge_key]
            original = [v for v in original if not values.same(_key(v, merge_key), doomed)]
        elif directive == "replace":
            replace = True
        elif directive == "merge":
            raise PatchFailed("merging lists cannot yet be specified in the patch")
        else:
            raise _bad_directive(directive, item)
    return (_plain(items), []) if replace else (original, items)


def _merge_items(
    original: list[Any], patch: list[Any], merge_key: str, schema: Schema | None
) -> list[Any]:
    merged = list(original)
    places = {
        _hashable(_key(item, merge_key)): i for i, item in reversed(list(enumerate(original)))
    }
    for item in patch:
        key = _hashable(_key(item, merge_key))
        place = places.get(key)
        if place is None:
            places[key] = len(merged)
            merged.append(_plain(item))
        else:
            merged[place] = _merge_map(merged[place], dict(item), schema)
    return merged


def _key(item: Any, merge_key: str) -> Any:
    if not isinstance(item, dict) or merge_key not in item:
        raise _no_merge_key(item, merge_key)
    return item[merge_key]


def _without_duplicates(items: list[Any]) -> list[Any]:
    return list({_hashable(v): v for v in items}.values())


def _hashable(value: Any) -> Any:
    """A scalar so that true and 1 stay apart; containers (wrong as keys, yet possible) by their text."""
    if isinstance(value, (dict, list)):
        return (value.__class__, values.go_text(value))
    return (value.__class__ is bool, value)


# --- order ---------------------------------------------------------------------------------------

Key = Callable[[Any], Any]


def _identity(item: Any) -> Any:
    return _hashable(item)


def _key_of(merge_key: str) -> Key:
    return lambda item: _hashable(_key(item, merge_key))


def _in_order(merged: list[Any], wanted: list[Any], server: list[Any], key: Key) -> list[Any]:
    """`merged`, with the items that `wanted` names in its order and the others in the server's.

    Where an item of each kind competes for a place, the server's goes first only if both were in
    its list, in that order.
    """
    place_wanted: dict[Any, int] = {}
    for i, item in enumerate(wanted):
        place_wanted.setdefault(key(item), i)
    place_server: dict[Any, int] = {}
    for i, item in enumerate(server):
        place_server.setdefault(key(item), i)
    named: list[tuple[Any, Any]] = []
    others: list[tuple[Any, Any]] = []
    for item in merged:
        k = key(item)
        (named if k in place_wanted else others).append((k, item))
    named.sort(key=lambda entry: place_wanted[entry[0]])
    others.sort(key=lambda entry: place_server.get(entry[0], len(server)))
    out, i, j = [], 0, 0
    while i < len(others) and j < len(named):
        left, right = place_server.get(others[i][0]), place_server.get(named[j][0])
        if left is not None and right is not None and left < right:
            out.append(others[i][1])
            i += 1
        else:
            out.append(named[j][1])
            j += 1
    out += [item for _, item in others[i:]]
    out += [item for _, item in named[j:]]
    return out


def _merge_ordered(
    original: dict[str, Any], directive: str, patch: dict[str, Any], schema: Schema | None
) -> None:
    """Merges one list that the patch orders with `$setElementOrder`, and takes it off the patch."""
    order = patch.pop(directive)
    if not isinstance(order, list):
        raise BadRequest(_BAD_ORDER)
    name = _list_name(directive, ORDER_PREFIX, _BAD_ORDER)
    child = schema.child(name) if schema is not None else None
    merge_key = child.merge_key if child is not None else ""
    if name in patch and patch[name] is None:
        return  # the list is removed: nothing to order
    current, changes = original.get(name), patch.pop(name, None)
    for value in (current, changes):
        if value is not None and not isinstance(value, list):
            raise PatchFailed(
                f"expected a []interface {{}}, but received a {values.go_type(value)}"
            )
    key = _key_of(merge_key) if merge_key else _identity
    if changes:
        _check_order(changes, order, key, directive_of_items=bool(merge_key))
    if current is not None and changes is not None:
        merged = _merge_list(list(current), changes, child)
    elif changes is not None:
        merged = _plain(changes)
    elif current is not None:
        merged = current
    else:
        return
    original[name] = _in_order(merged, order, current or [], key)


def _check_order(
    changes: list[Any], order: list[Any], key: Key, *, directive_of_items: bool
) -> None:
    """The patch's items must come in the order that the directive gives."""
    kept = changes
    if directive_of_items:
        kept = [v for v in changes if not (isinstance(v, dict) and DIRECTIVE in v)]
    at = 0
    for item in order:
        if at < len(kept) and key(item) == key(kept[at]):
            at += 1
    if at < len(kept):
        raise PatchFailed(
            f"The order in patch list:\n{values.go_text(changes)}\n doesn't match {ORDER_PREFIX} "
            f"list:\n{values.go_text(order)}\n"
        )


def _no_merge_key(item: Any, merge_key: str) -> PatchFailed:
    return PatchFailed(
        f"map: {values.go_text(item)} does not contain declared merge key: {merge_key}"
    )


def _bad_directive(directive: Any, item: dict[str, Any]) -> PatchFailed:
    return PatchFailed(
        f"unknown patch type: {values.go_text(directive)} in map: {values.go_text(item)}"
    )
