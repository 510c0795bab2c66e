"""Decoding: a parsed JSON object becomes an object of its kind, or an error that names what is wrong.

Theory: an object that fits its type exactly is recognised in a few microseconds (`check.py`), and only
its times and quantities are visited (`canonical.py`). Any other is walked (`walk.py`): nulls and unknown
fields go, wrong types raise. Fields that the text repeats are looked for apart (`duplicates.py`).

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#field-validation
"""

from collections.abc import Callable
from typing import Any, Final, Literal

from skiff.api.errors import BadRequest
from skiff.api.resources import Resource
from skiff.api.schema.canonical import canonical_for
from skiff.api.schema.check import check_for
from skiff.api.schema.duplicates import duplicate_fields
from skiff.api.schema.leaves import LeafError
from skiff.api.schema.model import Schema, schema_of_kind
from skiff.api.schema.walk import Walk

Validation = Literal["Ignore", "Warn", "Strict"]

# Kubernetes reports no more than this many strict decoding errors of one object.
STRICT_ERRORS_MAX: Final = 100


class Decoder:
    """Decodes objects of one kind."""

    __slots__ = ("_canonical", "_fits", "_kind", "_schema", "_version")

    def __init__(self, schema: Schema, version: str, kind: str) -> None:
        self._schema = schema
        self._version = version
        self._kind = kind
        self._fits: Callable[[Any], bool] | None = check_for(schema)
        self._canonical = canonical_for(schema)

    def decode(self, obj: dict[str, Any], validation: Validation, raw: bytes) -> list[str]:
        """See `decode` below."""
        metadata = obj.get("metadata")
        if type(metadata) is dict and metadata.get("creationTimestamp", "") is None:
            del metadata["creationTimestamp"]  # what many clients send; a null means absent
        repeated: list[str] = []
        if raw and validation != "Ignore":
            repeated = self._duplicates(raw, obj)
        unknown: list[str] = []
        try:
            if self._fits is not None and self._fits(obj):
                self._canonical(obj)
            else:
                walk = Walk()
                walk.object(self._schema, obj)
                unknown = walk.unknown
        except LeafError as e:
            raise self._error(str(e)) from e
        if validation == "Ignore" or not (unknown or repeated):
            return []
        problems = [f'unknown field "{p}"' for p in unknown]
        problems += [f'duplicate field "{p}"' for p in repeated]
        del problems[STRICT_ERRORS_MAX:]
        if validation == "Strict":
            raise self._error("strict decoding error: " + ", ".join(problems))
        return problems

    def _duplicates(self, raw: bytes, obj: dict[str, Any]) -> list[str]:
        metadata = obj.get("metadata")
        if type(metadata) is dict and b'"creationTimestamp":null' in raw:
            # It was taken out above: count it, so that the cheap comparison still holds.
            try:
                metadata.setdefault("creationTimestamp", None)
                return duplicate_fields(raw, obj, self._schema)
            finally:
                if metadata["creationTimestamp"] is None:
                    del metadata["creationTimestamp"]
        return duplicate_fields(raw, obj, self._schema)

    def _error(self, text: str) -> BadRequest:
        return BadRequest(
            f'{self._kind} in version "{self._version}" cannot be handled as a {self._kind}: {text}'
        )


_decoders: dict[tuple[str, str, str], Decoder] = {}


def decode(
    resource: Resource, obj: dict[str, Any], validation: Validation = "Warn", raw: bytes = b""
) -> list[str]:
    """Makes `obj` (parsed from `raw`) an object of the resource's kind, in place.

    Drops nulls and unknown fields, makes times and quantities canonical. Returns warnings, where
    `validation` is "Warn", for unknown and repeated fields; they are an error with "Strict". `raw` may
    be empty (a patch's result, YAML): repeated fields are then not looked for. Raises BadRequest.
    """
    key = (resource.group, resource.version, resource.kind)
    decoder = _decoders.get(key)
    if decoder is None:
        schema = schema_of_kind(resource.api_version, resource.kind)
        decoder = _decoders[key] = Decoder(schema, resource.version, resource.kind)
    return decoder.decode(obj, validation, raw)


def decode_with(
    api_version: str,
    kind: str,
    obj: dict[str, Any],
    validation: Validation = "Warn",
    raw: bytes = b"",
) -> list[str]:
    """As `decode`, for a kind that is no resource by itself (Scale, Eviction, DeleteOptions)."""
    group, _, version = api_version.rpartition("/")
    key = (group, version, kind)
    decoder = _decoders.get(key)
    if decoder is None:
        decoder = _decoders[key] = Decoder(schema_of_kind(api_version, kind), version, kind)
    return decoder.decode(obj, validation, raw)
