"""Finds fields that a JSON text gives twice, which the JSON parser does not report.

Nearly every text has none, so that is decided cheaply first: the parsed value, written compactly, is
as long as the text, or has as many colons. (Only keys and strings bring colons; a field that is lost
takes its own along. `\\u` could hide one in a string.) Only else is the text parsed again.
"""

import json
from typing import Any

import orjson

from skiff.api.schema.model import Schema


class _Pairs(list[tuple[str, Any]]):
    """An object's fields in the order of the text, duplicates included."""


def duplicate_fields(raw: bytes, obj: dict[str, Any], schema: Schema) -> list[str]:
    """The paths (`spec.containers[0].name`) of fields that `raw`, which parsed to `obj`, repeats."""
    text = raw.strip()
    kept = orjson.dumps(obj)
    if len(kept) == len(text) or (b"\\u" not in text and text.count(b":") == kept.count(b":")):
        return []
    found: list[str] = []
    _walk(json.loads(text, object_pairs_hook=_Pairs), schema, "", found)
    return found


def _walk(value: Any, schema: Schema | None, path: str, found: list[str]) -> None:
    if schema is None or schema.any_fields:
        return
    if isinstance(value, _Pairs):
        seen: set[str] = set()
        for key, item in value:
            below = f"{path}.{key}" if path else key
            if key in seen:
                found.append(below)
            seen.add(key)
            _walk(item, schema.child(key), below, found)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            _walk(item, schema.items, f"{path}[{i}]", found)
