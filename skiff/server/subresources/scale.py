"""scale: a workload's replica count, in one shape for all kinds.

Source: https://kubernetes.io/docs/reference/kubernetes-api/autoscaling-resources/ (Scale, v1).
"""

from typing import Any

import orjson

from skiff.aio.http.message import Response
from skiff.api.errors import BadRequest, UnsupportedMediaType
from skiff.api.kinds.columns import AGE, NAME, Columns, columns, since
from skiff.api.kinds.errors import FieldError, invalid_kind
from skiff.api.patch import json_patch, merge_patch, strategic_patch
from skiff.api.schema import decode_with, schema_of_kind
from skiff.api.selectors import SelectorError, labels_selector, structured
from skiff.server import negotiate, table
from skiff.server.engine import Engine, decode
from skiff.server.options import WriteOptions, write_options
from skiff.server.seams import Call
from skiff.server.served import Served
from skiff.server.shape import partial
from skiff.server.verbs.answer import answer_object, include_of, shape_of
from skiff.server.verbs.patch import (
    APPLY,
    JSON_PATCH,
    MERGE,
    check_patch_options,
    patch_type,
    read_patch,
)
from skiff.server.verbs.update import RETRIES, Target, check_uid, store_update, target_of
from skiff.store.protocol import Conflict, Entry

Object = dict[str, Any]

API_VERSION = "autoscaling/v1"
KIND = "Scale"


def _cells(scale: Object, now: float) -> list[Any]:
    metadata = scale["metadata"]
    wanted, there = scale["spec"].get("replicas", 0), scale["status"]["replicas"]
    return [metadata["name"], wanted, there, since(metadata.get("creationTimestamp"), now)]


COLUMNS = Columns(columns(NAME, "Desired:integer", "Available:integer", AGE), _cells)


def of(obj: Object) -> Object:
    """The Scale of a workload."""
    metadata = obj["metadata"]
    out: Object = {
        "kind": KIND,
        "apiVersion": API_VERSION,
        "metadata": {
            k: metadata[k]
            for k in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
            if k in metadata
        },
        "spec": {},
        "status": {"replicas": obj.get("status", {}).get("replicas", 0)},
    }
    replicas = obj.get("spec", {}).get("replicas", 0)
    if replicas:
        out["spec"]["replicas"] = replicas
    selector = _selector(obj.get("spec", {}).get("selector"))
    if selector:
        out["status"]["selector"] = selector
    return out


def _selector(selector: Any) -> str:
    """The text form: of a LabelSelector, or of a ReplicationController's plain map."""
    if not selector:
        return ""
    try:
        if "matchLabels" in selector or "matchExpressions" in selector:
            return str(structured(selector))
        return str(labels_selector(selector))
    except (SelectorError, AttributeError):
        return ""


def get(engine: Engine, call: Call, served: Served) -> Response:
    """GET …/scale."""
    found = engine.get(served.resource, call.info.name, call.info.namespace)
    if found is None:
        raise served.not_found(call.info.name)
    return _answer(engine, call, of(found))


def _answer(engine: Engine, call: Call, scale: Object) -> Response:
    """The Scale in the form that the client wants."""
    shape = shape_of(call)
    if shape.form == "object":
        return answer_object(call, scale)
    if shape.form == "table":
        version = {"resourceVersion": scale["metadata"]["resourceVersion"]}
        value, now = orjson.dumps(scale), engine.clock.now()
        out = table.of_objects(COLUMNS, [value], shape, now, include_of(call), version)
    else:
        out = partial(scale, f"meta.k8s.io/{shape.version}")
    return Response(200, negotiate.encode(out, shape.media), shape.media)


async def update(engine: Engine, call: Call, served: Served) -> Response:
    """PUT …/scale."""
    options = write_options(call.info, "UpdateOptions")
    content_type = call.request.headers.get("content-type", "")
    body = negotiate.decode_body(content_type, call.request.body, KIND)
    raw = negotiate.to_json(content_type, call.request.body)
    _check(call, body, options, raw)
    target = target_of(call, served, options, "UpdateOptions")
    for _ in range(RETRIES):
        entry = _entry(engine, served, target)
        try:
            return await _store(engine, target, entry, body)
        except Conflict:
            continue
    raise served.conflict(target.name)


async def patch(engine: Engine, call: Call, served: Served) -> Response:
    """PATCH …/scale: the patch is applied to the Scale."""
    media = patch_type(call)
    options = write_options(call.info, "PatchOptions")
    check_patch_options(options, media)
    target = target_of(call, served, options, "PatchOptions")
    for _ in range(RETRIES):
        entry = _entry(engine, served, target)
        scale = of(decode(entry))
        changed = _patched(scale, media, read_patch(call, media, options.validation))
        _check(call, changed, options, b"")
        try:
            return await _store(engine, target, entry, changed)
        except Conflict:
            continue
    raise served.conflict(target.name)


def _entry(engine: Engine, served: Served, target: Target) -> Entry:
    entry = engine.latest(served, target.namespace, target.name)
    if entry is None:
        raise served.not_found(target.name)
    return entry


def _patched(scale: Object, media: str, body: Any) -> Object:
    if media == JSON_PATCH:
        return json_patch(scale, body)
    if media in (MERGE, APPLY):
        return merge_patch(scale, body)
    if media:
        return strategic_patch(scale, body, schema_of_kind(API_VERSION, KIND))
    raise UnsupportedMediaType("the body of the request was in an unknown format")


def _check(call: Call, scale: Object, options: WriteOptions, raw: bytes) -> None:
    """A Scale's own rules. Raises BadRequest, Invalid."""
    found = scale.get("apiVersion") or API_VERSION, scale.get("kind") or KIND
    if found != (API_VERSION, KIND):
        raise BadRequest(
            f"the API version in the data ({found[0]}) does not match the expected API version "
            f"({API_VERSION})"
        )
    validation: Any = options.validation or "Warn"
    call.warnings += decode_with(API_VERSION, KIND, scale, validation, raw)
    name = (scale.get("metadata") or {}).get("name", "")
    if name and name != call.info.name:
        raise BadRequest(
            f"the name of the object ({name}) does not match the name on the URL ({call.info.name})"
        )
    replicas = (scale.get("spec") or {}).get("replicas", 0)
    if replicas < 0:
        error = FieldError(
            "FieldValueInvalid",
            "spec.replicas",
            "must be greater than or equal to 0",
            replicas,
        )
        raise invalid_kind("autoscaling", KIND, call.info.name, [error])


async def _store(engine: Engine, target: Target, entry: Entry, scale: Object) -> Response:
    """Write the count into the workload."""
    served, call = target.served, target.call
    old = decode(entry)
    metadata = scale.get("metadata") or {}
    check_uid(target, metadata, old)
    wanted = metadata.get("resourceVersion", "")
    if wanted and wanted != old["metadata"]["resourceVersion"]:
        raise served.conflict(target.name)
    new = decode(entry)
    new.setdefault("spec", {})["replicas"] = (scale.get("spec") or {}).get("replicas", 0)
    engine.managed.updated(served, old, new, target.manager(), "scale", engine.now())
    target.subresource = ""  # to the kind it is a change of its spec
    value = await store_update(engine, target, entry, old, new)
    return _answer(engine, call, of(orjson.loads(value)))
