"""Requests whose answer is computed and never stored: reviews, tokens. Reading and answering them."""

from typing import Any, cast

from skiff.aio.http.message import Response
from skiff.api.errors import BadRequest, NotAcceptable
from skiff.api.schema import Validation, decode_with
from skiff.server import negotiate
from skiff.server.seams import Call, User
from skiff.server.verbs.answer import wants_pretty

_CREATED = 201


def read_body(
    call: Call, api_version: str, kind: str, also: tuple[str, ...] = ()
) -> dict[str, Any]:
    """The object in the request's body, checked against its schema; its kind may be left out.
    Versions in `also` have the same fields and are read as `api_version`.

    Unknown fields are warned of or refused as `fieldValidation` says. Raises ApiError.
    """
    request = call.request
    content_type = request.headers.get("content-type", "")
    obj = negotiate.decode_body(content_type, request.body, kind, api_version)
    if obj.get("apiVersion") in also:
        obj["apiVersion"] = api_version
    found = obj.get("apiVersion") or api_version, obj.get("kind") or kind
    if found != (api_version, kind):
        raise BadRequest(
            f"the API version in the data ({found[0]}) does not match the expected API version"
            f" ({api_version})"
            if found[0] != api_version
            else f"the kind in the data ({found[1]}) does not match the expected kind ({kind})"
        )
    obj["apiVersion"], obj["kind"] = api_version, kind
    validation = call.info.options.get("fieldValidation") or "Warn"
    raw = negotiate.to_json(content_type, request.body)
    call.warnings += decode_with(api_version, kind, obj, cast("Validation", validation), raw)
    return obj


def answer(call: Call, obj: dict[str, Any], status: int = _CREATED) -> Response:
    """The answer to a create: the object, in the media type that the client prefers."""
    shape = negotiate.accept(call.request.headers.get("accept", ""))
    if shape.form != "object":
        raise NotAcceptable(f"only the following media types are accepted: {negotiate.ACCEPTED}")
    media = shape.media
    obj.setdefault("metadata", {})
    pretty = media == negotiate.JSON and wants_pretty(call)
    return Response(status, negotiate.encode(obj, media, pretty=pretty), content_type=media)


def user_info(user: User) -> dict[str, Any]:
    """A user as authentication.k8s.io's UserInfo."""
    out: dict[str, Any] = {"username": user.name}
    if user.uid:
        out["uid"] = user.uid
    if user.groups:
        out["groups"] = list(user.groups)
    if user.extra:
        out["extra"] = {k: list(v) for k, v in user.extra.items()}
    return out
