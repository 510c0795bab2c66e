"""Server-side apply: a manager says what it wants, the server works out the rest.

The configuration is merged into the live object. What the manager applied before and no longer says
goes, unless another manager owns it too. A field that another manager owns and that would change is a
conflict: an error, or with `force` a change of owner. Applying the same again changes nothing.

An object that `kubectl apply` made on the client's side belongs to "kubectl-client-side-apply"; the
manager "kubectl" takes over without conflict what the last-applied annotation says is its own.

Source: https://kubernetes.io/docs/reference/using-api/server-side-apply/ and KEP-555.
"""

from typing import Any, Final, NamedTuple

import orjson

from skiff.api.errors import BadRequest, Cause, Conflict
from skiff.api.fields import managed, sets
from skiff.api.fields.check import check, describe
from skiff.api.fields.compare import compare
from skiff.api.fields.extract import SERVER_METADATA, applied, created
from skiff.api.fields.managed import Differences, Entry, Id, Managers, Versions
from skiff.api.fields.merge import merge, remove, with_named
from skiff.api.fields.sets import FieldSet
from skiff.api.fields.types import Type, root_type
from skiff.api.patch.values import PatchFailed
from skiff.api.schema.model import Schema

LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
ANNOTATIONS_BYTES_MAX: Final = 256 * 1024
_BEFORE_FIRST: Final = "before-first-apply"
_KUBECTL: Final = "kubectl"
_STRIPPED: Final[FieldSet] = {
    "f:apiVersion": {},
    "f:kind": {},
    "f:metadata": {".": {}, **{f"f:{name}": {} for name in sorted(SERVER_METADATA)}},
}

Path = tuple[str, ...]


class _Conflicts(Exception):
    """(owner, path) of every field that another manager owns and the apply would change."""

    def __init__(self, found: list[tuple[Id, Path]]) -> None:
        super().__init__()
        self.found = found


class _Request(NamedTuple):
    """One apply, with all that does not depend on the object."""

    config: dict[str, Any]
    id: Id
    api_version: str
    time: str
    type: Type
    ignored: FieldSet
    versions: Versions | None
    custom: bool
    """A custom resource: there a null may be a value."""


def apply(
    live: dict[str, Any] | None,
    config: dict[str, Any],
    manager: str,
    force: bool,
    api_version: str,
    time: str,
    schema: Schema | None,
    subresource: str = "",
    ignored: FieldSet | None = None,
    versions: Versions | None = None,
) -> dict[str, Any]:
    """The new object, managedFields included; it shares nothing with `live` and `config`.

    `live` is the object at `api_version`, None to create. `config` is as the client sent it, and so
    may be the result where it touches it: decode, default and validate it like any other. `time` is
    RFC 3339 in UTC. Raises Conflict (one cause for each field), BadRequest, PatchFailed.
    """
    _check_config(config, api_version, schema)
    request = _Request(
        config,
        Id(manager, "Apply", "", subresource),
        api_version,
        time,
        root_type(schema),
        managed.ignored_fields(schema, subresource) if ignored is None else ignored,
        versions,
        schema is None or not schema.name,
    )
    if live is None:
        live = {"apiVersion": config["apiVersion"], "kind": config["kind"]}
    try:
        return _finish(request, live, *_apply_again(request, live, force))
    except _Conflicts as e:
        raise _conflict(e.found) from None


def _check_config(config: dict[str, Any], api_version: str, schema: Schema | None) -> None:
    if config.get("apiVersion") != api_version:
        raise BadRequest(
            "Incorrect version specified in apply patch. Specified patch version: "
            f"{config.get('apiVersion', '')}, expected: {api_version}"
        )
    metadata = config.get("metadata")
    if isinstance(metadata, dict) and metadata.get("managedFields") is not None:
        raise BadRequest("metadata.managedFields must be nil")
    if errors := check(root_type(schema), config):
        names = metadata if isinstance(metadata, dict) else {}
        raise PatchFailed(
            f"failed to create typed patch object ({names.get('namespace', '')}/"
            f"{names.get('name', '')}; {_group_version(api_version)}, "
            f"Kind={config.get('kind', '')}): "
            f"{describe(errors)}"
        )


def _group_version(api_version: str) -> str:
    """As Kubernetes prints it in front of a kind: the core group has an empty name."""
    return api_version if "/" in api_version else f"/{api_version}"


def _apply_again(
    request: _Request, live: dict[str, Any], force: bool
) -> tuple[dict[str, Any], Managers]:
    """Applies; where only fields of the client-side apply stand against it, with force."""
    try:
        return _apply(request, live, force)
    except _Conflicts as e:
        if request.id.manager != _KUBECTL:
            raise
        allowed = _client_side_applied(request, live)
        if allowed is None:
            raise
        rest = [(owner, path) for owner, path in e.found if not sets.contains(allowed, path)]
        if rest:
            raise _Conflicts(rest) from None
        return _apply(request, live, force=True)


def _apply(request: _Request, live: dict[str, Any], force: bool) -> tuple[dict[str, Any], Managers]:
    managers = _managers_of(request, live)
    last = managers.get(request.id)
    t = request.type
    claimed = sets.recursive_difference(applied(t, request.config), request.ignored)
    managers[request.id] = Entry(request.id, request.api_version, "", claimed)
    merged = merge(t, live, request.config)
    # Nothing to prune where all of the last configuration is claimed again.
    if last is not None and sets.difference(last.fields, claimed):
        pruned = _prune(request, merged, managers, last)
        if pruned != merged:
            # A map or list that pruning left empty is gone, unless the configuration has it empty.
            merged = merge(t, pruned, request.config)
    difference = compare(t, live, merged, request.ignored)
    differences = Differences(
        live, merged, request.api_version, difference, request.ignored, request.versions
    )
    del managers[request.id]
    if not force:
        _raise_conflicts(managers, differences)
    managed.release(managers, differences, None)
    fields = sets.difference(claimed, _STRIPPED)
    if fields:
        # What changes nothing in the object is not timed; for a newcomer that is no time at all.
        before = last.time if last is not None else ""
        time = request.time if merged != live else before
        managers[request.id] = Entry(request.id, request.api_version, time, fields)
    return merged, managers


def _managers_of(request: _Request, live: dict[str, Any]) -> Managers:
    metadata = live.get("metadata") or {}
    entries = metadata.get("managedFields")
    if entries:
        managers = managed.trusted(entries)
        if request.custom:
            managed.follow_schema(request.type, managers)
        return managers
    fields = created(request.type, live, request.ignored)
    if not metadata or not fields:
        return {}
    # Whoever wrote it before anybody applied owns all that it has.
    identity = Id(_BEFORE_FIRST, "Update", request.api_version, request.id.subresource)
    return {identity: Entry(identity, request.api_version, request.time, fields)}


def _raise_conflicts(managers: Managers, differences: Differences) -> None:
    found = []
    for identity in sorted(managers):
        entry = managers[identity]
        difference = differences.seen_at(entry.api_version)
        if difference is not None:
            hit = sets.intersection(entry.fields, difference[0])
            found += [(identity, path) for path in sets.paths(hit)]
    if found:
        raise _Conflicts(found)


# --- what the manager no longer says -------------------------------------------------------------


def _prune(
    request: _Request, merged: dict[str, Any], managers: Managers, last: Entry
) -> dict[str, Any]:
    """`merged` without what the manager's last configuration claimed and now nobody claims."""
    versions = request.versions
    if versions is None or {e.api_version for e in managers.values()} == {last.api_version}:
        owned: FieldSet = {}
        for entry in managers.values():
            owned = sets.union(owned, entry.fields)
        return _without_orphans(request.type, merged, owned, last.fields)
    return _prune_across_versions(request, versions, merged, managers, last)


def _without_orphans(
    t: Type, merged: dict[str, Any], owned: FieldSet, last: FieldSet
) -> dict[str, Any]:
    last = with_named(t, last)
    everything = with_named(t, applied(t, merged))
    pruned = remove(t, merged, last)
    pruned = _add_back_owned(t, merged, pruned, everything, owned)
    return _only_last(t, merged, pruned, everything, last)


def _add_back_owned(
    t: Type, merged: dict[str, Any], pruned: Any, everything: FieldSet, owned: FieldSet
) -> Any:
    """`pruned`, with what somebody owns put back."""
    kept = sets.union(with_named(t, applied(t, pruned)), with_named(t, owned))
    return remove(t, merged, sets.difference(everything, kept))


def _only_last(
    t: Type, merged: dict[str, Any], pruned: Any, everything: FieldSet, last: FieldSet
) -> dict[str, Any]:
    """`merged` without what is missing in `pruned`, as far as the last configuration claimed it."""
    gone = sets.difference(everything, with_named(t, applied(t, pruned)))
    result: dict[str, Any] = remove(t, merged, sets.intersection(gone, last)) or {}
    return result


def _prune_across_versions(
    request: _Request,
    versions: Versions,
    merged: dict[str, Any],
    managers: Managers,
    last: Entry,
) -> dict[str, Any]:
    """As `_without_orphans`, where managers speak of the fields of several API versions."""
    try:
        at_last = versions.convert(merged, last.api_version)
        t = root_type(versions.schema(last.api_version))
    except KeyError:
        return merged  # the version of the last configuration is no more: nothing can be told
    last_fields = with_named(t, last.fields)
    pruned = remove(t, at_last, last_fields) or {}
    pruned = {**pruned, "apiVersion": last.api_version, "kind": merged["kind"]}
    at = last.api_version
    for version in sorted({e.api_version for e in managers.values()}, key=lambda v: v != at):
        owned: FieldSet = {}
        for entry in managers.values():
            if entry.api_version == version:
                owned = sets.union(owned, entry.fields)
        try:
            whole = versions.convert(merged, version)
            pruned = versions.convert(pruned, version)
            inner = root_type(versions.schema(version))
        except KeyError:
            continue
        everything = with_named(inner, applied(inner, whole))
        pruned = _add_back_owned(inner, whole, pruned, everything, owned) or {}
        pruned = {**pruned, "apiVersion": version, "kind": merged["kind"]}
    pruned = versions.convert(pruned, last.api_version)
    everything = with_named(t, applied(t, at_last))
    result = _only_last(t, at_last, pruned, everything, last_fields)
    return versions.convert(result, request.api_version)


# --- upgrade from client-side apply --------------------------------------------------------------


def _annotations(obj: dict[str, Any]) -> dict[str, Any]:
    return (obj.get("metadata") or {}).get("annotations") or {}


def _client_side_applied(request: _Request, live: dict[str, Any]) -> FieldSet | None:
    """The fields that the last-applied annotation sets and that still have its values."""
    text = _annotations(live).get(LAST_APPLIED)
    if text is None:
        return None
    try:
        last = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(last, dict) or last.get("apiVersion") != request.api_version:
        return None
    t = request.type
    if check(t, last):
        return None
    changed, removed = compare(t, last, live, {})
    fields = sets.difference(applied(t, last), changed)
    return sets.difference(fields, removed)


def _sync_last_applied(config: dict[str, Any], annotations: dict[str, Any]) -> None:
    """Keeps the annotation true for later client-side applies. Too large, it goes."""
    own = dict(config)
    own["metadata"] = dict(own.get("metadata") or {})
    if LAST_APPLIED in (own["metadata"].get("annotations") or {}):
        kept = {k: v for k, v in own["metadata"]["annotations"].items() if k != LAST_APPLIED}
        own["metadata"]["annotations"] = kept
    text = orjson.dumps(own, option=orjson.OPT_SORT_KEYS).decode() + "\n"
    annotations[LAST_APPLIED] = text
    size = sum(len(k.encode()) + len(str(v).encode()) for k, v in annotations.items())
    if size > ANNOTATIONS_BYTES_MAX:
        del annotations[LAST_APPLIED]


# --- the result ----------------------------------------------------------------------------------


def _finish(
    request: _Request, live: dict[str, Any], merged: dict[str, Any], managers: Managers
) -> dict[str, Any]:
    data = orjson.dumps(merged)
    result: dict[str, Any] = orjson.loads(data)
    if b"null" in data and request.custom and b"null" not in orjson.dumps(request.config):
        result = _without_nulls(result)
    metadata = result.setdefault("metadata", {})
    annotations = metadata.get("annotations")
    if request.id.manager == _KUBECTL and annotations and LAST_APPLIED in annotations:
        _sync_last_applied(request.config, annotations)
    entries = managed.encode(managers)
    before = (live.get("metadata") or {}).get("managedFields")
    if entries == before:
        metadata["managedFields"] = before
    elif entries:
        metadata["managedFields"] = entries
    else:
        metadata.pop("managedFields", None)
    return result


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_nulls(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [_without_nulls(v) for v in value]
    return value


def _conflict(found: list[tuple[Id, Path]]) -> Conflict:
    causes = [
        Cause("FieldManagerConflict", f"conflict with {_owner(owner)}", sets.path_text(path))
        for owner, path in found
    ]
    if len(found) == 1:
        owner, path = found[0]
        detail = f"1 conflict: conflict with {_owner(owner)}: {sets.path_text(path)}"
    else:
        lines: list[str] = []
        previous: Id | None = None
        for owner, path in found:
            if owner != previous:
                lines.append(f"conflicts with {_owner(owner)}:")
                previous = owner
            lines.append(f"- {sets.path_text(path)}")
        detail = f"{len(found)} conflicts: " + "\n".join(lines)
    return Conflict(f"Apply failed with {detail}", causes=causes)


def _owner(owner: Id) -> str:
    text = f'"{owner.manager}"'
    if owner.subresource:
        text += f' with subresource "{owner.subresource}"'
    return f"{text} using {owner.api_version}" if owner.operation == "Update" else text
