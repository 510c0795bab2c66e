"""Schemas of the built-in kinds, and decoding against them.

`schema_for(resource)` and `schema_of_kind(api_version, kind)` give the type; `decode` checks and
prunes an object that a client sent. `definition_text` has the descriptions, for OpenAPI documents.
"""

from skiff.api.schema.decode import Validation, decode, decode_with
from skiff.api.schema.load import definition as definition_text
from skiff.api.schema.load import definition_json, kinds, names
from skiff.api.schema.model import Schema, definition, schema_for, schema_of_kind

__all__ = [
    "Schema",
    "Validation",
    "decode",
    "decode_with",
    "definition",
    "definition_json",
    "definition_text",
    "kinds",
    "names",
    "schema_for",
    "schema_of_kind",
]
