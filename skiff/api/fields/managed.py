"""metadata.managedFields for create, update and patch, as Kubernetes' field manager keeps them.

Whoever changes a field becomes its owner; the former ones lose it, and a field that is gone is nobody's.
An entry stands for (manager, operation, apiVersion, subresource); appliers have one for all versions.
Its time moves only when its set gains something. More than ten entries of operation Update are folded,
oldest first, into one per version, called "ancient-changes". An object without managedFields stays
without until somebody applies; `managedFields: [{}]` in an update resets to that.

The server calls `on_create` and `on_update` after defaulting and before mutating admission, for every
write but apply, whose entry is `apply.apply`. Both write `metadata.managedFields` of the new object.

Source: https://kubernetes.io/docs/reference/using-api/server-side-apply/#managers
"""

from typing import Any, Final, NamedTuple, Protocol

from skiff.api.fields import sets
from skiff.api.fields.compare import Difference, compare
from skiff.api.fields.extract import created
from skiff.api.fields.sets import FieldSet
from skiff.api.fields.types import ANY, LEAF, Type, root_type
from skiff.api.schema.model import Schema

UPDATES_MAX: Final = 10  # entries of operation Update; the oldest are folded
ANCIENT: Final = "ancient-changes"
MANAGER_LENGTH_MAX: Final = 128
_UNKNOWN: Final = "unknown"
_NOTHING: Final[FieldSet] = {}
_STATUS: Final[FieldSet] = {"f:status": {}}
_SPEC: Final[FieldSet] = {"f:spec": {}}


class Id(NamedTuple):
    """What makes an entry's identity. `api_version` is "" for appliers."""

    manager: str
    operation: str
    api_version: str
    subresource: str


class Entry(NamedTuple):
    """A manager's set, in the fields of `api_version`."""

    id: Id
    api_version: str
    time: str
    fields: FieldSet


Managers = dict[Id, Entry]


class Versions(Protocol):
    """How a kind with several API versions reaches another one's objects. A missing version: KeyError."""

    def convert(self, obj: dict[str, Any], api_version: str) -> dict[str, Any]: ...

    def schema(self, api_version: str) -> Schema | None: ...


def manager_name(field_manager: str, user_agent: str) -> str:
    """The manager of a request: the query's fieldManager, else the user agent up to its slash."""
    if field_manager:
        return field_manager
    name = user_agent.split("/", 1)[0]
    out = "".join(c for c in name if c.isprintable())
    while len(out.encode()) > MANAGER_LENGTH_MAX:
        out = out[:-1]
    return out


def ignored_fields(schema: Schema | None, subresource: str) -> FieldSet:
    """The fields that a write to this subresource resets, and so never gives to its manager."""
    if schema is None or not schema.name:
        return _NOTHING
    if subresource == "status":
        return _SPEC
    return _STATUS if not subresource else _NOTHING


# --- the two entry points ------------------------------------------------------------------------


def on_create(
    obj: dict[str, Any],
    manager: str,
    api_version: str,
    time: str,
    schema: Schema | None,
    subresource: str = "",
    ignored: FieldSet | None = None,
) -> None:
    """Writes `obj.metadata.managedFields`: the manager owns every field of the new object.

    `time` is RFC 3339 in UTC. `ignored` are fields that the write resets (default: status of the
    built-in kinds).
    """
    if ignored is None:
        ignored = ignored_fields(schema, subresource)
    metadata = obj.setdefault("metadata", {})
    fields = created(root_type(schema), obj, ignored)
    given = metadata.get("managedFields")
    if given:
        managers = decode(given)
        if managers:
            _own(
                managers, Id(manager or _UNKNOWN, "Update", api_version, subresource), fields, time
            )
            _write(metadata, managers)
            return
    if not fields:
        metadata.pop("managedFields", None)
        return
    entry = {
        "manager": manager or _UNKNOWN,
        "operation": "Update",
        "apiVersion": api_version,
        "time": time,
        "fieldsType": "FieldsV1",
        "fieldsV1": fields,
    }
    if subresource:
        entry["subresource"] = subresource
    metadata["managedFields"] = [entry]


def on_update(
    old: dict[str, Any],
    new: dict[str, Any],
    manager: str,
    api_version: str,
    time: str,
    schema: Schema | None,
    subresource: str = "",
    ignored: FieldSet | None = None,
    versions: Versions | None = None,
) -> None:
    """Writes `new.metadata.managedFields`: the manager owns what differs from `old`.

    Both objects are in `api_version`. Entries of `old` that did not change are shared with `new`.
    """
    metadata = new.setdefault("metadata", {})
    live = (old.get("metadata") or {}).get("managedFields")
    given = metadata.get("managedFields")
    base = live
    managers: Managers | None = None
    if given and given != live and not subresource:
        if _is_reset(given):
            metadata.pop("managedFields", None)
            return
        managers = decode(given)
        base = None if managers else live
    if not live and not managers:
        # Nobody has tracked this object so far: that starts when somebody applies.
        metadata.pop("managedFields", None)
        return
    if ignored is None:
        ignored = ignored_fields(schema, subresource)
    t = root_type(schema)
    difference = compare(t, old, new, ignored)
    if base is not None and not difference[0] and not difference[1]:
        metadata["managedFields"] = base
        return
    if managers is None or base is not None:
        managers = trusted(live or [])
    if schema is not None and not schema.name:
        follow_schema(t, managers)
    identity = Id(manager or _UNKNOWN, "Update", api_version, subresource)
    differences = Differences(old, new, api_version, difference, ignored, versions)
    release(managers, differences, identity)
    _own(managers, identity, difference[0], time)
    _write(metadata, managers)


def _own(managers: Managers, identity: Id, fields: FieldSet, time: str) -> None:
    """Adds `fields` to the manager's entry; its time is `time` when there is something to add."""
    if not fields:
        return
    before = managers.get(identity)
    owned = sets.union(before.fields, fields) if before is not None else fields
    managers[identity] = Entry(identity, identity.api_version, time, owned)
    _fold(managers)


def _is_reset(entries: Any) -> bool:
    return bool(entries == [{}])


# --- what a change does to the other managers ----------------------------------------------------


class Differences:
    """One change as the managers of each API version see it."""

    def __init__(
        self,
        old: dict[str, Any],
        new: dict[str, Any],
        api_version: str,
        difference: Difference,
        ignored: FieldSet,
        versions: Versions | None,
    ) -> None:
        self._old = old
        self._new = new
        self._versions = versions
        self._ignored = ignored
        self._known: dict[str, Difference | None] = {api_version: difference}
        self._own = difference

    def seen_at(self, api_version: str) -> Difference | None:
        """The difference in that version's fields; None where the version is no more."""
        if api_version not in self._known:
            self._known[api_version] = self._converted(api_version)
        return self._known[api_version]

    def _converted(self, api_version: str) -> Difference | None:
        if self._versions is None:
            return self._own  # all versions have the same fields
        try:
            t = root_type(self._versions.schema(api_version))
            old = self._versions.convert(self._old, api_version)
            new = self._versions.convert(self._new, api_version)
        except KeyError:
            return None
        return compare(t, old, new, self._ignored)


def release(managers: Managers, differences: Differences, keeper: Id | None) -> None:
    """Takes from every manager what was changed or removed; from `keeper` only what was removed."""
    for identity, entry in list(managers.items()):
        difference = differences.seen_at(entry.api_version)
        if difference is None:
            del managers[identity]
            continue
        changed, removed = difference
        fields = entry.fields
        if changed and identity != keeper:
            fields = sets.difference(fields, changed)
        if removed:
            fields = sets.difference(fields, removed)
        if not fields:
            del managers[identity]
        elif fields is not entry.fields:
            managers[identity] = entry._replace(fields=fields)


def follow_schema(t: Type, managers: Managers) -> None:
    """Owns whole what a custom resource's changed schema now says is atomic."""
    for identity, entry in list(managers.items()):
        fields = _without_parts(t, entry.fields)
        if fields != entry.fields:
            managers[identity] = entry._replace(fields=fields)


def _without_parts(t: Type, fields: FieldSet) -> FieldSet:
    out: FieldSet = {}
    for element, node in fields.items():
        if not node or t.kind == ANY:
            out[element] = node
            continue
        child = t.child(element[2:]) if element[:2] == "f:" else t.items
        out[element] = {} if child.kind == LEAF else _without_parts(child, node)
    return out


def _fold(managers: Managers) -> None:
    """Merges the oldest Update entries, per version, until there are no more than UPDATES_MAX."""
    updates = [e for e in managers.values() if e.id.operation == "Update"]
    excess = len(updates) - UPDATES_MAX
    if excess <= 0:
        return
    updates.sort(key=lambda e: (e.time[:19], e.id))
    first: dict[str, Id] = {}
    for entry in updates:
        if excess <= 0:
            return
        version = entry.api_version
        if version not in first:
            first[version] = entry.id
            continue
        bucket = Id(ANCIENT, "Update", version, "")
        if bucket not in managers:
            managers[bucket] = managers.pop(first[version])._replace(id=bucket)
        if entry.id == bucket:
            continue
        merged = sets.union(entry.fields, managers[bucket].fields)
        managers[bucket] = Entry(bucket, version, entry.time, merged)
        managers.pop(entry.id, None)
        excess -= 1


# --- reading and writing the entries -------------------------------------------------------------


def trusted(entries: list[dict[str, Any]]) -> Managers:
    """The managers of a stored object, whose entries the server wrote itself."""
    managers: Managers = {}
    for entry in entries:
        applied = entry["operation"] == "Apply"
        version = entry["apiVersion"]
        identity = Id(
            entry.get("manager", ""),
            entry["operation"],
            "" if applied else version,
            entry.get("subresource", ""),
        )
        managers[identity] = Entry(identity, version, entry.get("time", ""), entry["fieldsV1"])
    return managers


def decode(entries: Any) -> Managers | None:
    """The managers that a client gives, checked; None where anything is wrong with them."""
    managers: Managers = {}
    if not isinstance(entries, list):
        return None
    for entry in entries:
        if (
            not isinstance(entry, dict)
            or entry.get("operation") not in ("Apply", "Update")
            or not isinstance(entry.get("apiVersion"), str)
            or not entry["apiVersion"]
            or entry.get("fieldsType") != "FieldsV1"
        ):
            return None
        try:
            fields = sets.decode(entry.get("fieldsV1") or {})
        except sets.FieldSetError:
            return None
        managers |= trusted([{**entry, "fieldsV1": fields}])
    return managers


def encode(managers: Managers) -> list[dict[str, Any]]:
    """The entries in Kubernetes' order: operation, time, manager, version, subresource."""
    out = []
    for entry in sorted(managers.values(), key=_entry_order):
        encoded: dict[str, Any] = {
            "manager": entry.id.manager,
            "operation": entry.id.operation,
            "apiVersion": entry.api_version,
        }
        if entry.time:
            encoded["time"] = entry.time
        encoded["fieldsType"] = "FieldsV1"
        encoded["fieldsV1"] = entry.fields
        if entry.id.subresource:
            encoded["subresource"] = entry.id.subresource
        out.append(encoded)
    return out


def _entry_order(entry: Entry) -> tuple[str, ...]:
    i = entry.id
    return (i.operation, entry.time, i.manager, entry.api_version, i.subresource)


def _write(metadata: dict[str, Any], managers: Managers) -> None:
    if managers:
        metadata["managedFields"] = encode(managers)
    else:
        metadata.pop("managedFields", None)


def keep_times(old: dict[str, Any], new: dict[str, Any]) -> None:
    """Takes back the times of `new`'s entries when nothing but these times differs from `old`.

    Called last before storing, so that a request that changes nothing writes nothing.
    """
    before, after = old.get("metadata") or {}, new.get("metadata") or {}
    entries, others = before.get("managedFields"), after.get("managedFields")
    if not entries or not others or len(entries) != len(others) or entries is others:
        return
    if sorted(map(_timeless, entries), key=repr) != sorted(map(_timeless, others), key=repr):
        return
    passed = ("managedFields", "resourceVersion")
    same_metadata = {k: v for k, v in before.items() if k not in passed} == {
        k: v for k, v in after.items() if k not in passed
    }
    if same_metadata and all(
        old.get(k) == new.get(k) for k in old.keys() | new.keys() if k != "metadata"
    ):
        after["managedFields"] = entries


def _timeless(entry: dict[str, Any]) -> dict[str, Any]:
    return {k: entry[k] for k in sorted(entry) if k != "time"}
