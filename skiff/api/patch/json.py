"""JSON patch (RFC 6902): add, remove, replace, move, copy, test, all or nothing.

As the API server does: a patch that cannot be read is BadRequest, one that does not apply is Invalid
with one fixed message, one of more than 10,000 operations is too large. Array indices may be
negative (they count from the end), and a test for null holds for a member that is missing.

Source: https://www.rfc-editor.org/rfc/rfc6902 and https://www.rfc-editor.org/rfc/rfc6901
"""

import re
from collections.abc import Sequence
from typing import Any, Final

import orjson

from skiff.api.errors import Invalid, RequestEntityTooLarge
from skiff.api.patch import values

OPERATIONS_MAX: Final = 10_000
COPIED_BYTES_MAX: Final = 3 * 1024 * 1024  # all `copy` operations of a patch together
_INDEX: Final = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)
_NOT_APPLICABLE: Final = "the server rejected our request due to an error in our request"


class DoesNotApply(Exception):
    """Why a patch does not apply. The API's answer does not say it; it is this error's cause."""


def apply(obj: dict[str, Any], operations: Any) -> dict[str, Any]:
    """`obj` with the patch applied; `operations` is the decoded body.

    Raises BadRequest (not a patch), RequestEntityTooLarge, Invalid (does not apply).
    """
    _check(operations)
    root = values.copy(obj)
    copied = 0
    try:
        for operation in operations or ():
            copied += _step(root, operation or {})
            if copied > COPIED_BYTES_MAX:
                raise DoesNotApply(f"copied more than {COPIED_BYTES_MAX} bytes")
    except DoesNotApply as e:
        raise Invalid(_NOT_APPLICABLE, generic=True) from e
    result: dict[str, Any] = root
    return result


def _check(operations: Any) -> None:
    if operations is None:
        return
    if not isinstance(operations, list):
        raise values.wrong_type(operations, "jsonpatch.Patch")
    for operation in operations:
        if operation is not None and not isinstance(operation, dict):
            raise values.wrong_type(operation, "jsonpatch.Operation")
    if len(operations) > OPERATIONS_MAX:
        raise RequestEntityTooLarge(
            "Request entity too large: The allowed maximum operations in a JSON patch is "
            f"{OPERATIONS_MAX}, got {len(operations)}"
        )


def _step(root: Any, operation: dict[str, Any]) -> int:
    """Applies one operation in place; the number of bytes that it copied."""
    kind = operation.get("op")
    if kind is None:
        raise DoesNotApply("Unexpected kind: unknown")
    path = _path(operation, "path")
    match kind:
        case "add":
            _add(root, path, values.copy(operation.get("value")), kind)
        case "remove":
            _remove(root, path, kind)
        case "replace":
            container, key = _container(root, path, kind)
            _get(container, key, kind, path)
            _set(container, key, values.copy(operation.get("value")))
        case "move":
            source = _path(operation, "from")
            _add(root, path, _remove(root, source, kind), kind)
        case "copy":
            source = _path(operation, "from")
            container, key = _container(root, source, kind)
            data = orjson.dumps(_get(container, key, kind, source))
            _add(root, path, orjson.loads(data), kind)
            return len(data)
        case "test":
            _test(root, path, operation.get("value"))
        case _:
            raise DoesNotApply(f"Unexpected kind: {kind}")
    return 0


def _path(operation: dict[str, Any], member: str) -> str:
    path = operation.get(member)
    if not isinstance(path, str):
        raise DoesNotApply(f"operation missing {member} field")
    return path


def _container(root: Any, path: str, operation: str) -> tuple[Any, str]:
    """The object or array that holds what `path` points to, and the last token of the path."""
    tokens = path.split("/")
    if len(tokens) < 2 or tokens[0]:
        raise _missing(operation, "path", path)
    found = root
    for token in tokens[1:-1]:
        found = _get(found, _unescape(token), operation, path)
    if not isinstance(found, (dict, list)):
        raise _missing(operation, "path", path)
    return found, _unescape(tokens[-1])


def _unescape(token: str) -> str:
    return token.replace("~1", "/").replace("~0", "~") if "~" in token else token


def _get(container: Any, key: str, operation: str, path: str) -> Any:
    if isinstance(container, dict):
        if key in container:
            return container[key]
    elif isinstance(container, list):
        return container[_index(container, key, len(container))]
    raise _missing(operation, "key", path)


def _set(container: Any, key: str, value: Any) -> None:
    if isinstance(container, dict):
        container[key] = value
    else:
        container[_index(container, key, len(container))] = value


def _index(array: Sequence[Any], key: str, size: int) -> int:
    if not _INDEX.fullmatch(key):
        raise DoesNotApply(f"value was not a proper array index: {key!r}")
    index = int(key)
    if not -size <= index < size:
        raise DoesNotApply(f"Unable to access invalid index: {index} of {len(array)}")
    return index if index >= 0 else index + size


def _add(root: Any, path: str, value: Any, operation: str) -> None:
    container, key = _container(root, path, operation)
    if isinstance(container, dict):
        container[key] = value
    elif key == "-":
        container.append(value)
    else:
        container.insert(_index(container, key, len(container) + 1), value)


def _remove(root: Any, path: str, operation: str) -> Any:
    container, key = _container(root, path, operation)
    value = _get(container, key, operation, path)
    del container[key if isinstance(container, dict) else _index(container, key, len(container))]
    return value


def _test(root: Any, path: str, wanted: Any) -> None:
    container, key = _container(root, path, "test")
    try:
        value = _get(container, key, "test", path)
    except DoesNotApply:
        if isinstance(container, list):
            raise
        value = None
    if not values.same(value, wanted):
        raise DoesNotApply(f"testing path {path} failed")


def _missing(operation: str, what: str, path: str) -> DoesNotApply:
    return DoesNotApply(
        f"jsonpatch {operation} operation does not apply: doc is missing {what}: {path}"
    )
