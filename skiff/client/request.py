"""Building requests and reading answers: paths, queries, bodies, errors. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlencode

import orjson

from skiff.api.errors import ApiError, from_status
from skiff.api.resources import Resource

PATCH_TYPES: Final = {
    "json": "application/json-patch+json",
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}
PROPAGATION: Final = frozenset({"", "Background", "Foreground", "Orphan"})


@dataclass(frozen=True, slots=True)
class Selection:
    """Which objects of a resource: those of `namespace` (empty: all) that match both selectors."""

    namespace: str = ""
    label_selector: str = ""
    field_selector: str = ""

    def query(self) -> dict[str, str]:
        """As query parameters."""
        query = {}
        if self.label_selector:
            query["labelSelector"] = self.label_selector
        if self.field_selector:
            query["fieldSelector"] = self.field_selector
        return query


def target(
    resource: Resource,
    namespace: str = "",
    name: str = "",
    subresource: str = "",
    query: Mapping[str, str] | None = None,
) -> str:
    """Path and query of a request, percent-encoded."""
    if name and not name.isalnum():
        name = quote(name, safe=":@!$&'()*+,;=~-._")
    path = resource.path(namespace, name, subresource)
    return f"{path}?{urlencode(query)}" if query else path


def delete_options(
    *, uid: str = "", resource_version: str = "", grace_period_s: int | None = None,
    propagation: str = "",
) -> bytes:  # fmt: skip
    """A DeleteOptions body; empty where nothing is asked for."""
    assert propagation in PROPAGATION, propagation
    options: dict[str, Any] = {}
    preconditions = {k: v for k, v in (("uid", uid), ("resourceVersion", resource_version)) if v}
    if preconditions:
        options["preconditions"] = preconditions
    if grace_period_s is not None:
        options["gracePeriodSeconds"] = grace_period_s
    if propagation:
        options["propagationPolicy"] = propagation
    if not options:
        return b""
    return orjson.dumps({"kind": "DeleteOptions", "apiVersion": "v1", **options})


def error_of(status: int, headers: Mapping[str, str], body: bytes) -> ApiError:
    """The error that a response of status >= 400 stands for."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        parsed = None
    if not isinstance(parsed, dict) or parsed.get("kind") != "Status":
        text = body[:512].decode("utf-8", "replace").strip()
        parsed = {"message": text or f"the server answered with HTTP status {status}"}
    retry_after = headers.get("retry-after", "")
    error = from_status(parsed, status)
    if retry_after.isdecimal() and error.retry_after_s is None:
        error.retry_after_s = int(retry_after)
    return error


def without_nulls(value: Any) -> Any:
    """JSON without the members that are null."""
    if isinstance(value, dict):
        return {k: without_nulls(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [without_nulls(v) for v in value]
    return value
