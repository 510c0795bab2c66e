"""From stored bytes to a response: in the client's media type, version and form."""

from typing import Any

import orjson

from skiff.aio.http.message import Response
from skiff.api.errors import NotAcceptable
from skiff.server import negotiate, table
from skiff.server.engine import Engine
from skiff.server.negotiate import JSON, PLAIN, Shape
from skiff.server.seams import Call
from skiff.server.served import Served
from skiff.server.stamp import revision_of

_PRETTY = ("", "1", "true", "t", "T", "TRUE", "True")
_BROWSERS = ("curl/", "Wget/", "Mozilla/5.0")


def wants_pretty(call: Call) -> bool:
    """Whether a person reads this: asked for, or a browser or curl that did not say no."""
    if call.info.query and "pretty" in call.info.options:
        return call.info.options["pretty"] in _PRETTY
    return call.request.headers.get("user-agent", "").startswith(_BROWSERS)


def shape_of(call: Call, *, stream: bool = False, tables: bool = True) -> Shape:
    """What the Accept header asks for. Raises NotAcceptable."""
    header = call.request.headers.get("accept")
    if header is None or header == JSON:
        return PLAIN
    return negotiate.accept(header, stream=stream, tables=tables)


def answer(engine: Engine, call: Call, served: Served, value: bytes, status: int = 200) -> Response:
    """One object (its stored bytes) as the client wants it."""
    shape = shape_of(call)
    if shape is PLAIN or shape == PLAIN:
        body = served.presenter.object(value)
        if wants_pretty(call):
            body = negotiate.encode(orjson.loads(body), JSON, pretty=True)
        return Response(status, body)
    if shape.form == "table":
        out = table.of_objects(
            served.strategy.columns,
            [value],
            shape,
            engine.clock.now(),
            include_of(call),
            {"resourceVersion": str(revision_of(value))},
            served.presenter,
        )
        return Response(status, negotiate.encode(out, shape.media), shape.media)
    body = served.presenter_for(shape).object(value)
    if shape.media != JSON:
        body = negotiate.encode(orjson.loads(body), shape.media)
    return Response(status, body, shape.media)


def answer_object(call: Call, obj: dict[str, Any], status: int = 200) -> Response:
    """An answer that is no stored object (a Scale, a Status), in the client's media type."""
    shape = shape_of(call)
    if shape.form != "object" and obj.get("kind") != "Status":
        raise NotAcceptable(f"only the following media types are accepted: {negotiate.ACCEPTED}")
    pretty = shape.media == JSON and wants_pretty(call)
    return Response(status, negotiate.encode(obj, shape.media, pretty=pretty), shape.media)


def include_of(call: Call) -> str:
    """The includeObject option of a Table request."""
    return call.info.options.get("includeObject", "") or "Metadata"
