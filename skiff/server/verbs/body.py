"""From a request's body to an object of the served kind: decoded, checked, pruned, defaulted."""

from typing import Any, Literal, cast

from skiff.api.errors import BadRequest
from skiff.api.resources import Resource
from skiff.api.schema import decode as decode_schema
from skiff.api.schema import kinds as known_kinds
from skiff.server import negotiate
from skiff.server.options import WriteOptions
from skiff.server.seams import Call
from skiff.server.served import Served

Object = dict[str, Any]
_SCHEME = "pkg/api/legacyscheme/scheme.go:30"
Validation = Literal["Ignore", "Warn", "Strict"]


def read_object(call: Call, served: Served, options: WriteOptions) -> Object:
    """The object in the body, with defaults. Raises BadRequest, UnsupportedMediaType."""
    request = call.request
    content_type = request.headers.get("content-type", "")
    kind = served.resource.kind
    obj = negotiate.decode_body(content_type, request.body, kind, served.resource.api_version)
    raw = negotiate.to_json(content_type, request.body)
    if not raw and options.validation != "Ignore":
        _check_repeated(call, served, content_type, options)
    return accept_object(call, served, obj, options.validation, raw)


def _check_repeated(call: Call, served: Served, content_type: str, options: WriteOptions) -> None:
    """Keys that a YAML body gives twice: an error if asked for, else a warning."""
    repeated = negotiate.repeated_in_yaml(content_type, call.request.body)
    if not repeated:
        return
    if options.validation == "Strict":
        kind = served.resource.kind
        raise BadRequest(
            f'{kind} in version "{served.resource.version}" cannot be handled as a {kind}: '
            f"strict decoding error: {repeated}"
        )
    call.warnings.append(repeated)


def accept_object(call: Call, served: Served, obj: Object, validation: str, raw: bytes) -> Object:
    """Check what a client sent (or what its patch made) against the schema, and default it."""
    _check_kind(served, obj)
    warnings = decode_schema(served.resource, obj, cast(Validation, validation or "Warn"), raw)
    if warnings:
        call.warnings.extend(warnings)
    metadata = obj.get("metadata")
    if metadata is None:
        obj["metadata"] = {}
    served.strategy.default(obj)
    return obj


def _check_kind(served: Served, obj: Object) -> None:
    """The body's apiVersion and kind must be those of the URL; they may be left out."""
    resource = served.resource
    expected = resource.api_version
    found = obj.get("apiVersion") or expected
    kind = obj.get("kind") or resource.kind
    if found != expected or kind != resource.kind:
        raise _wrong_kind(resource, found, kind)
    obj["apiVersion"] = expected
    obj["kind"] = resource.kind


def _wrong_kind(resource: Resource, found: Any, kind: Any) -> BadRequest:
    """The error for a body of a kind that is not the URL's, or that nobody knows."""
    if not isinstance(found, str) or found.count("/") > 1:
        return BadRequest(f"unexpected GroupVersion string: {found}")
    group, _, version = found.rpartition("/")
    text = f'{kind} in version "{version}" cannot be handled as a {resource.kind}: '
    if f"{group}/{version}/{kind}" not in known_kinds():
        return BadRequest(
            f'{text}no kind "{kind}" is registered for version "{found}" in scheme "{_SCHEME}"'
        )
    if kind == resource.kind:
        return BadRequest(
            f"the API version in the data ({found}) does not match the expected API version"
            f" ({resource.api_version})"
        )
    internal = resource.group.partition(".")[0] or "core"
    return BadRequest(
        f"{text}converting ({version}.{kind}) to ({internal}.{resource.kind}): unknown conversion"
    )


def check_namespace(call: Call, served: Served, metadata: Object) -> None:
    """The body's namespace must be the URL's; it may be left out. Filled in."""
    namespace = call.info.namespace
    if not served.namespaced:
        return
    found = metadata.get("namespace")
    if not found:
        metadata["namespace"] = namespace
    elif found != namespace:
        raise BadRequest(
            "the namespace of the provided object does not match the namespace sent on the request"
        )


def dedup_owners(call: Call, metadata: Object) -> None:
    """Owner references that repeat a UID are dropped, with a warning."""
    owners = metadata.get("ownerReferences")
    if not owners or len(owners) < 2:
        return
    seen: dict[str, Object] = {}
    repeated: list[str] = []
    for owner in owners:
        uid = owner.get("uid", "")
        if uid in seen:
            if owner != seen[uid]:
                continue
            repeated.append(uid)
        else:
            seen[uid] = owner
    if repeated:
        metadata["ownerReferences"] = list(seen.values())
        call.warnings.append(
            ".metadata.ownerReferences contains duplicate entries; API server dedups owner "
            "references in 1.20+, and may reject such requests as early as 1.24; please fix your "
            f"requests; duplicate UID(s) observed: {', '.join(repeated)}"
        )
