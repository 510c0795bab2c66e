"""The careful decoder: walks an object beside its type, and says exactly what is wrong and where.

It runs when the quick check (`check.py`) refuses an object: an unknown field, a null or another empty
value, a wrong type.
In place it drops nulls, unknown fields and what is not written when empty (`zeros.py`), and makes leaves
canonical; unknown fields are collected with their paths; the first wrong type is raised.

Source: the behaviour of Kubernetes' JSON decoder, https://kubernetes.io/docs/reference/using-api/api-concepts/#field-validation
"""

from typing import Any, Final

from skiff.api.schema import gotypes
from skiff.api.schema.leaves import (
    LeafError,
    check_bytes,
    micro_time_text,
    quantity_text,
    time_text,
)
from skiff.api.schema.model import MICRO_TIME, QUANTITY, TIME, Schema, definition
from skiff.api.schema.zeros import vanishing

_RANGES: Final = {"int32": (-(1 << 31), (1 << 31) - 1), "int64": (-(1 << 63), (1 << 63) - 1)}
# A custom resource's schema has fields that hold a schema or something else (a boolean, a list).
_JSON_SCHEMA: Final = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps"
_SCHEMA_OR_OTHER: Final = frozenset(
    _JSON_SCHEMA + suffix for suffix in ("OrArray", "OrBool", "OrStringArray")
)
_CONVERTED: Final = {TIME: time_text, MICRO_TIME: micro_time_text, QUANTITY: quantity_text}


class Walk:
    """One walk over one object. `unknown` holds the paths of fields that the type does not have."""

    def __init__(self) -> None:
        self.unknown: list[str] = []
        self._fields: list[str] = []  # field names down to here, without indexes or map keys
        self._structs: list[str] = []  # definitions that the fields belong to

    def object(self, schema: Schema, obj: dict[str, Any]) -> None:
        """Decodes the object in place. Raises LeafError with the decoder's message."""
        self._struct(schema, obj, "")

    def _struct(self, schema: Schema, obj: dict[str, Any], path: str) -> None:
        properties = schema.properties
        empty = vanishing(schema)
        for key in list(obj):
            child = properties.get(key)
            if child is None:
                self.unknown.append(f"{path}.{key}" if path else key)
                del obj[key]
                continue
            value = obj[key]
            if value is None:
                del obj[key]
                continue
            self._fields.append(key)
            self._structs.append(schema.name)
            decoded = self._value(child, value, f"{path}.{key}" if path else key)
            self._fields.pop()
            self._structs.pop()
            if decoded or key not in empty:
                obj[key] = decoded
            else:
                del obj[key]

    def _value(self, schema: Schema, value: Any, path: str) -> Any:
        """The decoded value (the same object, where it is a dict or a list)."""
        convert = _CONVERTED.get(schema.name)
        if convert is not None:
            return convert(value)
        if schema.any_fields:
            if schema.name in _SCHEMA_OR_OTHER and type(value) is dict:
                self._struct(definition(_JSON_SCHEMA), value, path)
            return value
        if schema.int_or_string:
            return self._int_or_string(value)
        kind = schema.type
        if kind == "string":
            return self._string(schema, value)
        if kind == "object":
            return self._object(schema, value, path)
        if kind == "array":
            return self._array(schema, value, path)
        if kind == "integer":
            return self._integer(schema, value)
        if kind == "boolean":
            return value if type(value) is bool else self._mismatch(schema, value)
        if kind == "number":
            return value if type(value) in (int, float) else self._mismatch(schema, value)
        return value

    def _object(self, schema: Schema, value: Any, path: str) -> Any:
        if type(value) is not dict:
            return self._mismatch(schema, value)
        element = schema.additional
        if element is None:
            self._struct(schema, value, path)
            return value
        for key, item in value.items():
            if item is None:
                value[key] = _zero(element)
            else:
                value[key] = self._value(element, item, f"{path}.{key}")
        return value

    def _array(self, schema: Schema, value: Any, path: str) -> Any:
        if type(value) is not list:
            return self._mismatch(schema, value)
        element = schema.items
        if element is None:
            return value
        for i, item in enumerate(value):
            value[i] = (
                _zero(element) if item is None else self._value(element, item, f"{path}[{i}]")
            )
        return value

    def _string(self, schema: Schema, value: Any) -> Any:
        if type(value) is not str:
            return self._mismatch(schema, value)
        if schema.format == "byte":
            check_bytes(value)
        return value

    def _integer(self, schema: Schema, value: Any) -> Any:
        if type(value) is not int:
            return self._mismatch(schema, value, str(value) if type(value) is float else "")
        low, high = _RANGES.get(schema.format, _RANGES["int64"])
        if not low <= value <= high:
            return self._mismatch(schema, value, str(value))
        return value

    def _int_or_string(self, value: Any) -> Any:
        if type(value) is str:
            return value
        low, high = _RANGES["int32"]
        if type(value) is int and low <= value <= high:
            return value
        word = gotypes.value_name(value)
        if type(value) in (int, float):
            word += f" {value}"
        raise LeafError(f"json: cannot unmarshal {word} into Go value of type int32")

    def _mismatch(self, schema: Schema, value: Any, number: str = "") -> Any:
        struct = self._structs[-1] if self._structs else ""
        word = gotypes.value_name(value) + (f" {number}" if number else "")
        field = self._fields[-1] if self._fields else ""
        wanted = gotypes.type_name(schema, struct, field)
        where = f"{struct.rsplit('.', 1)[-1]}.{'.'.join(self._fields)}"
        raise LeafError(
            f"json: cannot unmarshal {word} into Go struct field {where} of type {wanted}"
        )


def _zero(schema: Schema) -> Any:
    """What a null stands for inside a list or a map: the type's zero value."""
    if schema.name == QUANTITY:
        return "0"
    if schema.name in (TIME, MICRO_TIME) or schema.any_fields:
        return None
    if schema.int_or_string or schema.type == "integer":
        return 0
    zeros: dict[str, Any] = {"string": "", "boolean": False, "number": 0, "array": [], "object": {}}
    return zeros.get(schema.type)
