"""Field errors: what is wrong with one field, in Kubernetes' words, and the Invalid error of many.

Source: apimachinery `util/validation/field` and `api/errors.NewInvalid`: a cause has the reason
`FieldValue…`, the body without the path, and the path; the message joins all of them.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from skiff.api.errors import Cause, Invalid
from skiff.api.resources import Resource

_WORDS: Final = {
    "FieldValueNotFound": "Not found",
    "FieldValueRequired": "Required value",
    "FieldValueDuplicate": "Duplicate value",
    "FieldValueInvalid": "Invalid value",
    "FieldValueNotSupported": "Unsupported value",
    "FieldValueForbidden": "Forbidden",
    "FieldValueTooLong": "Too long",
    "FieldValueTooMany": "Too many",
    "InternalError": "Internal error",
    "FieldValueTypeInvalid": "Invalid value",
}
_WITHOUT_VALUE: Final = frozenset(
    ("FieldValueRequired", "FieldValueForbidden", "FieldValueTooLong", "InternalError")
)


@dataclass(frozen=True, slots=True)
class FieldError:
    """One fault: `type` is the cause's reason, `message` the detail (may be empty)."""

    type: str
    path: str
    message: str = ""
    value: Any = None

    def body(self) -> str:
        """The message without the path: `Invalid value: "x": must be …`."""
        text = _WORDS[self.type]
        if self.type not in _WITHOUT_VALUE and self.value is not OMITTED:
            text += f": {value_text(self.value)}"
        return f"{text}: {self.message}" if self.message else text

    def __str__(self) -> str:
        return f"{self.path}: {self.body()}"

    def cause(self) -> Cause:
        return Cause(self.type, self.body(), self.path)


FieldErrors = list[FieldError]

OMITTED: Final = object()
"""Stands for a value that is too large to be told: `Invalid value: must be …`."""


def value_text(value: Any) -> str:
    """A value as the messages print it: text quoted, objects as JSON, null for nothing."""
    if value is None:
        return "null"
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def quote(text: str) -> str:
    """The text in double quotes, escaped as Go's %q does."""
    return json.dumps(text, ensure_ascii=False)


def required(path: str, message: str = "") -> FieldError:
    return FieldError("FieldValueRequired", path, message)


def invalid(path: str, value: Any, message: str) -> FieldError:
    return FieldError("FieldValueInvalid", path, message, value)


def duplicate(path: str, value: Any) -> FieldError:
    return FieldError("FieldValueDuplicate", path, "", value)


def forbidden(path: str, message: str = "") -> FieldError:
    return FieldError("FieldValueForbidden", path, message)


def not_found(path: str, value: Any) -> FieldError:
    return FieldError("FieldValueNotFound", path, "", value)


def not_supported(path: str, value: Any, supported: Iterable[str]) -> FieldError:
    """`supported` in the order that the message prints; Kubernetes sorts most of its lists."""
    listed = ", ".join(quote(v) for v in supported)
    return FieldError("FieldValueNotSupported", path, f"supported values: {listed}", value)


def too_long(path: str, max_bytes: int) -> FieldError:
    return FieldError("FieldValueTooLong", path, f"may not be more than {max_bytes} bytes")


def too_many(path: str, actual: int, most: int) -> FieldError:
    return FieldError("FieldValueTooMany", path, f"must have at most {most} items", actual)


IMMUTABLE: Final = "field is immutable"


def immutable(path: str, new: Any, old: Any) -> FieldErrors:
    """An error where the field changed."""
    return [] if new == old else [invalid(path, new, IMMUTABLE)]


def invalid_object(resource: Resource, name: str, errors: Sequence[FieldError]) -> Invalid:
    """The 422 for an object with these faults."""
    return invalid_kind(resource.group, resource.kind, name, errors)


def invalid_kind(group: str, kind: str, name: str, errors: Sequence[FieldError]) -> Invalid:
    """The 422 of a kind that is no resource. `details.kind` is the kind, as Kubernetes has it."""
    texts = list(dict.fromkeys(str(e) for e in errors))
    joined = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    qualified = f"{kind}.{group}" if group else kind
    return Invalid(
        f"{qualified} {quote(name)} is invalid: {joined}",
        group=group,
        kind=kind,
        name=name,
        causes=[e.cause() for e in errors],
    )
