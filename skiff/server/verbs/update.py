"""update, and what update and patch have in common: from an old and a new object to the store.

A write starts from the newest entry, writes under way included, so that it conflicts only with what
really came between: while admission webhooks were asked.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from skiff.aio.http.message import Response
from skiff.api.errors import ApiError, BadRequest
from skiff.api.kinds import invalid_object
from skiff.api.kinds.errors import FieldError
from skiff.server.engine import Engine, encode
from skiff.server.managed import manager_of
from skiff.server.options import WriteOptions, write_options
from skiff.server.seams import Attributes, Call
from skiff.server.served import Served
from skiff.server.verbs.answer import answer
from skiff.server.verbs.body import dedup_owners, read_object
from skiff.server.verbs.create import create_object, wipe_system_fields
from skiff.store.protocol import Conflict, Entry

Object = dict[str, Any]
Change = Callable[[Object], Object]

RETRIES = 5
"""How often a write without a resourceVersion of its own starts again from the newest object."""


@dataclass(slots=True)
class Target:
    """Which object a write is to, and under which options."""

    call: Call
    served: Served
    namespace: str
    name: str
    subresource: str
    options: WriteOptions
    options_kind: str = "UpdateOptions"

    def attributes(self) -> Attributes:
        return Attributes(
            "UPDATE",
            self.call.user,
            self.served.resource,
            self.subresource,
            self.namespace,
            self.name,
            self.options.dry_run,
            {"kind": self.options_kind, "apiVersion": "meta.k8s.io/v1"},
            self.call.warnings,
        )

    def manager(self) -> str:
        return manager_of(self.options.manager, self.call.request.headers.get("user-agent", ""))


def target_of(call: Call, served: Served, options: WriteOptions, options_kind: str) -> Target:
    info = call.info
    namespace = info.namespace if served.namespaced else ""
    return Target(call, served, namespace, info.name, info.subresource, options, options_kind)


async def update(engine: Engine, call: Call, served: Served) -> Response:
    """PUT of an object or of one of its subresources that has the object's own kind."""
    options = write_options(call.info, "UpdateOptions")
    target = target_of(call, served, options, "UpdateOptions")
    warnings = list(call.warnings)
    for _ in range(RETRIES):
        call.warnings[:] = warnings
        new = read_object(call, served, options)
        metadata = new["metadata"]
        check_names(target, metadata)
        dedup_owners(call, metadata)
        wanted = metadata.get("resourceVersion", "")
        if wanted == "0":
            wanted = ""
        entry = engine.latest(served, target.namespace, target.name)
        if entry is None:
            if served.strategy.create_on_update and not target.subresource:
                return await _create(engine, target, new)
            raise served.not_found(target.name)
        old = _decode(served, entry)
        check_uid(target, metadata, old)
        if not wanted:
            if not served.strategy.unconditional_update:
                raise _revision_required(served, target.name)
        elif wanted != str(entry.revision):
            raise served.conflict(target.name)
        engine.managed.updated(served, old, new, target.manager(), target.subresource, engine.now())
        try:
            value = await store_update(engine, target, entry, old, new)
        except Conflict:
            if wanted:
                raise served.conflict(target.name) from None
            continue
        return answer(engine, call, served, value)
    raise served.conflict(target.name)


async def _create(engine: Engine, target: Target, obj: Object) -> Response:
    """A PUT to a name that does not exist, for kinds that allow it."""
    metadata = obj["metadata"]
    if metadata.get("uid"):
        raise _uid_conflict(target, metadata["uid"], "")
    wipe_system_fields(metadata)
    metadata.pop("resourceVersion", None)
    metadata.pop("managedFields", None)
    served = target.served
    engine.managed.created(served, obj, target.manager(), engine.now())
    value = await create_object(engine, target.call, served, obj, target.options)
    return answer(engine, target.call, served, value, 201)


def check_names(target: Target, metadata: Object) -> None:
    """The body's name and namespace must be the URL's. Raises BadRequest."""
    name = metadata.get("name", "")
    if not name:
        raise BadRequest(
            f"the name of the object ({target.name} based on URL) was undeterminable: "
            "name must be provided"
        )
    if name != target.name:
        raise BadRequest(
            f"the name of the object ({name}) does not match the name on the URL ({target.name})"
        )
    if target.served.namespaced:
        namespace = metadata.get("namespace", "")
        if namespace and namespace != target.namespace:
            raise BadRequest(
                "the namespace of the provided object does not match the namespace sent on the "
                "request"
            )
        metadata["namespace"] = target.namespace


def check_uid(target: Target, metadata: Object, old: Object) -> None:
    """A UID in the new object is a precondition. Raises Conflict."""
    uid = metadata.get("uid")
    found = old["metadata"].get("uid", "")
    if uid and uid != found:
        raise _uid_conflict(target, uid, found)


def _uid_conflict(target: Target, uid: str, found: str) -> ApiError:
    """In the words of Kubernetes' store, which tell its key and a code."""
    place = (target.namespace, target.name) if target.served.namespaced else (target.name,)
    key = "/".join(("/registry", target.served.resource.plural, *place))
    return target.served.conflict(
        target.name,
        f"StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, "
        f"AdditionalErrorMsg: Precondition failed: UID in precondition: {uid}, "
        f"UID in object meta: {found}",
    )


def _revision_required(served: Served, name: str) -> ApiError:
    error = FieldError(
        "FieldValueInvalid", "metadata.resourceVersion", "must be specified for an update", 0
    )
    return invalid_object(served.resource, name, [error])


def _decode(served: Served, entry: Entry) -> Object:
    """A stored object in the version of the request."""
    old: Object = orjson.loads(entry.value)
    return served.from_storage(old) if served.from_storage is not None else old


async def store_update(
    engine: Engine, target: Target, entry: Entry, old: Object, new: Object
) -> bytes:
    """Admit, prepare, validate and store `new` over `old` (both in the request's version; `entry` is
    what was read). Returns the stamped bytes. Raises ApiError, store Conflict."""
    served = target.served
    attributes = target.attributes()
    waiting = engine.admission.admit(attributes, new, old)
    if waiting is not None:
        await waiting
    if served.to_storage is not None:
        new, old = served.to_storage(new), orjson.loads(entry.value)
    strategy = served.strategy
    _keep_system_fields(new["metadata"], old["metadata"])
    strategy.prepare_update(new, old, target.subresource)
    served.hooks.set_times(engine, new, old)
    finish = None
    if not target.subresource:
        finish = served.hooks.begin_update(engine, new, old, dry_run=target.options.dry_run)
    done = False
    try:
        errors = strategy.validate(new) + strategy.validate_update(new, old, target.subresource)
        if errors:
            raise invalid_object(served.resource, target.name, errors)
        warnings = strategy.warnings(new, old)
        if warnings:
            target.call.warnings.extend(warnings)
        waiting = engine.admission.validate(attributes, new, old)
        if waiting is not None:
            await waiting
        value = await _commit(engine, target, entry, old, new)
        done = not target.options.dry_run
        return value
    finally:
        if finish is not None:
            finish(done)


def _keep_system_fields(new: Object, old: Object) -> None:
    """What a client may leave out, and what it can never take away."""
    for name in ("uid", "creationTimestamp"):
        if not new.get(name) and name in old:
            new[name] = old[name]
    new.pop("selfLink", None)
    new.pop("generation", None)
    if old.get("generation"):
        new["generation"] = old["generation"]
    if old.get("deletionTimestamp"):
        new["deletionTimestamp"] = old["deletionTimestamp"]
        if new.get("deletionGracePeriodSeconds") is None and "deletionGracePeriodSeconds" in old:
            new["deletionGracePeriodSeconds"] = old["deletionGracePeriodSeconds"]
    new["resourceVersion"] = old["resourceVersion"]


async def _commit(engine: Engine, target: Target, entry: Entry, old: Object, new: Object) -> bytes:
    served = target.served
    if served.hooks.gone_on_update(new, old):
        # The last thing that held a deleted object is gone with this update.
        if not target.options.dry_run:
            await engine.remove(entry.key, entry.revision)
            served.hooks.deleted(engine, old)
        return orjson.dumps(new)
    if new == old:
        return entry.value
    if target.options.dry_run:
        encoded = encode(dict(new, metadata=dict(new["metadata"])))
        at = encoded.index(b'"metadata":{') + 12
        return b'%b"resourceVersion":"%d",%b' % (encoded[:at], entry.revision, encoded[at:])
    return await engine.commit(served, entry.key, new, entry.revision)
