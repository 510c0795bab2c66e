"""create: a new object, from a body or from a server-side apply that found nothing.

Order, as in Kubernetes: decode and default, managed fields, mutating admission, name and system
fields, the kind's preparation, allocation, validation, validating admission, commit.
"""

from typing import Any

from skiff.aio.http.message import Response
from skiff.api.errors import ApiError, BadRequest
from skiff.api.kinds import invalid_object
from skiff.server.engine import Engine, decode, encode
from skiff.server.managed import manager_of
from skiff.server.options import WriteOptions, write_options
from skiff.server.seams import Attributes, Call
from skiff.server.served import Served
from skiff.server.verbs.answer import answer
from skiff.server.verbs.body import check_namespace, dedup_owners, read_object
from skiff.store.protocol import Conflict

Object = dict[str, Any]

GENERATE_ATTEMPTS = 8
NAME_MAX_BYTES = 63
_SUFFIX_BYTES = 5
_CREATED = 201


class RevisionOnCreate(ApiError):
    """An object to be created carries a resourceVersion."""

    code = 500
    reason = ""


async def create(engine: Engine, call: Call, served: Served) -> Response:
    """POST to a collection."""
    options = write_options(call.info, "CreateOptions")
    obj = read_object(call, served, options)
    metadata = obj["metadata"]
    check_namespace(call, served, metadata)
    if not metadata.get("name") and not metadata.get("generateName"):
        metadata["name"] = ""
    dedup_owners(call, metadata)
    wipe_system_fields(metadata)
    if metadata.get("resourceVersion"):
        if metadata["resourceVersion"] != "0":
            raise RevisionOnCreate("resourceVersion should not be set on objects to be created")
        del metadata["resourceVersion"]
    manager = manager_of(options.manager, call.request.headers.get("user-agent", ""))
    engine.managed.created(served, obj, manager, engine.now())
    value = await create_object(engine, call, served, obj, options)
    return answer(engine, call, served, value, _CREATED)


def wipe_system_fields(metadata: Object) -> None:
    """What only the server sets is cleared, whatever the client sent."""
    for name in ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds",
                 "selfLink", "generation"):  # fmt: skip
        metadata.pop(name, None)


def create_attributes(
    call: Call, served: Served, metadata: Object, options: WriteOptions
) -> Attributes:
    return Attributes(
        "CREATE",
        call.user,
        served.resource,
        "",
        metadata.get("namespace", "") if served.namespaced else "",
        metadata.get("name", ""),
        options.dry_run,
        {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"},
        call.warnings,
    )


async def create_object(
    engine: Engine, call: Call, served: Served, obj: Object, options: WriteOptions
) -> bytes:
    """Admit, prepare, validate and store a decoded object; returns its stamped bytes."""
    metadata = obj["metadata"]
    attributes = create_attributes(call, served, metadata, options)
    waiting = engine.admission.admit(attributes, obj, None)
    if waiting is not None:
        await waiting
    metadata = obj["metadata"]
    dedup_owners(call, metadata)
    if served.to_storage is not None:
        obj = served.to_storage(obj)
        metadata = obj["metadata"]
    if not served.namespaced and metadata.get("namespace"):
        raise BadRequest("namespace is not allowed on this type")
    metadata["uid"] = engine.entropy.uid()
    metadata["creationTimestamp"] = engine.now()
    generated = not metadata.get("name") and bool(metadata.get("generateName"))
    for attempt in range(GENERATE_ATTEMPTS):
        if generated:
            metadata["name"] = generate_name(engine, metadata["generateName"])
        try:
            return await _store(engine, call, served, obj, attributes, options)
        except Conflict as conflict:
            if not generated or attempt == GENERATE_ATTEMPTS - 1:
                raise _exists(served, metadata["name"], conflict) from None
    raise AssertionError("unreachable")


def generate_name(engine: Engine, prefix: str) -> str:
    """`prefix` with a random suffix, cut so that the whole fits a name."""
    return prefix[: NAME_MAX_BYTES - _SUFFIX_BYTES] + engine.entropy.suffix()


def _exists(served: Served, name: str, conflict: Conflict) -> ApiError:
    current = conflict.current
    if current is not None and decode(current)["metadata"].get("deletionTimestamp"):
        return served.already_exists(name, "object is being deleted: ")
    return served.already_exists(name)


async def _store(
    engine: Engine,
    call: Call,
    served: Served,
    obj: Object,
    attributes: Attributes,
    options: WriteOptions,
) -> bytes:
    strategy = served.strategy
    strategy.prepare_create(obj)
    finish = served.hooks.begin_create(engine, obj, dry_run=options.dry_run)
    done = False
    try:
        metadata = obj["metadata"]
        errors = strategy.validate_create(obj)
        if errors:
            raise invalid_object(served.resource, metadata.get("name", ""), errors)
        warnings = strategy.warnings(obj)
        if warnings:
            call.warnings.extend(warnings)
        waiting = engine.admission.validate(attributes, obj, None)
        if waiting is not None:
            await waiting
        key = served.index.key(metadata.get("namespace", ""), metadata["name"])
        if options.dry_run:
            current = engine.store.latest(key)
            if current is not None:
                raise Conflict(key, 0, current)
            return encode(obj)
        value = await engine.commit(served, key, obj, 0)
        done = True
        return value
    finally:
        if finish is not None:
            finish(done)
