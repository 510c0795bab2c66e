"""get, list and watch."""

from collections.abc import Awaitable

import orjson

from skiff.aio.http.message import Response
from skiff.api.errors import NotAcceptable
from skiff.api.selectors import FieldSelector
from skiff.server import negotiate, table
from skiff.server.engine import Engine
from skiff.server.negotiate import JSON, PROTOBUF, Shape
from skiff.server.options import ListOptions, list_options, list_revision_of, revision_of
from skiff.server.seams import Call
from skiff.server.served import Served
from skiff.server.shape import Presenter, Protobuf
from skiff.server.verbs.answer import answer, include_of, shape_of, wants_pretty

WATCH_TYPE = "application/json"


def get(engine: Engine, call: Call, served: Served) -> Response | Awaitable[Response]:
    """One object, from the index. A resourceVersion that is yet to come is waited for."""
    info = call.info
    if info.query:
        revision = revision_of(info.options.get("resourceVersion", ""))
        if revision > engine.cache.revision:
            return _get_later(engine, call, served, revision)
    item = served.index.get(info.namespace if served.namespaced else "", info.name)
    if item is None:
        raise served.not_found(info.name)
    return answer(engine, call, served, item.value)


async def _get_later(engine: Engine, call: Call, served: Served, revision: int) -> Response:
    await engine.watches.fresh(revision)
    result = get(engine, call, served)
    assert isinstance(result, Response)
    return result


def list_(engine: Engine, call: Call, served: Served) -> Response | Awaitable[Response]:
    """A collection, in the form asked for."""
    options = list_options(call.info)
    _check_fields(served, options.fields)
    if options.revision and not options.token:
        revision = list_revision_of(options.revision)
        if revision > engine.cache.revision:
            return _list_later(engine, call, served, options, revision)
    return _list_now(engine, call, served, options)


async def _list_later(
    engine: Engine, call: Call, served: Served, options: ListOptions, revision: int
) -> Response:
    await engine.watches.fresh(revision)
    return _list_now(engine, call, served, options)


def _list_now(engine: Engine, call: Call, served: Served, options: ListOptions) -> Response:
    shape = shape_of(call)
    namespace = call.info.namespace if served.namespaced else ""
    current = engine.cache.revision
    if shape.form == "object" and served.from_storage is None:
        found = engine.lister.joined(served.index, namespace, options, current)
        head = _list_head(
            served.list_head,
            found.revision,
            engine.lister.token(served.index, found),
            found.remaining,
        )
        body = [head]
        for block in found.blocks:
            body += (block, b",")
        if found.blocks:
            body.pop()
        body.append(b"]}\n")
        if shape.media == JSON and not wants_pretty(call):
            return Response(200, body)
        whole = orjson.loads(b"".join(body))
        return Response(200, negotiate.encode(whole, shape.media, pretty=True), shape.media)
    return _list_shaped(engine, call, served, options, shape, namespace, current)


def _list_head(start: str, revision: int, token: str, remaining: int | None) -> bytes:
    text = f'{start}"resourceVersion":"{revision}"'
    if token:
        text += f',"continue":"{token}"'
        if remaining is not None:
            text += f',"remainingItemCount":{remaining}'
    return (text + '},"items":[').encode()


def _list_shaped(
    engine: Engine,
    call: Call,
    served: Served,
    options: ListOptions,
    shape: Shape,
    namespace: str,
    current: int,
) -> Response:
    """A list of converted or partial objects, or a Table."""
    page = engine.lister.page(served.index, namespace, options, current)
    token = engine.lister.token(served.index, page)
    values = [i.value for i in page.items]
    if shape.form == "table":
        metadata: dict[str, object] = {"resourceVersion": str(page.revision)}
        if token:
            metadata["continue"] = token
            if page.remaining is not None:
                metadata["remainingItemCount"] = page.remaining
        out = table.of_objects(
            served.strategy.columns,
            values,
            shape,
            engine.clock.now(),
            include_of(call),
            metadata,
            served.presenter,
        )
        return Response(200, negotiate.encode(out, shape.media), shape.media)
    presenter = served.presenter_for(shape)
    start = served.list_head
    if shape.form == "partial":
        start = (
            '{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/'
            f'{shape.version}","metadata":{{'
        )
    head = _list_head(start, page.revision, token, page.remaining)
    body = b"%b%b]}\n" % (head, b",".join([presenter.object(v) for v in values]))
    if shape.media != JSON or wants_pretty(call):
        body = negotiate.encode(orjson.loads(body), shape.media, pretty=True)
    return Response(200, body, shape.media)


def watch(engine: Engine, call: Call, served: Served) -> Response:
    """Changes as they happen, as a stream that ends with its time or with the client."""
    info = call.info
    if info.verb == "watch" and info.name and not info.options.get("fieldSelector"):
        # The old path /watch/…/pods/x: one object.
        info.options["fieldSelector"] = f"metadata.name={info.name}"
        info.query = info.query or "watch=1"
    options = list_options(info)
    options.watch = True
    _check_fields(served, options.fields)
    # Objects that begin a watch are a list's stead, and Tables of one row each are no list.
    shape = shape_of(call, stream=True, tables=not options.initial_events)
    presenter: Presenter
    if shape.form == "table":
        presenter = table.TablePresenter(
            served.strategy.columns,
            shape,
            include_of(call),
            served.presenter,
            engine.clock,
        )
    else:
        presenter = served.presenter_for(shape)
    content_type = WATCH_TYPE
    if shape.media == PROTOBUF:
        presenter, content_type = _protobuf(served, presenter), f"{PROTOBUF};stream=watch"
    namespace = info.namespace if served.namespaced else ""
    kind, api_version = served.resource.kind, served.resource.api_version

    def bookmark(revision: int, initial_end: bool) -> bytes:
        metadata: dict[str, object] = {"resourceVersion": str(revision), "creationTimestamp": None}
        if initial_end:
            metadata["annotations"] = {"k8s.io/initial-events-end": "true"}
        obj: dict[str, object] = {"kind": kind, "apiVersion": api_version, "metadata": metadata}
        if shape.form == "partial":
            obj["kind"], obj["apiVersion"] = "PartialObjectMetadata", f"meta.k8s.io/{shape.version}"
        elif shape.form == "table":
            obj = {
                "kind": "Table",
                "apiVersion": f"meta.k8s.io/{shape.version}",
                "metadata": {"resourceVersion": str(revision)},
                "columnDefinitions": None,
                "rows": [{"cells": [], "object": obj}],
            }
        return presenter.made(obj)

    stream = engine.watches.stream(served.index, namespace, options, presenter, bookmark)
    return Response(200, content_type=content_type, stream=stream)


def _protobuf(served: Served, base: Presenter) -> Presenter:
    """Events in protobuf. Raises NotAcceptable for a kind without messages (a custom resource)."""
    from skiff.api.protobuf import known  # its tables are read when first needed

    if not known(served.resource.api_version, served.resource.kind):
        raise NotAcceptable(
            "only the following media types are accepted: application/json;stream=watch"
        )
    return Protobuf(base)


def _check_fields(served: Served, selector: FieldSelector) -> None:
    """Refuse field selectors that the kind does not know."""
    if selector.everything:
        return
    for field, _, _ in selector.terms:
        served.strategy.check_field_label(field)
