"""What a client wants to be answered in, and what it sends.

Media types: JSON, YAML and protobuf. Stored objects are JSON, so a client that takes JSON too gets
JSON, even where it likes protobuf or CBOR better; protobuf is for those that take nothing else. The `as=` parameter asks for a transformed answer: a Table or PartialObjectMetadata of
meta.k8s.io. Header texts repeat, so results are cached by text.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#alternate-representations-of-resources
"""

import json
from functools import lru_cache
from typing import Any, Final, NamedTuple

import orjson

from skiff.api.errors import BadRequest, NotAcceptable, UnsupportedMediaType
from skiff.server.json_faults import json_fault

JSON: Final = "application/json"
YAML: Final = "application/yaml"
PROTOBUF: Final = "application/vnd.kubernetes.protobuf"
ACCEPTED: Final = f"application/json, application/yaml, {PROTOBUF}"
_UNKNOWN_FORMAT: Final = (
    "the body of the request was in an unknown format - accepted media types include"
)
_YAML_TYPES: Final = frozenset({"application/yaml", "application/x-yaml", "text/yaml"})
DEPTH_MAX: Final = 200
"""Objects and lists within each other in a body; Kubernetes' own types need far fewer."""
_ENCODABLE_DEPTH: Final = 254
"""What orjson writes: the rest is left for what the server puts around a client's value."""
_TRANSFORMS: Final = {
    "Table": "table",
    "PartialObjectMetadata": "partial",
    "PartialObjectMetadataList": "partial",
}


class Shape(NamedTuple):
    """How an object is presented: `form` is object, table or partial; `version` that of the
    table or partial kind (meta.k8s.io)."""

    media: str = JSON
    form: str = "object"
    version: str = "v1"


PLAIN: Final = Shape()


@lru_cache(maxsize=1024)
def accept(header: str, *, stream: bool = False, tables: bool = True) -> Shape:
    """The best shape for an Accept header: of a stream of events, without Tables where those are not
    to be had. Raises NotAcceptable."""
    if not header:
        return PLAIN
    protobuf = False
    for media, parameters in _clauses(header):
        if media in ("*/*", "application/*", JSON):
            chosen = JSON
        elif media in _YAML_TYPES and not stream:
            chosen = YAML
        else:
            protobuf |= media == PROTOBUF and "as" not in parameters
            continue
        transform = parameters.get("as")
        if transform is None:
            return Shape(chosen)
        form = _TRANSFORMS.get(transform)
        version = parameters.get("v", "")
        if (
            form is not None
            and (tables or form != "table")
            and parameters.get("g") == "meta.k8s.io"
            and version in ("v1", "v1beta1")
        ):
            return Shape(chosen, form, version)
    if protobuf:
        return Shape(PROTOBUF)
    raise NotAcceptable(f"only the following media types are accepted: {ACCEPTED}")


def _clauses(header: str) -> list[tuple[str, dict[str, str]]]:
    """Media ranges with their parameters, best quality first, then as sent."""
    found: list[tuple[float, int, str, dict[str, str]]] = []
    for order, clause in enumerate(header.split(",")):
        media, *rest = [p.strip() for p in clause.split(";")]
        parameters: dict[str, str] = {}
        quality = 1.0
        for part in rest:
            name, _, value = part.partition("=")
            if name.strip() == "q":
                try:
                    quality = float(value)
                except ValueError:
                    quality = 0.0
            else:
                parameters[name.strip()] = value.strip().strip('"')
        if media and quality > 0:
            found.append((-quality, order, media.lower(), parameters))
    found.sort(key=lambda f: (f[0], f[1]))
    return [(media, parameters) for _, _, media, parameters in found]


@lru_cache(maxsize=256)
def media_type(header: str) -> str:
    """The bare media type of a Content-Type header, "" if there is none."""
    return header.partition(";")[0].strip().lower()


def decode_body(content_type: str, body: bytes, kind: str, api_version: str = "") -> dict[str, Any]:
    """The object in a request's body. Raises UnsupportedMediaType, BadRequest.

    `kind` and `api_version` are what the object should be, for messages and where it does not say.
    """
    media = media_type(content_type)
    if media == JSON or not media:
        return _object(_load_json(body, kind), body, kind)
    if media == PROTOBUF:
        return _load_protobuf(body, kind, api_version)
    if media in _YAML_TYPES:
        return _object(load_yaml(body, kind), body, kind)
    raise UnsupportedMediaType(f"{_UNKNOWN_FORMAT}: {ACCEPTED}")


def to_json(content_type: str, body: bytes) -> bytes:
    """A body's JSON text, for what reports duplicate fields from the raw text."""
    return body if media_type(content_type) in (JSON, "") else b""


def repeated_in_yaml(content_type: str, body: bytes) -> str:
    """What is to be said of keys that a YAML body repeats, "" if there are none or it is no YAML."""
    if media_type(content_type) not in _YAML_TYPES:
        return ""
    if body[:1] == b"{" and not _repeats(body):
        return ""  # JSON is YAML, and much quicker to look through
    import yaml

    from skiff.server.yamlish import repeated_keys

    try:
        repeated = repeated_keys(body)
    except (yaml.YAMLError, ValueError):
        return ""  # JSON that YAML does not take: control characters
    found = [f'  line {n}: key "{key}" already set in map' for n, key in repeated]
    return "\n".join(("yaml: unmarshal errors:", *found)) if found else ""


def _repeats(body: bytes) -> bool:
    """Whether some object of a body that begins like JSON has a key twice; True for what is no JSON."""
    repeated = False

    def look(pairs: list[tuple[str, Any]]) -> None:
        nonlocal repeated
        repeated |= len({k for k, _ in pairs}) < len(pairs)

    try:
        json.loads(body, object_pairs_hook=look)
    except (ValueError, RecursionError):
        return True
    return repeated


def _load_protobuf(body: bytes, kind: str, api_version: str) -> dict[str, Any]:
    from skiff.api.protobuf import Malformed, decode, known  # its tables are read when first needed

    try:
        return decode(body, api_version, kind)
    except Malformed as e:
        if api_version and not known(api_version, kind):  # a custom resource
            raise UnsupportedMediaType(f"{_UNKNOWN_FORMAT}: {JSON}, {YAML}") from None
        if e.kind:
            sent = f'{e.kind} in version "{e.version}" cannot be handled as a {kind}'
            raise BadRequest(f"{sent}: {e}") from None
        raise BadRequest(
            f"the object provided is unrecognized (must be of type {kind}): {e} ({_summary(body)})"
        ) from None


def load_json(body: bytes) -> Any:
    """A JSON text. Raises JSONDecodeError, also where it is deeper than anything can be."""
    value = orjson.loads(body)
    if body.count(b"{") + body.count(b"[") > DEPTH_MAX:
        wrapped = value
        for _ in range(_ENCODABLE_DEPTH - DEPTH_MAX):
            wrapped = [wrapped]
        try:
            orjson.dumps(wrapped)  # the quickest way to walk it
        except TypeError:
            raise orjson.JSONDecodeError(f"exceeded max depth of {DEPTH_MAX}", "", 0) from None
    return value


def _load_json(body: bytes, kind: str) -> Any:
    try:
        return load_json(body)
    except orjson.JSONDecodeError as e:
        raise BadRequest(
            f"the object provided is unrecognized (must be of type {kind}): couldn't get "
            f"version/kind; json parse error: {json_fault(body, e.msg)} ({_summary(body)})"
        ) from None


def load_yaml(body: bytes, kind: str) -> Any:
    """A YAML body, with what YAML knows and JSON does not (dates) left as text."""
    import yaml  # costs 2 MB and is rarely needed

    from skiff.server.yamlish import load

    try:
        return load(body)
    except (yaml.YAMLError, ValueError) as e:  # text that is not UTF-8, numbers without bound
        raise BadRequest(
            f"the object provided is unrecognized (must be of type {kind}): couldn't get "
            f"version/kind; yaml parse error: {e} ({_summary(body)})"
        ) from None


def load_config(body: bytes) -> Any:
    """The YAML body of an apply. Raises BadRequest."""
    import yaml

    from skiff.server.yamlish import load

    try:
        return load(body)
    except yaml.MarkedYAMLError as e:
        mark = e.problem_mark
        line = (mark.line if mark else 0) + isinstance(e, yaml.scanner.ScannerError)
        where = f"line {line}: " if line else ""
        raise BadRequest(
            f"error decoding YAML: error converting YAML to JSON: yaml: {where}{e.problem}"
        ) from None
    except (yaml.YAMLError, ValueError) as e:
        raise BadRequest(f"error decoding YAML: error converting YAML to JSON: {e}") from None


def _object(value: Any, body: bytes, kind: str) -> dict[str, Any]:
    if type(value) is not dict:
        raise BadRequest(
            f"the object provided is unrecognized (must be of type {kind}): couldn't get "
            f"version/kind; json parse error: json: cannot unmarshal {_go_type(value)} into Go "
            'value of type struct { APIVersion string "json:\\"apiVersion,omitempty\\""; Kind '
            f'string "json:\\"kind,omitempty\\"" }} ({_summary(body)})'
        )
    return value


def _go_type(value: Any) -> str:
    if isinstance(value, list):
        return "array"
    if isinstance(value, bool):
        return "bool"
    return "string" if isinstance(value, str) else "number"


def _summary(body: bytes) -> str:
    """The body's first bytes, in hex if it begins like no object, as Kubernetes shows them."""
    if not body:
        return "<empty>"
    if body[:1] == b"{":
        return body[:30].decode("utf-8", "replace") + (" ..." if len(body) > 30 else "")
    return body.hex() if len(body) <= 30 else body[:30].hex() + " ..."


def encode(value: Any, media: str, *, pretty: bool = False) -> bytes:
    """An answer's body. Raises NotAcceptable for a kind that has no protobuf form."""
    if media == YAML:
        return to_yaml(value)
    if media == PROTOBUF:
        return _to_protobuf(value)
    if pretty:
        return orjson.dumps(value, option=orjson.OPT_INDENT_2) + b"\n"
    return orjson.dumps(value)


def _to_protobuf(value: Any) -> bytes:
    from skiff.api.protobuf import UnknownKind, encode

    try:
        return encode(value)
    except UnknownKind:
        raise NotAcceptable(
            f"only the following media types are accepted: {JSON}, {YAML}"
        ) from None


def to_yaml(value: Any) -> bytes:
    """YAML as Kubernetes writes it: block style, sorted keys."""
    import yaml

    from skiff.server.yamlish import Dumper

    text = yaml.dump(
        value, Dumper=Dumper, default_flow_style=False, allow_unicode=True, width=2**30
    )
    return text.encode()
