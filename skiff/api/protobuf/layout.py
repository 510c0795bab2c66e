"""What a message looks like on the wire: its table of numbers joined with its schema.

A `Layout` is made for each definition when its first field arrives (or is written), so that a ConfigMap
costs nothing of what a Pod needs. `layout.tags[key]` gives the field for a key (number and wire type) as
a `Field`: an operation for the decoder, the JSON name, and what the operation needs.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, Final, NamedTuple

from skiff.api import numbers
from skiff.api.protobuf import leaves
from skiff.api.schema import Schema, definition
from skiff.api.schema.model import MICRO_TIME, QUANTITY, TIME

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5

# How a value travels. Those up to LAST_SIZED take a length and that many bytes.
TEXT: Final = 0
STRUCT: Final = 1  # a message; `more` is its layout
WRAPPED: Final = 2  # a message that JSON writes as one value; `more` is a Wrapper
INLINE: Final = 3  # a message whose fields belong to the outer object; `more` is its layout
MAP: Final = 4  # one entry of a map; `more` is the layout of the entry
BINARY: Final = 5  # bytes, base64 in JSON
PACKED: Final = 6  # many numbers in one field; `more` is the scalar operation
LAST_SIZED: Final = PACKED
INT64: Final = 7
INT32: Final = 8
BOOL: Final = 9
DOUBLE: Final = 10

_WIRE: Final = {INT64: VARINT, INT32: VARINT, BOOL: VARINT, DOUBLE: FIXED64}


class Malformed(ValueError):
    """The bytes are no message of this kind. `version` and `kind` are the object's, if it said them."""

    version = ""
    kind = ""


class Field(NamedTuple):
    """One field. `optional`: a zero means that it is absent."""

    op: int
    name: str
    more: Any
    repeated: bool
    optional: bool


class Wrapper(NamedTuple):
    """A message that JSON writes as one value."""

    layout: "Layout"
    to_json: Callable[[dict[str, Any]], Any]
    """The value, of the message's fields; None for no value."""
    to_fields: Callable[[Any], dict[str, Any]]
    text: bool = False
    """Whether the value is the text in field 1 as it stands."""


# What the decoder does with a key: the code, the JSON name, and what the code needs. The field's flags
# are in the code, and what is frequent has its own. Codes from NUMBER on are of numbers (`more` is their
# operation), those before take a length.
Step = tuple[int, str, Any]
TEXT_KEPT: Final = 0
TEXT_OR_NONE: Final = 1  # absent when empty
TEXTS: Final = 2
MESSAGE: Final = 3
MESSAGES: Final = 4
INLINED: Final = 5
TEXT_MAP: Final = 6
ANY_MAP: Final = 7
OTHER: Final = 8  # `more` is the field
NUMBER: Final = 10
NUMBER_OR_NONE: Final = 11
NUMBERS: Final = 12


class Layout:
    """One message type. `tags`, the decoder's view, is filled by the first key that it does not have."""

    __slots__ = ("_fields", "_make", "tags")

    def __init__(self, make: Callable[[], list[tuple[int, Field]]]) -> None:
        self._make: Callable[[], list[tuple[int, Field]]] | None = make
        self._fields: list[tuple[int, Field]] = []
        self.tags: dict[int, Step] = {}

    @property
    def fields(self) -> list[tuple[int, Field]]:
        """Fields with their numbers, by number."""
        if self._make is not None:
            self._fields = self._make()
            self._make = None
        return self._fields

    def step(self, key: int) -> Step | None:
        """What a key that is not in `tags` means; None for a field that nobody knows.

        Raises Malformed for a field in another wire type than its own.
        """
        fields = self.fields
        if not self.tags:
            for number, field in fields:
                wire = _WIRE.get(field.op, BYTES)
                self.tags[number << 3 | wire] = _step(field)
                if field.repeated and wire != BYTES:
                    packed = Field(PACKED, field.name, field.op, repeated=True, optional=False)
                    self.tags[number << 3 | BYTES] = OTHER, field.name, packed
        if key in self.tags:
            return self.tags[key]
        number = key >> 3
        if not number:
            raise Malformed(f"proto: illegal tag 0 (wire type {key & 7})")
        for known, field in fields:
            if known == number:
                raise Malformed(f"proto: wrong wireType = {key & 7} for field {field.name}")
        return None


def _step(field: Field) -> Step:
    op, name, more, repeated, optional = field
    if op > LAST_SIZED:
        return (NUMBERS if repeated else NUMBER_OR_NONE if optional else NUMBER), name, op
    if op == TEXT:
        return (TEXTS if repeated else TEXT_OR_NONE if optional else TEXT_KEPT), name, None
    if op == STRUCT:
        return (MESSAGES if repeated else MESSAGE), name, more
    if op == INLINE:
        return INLINED, name, more
    if op == MAP:
        return (TEXT_MAP if more.fields[1][1].op == TEXT else ANY_MAP), name, more
    return OTHER, name, field


@cache
def layout_of(name: str) -> Layout:
    """The layout of a definition (`io.k8s.api.core.v1.Pod`). Raises KeyError without a table."""
    package, _, message = name.rpartition(".")
    if not numbers.known(package):
        raise KeyError(name)
    schema = definition(name)
    return Layout(lambda: _struct(package, message, schema))


def _struct(package: str, message: str, schema: Schema) -> list[tuple[int, Field]]:
    found = []
    for row in numbers.rows(package, message):
        if row.inline:
            inner = _inlined(package, row.name, schema)
            field = Field(INLINE, row.name, inner, repeated=False, optional=False)
        else:
            child = schema.properties.get(row.name)
            if child is None:
                continue  # a field that Kubernetes has given up
            field = _field(row, child)
        found.append((row.number, field))
    return found


def _inlined(package: str, message: str, schema: Schema) -> Layout:
    """An embedded message: its fields are properties of the outer schema."""
    return Layout(lambda: _struct(package, message, schema))


def _field(row: numbers.Row, schema: Schema) -> Field:
    if schema.type == "array" and schema.items is not None:
        op, more = _value(schema.items)
        return Field(op, row.name, more, repeated=True, optional=False)
    if schema.type == "object" and schema.additional is not None:
        return Field(MAP, row.name, _entry(schema.additional), repeated=False, optional=False)
    op, more = _value(schema)
    return Field(op, row.name, more, repeated=False, optional=row.zero_is_absent)


def _entry(value: Schema) -> Layout:
    """A map's entry: a message of key and value."""

    def make() -> list[tuple[int, Field]]:
        key = Field(TEXT, "key", None, repeated=False, optional=False)
        op, more = _value(value)
        return [(1, key), (2, Field(op, "value", more, repeated=False, optional=False))]

    return Layout(make)


def _value(schema: Schema) -> tuple[int, Any]:
    """The operation, and what it needs, for one value of this type."""
    wrapper = _WRAPPERS.get(schema.name)
    if wrapper is not None:
        return WRAPPED, wrapper()
    if schema.int_or_string:
        return WRAPPED, _int_or_string()
    if schema.name:
        return STRUCT, layout_of(schema.name)
    match schema.type:
        case "string":
            return (BINARY if schema.format == "byte" else TEXT), None
        case "boolean":
            return BOOL, None
        case "integer":
            return (INT64 if schema.format == "int64" else INT32), None
        case "number":
            return DOUBLE, None
        case "array":
            return WRAPPED, _list(schema)
    raise KeyError(f"no wire form for {schema!r}")


def _scalar(op: int, name: str) -> Field:
    return Field(op, name, None, repeated=False, optional=False)


def _plain(*fields: tuple[int, Field]) -> Layout:
    return Layout(lambda: list(fields))


@cache
def _quantity() -> Wrapper:
    layout = _plain((1, _scalar(TEXT, "string")))
    return Wrapper(layout, leaves.quantity, lambda v: {"string": str(v)}, text=True)


def _moment() -> Layout:
    return _plain((1, _scalar(INT64, "seconds")), (2, _scalar(INT32, "nanos")))


@cache
def _time() -> Wrapper:
    return Wrapper(_moment(), leaves.time, leaves.time_fields)


@cache
def _micro_time() -> Wrapper:
    return Wrapper(_moment(), leaves.micro_time, leaves.time_fields)


@cache
def _int_or_string() -> Wrapper:
    layout = _plain(
        (1, _scalar(INT64, "type")), (2, _scalar(INT32, "intVal")), (3, _scalar(TEXT, "strVal"))
    )
    return Wrapper(layout, leaves.int_or_string, leaves.int_or_string_fields)


@cache
def _raw() -> Wrapper:
    layout = _plain((1, _scalar(BINARY, "raw")))
    return Wrapper(layout, leaves.raw, leaves.raw_fields)


def _list(schema: Schema) -> Wrapper:
    """A list inside a map or a list, which only a message of its own can hold (ExtraValue)."""
    assert schema.items is not None
    op, more = _value(schema.items)
    layout = _plain((1, Field(op, "items", more, repeated=True, optional=False)))
    return Wrapper(layout, lambda f: f.get("items", []), lambda v: {"items": v})


_APIEXTENSIONS: Final = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1."


def _schema_or(number: int, other: tuple[int, Field]) -> Layout:
    props = layout_of(_APIEXTENSIONS + "JSONSchemaProps")
    schema = Field(STRUCT, "schema", props, repeated=False, optional=False)
    return _plain((number, schema), other)


@cache
def _schema_or_bool() -> Wrapper:
    layout = _schema_or(2, (1, _scalar(BOOL, "allows")))
    return Wrapper(layout, leaves.schema_or_bool, leaves.schema_or_bool_fields)


@cache
def _schema_or_array() -> Wrapper:
    props = layout_of(_APIEXTENSIONS + "JSONSchemaProps")
    many = Field(STRUCT, "schemas", props, repeated=True, optional=False)
    return Wrapper(_schema_or(1, (2, many)), leaves.schema_or_array, leaves.schema_or_array_fields)


@cache
def _schema_or_strings() -> Wrapper:
    many = Field(TEXT, "schemas", None, repeated=True, optional=False)
    return Wrapper(_schema_or(1, (2, many)), leaves.schema_or_array, leaves.schema_or_array_fields)


_WRAPPERS: Final[dict[str, Callable[[], Wrapper]]] = {
    QUANTITY: _quantity,
    TIME: _time,
    MICRO_TIME: _micro_time,
    "io.k8s.apimachinery.pkg.runtime.RawExtension": _raw,
    "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1": _raw,
    _APIEXTENSIONS + "JSON": _raw,
    _APIEXTENSIONS + "JSONSchemaPropsOrBool": _schema_or_bool,
    _APIEXTENSIONS + "JSONSchemaPropsOrArray": _schema_or_array,
    _APIEXTENSIONS + "JSONSchemaPropsOrStringArray": _schema_or_strings,
}
