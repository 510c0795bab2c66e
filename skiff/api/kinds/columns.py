"""Columns: how a list of objects is shown as a table, with the helpers that cells share.

A `Columns` is a kind's column definitions and a function from object and time to cells. The server
makes `Table` responses of them; kubectl prints them. Priority 0 is always shown, 1 with `-o wide`.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#receiving-resources-as-tables
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

UNKNOWN: Final = "<unknown>"
NONE: Final = "<none>"
Cells = Callable[[dict[str, Any], float], list[Any]]


@dataclass(frozen=True, slots=True)
class Column:
    """One column. `type` is string, integer, boolean or date; `format` is "name" for the name's."""

    name: str
    type: str = "string"
    format: str = ""
    priority: int = 0
    description: str = ""

    def definition(self) -> dict[str, Any]:
        """The TableColumnDefinition that goes over the wire."""
        return {
            "name": self.name,
            "type": self.type,
            "format": self.format,
            "description": self.description,
            "priority": self.priority,
        }


@dataclass(frozen=True, slots=True)
class Columns:
    """A kind's columns, and `cells(obj, now)`: one value per column (`now` in Unix seconds)."""

    columns: tuple[Column, ...]
    cells: Cells


_NAME_DESCRIPTION: Final = (
    "Name must be unique within a namespace. Is required when creating resources, although some "
    "resources may allow a client to request the generation of an appropriate name automatically."
)
NAME: Final = Column("Name", "string", "name", 0, _NAME_DESCRIPTION)
AGE: Final = Column(
    "Age", "string", "", 0,
    "CreationTimestamp is a timestamp representing the server time when this object was created.",
)  # fmt: skip
CREATED_AT: Final = Column(
    "Created At", "date", "", 0,
    "CreationTimestamp is a timestamp representing the server time when this object was created.",
)  # fmt: skip


def columns(*specs: str | Column) -> tuple[Column, ...]:
    """Column definitions of short specs: `Ready`, `Desired:integer`, `Images*` (wide only)."""
    out = []
    for spec in specs:
        if isinstance(spec, Column):
            out.append(spec)
            continue
        title, _, kind = spec.partition(":")
        wide = title.endswith("*")
        out.append(Column(title.rstrip("*"), kind or "string", "", 1 if wide else 0))
    return tuple(out)


def _default_cells(obj: dict[str, Any], _now: float) -> list[Any]:
    meta = obj.get("metadata", {})
    return [meta.get("name", ""), meta.get("creationTimestamp")]


DEFAULT: Final = Columns((NAME, CREATED_AT), _default_cells)


def age_cells(obj: dict[str, Any], now: float) -> list[Any]:
    """Name and age: what the kinds without own fields show."""
    meta = obj["metadata"]
    return [meta.get("name", ""), since(meta.get("creationTimestamp"), now)]


NAME_AGE: Final = Columns((NAME, AGE), age_cells)


@lru_cache(2048)
def seconds_of(timestamp: str) -> float:
    """An RFC 3339 time (as stored: UTC) in Unix seconds."""
    return datetime.fromisoformat(timestamp).replace(tzinfo=UTC).timestamp()


def since(timestamp: str | None, now: float) -> str:
    """How long ago: `5m3s`, `<unknown>` where there is no time."""
    if not timestamp:
        return UNKNOWN
    return human_duration(now - seconds_of(timestamp))


def human_duration(seconds: float) -> str:
    """A duration in at most two units, as kubectl shows ages: `2m5s`, `47h`, `3d`, `2y14d`."""
    whole = int(seconds)
    if whole < -1:
        return "<invalid>"
    if whole < 0:
        return "0s"
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if whole < 120:
        return f"{whole}s"
    if minutes < 10:
        return f"{minutes}m{whole % 60}s" if whole % 60 else f"{minutes}m"
    if hours < 3:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if hours < 48:
        return f"{hours}h"
    if hours < 192:
        return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"
    if hours < 24 * 365 * 2:
        return f"{days}d"
    years = hours // (24 * 365)
    if hours < 24 * 365 * 8 and days % 365:
        return f"{years}y{days % 365}d"
    return f"{years}y"


def labels_text(labels: dict[str, str] | None) -> str:
    """`a=1,b=2`, sorted; `<none>` where there are none."""
    if not labels:
        return NONE
    return ",".join(f"{k}={labels[k]}" for k in sorted(labels))


def selector_text(selector: dict[str, Any] | None) -> str:
    """A LabelSelector as text: `app=web,tier in (a,b),!legacy`."""
    if selector is None:
        return NONE
    parts = [(k, f"{k}={v}") for k, v in selector.get("matchLabels", {}).items()]
    parts += [
        (r.get("key", ""), _requirement_text(r)) for r in selector.get("matchExpressions", ())
    ]
    return ",".join(text for _, text in sorted(parts, key=lambda p: p[0])) if parts else NONE


def _requirement_text(requirement: dict[str, Any]) -> str:
    key: str = requirement.get("key", "")
    operator: str = requirement.get("operator", "")
    values = ",".join(sorted(requirement.get("values", ())))
    return {
        "In": f"{key} in ({values})",
        "NotIn": f"{key} notin ({values})",
        "Exists": key,
        "DoesNotExist": f"!{key}",
    }.get(operator, key)


def containers_text(spec: dict[str, Any]) -> tuple[str, str]:
    """The names and the images of a pod spec's containers, comma-separated."""
    found = spec.get("containers", ())
    return ",".join(c.get("name", "") for c in found), ",".join(c.get("image", "") for c in found)


def joined(values: Iterable[str] | None, empty: str = "") -> str:
    return ",".join(values or ()) or empty
