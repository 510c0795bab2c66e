"""What Kubernetes says of an object that a strategic merge patch made, and that is none of its kind.

The API server does not put such an object through its JSON decoder: it restores the typed object from
the merged map, field by field, and that converter has words of its own (`cannot restore map from
string`). The walk is the careful decoder's; only how a wrong type is told differs.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#patch-and-update
"""

from typing import Any, Final

from skiff.api.schema import gotypes
from skiff.api.schema.leaves import LeafError
from skiff.api.schema.model import Schema
from skiff.api.schema.walk import Walk

_KINDS: Final[dict[type, str]] = {
    dict: "map",
    list: "slice",
    str: "string",
    bool: "bool",
    int: "int64",
    float: "float64",
}
_NUMBERS: Final = (int, float)


def restore_fault(schema: Schema, merged: dict[str, Any]) -> str:
    """Why `merged` (it is changed) cannot be restored to an object of the type; empty if it can."""
    try:
        _Restore().object(schema, merged)
    except LeafError as e:
        return str(e)
    return ""


class _Restore(Walk):
    def _string(self, schema: Schema, value: Any) -> Any:
        try:
            return super()._string(schema, value)
        except LeafError as e:
            if type(value) is str:
                raise LeafError(f"error decoding from json: {e}") from e
            raise

    def _mismatch(self, schema: Schema, value: Any, number: str = "") -> Any:
        kind = _KINDS[type(value)]
        if schema.type == "array" or schema.format == "byte":
            raise LeafError(f"cannot restore slice from {kind}")
        if schema.type == "object":
            struct = schema.additional is None
            raise LeafError(f"cannot restore {'struct from:' if struct else 'map from'} {kind}")
        wanted = gotypes.type_name(schema)
        converts = (int,) if schema.type == "string" else _NUMBERS
        if schema.type != "boolean" and type(value) in converts:
            struct_name = self._structs[-1] if self._structs else ""
            field = self._fields[-1] if self._fields else ""
            named = gotypes.type_name(schema, struct_name, field)
            raise LeafError(f"cannot convert {kind} to {named}")
        raise LeafError(f"unrecognized type: {wanted}")
