"""The API server without sockets: from a request to a response.

The chain, in order: read the request line, authenticate, impersonate, authorize, find the resource
(or the path's or the subresource's handler), run the verb. Each step costs microseconds; reads are
answered without a task, writes as one coroutine that waits only for the store (and for admission
webhooks, if there are any). Any ApiError raised on the way becomes its Status; anything else is our
bug: 500, logged with its traceback.
"""

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import orjson

from skiff.aio.clock import Clock
from skiff.aio.entropy import Entropy
from skiff.aio.http.message import Request, Response, Stream, Writer
from skiff.api.errors import (
    ApiError,
    BadRequest,
    InternalError,
    MethodNotAllowed,
    NotFound,
    ServiceUnavailable,
    TooManyRequests,
    Unauthorized,
)
from skiff.api.resources import SERVICES, TABLE, Resource
from skiff.server import negotiate
from skiff.server.allocate import DEFAULT_PORTS, Allocators
from skiff.server.authn.impersonation import IMPERSONATE, impersonate
from skiff.server.authz.messages import forbidden
from skiff.server.convert import converters
from skiff.server.deadline import check_timeout
from skiff.server.engine import Engine
from skiff.server.flow import FlowControl, Rejected
from skiff.server.hooks.services import rebuild
from skiff.server.permissive import AllowAll, NoAdmission, anybody
from skiff.server.request import RequestInfo, parse
from skiff.server.seams import (
    Admission,
    Authenticator,
    Authorizer,
    Call,
    Connector,
    Decision,
    PathHandler,
    User,
)
from skiff.server.served import Served
from skiff.server.verbs.answer import wants_pretty
from skiff.server.verbs.table import SUBRESOURCE_VERBS, VERBS, VIRTUAL_VERBS, Verb
from skiff.store.protocol import Store, StoreError

log = logging.getLogger(__name__)

MUTATING_MAX = 1000
"""Writes under way at once; more are told to come back (429)."""
WARNING_MAX_CHARS = 4096

_MUTATING: Final = frozenset({"create", "update", "patch", "delete", "deletecollection"})
_NAMELESS: Final = frozenset({"list", "watch", "create", "deletecollection"})
_NO_STORE: Final = ("Cache-Control", "no-cache, private")
_TEXT: Final = "text/plain; charset=utf-8"
_REJECTED: Final = (("Retry-After", "1"), ("X-Content-Type-Options", "nosniff"))
_NOT_FOUND: Final = "the server could not find the requested resource"
_NOT_ALLOWED: Final = "the server does not allow this method on the requested resource"


@dataclass(slots=True)
class Config:
    """What the server is told."""

    service_cidrs: tuple[str, ...] = ("10.96.0.0/16",)
    node_ports: tuple[int, int] = DEFAULT_PORTS
    resources: tuple[Resource, ...] = TABLE


@dataclass(slots=True)
class Parts:
    """What is handed in: see `seams.py`. The default lets everybody do everything."""

    authenticate: Authenticator = anybody
    authorizer: Authorizer = field(default_factory=AllowAll)
    admission: Admission = field(default_factory=NoAdmission)
    paths: Mapping[str, PathHandler] = field(default_factory=dict)
    """By path prefix; the longest that matches at a slash answers."""
    connectors: Mapping[tuple[str, str, str], Connector] = field(default_factory=dict)
    """By (group, plural, subresource)."""
    flows: FlowControl | None = None
    """Which requests go first; None: nobody waits for a seat."""
    observe: Callable[[Call, int, float], None] | None = None
    """Told of every answer: the call, the status code, the seconds it took."""
    long_running: Callable[[RequestInfo, int], None] | None = None
    """Told when a stream begins (1) and ends (-1)."""
    watching: dict[str, int] = field(default_factory=dict)
    """How many watches are under way, of the users that stand in it."""


Assemble = Callable[[Engine], Parts]


class ApiServer:
    """Put together with `assemble`, which makes the parts for the engine."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        entropy: Entropy,
        config: Config | None = None,
        assemble: Assemble | None = None,
    ) -> None:
        self.config = config or Config()
        allocators = Allocators.of(list(self.config.service_cidrs), entropy, self.config.node_ports)
        self.engine = Engine(store, clock, entropy, NoAdmission(), allocators)
        for resource in self.config.resources:
            self.engine.registry.add(resource, **converters(resource))
        rebuild(allocators, self.engine.list(SERVICES))
        parts = assemble(self.engine) if assemble is not None else Parts()
        self.parts = parts
        self.engine.admission = parts.admission
        self._authenticate = parts.authenticate
        self._authorizer = parts.authorizer
        self._paths = dict(parts.paths)
        self._connectors = dict(parts.connectors)
        self._flows = parts.flows
        self._observe = parts.observe
        self._long_running = parts.long_running
        self._clock = clock
        self._bits = entropy.random.getrandbits
        self._mutating = 0

    @property
    def mutating(self) -> int:
        """How many writes are under way."""
        return self._mutating

    def close(self) -> None:
        """End watches and stop following the store."""
        self.engine.watches.close()
        self.engine.cache.close()

    def add_paths(self, paths: Mapping[str, PathHandler]) -> None:
        """Serve more path prefixes."""
        self._paths.update(paths)

    def add_connectors(self, connectors: Mapping[tuple[str, str, str], Connector]) -> None:
        """Serve more (group, plural, subresource)s by themselves."""
        self._connectors.update(connectors)

    def handle(self, request: Request) -> Response | Awaitable[Response]:
        """Answer one request (a `Handler`)."""
        call = Call(request, parse(request.method, request.path, request.query), _NOBODY)
        call.audit_id = request.headers.get("audit-id") or f"{self._bits(128):032x}"
        started = self._clock.monotonic() if self._observe is not None else 0.0
        try:
            if "timeout=" in request.query:
                check_timeout(call.info)
            user = self._authenticate(request)
            if type(user) is not User:
                return self._later(call, self._authenticated(call, user), started)
            result = self._authorized(call, user)
            if type(result) is Response:
                return self._finish(call, result, started)
            assert not isinstance(result, Response)
            return self._later(call, result, started)
        except Exception as error:  # noqa: BLE001 - the one place where a call's errors become answers
            return self._finish(call, self._failure(call, error), started)

    async def _authenticated(
        self, call: Call, user: User | Awaitable[User | None] | None
    ) -> Response:
        """Go on where authentication has to wait, or failed."""
        found = user if user is None or isinstance(user, User) else await user
        if found is None:
            raise Unauthorized("Unauthorized")
        result = self._authorized(call, found)
        return result if isinstance(result, Response) else await self._seated(call, result)

    def _authorized(self, call: Call, user: User) -> Response | Awaitable[Response]:
        """Impersonate, classify, authorize, route."""
        if IMPERSONATE in "".join(call.request.headers):
            user = impersonate(user, call.request, self._authorizer)
        call.user = user
        flow = None
        if self._flows is not None:
            flow = call.flow = self._flows.classify(user, call.info)
        decision: Decision = self._authorizer.allowed(user, call.info)
        if not decision.allowed:
            raise forbidden(user, call.info, decision.reason)
        if flow is not None:
            flow.dispatched += 1
            if flow.level.executing >= flow.level.seats:
                return self._routed(call)
        return self._route(call)

    async def _routed(self, call: Call) -> Response:
        """Route what has to wait for a seat first."""
        result = self._route(call)
        return result if isinstance(result, Response) else await result

    async def _seated(self, call: Call, result: Awaitable[Response]) -> Response:
        """Await `result` with a seat of the call's priority level. Raises Rejected."""
        flow, flows = call.flow, self._flows
        if flow is None or flows is None:
            return await result
        level = flow.level
        if level.executing < level.seats and not level.waiting:
            level.executing += 1
            flow.executing += 1
        else:
            try:
                await flows.seat(call, flow)
            except BaseException:
                flow.dispatched -= 1
                if hasattr(result, "close"):
                    result.close()
                raise
        try:
            return await result
        finally:
            flows.hall.leave(flow)

    async def _later(self, call: Call, result: Awaitable[Response], started: float) -> Response:
        """An answer that has to wait."""
        mutating = call.info.verb in _MUTATING
        try:
            if mutating:
                if self._mutating >= MUTATING_MAX:
                    if hasattr(result, "close"):
                        result.close()
                    raise TooManyRequests(
                        "Too many requests, please try again later.", retry_after_s=1
                    )
                self._mutating += 1
            try:
                response = await self._seated(call, result)
            finally:
                if mutating:
                    self._mutating -= 1
        except Exception as error:  # noqa: BLE001 - as in handle
            response = self._failure(call, error)
        return self._finish(call, response, started)

    # --- routing ---------------------------------------------------------------------------

    def _route(self, call: Call) -> Response | Awaitable[Response]:
        info = call.info
        if not info.is_resource:
            return self._path(call)
        served = self.engine.registry.find(info.group, info.version, info.resource)
        if served is None:
            if not self.engine.registry.has_version(info.group, info.version):
                return self._path(call)
            raise _unknown()
        call.resource = served.resource
        if served.deprecated:
            call.warnings.append(served.deprecated)
        connector = self._connectors.get((info.group, info.resource, info.subresource))
        if connector is not None:
            return connector(call)
        return self._verb(call, served)(self.engine, call, served)

    def _verb(self, call: Call, served: Served) -> Verb:
        """The function for a call to a served resource. Raises NotFound, MethodNotAllowed."""
        info, resource = call.info, served.resource
        if resource.namespaced:
            if not info.namespace and (info.name or info.verb not in ("list", "watch")):
                if info.verb in _NAMELESS and not (info.name and len(info.parts) > 1):
                    if info.verb in ("list", "watch"):
                        return VERBS[info.verb]
                    raise MethodNotAllowed(_NOT_ALLOWED)
                raise _unknown()
        elif info.namespace and info.resource != "namespaces":
            raise _unknown()
        if info.subresource:
            return _subresource(info.verb, info.subresource, resource)
        if info.verb not in resource.verbs:
            raise MethodNotAllowed(_NOT_ALLOWED)
        if info.verb in ("create", "deletecollection") and len(info.parts) > 1:
            raise MethodNotAllowed(_NOT_ALLOWED)
        if info.verb in ("update", "patch") and not info.name:
            raise MethodNotAllowed(_NOT_ALLOWED)
        if not resource.persisted:
            found = VIRTUAL_VERBS.get((info.group, info.resource, info.verb))
            if found is None:
                raise MethodNotAllowed(_NOT_ALLOWED)
            return found
        return VERBS[info.verb]

    def _path(self, call: Call) -> Response | Awaitable[Response]:
        """A handler by the longest path prefix that ends at a slash or at the end."""
        path = call.info.path
        found = self._paths.get(path)
        prefix = path
        while found is None and prefix:
            prefix = prefix.rpartition("/")[0]
            found = self._paths.get(prefix or "/")
            if found is not None and not prefix and path != "/":
                found = None
        if found is None:
            return Response(404, b"404 page not found\n", "text/plain; charset=utf-8")
        return found(call)

    # --- answers ---------------------------------------------------------------------------

    def _finish(self, call: Call, response: Response, started: float) -> Response:
        """Add what every answer carries."""
        headers = (("Audit-Id", call.audit_id), _NO_STORE, *response.headers)
        if call.flow is not None:
            headers += call.flow.headers
        if call.warnings:
            headers += _warnings(call.warnings)
        response.headers = headers
        if self._observe is not None:
            self._observe(call, response.status, self._clock.monotonic() - started)
        if response.stream is not None and self._long_running is not None:
            response.stream = _counted(response.stream, call.info, self._long_running)
        if response.stream is not None and call.user.name in self.parts.watching:
            response.stream = _noted(response.stream, call.user.name, self.parts.watching)
        return response

    def _failure(self, call: Call, error: Exception) -> Response:
        """The Status that an error is."""
        if isinstance(error, StoreError):
            log.error("the store failed on %s %s: %s", call.request.method, call.info.path, error)
            error = ServiceUnavailable(f"the store is not available: {error}")
        elif isinstance(error, RecursionError):
            error = BadRequest("the object is nested too deeply")
        elif not isinstance(error, ApiError):
            log.error("panic on %s %s", call.request.method, call.info.path, exc_info=error)
            error = InternalError(f"Internal error occurred: {type(error).__name__}: {error}")
        headers: tuple[tuple[str, str], ...] = ()
        if isinstance(error, Rejected):
            return Response(429, f"{error}\n".encode(), _TEXT, _REJECTED)
        if error.retry_after_s:
            headers = (("Retry-After", str(error.retry_after_s)),)
        body = error.status()
        accept = call.request.headers.get("accept", "")
        if accept and "json" not in accept and "*" not in accept:
            for media in (negotiate.YAML, negotiate.PROTOBUF):
                if media in accept:
                    return Response(error.code, negotiate.encode(body, media), media, headers)
        if wants_pretty(call):
            return Response(
                error.code, negotiate.encode(body, negotiate.JSON, pretty=True), headers=headers
            )
        return Response(error.code, orjson.dumps(body) + b"\n", headers=headers)


_NOBODY: Final = User("")


def _counted(
    stream: Stream, info: RequestInfo, long_running: Callable[[RequestInfo, int], None]
) -> Stream:
    async def run(writer: Writer) -> None:
        long_running(info, 1)
        try:
            await stream(writer)
        finally:
            long_running(info, -1)

    return run


def _noted(stream: Stream, name: str, watching: dict[str, int]) -> Stream:
    async def run(writer: Writer) -> None:
        watching[name] += 1
        try:
            await stream(writer)
        finally:
            watching[name] -= 1

    return run


def _unknown() -> NotFound:
    """A resource that is not served."""
    return NotFound(_NOT_FOUND, generic=True)


def _subresource(verb: str, name: str, resource: Resource) -> Verb:
    """The function for a subresource. Raises NotFound, MethodNotAllowed."""
    found = resource.subresources.get(name)
    if found is None:
        raise _unknown()
    if verb not in found.verbs:
        raise MethodNotAllowed(_NOT_ALLOWED)
    special = SUBRESOURCE_VERBS.get((name, verb))
    if special is not None:
        return special
    if found.kind != resource.kind:
        raise _unknown()
    return VERBS[verb]


def _warnings(texts: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Warning headers (RFC 7234 §5.5, code 299), each text once, up to WARNING_MAX_CHARS in all."""
    out = []
    left = WARNING_MAX_CHARS
    for text in dict.fromkeys(texts):
        clean = " ".join(text.split())[:left]
        left -= len(clean)
        if not clean:
            break
        quoted = clean.replace("\\", "\\\\").replace('"', '\\"')
        out.append(("Warning", f'299 - "{quoted}"'))
    return tuple(out)
