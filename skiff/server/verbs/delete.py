"""delete and deletecollection: at once, gracefully, or when the finalizers allow it.

An object with finalizers, or whose kind ends gracefully, is first marked (deletionTimestamp) and goes
when the last of them is gone. The propagation policy becomes a finalizer that the garbage collector
works off.

Source: https://kubernetes.io/docs/concepts/architecture/garbage-collection/ and
https://kubernetes.io/docs/concepts/overview/working-with-objects/finalizers/
"""

import asyncio
from dataclasses import dataclass
from typing import Any

import orjson

from skiff.aio.clock import parse_rfc3339, rfc3339
from skiff.aio.http.message import Response
from skiff.api.errors import ApiError, BadRequest, NotFound
from skiff.api.errors import Conflict as ConflictError
from skiff.server import negotiate
from skiff.server.engine import Engine, decode, encode
from skiff.server.options import DeleteOptions, delete_options, list_options
from skiff.server.seams import Attributes, Call
from skiff.server.served import Served
from skiff.server.verbs.answer import answer, answer_object
from skiff.store.protocol import Conflict, Entry

Object = dict[str, Any]
_SCHEME = "k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27"

ORPHAN = "orphan"
FOREGROUND = "foregroundDeletion"
RETRIES = 5
BATCH = 100
"""Deletions of a collection that are staged before their commits are awaited."""


@dataclass(slots=True)
class Deleted:
    """How a deletion ended: `value` is the object as it now is (or last was); `gone` says that it
    is no more."""

    value: bytes
    gone: bool


def read_options(call: Call) -> DeleteOptions:
    """The DeleteOptions of a call. Raises BadRequest, Invalid."""
    request = call.request
    body: Object | None = None
    if request.body.strip():
        content_type = request.headers.get("content-type", "")
        body = negotiate.decode_body(content_type, request.body, "DeleteOptions")
        kind = body.get("kind")
        if kind and kind != "DeleteOptions":
            version = body.get("apiVersion") or "v1"
            raise BadRequest(
                f'no kind "{kind}" is registered for version "{version}" in scheme "{_SCHEME}"'
            )
    return delete_options(call.info, body)


async def delete(engine: Engine, call: Call, served: Served) -> Response:
    """DELETE of one object."""
    options = read_options(call)
    namespace = call.info.namespace if served.namespaced else ""
    done = await delete_object(engine, call, served, namespace, call.info.name, options)
    status = 200
    if not done.gone and (options.orphan is False or options.policy == "Foreground"):
        status = 202
    if done.gone and not served.hooks.returns_deleted:
        return answer_object(call, success(served, done.value), status)
    return answer(engine, call, served, done.value, status)


def success(served: Served, value: bytes) -> Object:
    """The Status that says which object was deleted."""
    metadata = orjson.loads(value)["metadata"]
    details: Object = {"name": metadata["name"]}
    if served.resource.group:
        details["group"] = served.resource.group
    details["kind"] = served.resource.plural
    details["uid"] = metadata.get("uid", "")
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": details,
    }


async def delete_object(
    engine: Engine, call: Call, served: Served, namespace: str, name: str, options: DeleteOptions
) -> Deleted:
    """Delete one object as `options` say. Raises ApiError."""
    for _ in range(RETRIES):
        entry = engine.latest(served, namespace, name)
        if entry is None:
            raise served.not_found(name)
        old = decode(entry)
        check_preconditions(served, name, old["metadata"], options)
        attributes = Attributes(
            "DELETE", call.user, served.resource, "", namespace, name, options.dry_run,
            {"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1", **options.raw}, call.warnings,
        )  # fmt: skip
        for step in (engine.admission.admit, engine.admission.validate):
            waiting = step(attributes, None, old)
            if waiting is not None:
                await waiting
        try:
            return await _delete(engine, served, entry, old, options)
        except Conflict:
            continue
    raise served.conflict(name)


def check_preconditions(
    served: Served, name: str, metadata: Object, options: DeleteOptions
) -> None:
    """The object must still be the one that the client means. Raises Conflict."""
    if options.uid and options.uid != metadata.get("uid"):
        raise _unmet(
            served,
            name,
            f"the UID in the precondition ({options.uid}) does not match the UID in record "
            f"({metadata.get('uid', '')}). The object might have been deleted and then recreated",
        )
    if options.revision and options.revision != metadata["resourceVersion"]:
        raise _unmet(
            served,
            name,
            f"the ResourceVersion in the precondition ({options.revision}) does not match the "
            f"ResourceVersion in record ({metadata['resourceVersion']}). "
            "The object might have been modified",
        )


def _unmet(served: Served, name: str, why: str) -> ApiError:
    """The conflict of a precondition of a delete, which names the kind where others name the resource."""
    resource = served.resource
    what = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    return ConflictError(
        f'Operation cannot be fulfilled on {what} "{name}": {why}',
        group=resource.group,
        kind=resource.kind,
        name=name,
    )


async def _delete(
    engine: Engine, served: Served, entry: Entry, old: Object, options: DeleteOptions
) -> Deleted:
    """One attempt, on the entry that was read. Raises store Conflict."""
    if served.hooks.delete_first(obj := orjson.loads(entry.value), engine.now()):
        return await _mark(engine, served, entry, old, obj, options)
    obj = orjson.loads(entry.value)
    metadata = obj["metadata"]
    graceful, pending = _grace(engine, served, obj, options)
    if pending:
        return Deleted(entry.value, gone=False)
    finalizers = _finalizers(served, metadata, options)
    if finalizers:
        metadata["finalizers"] = finalizers
    else:
        metadata.pop("finalizers", None)
    if finalizers and not graceful:
        _mark_deleting(metadata, engine.now())
    if finalizers or (graceful and metadata.get("deletionGracePeriodSeconds")):
        return await _mark(engine, served, entry, old, obj, options)
    if options.dry_run:
        return Deleted(entry.value, gone=True)
    value, revision = entry.value, entry.revision
    if graceful and not old["metadata"].get("deletionTimestamp"):
        # Watchers see the object marked before it goes, as its last content.
        engine.stage(served, entry.key, obj, revision)
        marked = engine.store.latest(entry.key)
        assert marked is not None
        value, revision = marked.value, marked.revision
        await engine.remove(entry.key, revision)
    else:
        await engine.remove(entry.key, revision)
    served.hooks.deleted(engine, old)
    return Deleted(value, gone=True)


async def _mark(
    engine: Engine, served: Served, entry: Entry, old: Object, obj: Object, options: DeleteOptions
) -> Deleted:
    """Store the marked object; it goes later."""
    if obj == old:
        return Deleted(entry.value, gone=False)
    if options.dry_run:
        return Deleted(encode(obj), gone=False)
    return Deleted(await engine.commit(served, entry.key, obj, entry.revision), gone=False)


def _grace(
    engine: Engine, served: Served, obj: Object, options: DeleteOptions
) -> tuple[bool, bool]:
    """Mark `obj` for a graceful end where its kind has one. Returns (graceful, pending): pending
    where a deletion is under way already and this call changes nothing of it."""
    metadata = obj["metadata"]
    marked_at = metadata.get("deletionTimestamp")
    period = served.hooks.grace_s(obj, options)
    if period is None:
        return False, False
    if marked_at:
        before = metadata.get("deletionGracePeriodSeconds")
        if not before:
            return False, False
        if options.grace_s is None or options.grace_s >= before:
            return False, True
        # Only a shorter period may be asked for; it counts from the first request.
        at = parse_rfc3339(marked_at) - before + options.grace_s
        metadata["deletionTimestamp"] = rfc3339(at)
        metadata["deletionGracePeriodSeconds"] = options.grace_s
        return True, False
    metadata["deletionTimestamp"] = rfc3339(engine.clock.now() + period)
    metadata["deletionGracePeriodSeconds"] = period
    if metadata.get("generation"):
        metadata["generation"] += 1
    return True, False


def _mark_deleting(metadata: Object, now: str) -> None:
    """Mark an object that waits for its finalizers alone."""
    if metadata.get("generation") and not metadata.get("deletionTimestamp"):
        metadata["generation"] += 1
    if not metadata.get("deletionTimestamp") or metadata["deletionTimestamp"] > now:
        metadata["deletionTimestamp"] = now
    metadata["deletionGracePeriodSeconds"] = 0


def _finalizers(served: Served, metadata: Object, options: DeleteOptions) -> list[str]:
    """The object's finalizers with those of garbage collection that the policy asks for."""
    found: list[str] = metadata.get("finalizers") or []
    if not served.hooks.collects_garbage:
        return found
    orphan = _wants(ORPHAN, found, options, served.hooks.orphans_by_default)
    foreground = not orphan and _wants(FOREGROUND, found, options, default=False)
    kept = [f for f in found if f not in (ORPHAN, FOREGROUND)]
    if orphan:
        kept.append(ORPHAN)
    if foreground:
        kept.append(FOREGROUND)
    return kept


def _wants(finalizer: str, found: list[str], options: DeleteOptions, default: bool) -> bool:
    """What the options say explicitly, else what the object carries, else the kind's way."""
    policy = "Orphan" if finalizer == ORPHAN else "Foreground"
    if options.orphan is not None:
        return options.orphan and finalizer == ORPHAN
    if options.policy:
        return options.policy == policy
    if ORPHAN in found or FOREGROUND in found:
        return finalizer in found
    return default


async def delete_collection(engine: Engine, call: Call, served: Served) -> Response:
    """DELETE of a collection: every object that the selectors choose. Answers with the list."""
    options = read_options(call)
    selection = list_options(call.info)
    for field, _, _ in selection.fields.terms:
        served.strategy.check_field_label(field)
    namespace = call.info.namespace if served.namespaced else ""
    page = engine.lister.page(served.index, namespace, selection, engine.cache.revision)
    metadata: Object = {"resourceVersion": str(page.revision)}
    token = engine.lister.token(served.index, page)
    if token:
        metadata["continue"] = token
    values: list[bytes | None] = [None] * len(page.items)

    async def one(at: int, key: str) -> None:
        within, name = served.index.names(key)
        try:
            values[at] = (await delete_object(engine, call, served, within, name, options)).value
        except NotFound:
            pass  # gone meanwhile, as was asked

    for start in range(0, len(page.items), BATCH):
        try:
            async with asyncio.TaskGroup() as group:
                for at, item in enumerate(page.items[start : start + BATCH], start):
                    group.create_task(one(at, item.key), name=f"delete {item.key}")
        except* ApiError as errors:
            raise _first(errors) from None
    deleted = [orjson.loads(served.presenter.object(v)) for v in values if v is not None]
    resource = served.resource
    out = {
        "kind": resource.list_kind,
        "apiVersion": resource.api_version,
        "metadata": metadata,
        "items": deleted,
    }
    return answer_object(call, out)


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """One of the errors that ended a batch."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
