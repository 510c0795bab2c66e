"""Serving the discovery documents: which form a client wants, entity tags, caching by generation."""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from skiff.aio.http.message import Request, Response
from skiff.api.errors import NotAcceptable, NotFound
from skiff.server import negotiate
from skiff.server.discovery import documents
from skiff.server.discovery.catalog import Catalog
from skiff.server.discovery.version import GIT_VERSION, version_info
from skiff.server.seams import Call, PathHandler
from skiff.server.verbs.answer import wants_pretty

_AGGREGATED_VERSIONS = ("v2", "v2beta1")
_NOT_MODIFIED = 304


class Discovery:
    """Handlers of `/`, `/api`, `/apis`, what is under them, and `/version`.

    `address` gives host:port for `/api`; `paths` the other paths that `/` lists; `version` is what
    `/version` names.
    """

    def __init__(
        self,
        catalog: Catalog,
        address: str,
        paths: Callable[[], list[str]] = list,
        version: str = GIT_VERSION,
    ) -> None:
        self.catalog = catalog
        self._address = address
        self._paths = paths
        self._generation = -1
        self._kept: dict[tuple[str, ...], bytes] = {}
        self._version = orjson.dumps(version_info(version), option=orjson.OPT_INDENT_2)

    def handlers(self) -> dict[str, PathHandler]:
        """By path prefix; each handler looks at what follows."""
        return {
            "/api": self.core,
            "/apis": self.groups,
            "/version": self.version,
            "/": self.root,
        }

    def core(self, call: Call) -> Response:
        """`/api` and `/api/v1`."""
        parts = [p for p in call.info.path.split("/") if p]
        if len(parts) == 1:
            return self._top(call, core=True, legacy=lambda: documents.api_versions(self._address))
        return self._group_version(call, "", parts[1:])

    def groups(self, call: Call) -> Response:
        """`/apis`, `/apis/<group>` and `/apis/<group>/<version>`."""
        parts = [p for p in call.info.path.split("/") if p]
        if len(parts) == 1:
            return self._top(
                call, core=False, legacy=lambda: documents.api_group_list(self.catalog)
            )
        if len(parts) == 2:
            group = self.catalog.group(parts[1])
            if group is None or not parts[1]:
                raise not_found()
            found = group
            return self._answer(
                call,
                ("group", parts[1]),
                lambda: documents.api_group(found, alone=True),
            )
        return self._group_version(call, parts[1], parts[2:])

    def version(self, call: Call) -> Response:
        """`/version`."""
        return Response(200, self._version)

    def root(self, call: Call) -> Response:
        """`/`: every path there is."""
        if call.info.path not in ("", "/"):
            raise not_found()
        paths = {"/api", "/apis", "/version", *self._paths()}
        for group in self.catalog.groups():
            base = f"/apis/{group.name}" if group.name else "/api"
            paths.add(base)
            paths.update(f"{base}/{version}" for version in group.versions)
        return Response(200, orjson.dumps({"paths": sorted(paths)}, option=orjson.OPT_INDENT_2))

    def _group_version(self, call: Call, name: str, rest: list[str]) -> Response:
        group = self.catalog.group(name)
        if group is None or len(rest) != 1 or rest[0] not in group.versions:
            raise not_found()
        return self._answer(
            call,
            ("resources", name, rest[0]),
            lambda: documents.api_resource_list(self.catalog, group, rest[0]),
        )

    def _top(self, call: Call, *, core: bool, legacy: Callable[[], Mapping[str, Any]]) -> Response:
        """A document that has an aggregated form; without an Accept for it, the old form."""
        where = "core" if core else "groups"
        for media, version in _wanted(call.request.headers.get("accept", "")):
            if not version:
                return self._answer(call, (where,), legacy, vary=True)
            content_type = f"{media};g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
            return self._answer(
                call,
                (where, version),
                lambda version=version: documents.aggregated(self.catalog, version, core=core),  # type: ignore[misc]
                content_type,
                vary=True,
            )
        raise NotAcceptable(
            "only the following media types are accepted: application/json, application/yaml"
        )

    def _answer(
        self,
        call: Call,
        key: tuple[str, ...],
        build: Callable[[], Mapping[str, Any]],
        content_type: str = "",
        *,
        vary: bool = False,
    ) -> Response:
        if self._generation != self.catalog.generation:
            self._kept.clear()
            self._generation = self.catalog.generation
        request = call.request
        if not content_type and negotiate_yaml(request):
            return Response(200, negotiate.to_yaml(dict(build())), content_type=negotiate.YAML)
        body = self._kept.get(key)
        if body is None:
            body = self._kept[key] = orjson.dumps(build())
        if not content_type and wants_pretty(call):
            body = negotiate.encode(orjson.loads(body), negotiate.JSON, pretty=True)
        if not vary:
            return Response(200, body)
        headers: tuple[tuple[str, str], ...] = (("vary", "Accept"),)
        if content_type:
            tag = f'"{hashlib.sha512(body).hexdigest().upper()}"'
            headers += (("etag", tag), ("cache-control", "public"))
            if request.headers.get("if-none-match") == tag:
                return Response(_NOT_MODIFIED, b"", content_type=content_type, headers=headers)
        return Response(200, body, content_type=content_type or negotiate.JSON, headers=headers)


def negotiate_yaml(request: Request) -> bool:
    """Whether the client asked for YAML before JSON."""
    header = request.headers.get("accept", "")
    return "yaml" in header and negotiate.accept(header).media == negotiate.YAML


def _wanted(accept: str) -> list[tuple[str, str]]:
    """The first usable (media type, aggregated version or "") of an Accept header, if any."""
    if not accept:
        return [(negotiate.JSON, "")]
    for clause in accept.split(","):
        media, *parameters = [p.strip() for p in clause.split(";")]
        if media not in ("application/json", "*/*", "application/*", negotiate.YAML):
            continue
        given = dict(p.partition("=")[::2] for p in parameters)
        if given.get("as") == "APIGroupDiscoveryList":
            if (
                given.get("g") == "apidiscovery.k8s.io"
                and given.get("v") in _AGGREGATED_VERSIONS
                and media == "application/json"
            ):
                return [(media, given["v"])]
            continue
        if "as" not in given:
            return [(negotiate.JSON, "")]
    return []


def not_found() -> NotFound:
    """The 404 of a path that nobody serves."""
    return NotFound("the server could not find the requested resource")
