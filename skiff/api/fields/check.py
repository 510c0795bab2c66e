"""Whether an applied configuration fits its type: known fields, right kinds, no item twice.

The errors carry Kubernetes' words, Go values included, for people search for them.
"""

from typing import Any, Final

from skiff.api.fields.sets import element_text
from skiff.api.fields.types import ANY, DEDUCED, KEYED, SET, KeyMissing, Type, type_of
from skiff.api.patch.values import go_text, go_type
from skiff.api.schema.model import Schema

ERRORS_MAX: Final = 100


def check(t: Type, obj: dict[str, Any]) -> list[str]:
    """What is wrong with `obj`, each with its path; empty when all fits."""
    errors: list[str] = []
    _struct(t, t.schema, obj, "", errors)
    return errors


def describe(errors: list[str]) -> str:
    """One error as it is, several as a list under `errors:`."""
    if len(errors) == 1:
        return errors[0]
    return "\n".join(["errors:", *(f"  {e}" for e in errors)])


def _say(errors: list[str], path: str, message: str) -> None:
    if len(errors) < ERRORS_MAX:
        errors.append(f"{path}: {message}" if path else message)


def _struct(
    t: Type, schema: Schema | None, value: dict[str, Any], path: str, errors: list[str]
) -> None:
    for name, inner in value.items():
        child = t.fields.get(name) or t.element
        if child is None and schema is not None and not schema.any_fields:
            _say(errors, f"{path}.{name}", "field not declared in schema")
        elif child is not None and child.kind != ANY:
            _value(
                child,
                schema.child(name) if schema is not None else None,
                inner,
                f"{path}.{name}",
                errors,
            )


def _value(t: Type, schema: Schema | None, value: Any, path: str, errors: list[str]) -> None:
    schema = t.schema or schema
    if value is None or schema is None or t.kind == ANY:
        return
    if schema.type == "array":
        if value.__class__ is not list:
            _say(errors, path, f"expected list, got &{{{go_text(value)}}}")
        else:
            _list(t, schema, value, path, errors)
    elif schema.type == "object":
        if value.__class__ is not dict:
            if not schema.any_fields:
                _say(errors, path, f"expected map, got &{{{go_text(value)}}}")
        elif not schema.any_fields:
            _struct(t if t.kind != 0 else _whole(schema), schema, value, path, errors)
    else:
        _scalar(schema, value, path, errors)


def _whole(schema: Schema) -> Type:
    """An atomic map's fields, to look into it nonetheless."""
    t = Type(schema, 1)
    return t if schema.properties or schema.additional else DEDUCED


def _list(t: Type, schema: Schema, value: list[Any], path: str, errors: list[str]) -> None:
    items = schema.items
    inner = type_of(items) if items is not None else DEDUCED
    seen: set[str] = set()
    for i, item in enumerate(value):
        element = f"i:{i}"
        if t.kind in (KEYED, SET):
            try:
                element = t.checked_element(item)
            except KeyMissing as e:
                _say(errors, path, f"element {i}: {e}")
                return
            if element in seen:
                _say(errors, path, f"duplicate entries for key {element_text(element)}")
            seen.add(element)
        _value(inner, items, item, path + element_text(element), errors)


def _scalar(schema: Schema, value: Any, path: str, errors: list[str]) -> None:
    form = value.__class__
    if schema.int_or_string or schema.quantity or not schema.type:
        if form in (dict, list) and (schema.int_or_string or schema.quantity):
            _say(errors, path, f"expected any scalar, got &{{{go_text(value)}}}")
    elif schema.type == "string":
        if form is not str:
            _say(
                errors,
                path,
                f"expected string, got &value.valueUnstructured{{Value:{_go_syntax(value)}}}",
            )
    elif schema.type == "boolean":
        if form is not bool:
            _say(errors, path, f"expected boolean, got &{{{go_text(value)}}}")
    elif form not in (int, float):
        _say(errors, path, f"expected numeric (int or float), got {go_type(value)}")


def _go_syntax(value: Any) -> str:
    """A value as Go's `%#v` prints it."""
    if isinstance(value, dict):
        inner = ", ".join(f'"{k}":{_go_syntax(v)}' for k, v in sorted(value.items()))
        return f"map[string]interface {{}}{{{inner}}}"
    if isinstance(value, list):
        return f"[]interface {{}}{{{', '.join(map(_go_syntax, value))}}}"
    return f'"{value}"' if isinstance(value, str) else go_text(value)
