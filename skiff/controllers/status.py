"""Writing a status only where it changed, and conditions that keep their times. Pure but for `write`."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from skiff.aio.clock import rfc3339
from skiff.api.views.base import ObjectView, View, as_json
from skiff.client.client import Client

Condition = dict[str, Any]


def conditions_of(views: Iterable[View]) -> list[Condition]:
    """Conditions as dicts, to build the next status from."""
    return [as_json(view) for view in views]


def find(conditions: Iterable[Condition], kind: str) -> Condition | None:
    """The condition of that type."""
    return next((c for c in conditions if c["type"] == kind), None)


def set_condition(
    conditions: list[Condition], kind: str, status: str, reason: str, message: str, now: float
) -> bool:
    """Set the condition in place; its transition time moves only with its status. True if changed."""
    old = find(conditions, kind)
    new = {"type": kind, "status": status, "lastTransitionTime": rfc3339(now)}
    new |= {k: v for k, v in (("reason", reason), ("message", message)) if v}
    if old is None:
        conditions.append(new)
        return True
    if old["status"] == status:
        new["lastTransitionTime"] = old.get("lastTransitionTime", new["lastTransitionTime"])
    if old == new:
        return False
    conditions[conditions.index(old)] = new
    return True


def remove_condition(conditions: list[Condition], kind: str) -> None:
    """Remove the condition in place."""
    conditions[:] = [c for c in conditions if c["type"] != kind]


def changes(
    old: Mapping[str, Any], new: Mapping[str, Any], required: Collection[str] = ()
) -> dict[str, Any]:
    """The merge patch from `old` to `new`. A zero value is the same as an absent one, and is
    removed, unless the field is `required`: then it is written as it is."""
    patch: dict[str, Any] = {}
    for key in (*old, *(k for k in new if k not in old)):
        before, after = old.get(key) or None, new.get(key) or None
        if before == after:
            continue
        if isinstance(before, dict) and isinstance(after, dict):
            patch[key] = changes(before, after)
        else:
            patch[key] = new.get(key) if key in required else after
    return patch


async def write(
    client: Client,
    obj: ObjectView,
    old: View,
    new: Mapping[str, Any],
    required: Collection[str] = (),
    *,
    precise: bool = False,
    present: Collection[str] = (),
) -> bool:
    """Patch the status of `obj` from `old` to `new` (field names as on the wire) if they differ.
    Fields of `present` are written with every change even where they are zero: on the wire they
    are pointers, and there from the first write on.

    `precise` raises Conflict where the object has changed since it was seen: for statuses that
    count what happened.
    """
    patch = changes(as_json(old), new, required)
    if not patch:
        return False
    for key in present:
        if new.get(key) is not None and not new[key]:
            before = as_json(old).get(key)
            patch[key] = dict.fromkeys(before) if isinstance(before, dict) else new[key]
    meta = obj.metadata
    precondition = {"uid": meta.uid}
    if precise:
        precondition["resourceVersion"] = meta.resource_version
    body = {"metadata": precondition, "status": patch}
    await client.patch(obj.RESOURCE, meta.name, meta.namespace, body, subresource="status")
    return True
