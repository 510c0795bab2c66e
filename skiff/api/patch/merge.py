"""JSON merge patch (RFC 7386): objects merge member by member, null removes, all else replaces.

Source: https://www.rfc-editor.org/rfc/rfc7386
"""

from typing import Any

from skiff.api.errors import BadRequest
from skiff.api.patch import values


def apply(obj: dict[str, Any], patch: Any) -> dict[str, Any]:
    """`obj` with the decoded `patch` merged into it. Raises BadRequest when it is no object."""
    if not isinstance(patch, dict):
        raise BadRequest("Invalid JSON Patch")
    root: dict[str, Any] = values.copy(obj)
    try:
        _merge(root, patch)
    except RecursionError as e:
        raise BadRequest("exceeded max depth") from e
    return root


def _merge(target: dict[str, Any], patch: dict[str, Any]) -> None:
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        elif value.__class__ is dict:
            inner = target.get(key)
            if inner.__class__ is not dict:
                inner = target[key] = {}
            _merge(inner, value)
        else:
            target[key] = values.copy(value)
