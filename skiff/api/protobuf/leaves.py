"""Messages that JSON writes as one value: times, quantities, numbers or texts, JSON inside of bytes.

Each pair takes the message's fields to the JSON value (None where there is none) and back.
"""

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_YEAR_ONE_S = -62135596800  # Go's zero time


def quantity(fields: dict[str, Any]) -> str:
    """A Quantity's text; an unset one is zero."""
    text: str = fields.get("string", "")
    return text or "0"


def _moment(fields: dict[str, Any]) -> datetime | None:
    """A message without fields is the zero Time: no value."""
    nanos = fields.get("nanos", 0)
    if not fields or (fields.get("seconds") == _YEAR_ONE_S and not nanos):
        return None
    return _EPOCH + timedelta(seconds=fields.get("seconds", 0), microseconds=nanos // 1000)


def time(fields: dict[str, Any]) -> str | None:
    """RFC 3339 with whole seconds."""
    moment = _moment(fields)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ").rjust(20, "0") if moment else None


def micro_time(fields: dict[str, Any]) -> str | None:
    """RFC 3339 with microseconds."""
    moment = _moment(fields)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0") if moment else None


def time_fields(value: Any) -> dict[str, Any]:
    """Seconds and nanoseconds of an RFC 3339 text."""
    passed = datetime.fromisoformat(value) - _EPOCH
    seconds = passed.days * 86400 + passed.seconds
    return {"seconds": seconds, "nanos": passed.microseconds * 1000}


def int_or_string(fields: dict[str, Any]) -> int | str:
    """`type` says which of the two it is: 0 a number, 1 a text."""
    if fields.get("type", 0) == 1:
        text: str = fields.get("strVal", "")
        return text
    number: int = fields.get("intVal", 0)
    return number


def int_or_string_fields(value: Any) -> dict[str, Any]:
    """The fields for a number or a text."""
    if isinstance(value, str):
        return {"type": 1, "intVal": 0, "strVal": value}
    return {"type": 0, "intVal": value, "strVal": ""}


def raw(fields: dict[str, Any]) -> Any:
    """What the bytes hold: JSON, or an object of its own in protobuf."""
    data = base64.b64decode(fields.get("raw", ""))
    if not data:
        return None
    if data.startswith(b"k8s\0"):
        from skiff.api.protobuf.decode import (
            decode_envelope,
        )  # it needs the layouts, they need this

        return decode_envelope(data)
    return orjson.loads(data)


def raw_fields(value: Any) -> dict[str, Any]:
    """JSON as bytes."""
    return {"raw": base64.b64encode(orjson.dumps(value)).decode()}


def schema_or_bool(fields: dict[str, Any]) -> Any:
    """`additionalProperties: true`, or a schema."""
    return fields["schema"] if "schema" in fields else fields.get("allows", False)


def schema_or_bool_fields(value: Any) -> dict[str, Any]:
    """A schema allows, as Kubernetes' own decoder has it."""
    if isinstance(value, bool):
        return {"allows": value}
    return {"allows": True, "schema": value}


def schema_or_array(fields: dict[str, Any]) -> Any:
    """A schema, or a list (of schemas; of property names)."""
    return fields["schemas"] if "schemas" in fields else fields.get("schema")


def schema_or_array_fields(value: Any) -> dict[str, Any]:
    """The fields for one schema or for a list."""
    return {"schemas": value} if isinstance(value, list) else {"schema": value}
