"""JSON values as patches see them: copies, equality, Go's names and Go's printed form.

Kubernetes' messages name Go types (`json: cannot unmarshal string into Go value of type …`) and
print Go maps (`map[image:nginx name:web]`); clients and people search for these words.
"""

from typing import Any

import orjson

from skiff.api.errors import ApiError, BadRequest


class PatchFailed(ApiError):
    """The server could make nothing of the patch: code 500, no reason, as Kubernetes answers."""

    code = 500
    reason = ""


def copy(value: Any) -> Any:
    """A copy that shares no container with `value`. A round trip through bytes is the quickest way."""
    if value.__class__ in (dict, list):
        return orjson.loads(orjson.dumps(value))
    return value


def same(a: Any, b: Any) -> bool:
    """Whether two JSON values are equal: as Python's ==, but true is not 1."""
    if a.__class__ is not b.__class__:
        # 1 and 1.0 are the same number; bool is the class that must not pass for one.
        return a == b and bool not in (a.__class__, b.__class__)
    if a.__class__ is dict:
        return a.keys() == b.keys() and all(same(v, b[k]) for k, v in a.items())
    if a.__class__ is list:
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def kind(value: Any) -> str:
    """The JSON kind of a value, as Go's decoder names it in its errors."""
    if isinstance(value, dict):
        return "object"
    if isinstance(value, list):
        return "array"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "string"
    return "null" if value is None else "number"


def wrong_type(value: Any, go_type: str) -> BadRequest:
    """The error for a patch body (or a part of it) of the wrong JSON kind."""
    return BadRequest(f"json: cannot unmarshal {kind(value)} into Go value of type {go_type}")


def go_type(value: Any) -> str:
    """The Go type that holds a JSON value, as Kubernetes' patch errors name it."""
    if isinstance(value, dict):
        return "map[string]interface {}"
    if isinstance(value, list):
        return "[]interface {}"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "string"
    if value is None:
        return "<nil>"
    return "int64" if isinstance(value, int) else "float64"


def go_text(value: Any) -> str:
    """A JSON value as Go's `%v` prints it."""
    if isinstance(value, dict):
        return f"map[{' '.join(f'{k}:{go_text(value[k])}' for k in sorted(value))}]"
    if isinstance(value, list):
        return f"[{' '.join(map(go_text, value))}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return "<nil>" if value is None else str(value)
