"""The options of a call, read from its query and checked as Kubernetes checks them.

Source: metav1 ListOptions, CreateOptions, UpdateOptions, PatchOptions, DeleteOptions and
https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions
"""

from dataclasses import dataclass, field
from typing import Any

from skiff.api.errors import ApiError, BadRequest, Cause, Invalid
from skiff.api.quoting import go_quote
from skiff.api.selectors import (
    EVERY_FIELD,
    EVERYTHING,
    FieldSelector,
    LabelSelector,
    SelectorError,
    parse_fields,
    parse_labels,
)
from skiff.server.request import RequestInfo

_VALIDATIONS = ("", "Ignore", "Warn", "Strict")
_POLICIES = ("Background", "Foreground", "Orphan")


class _OptionsInvalid(Invalid):
    """An option is wrong: `ListOptions.meta.k8s.io "" is invalid: …`."""


def invalid_options(kind: str, causes: list[Cause]) -> ApiError:
    """The 422 for bad options of one kind (ListOptions, DeleteOptions …)."""
    texts = [f"{c.field}: {c.message}" for c in causes]
    text = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    return _OptionsInvalid(
        f'{kind}.meta.k8s.io "" is invalid: {text}',
        group="meta.k8s.io",
        kind=kind,
        causes=causes,
    )


@dataclass(slots=True)
class ListOptions:
    """What a list or a watch asks for."""

    labels: LabelSelector = EVERYTHING
    fields: FieldSelector = EVERY_FIELD
    revision: str = ""
    match: str = ""
    limit: int = 0
    token: str = ""
    timeout_s: int = 0
    bookmarks: bool = False
    initial_events: bool | None = None
    watch: bool = False


_DEFAULT_LIST = ListOptions()


def list_options(info: RequestInfo) -> ListOptions:
    """Read and check; shared (not to be changed) where the query is empty."""
    if not info.query:
        return _DEFAULT_LIST
    q = info.options
    found = ListOptions(
        labels=_labels(q.get("labelSelector", "")),
        fields=_fields(q.get("fieldSelector", "")),
        revision=q.get("resourceVersion", ""),
        match=q.get("resourceVersionMatch", ""),
        limit=_integer(q, "limit"),
        token=q.get("continue", ""),
        timeout_s=_integer(q, "timeoutSeconds"),
        bookmarks=info.flag("allowWatchBookmarks"),
        watch=info.verb == "watch",
    )
    if q.get("sendInitialEvents"):
        found.initial_events = info.flag("sendInitialEvents")
    if causes := _list_faults(found):
        raise invalid_options("ListOptions", causes)
    return found


def _list_faults(o: ListOptions) -> list[Cause]:
    """What ValidateListOptions of apimachinery refuses."""
    forbid = "FieldValueForbidden"
    if o.watch:
        return _watch_faults(o)
    if o.initial_events is not None:
        text = "Forbidden: sendInitialEvents is forbidden for list"
        return [Cause(forbid, text, "sendInitialEvents")]
    if not o.match:
        return []
    where = "resourceVersionMatch"
    if o.token:
        text = "Forbidden: resourceVersionMatch is forbidden when continue is provided"
        return [Cause(forbid, text, where)]
    if not o.revision:
        text = "Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided"
        return [Cause(forbid, text, where)]
    if o.match not in ("Exact", "NotOlderThan"):
        text = f'Unsupported value: "{o.match}": supported values: "Exact", "NotOlderThan", ""'
        return [Cause("FieldValueNotSupported", text, where)]
    if o.match == "Exact" and o.revision == "0":
        text = 'Forbidden: resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
        return [Cause(forbid, text, where)]
    return []


def _watch_faults(o: ListOptions) -> list[Cause]:
    where, forbid = "resourceVersionMatch", "FieldValueForbidden"
    if o.initial_events is not None:
        if o.match != "NotOlderThan":
            text = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
            return [Cause(forbid, f"Forbidden: {text}", where)]
        return []
    if o.match:
        text = "Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"
        return [Cause(forbid, text, where)]
    return []


def _labels(text: str) -> LabelSelector:
    if not text:
        return EVERYTHING
    try:
        return parse_labels(text)
    except SelectorError as e:
        raise BadRequest(str(e)) from None


def _fields(text: str) -> FieldSelector:
    if not text:
        return EVERY_FIELD
    try:
        return parse_fields(text)
    except SelectorError as e:
        raise BadRequest(str(e)) from None


def _integer(q: dict[str, str], name: str) -> int:
    text = q.get(name, "")
    if not text:
        return 0
    try:
        return int(text)
    except ValueError:
        raise BadRequest(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None


def revision_of(text: str) -> int:
    """A resourceVersion as a number (0 for none). Raises UnreadableRevision."""
    if not text:
        return 0
    if text.isascii() and text.isdigit() and len(text) <= 20:
        return int(text)
    raise UnreadableRevision(
        f'resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": '
        "invalid syntax"
    )


def list_revision_of(text: str) -> int:
    """As `revision_of`, of a list's options. Raises BadRequest."""
    try:
        return revision_of(text)
    except UnreadableRevision as e:
        raise BadRequest(f"invalid resource version: {e.message}") from None


class UnreadableRevision(ApiError):
    """A resourceVersion that is no number: code 500, no reason, as Kubernetes answers."""

    code = 500
    reason = ""


@dataclass(slots=True)
class WriteOptions:
    """What a create, update or patch asks for."""

    dry_run: bool = False
    manager: str = ""
    validation: str = ""
    force: bool | None = None


_DEFAULT_WRITE = WriteOptions()


def write_options(info: RequestInfo, kind: str) -> WriteOptions:
    """Read and check the CreateOptions, UpdateOptions or PatchOptions of a call."""
    if not info.query:
        return _DEFAULT_WRITE
    q = info.options
    stages = info.all_options.get("dryRun", [])
    found = WriteOptions(
        dry_run="All" in stages,
        manager=q.get("fieldManager", ""),
        validation=q.get("fieldValidation", ""),
        force=info.flag("force") if "force" in q else None,
    )
    causes = manager_faults(found.manager) + _dry_run_faults(stages)
    if found.validation not in _VALIDATIONS:
        text = f'Unsupported value: "{found.validation}": supported values: "", "Ignore", "Strict", "Warn"'
        causes.append(Cause("FieldValueNotSupported", text, "fieldValidation"))
    if causes:
        raise invalid_options(kind, causes)
    return found


def manager_faults(manager: str) -> list[Cause]:
    """A field manager is at most 128 printable characters."""
    causes = []
    if len(manager) > 128:
        text = "Too long: may not be more than 128 bytes"
        causes.append(Cause("FieldValueTooLong", text, "fieldManager"))
    for i, c in enumerate(manager):
        if not c.isprintable():
            at = len(manager[:i].encode())
            text = (
                f"Invalid value: {go_quote(manager)}: invalid character U+{ord(c):04X}"
                f" (at position {at})"
            )
            causes.append(Cause("FieldValueInvalid", text, "fieldManager"))
    return causes


def _dry_run_faults(stages: list[str]) -> list[Cause]:
    if all(stage == "All" for stage in stages):
        return []
    shown = ",".join(f'"{stage}"' for stage in stages)
    text = f'Unsupported value: [{shown}]: supported values: "All"'
    return [Cause("FieldValueNotSupported", text, "dryRun")]


@dataclass(slots=True)
class DeleteOptions:
    """What a delete asks for."""

    dry_run: bool = False
    grace_s: int | None = None
    policy: str = ""
    """propagationPolicy, or what the old orphanDependents means; "" for the kind's default."""
    orphan: bool | None = None
    uid: str = ""
    revision: str = ""
    raw: dict[str, Any] = field(default_factory=dict)


def delete_options(info: RequestInfo, body: dict[str, Any] | None) -> DeleteOptions:
    """Read the options from the body, or, if there is none, from the query."""
    raw = dict(body) if body is not None else _delete_query(info)
    causes = []
    grace = raw.get("gracePeriodSeconds")
    if grace is not None and (isinstance(grace, bool) or not isinstance(grace, int)):
        raise BadRequest(
            "json: cannot unmarshal into Go struct field DeleteOptions.gracePeriodSeconds of type int64"
        )
    if isinstance(grace, int) and grace < 0:
        grace = 1  # Kubernetes: a negative period is one second
    policy = raw.get("propagationPolicy") or ""
    orphan = raw.get("orphanDependents")
    if policy and orphan is not None:
        text = f'Invalid value: "{policy}": orphanDependents and deletionPropagation cannot be both set'
        causes.append(Cause("FieldValueInvalid", text, "propagationPolicy"))
    if policy and policy not in _POLICIES:
        allowed = ", ".join(f'"{p}"' for p in (*_POLICIES, "nil"))
        text = f'Unsupported value: "{policy}": supported values: {allowed}'
        causes.append(Cause("FieldValueNotSupported", text, "propagationPolicy"))
    dry_run = raw.get("dryRun") or []
    stages = dry_run if isinstance(dry_run, list) else [str(dry_run)]
    causes += _dry_run_faults(stages)
    if causes:
        raise invalid_options("DeleteOptions", causes)
    preconditions = raw.get("preconditions") or {}
    return DeleteOptions(
        dry_run="All" in stages,
        grace_s=grace,
        policy=policy,
        orphan=orphan,
        uid=preconditions.get("uid") or "",
        revision=preconditions.get("resourceVersion") or "",
        raw=raw,
    )


def _delete_query(info: RequestInfo) -> dict[str, Any]:
    if not info.query:
        return {}
    q = info.options
    raw: dict[str, Any] = {}
    if q.get("gracePeriodSeconds"):
        raw["gracePeriodSeconds"] = _integer(q, "gracePeriodSeconds")
    if q.get("propagationPolicy"):
        raw["propagationPolicy"] = q["propagationPolicy"]
    if "orphanDependents" in q:
        raw["orphanDependents"] = info.flag("orphanDependents")
    if "dryRun" in q:
        raw["dryRun"] = info.all_options["dryRun"]
    return raw
