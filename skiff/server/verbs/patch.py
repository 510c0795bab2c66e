"""patch: JSON patch, merge patch, strategic merge patch, server-side apply.

A patch is computed on the newest object and started again on a newer one if, while admission was
asked, another write came first.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#patch-and-apply
"""

from typing import Any

import orjson

from skiff.aio.http.message import Response
from skiff.api.errors import BadRequest, Cause, Invalid, UnsupportedMediaType
from skiff.api.patch import json_patch, merge_patch, strategic_patch
from skiff.api.patch.values import go_text, kind
from skiff.api.schema.duplicates import duplicate_fields
from skiff.api.schema.restore import restore_fault
from skiff.server import negotiate
from skiff.server.engine import Engine
from skiff.server.json_faults import json_fault
from skiff.server.options import WriteOptions, invalid_options, write_options
from skiff.server.seams import Call
from skiff.server.served import Served
from skiff.server.verbs.answer import answer
from skiff.server.verbs.body import accept_object, dedup_owners
from skiff.server.verbs.create import create_object, wipe_system_fields
from skiff.server.verbs.update import (
    RETRIES,
    Target,
    check_names,
    check_uid,
    store_update,
    target_of,
)
from skiff.store.protocol import Conflict, Entry

Object = dict[str, Any]

JSON_PATCH = "application/json-patch+json"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"
_TYPES = (JSON_PATCH, MERGE, STRATEGIC, APPLY)


async def patch(engine: Engine, call: Call, served: Served) -> Response:
    """PATCH of an object or of one of its subresources that has the object's own kind."""
    media = patch_type(call)
    options = write_options(call.info, "PatchOptions")
    check_patch_options(options, media)
    target = target_of(call, served, options, "PatchOptions")
    for _ in range(RETRIES):
        entry = engine.latest(served, target.namespace, target.name)
        if entry is None and media != APPLY:
            raise served.not_found(target.name)
        try:
            if media == APPLY:
                value, status = await _apply(engine, target, entry)
            else:
                assert entry is not None
                value, status = await _patch(engine, target, entry, media), 200
        except Conflict:
            continue
        return answer(engine, call, served, value, status)
    raise served.conflict(target.name)


def patch_type(call: Call) -> str:
    """The kind of patch in the body. Raises UnsupportedMediaType."""
    media = negotiate.media_type(call.request.headers.get("content-type", ""))
    if media not in _TYPES:
        raise UnsupportedMediaType("415: Unsupported Media Type", generic=True)
    return media


def check_patch_options(options: WriteOptions, media: str) -> None:
    """Apply needs a manager; only apply can be forced. Raises Invalid."""
    if media == APPLY and not options.manager:
        text = "Required value: is required for apply patch"
        raise invalid_options("PatchOptions", [Cause("FieldValueRequired", text, "fieldManager")])
    if media != APPLY and options.force is not None:
        text = "Forbidden: may not be specified for non-apply patch"
        raise invalid_options("PatchOptions", [Cause("FieldValueForbidden", text, "force")])


def read_patch(call: Call, media: str, validation: str) -> Any:
    """The decoded patch. Raises BadRequest."""
    body = call.request.body
    if media == APPLY:
        return _read_config(body)
    looked_at = media != STRATEGIC and validation != "Ignore"
    try:
        found = negotiate.load_json(body)
    except orjson.JSONDecodeError as e:
        if media == MERGE and not looked_at:
            raise BadRequest("Invalid JSON Patch") from None
        why = json_fault(body, e.msg)
        raise BadRequest(f"error decoding patch: {why}" if looked_at else why) from None
    if looked_at:
        _check_form(found, media)
    return found


def _read_config(body: bytes) -> Any:
    """The body of an apply: YAML, or JSON, which is YAML too."""
    if body[:1] == b"{":
        try:
            return negotiate.load_json(body)
        except orjson.JSONDecodeError:
            pass  # flow style YAML, or nothing: YAML's decoder tells
    found = negotiate.load_config(body)
    if found is not None and not isinstance(found, dict):
        raise BadRequest(
            "error decoding YAML: error unmarshaling JSON: while decoding JSON: json: cannot "
            f"unmarshal {kind(found)} into Go value of type map[string]interface {{}}"
        )
    return found or {}


def _check_form(found: Any, media: str) -> None:
    """What the strict reading of a JSON patch or a merge patch refuses. Raises BadRequest."""
    if found is None:
        return
    if media == MERGE:
        if not isinstance(found, dict):
            raise _undecodable(found, "value of type map[string]interface {}")
        return
    if not isinstance(found, list):
        raise _undecodable(found, "value of type []handlers.jsonPatchOp")
    for operation in found:
        if operation is not None and not isinstance(operation, dict):
            raise _undecodable(operation, "value of type handlers.jsonPatchOp")
        for member in ("op", "path", "from"):
            value = operation.get(member) if operation else None
            if value is not None and not isinstance(value, str):
                raise _undecodable(value, f"struct field jsonPatchOp.{member} of type string")


def _undecodable(value: Any, what: str) -> BadRequest:
    return BadRequest(f"error decoding patch: json: cannot unmarshal {kind(value)} into Go {what}")


def compute(served: Served, current: Object, media: str, body: Any) -> Object:
    """`current` with a decoded patch applied; `current` is left alone. Raises ApiError."""
    if media == JSON_PATCH:
        return json_patch(current, body)
    if media == MERGE:
        return merge_patch(current, body)
    try:
        schema = served.schema
    except KeyError:
        raise UnsupportedMediaType(
            "the body of the request was in an unknown format - accepted media types include: "
            f"{JSON_PATCH}, {MERGE}, {APPLY}"
        ) from None
    return strategic_patch(current, body, schema)


async def _patch(engine: Engine, target: Target, entry: Entry, media: str) -> bytes:
    served, call = target.served, target.call
    old: Object = orjson.loads(entry.value)
    if served.from_storage is not None:
        old = served.from_storage(old)
    body = read_patch(call, media, target.options.validation)
    new = compute(served, old, media, body)
    if media == STRATEGIC:
        # Kubernetes restores the object by its type there: what a patch calls it is passed over.
        new |= {k: old[k] for k in ("apiVersion", "kind") if isinstance(new.get(k), str)}
    try:
        repeated = _repeated(target, media, body)
        accept_object(call, served, new, target.options.validation, b"")
    except BadRequest as e:
        why = e.message.partition(": ")[2] or e.message
        again = read_patch(call, media, target.options.validation)
        raise _bad_result(served, old, media, again, why) from None
    if repeated:
        call.warnings.extend(repeated)
    metadata = new["metadata"]
    check_names(target, metadata)
    check_uid(target, metadata, old)
    wanted = metadata.get("resourceVersion", "")
    if wanted and wanted not in ("0", old["metadata"]["resourceVersion"]):
        raise served.conflict(target.name)
    dedup_owners(call, metadata)
    engine.managed.updated(served, old, new, target.manager(), target.subresource, engine.now())
    return await store_update(engine, target, entry, old, new)


def _repeated(target: Target, media: str, body: Any) -> list[str]:
    """Warnings of fields that the patch gives twice. Raises BadRequest where that is an error."""
    validation = target.options.validation
    if validation == "Ignore" or media not in (MERGE, STRATEGIC) or not isinstance(body, dict):
        return []
    try:
        found = duplicate_fields(target.call.request.body, body, target.served.schema)
    except KeyError:
        return []
    texts = [f'duplicate field "{path}"' for path in found]
    if texts and validation == "Strict":
        raise BadRequest(f"patch: strict decoding error: {', '.join(texts)}")
    return texts


def _bad_result(served: Served, old: Object, media: str, body: Any, why: str) -> Invalid:
    """The 422 for a patch whose result is no object of the kind: it shows a strategic merge patch as
    Go prints it, else the result."""
    made = compute(served, old, media, body)
    if media == STRATEGIC:
        text = go_text(body)
        why = restore_fault(served.schema, made) or why
    else:
        text = orjson.dumps(made).decode()
    detail = f"Invalid value: {orjson.dumps(text).decode()}: {why}"
    return Invalid(
        f' "" is invalid: patch: {detail}', causes=[Cause("FieldValueInvalid", detail, "patch")]
    )


async def _apply(engine: Engine, target: Target, entry: Entry | None) -> tuple[bytes, int]:
    """Server-side apply: creates where there is nothing yet."""
    served, call = target.served, target.call
    config = _read_config(call.request.body)
    _check_repeated(target)
    _check_config(target, config)
    if entry is None and target.subresource:
        raise served.not_found(target.name)
    live: Object | None = None
    if entry is not None:
        live = orjson.loads(entry.value)
        if served.from_storage is not None:
            assert live is not None
            live = served.from_storage(live)
        _check_apply_preconditions(target, config, live)
    elif config.get("metadata", {}).get("uid"):
        raise served.conflict(
            target.name,
            f"uid mismatch: the provided object specified uid {config['metadata']['uid']}, "
            "and no existing object was found",
        )
    new = engine.managed.applied(
        served, live, config, target.options, target.subresource, engine.now()
    )
    accept_object(call, served, new, target.options.validation, b"")
    if entry is None:
        check_names(target, new["metadata"])
        wipe_system_fields(new["metadata"])
        new["metadata"].pop("resourceVersion", None)
        _check_namespace(target, new["metadata"])
        return await create_object(engine, call, served, new, target.options), 201
    assert live is not None
    check_names(target, new["metadata"])
    return await store_update(engine, target, entry, live, new), 200


def _check_repeated(target: Target) -> None:
    """Keys that the configuration gives twice: an error if asked for, else a warning."""
    validation = target.options.validation
    if validation == "Ignore":
        return
    repeated = negotiate.repeated_in_yaml(negotiate.YAML, target.call.request.body)
    if repeated and validation == "Strict":
        raise BadRequest(f"error strict decoding YAML: error converting YAML to JSON: {repeated}")
    if repeated:
        target.call.warnings.append(f"error converting YAML to JSON: {repeated}")


def _check_namespace(target: Target, metadata: Object) -> None:
    if target.served.namespaced:
        metadata["namespace"] = target.namespace
    metadata["name"] = target.name


def _check_config(target: Target, config: Object) -> None:
    """What an applied configuration must and must not hold. Raises BadRequest."""
    resource = target.served.resource
    given = config.get("apiVersion"), config.get("kind")
    if given != (resource.api_version, resource.kind):
        raise BadRequest(f"invalid object type: {_kind_text(*given)}")
    metadata = config.setdefault("metadata", {})
    if not isinstance(metadata, dict):
        raise BadRequest("error decoding YAML: metadata is no object")
    if metadata.get("managedFields"):
        raise BadRequest("metadata.managedFields must be nil")
    name = metadata.get("name")
    if name and name != target.name:
        raise BadRequest(
            f"the name of the object ({name}) does not match the name on the URL ({target.name})"
        )
    if target.served.namespaced:
        namespace = metadata.get("namespace")
        if namespace and namespace != target.namespace:
            raise BadRequest(
                "the namespace of the provided object does not match the namespace sent on the "
                "request"
            )


def _kind_text(api_version: Any, named: Any) -> str:
    """As Kubernetes prints a GroupVersionKind; what is no text is nothing."""
    group, _, version = (api_version if isinstance(api_version, str) else "").rpartition("/")
    return f"{group}/{version}, Kind={named if isinstance(named, str) else ''}"


def _check_apply_preconditions(target: Target, config: Object, live: Object) -> None:
    metadata, found = config["metadata"], live["metadata"]
    check_uid(target, metadata, live)
    wanted = metadata.get("resourceVersion")
    if wanted and wanted != found["resourceVersion"]:
        raise target.served.conflict(target.name)
