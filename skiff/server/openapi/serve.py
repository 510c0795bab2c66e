"""Serving the documents: which form, entity tags, building in pieces, keeping for a while.

A document is built when somebody asks, a piece at a time with the loop running in between, and kept
compressed until it was not asked for during `KEEP_S`. Entity tags come from what a document is made
of (schema file, resources), so that telling them costs no building.
"""

import hashlib
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache

import orjson

from skiff.aio.clock import Clock
from skiff.aio.http.message import Request, Response
from skiff.api.errors import NotAcceptable, NotFound
from skiff.api.resources import Resource
from skiff.api.schema import load
from skiff.server.discovery.catalog import Catalog
from skiff.server.openapi import gnostic, operations, v2, v3
from skiff.server.openapi.definitions import Custom, Definitions, no_custom
from skiff.server.openapi.operations import Path
from skiff.server.seams import Call, PathHandler

KEEP_S = 600.0
# Pieces made before the loop runs again: a few milliseconds' work.
PIECES_AT_ONCE = 40
_BUILDER = "1"
"""Counts changes of the builders, which change documents and so their tags."""
_LEVEL = 4
_V2_PROTOBUF = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
_V2_PROTOBUF_OLD = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
_JSON = "application/json"
_FOREVER = "public, immutable, max-age=31536000"


@dataclass(slots=True)
class _Kept:
    """A built document, compressed."""

    tag: str
    packed: bytes
    used: float


class OpenApi:
    """The handlers. `custom` gives definitions of kinds that are not built in."""

    def __init__(self, catalog: Catalog, clock: Clock, custom: Custom = no_custom) -> None:
        self._catalog = catalog
        self._clock = clock
        self._custom = custom
        self._kept: dict[str, _Kept] = {}

    def handlers(self) -> dict[str, PathHandler]:
        """By path prefix."""
        return {"/openapi/v2": self.serve_v2, "/openapi/v3": self.serve_v3}

    async def serve_v2(self, call: Call) -> Response:
        """`/openapi/v2`, in JSON or gnostic's protobuf."""
        media = _choose(call.request, {_JSON: _JSON, _V2_PROTOBUF: _V2_PROTOBUF, _V2_PROTOBUF_OLD: _V2_PROTOBUF})  # fmt: skip
        build = v2.pieces if media == _JSON else gnostic.pieces
        tag = self._tag(self._catalog.resources(), media)

        def pieces() -> Iterator[bytes]:
            definitions = Definitions(self._custom)
            paths = self._all_paths(definitions)
            return build(paths, [*load.names(), *definitions.extra_names()], definitions)

        return await self._document(call.request, f"v2 {media}", tag, media, pieces)

    async def serve_v3(self, call: Call) -> Response:
        """`/openapi/v3` and the documents that it lists."""
        name = call.info.path.removeprefix("/openapi/v3").strip("/")
        _choose(call.request, {_JSON: _JSON})
        parts = self._parts()
        if not name:
            body = orjson.dumps({"paths": {n: {"serverRelativeURL": self._url(n)} for n in parts}})
            return _answer(call.request, body, _tag_of(body), _JSON)
        if name not in parts:
            raise NotFound("the server could not find the requested resource")
        tag = self._part_tag(name)
        asked = call.info.options.get("hash")
        if asked and asked != tag:
            return Response(301, b"", headers=(("location", self._url(name)),))

        def pieces() -> Iterator[bytes]:
            definitions = Definitions(self._custom)
            document = v3.document(parts[name](definitions), definitions)
            yield orjson.dumps(document)

        response = await self._document(call.request, f"v3 {name}", tag, _JSON, pieces)
        if asked:
            response.headers += (("cache-control", _FOREVER),)
        return response

    # --- what there is ---------------------------------------------------------------------

    def _parts(self) -> Mapping[str, Callable[[Definitions], list[Path]]]:
        """The v3 documents: name → its paths."""
        parts: dict[str, Callable[[Definitions], list[Path]]] = {
            name: lambda _, path=path: [path]  # type: ignore[misc]
            for name, path in operations.FIXED.items()
        }
        parts["api"] = lambda _: [operations.group_list_path(core=True)]
        parts["apis"] = lambda _: [operations.group_list_path(core=False)]
        for group in self._catalog.groups():
            base = f"apis/{group.name}" if group.name else "api"
            if group.name:
                parts[base] = lambda _, g=group.name: [operations.group_path(g)]  # type: ignore[misc]
            for version in group.versions:
                parts[f"{base}/{version}"] = lambda definitions, g=group.name, v=version: (
                    self._version_paths(  # type: ignore[misc]
                        definitions, g, v
                    )
                )
        return dict(sorted(parts.items()))

    def _version_paths(self, definitions: Definitions, group: str, version: str) -> list[Path]:
        resources = self._catalog.in_version(group, version)
        return [operations.version_path(group, version), *definitions.paths(resources)]

    def _all_paths(self, definitions: Definitions) -> list[Path]:
        return [path for paths in self._parts().values() for path in paths(definitions)]

    # --- tags ------------------------------------------------------------------------------

    def _url(self, name: str) -> str:
        return f"/openapi/v3/{name}?hash={self._part_tag(name)}"

    def _part_tag(self, name: str) -> str:
        group, version = _group_version(name)
        if not version:
            return self._tag((), name, *(str(g) for g in self._catalog.groups() if g.name == group))
        return self._tag(self._catalog.in_version(group, version), name)

    def _tag(self, resources: Iterable[Resource], *parts: str) -> str:
        digest = hashlib.sha512("\0".join((_BUILDER, _schemas_digest(), *parts)).encode())
        for resource in resources:
            digest.update(repr(resource).encode())
            custom = self._custom(resource)
            if custom:
                digest.update(orjson.dumps(custom))
        return digest.hexdigest().upper()

    # --- building and keeping --------------------------------------------------------------

    async def _document(
        self,
        request: Request,
        key: str,
        tag: str,
        media: str,
        pieces: Callable[[], Iterator[bytes]],
    ) -> Response:
        if request.headers.get("if-none-match") == f'"{tag}"':
            return _answer(request, b"", tag, media)
        now = self._clock.monotonic()
        self._kept = {k: d for k, d in self._kept.items() if now - d.used < KEEP_S}
        kept = self._kept.get(key)
        if kept is None or kept.tag != tag:
            kept = _Kept(tag, await self._build(pieces()), now)
            self._kept[key] = kept
        kept.used = now
        if "gzip" in request.headers.get("accept-encoding", ""):
            return _answer(request, kept.packed, tag, media, packed=True)
        return _answer(request, zlib.decompress(kept.packed, wbits=31), tag, media)

    async def _build(self, pieces: Iterator[bytes]) -> bytes:
        packer = zlib.compressobj(_LEVEL, wbits=31)
        out = bytearray()
        for number, piece in enumerate(pieces):
            out += packer.compress(piece)
            if number % PIECES_AT_ONCE == PIECES_AT_ONCE - 1:
                await self._clock.sleep(0)
        return bytes(out + packer.flush())


def _group_version(name: str) -> tuple[str, str]:
    """Group and version of a v3 document's name; no version where it is no group version's."""
    parts = name.split("/")
    if parts[0] == "api" and len(parts) == 2:
        return "", parts[1]
    if parts[0] == "apis" and len(parts) > 1:
        return parts[1], parts[2] if len(parts) > 2 else ""
    return "", ""


@cache
def _schemas_digest() -> str:
    """What tells one build of the compiled schemas from another."""
    state = load.FILE.stat()
    return f"{state.st_size} {state.st_mtime_ns}"


def _tag_of(body: bytes) -> str:
    return hashlib.sha512(body).hexdigest().upper()


def _choose(request: Request, offers: Mapping[str, str]) -> str:
    """The answer's media type by the Accept header. Raises NotAcceptable."""
    accept = request.headers.get("accept", "")
    if not accept:
        return _JSON
    for clause in accept.split(","):
        media = clause.partition(";")[0].strip()
        if media in ("*/*", "application/*"):
            return _JSON
        if media in offers:
            return offers[media]
    raise NotAcceptable(f"only the following media types are accepted: {', '.join(offers)}")


def _answer(
    request: Request, body: bytes, tag: str, media: str, *, packed: bool = False
) -> Response:
    quoted = f'"{tag}"'
    headers: tuple[tuple[str, str], ...] = (
        ("etag", quoted),
        ("vary", "Accept, Accept-Encoding"),
    )
    if request.headers.get("if-none-match") == quoted:
        return Response(304, b"", content_type=media, headers=headers)
    if packed:
        headers += (("content-encoding", "gzip"),)
    return Response(200, body, content_type=media, headers=headers)
