"""The API server as a component: the store on disk, the TLS listener, the bootstrap, the upkeep.

Order of a start: open the store, load the indexes, listen, write what every cluster has, ready. From
then on it compacts history, lets old Events expire and keeps its own Service right. On the way out
watches end first, answers under way get a moment, and the store is closed last.
"""

import asyncio
import contextlib
import gc
import ssl
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import orjson

from skiff.aio.clock import Clock
from skiff.aio.entropy import Entropy
from skiff.aio.http.client_checks import checking
from skiff.aio.http.message import Request, Response
from skiff.aio.http.server import Limits as HttpLimits
from skiff.aio.http.server import Server
from skiff.aio.run import Group, Started
from skiff.api.errors import RequestEntityTooLarge, ServiceUnavailable
from skiff.api.resources import EVENTS
from skiff.server.allocate import DEFAULT_PORTS
from skiff.server.app import ApiServer, Config, Parts
from skiff.server.assemble import Assembly, Settings
from skiff.server.authn.static_tokens import parse_token_file
from skiff.server.authn.tokens import DEFAULT_ISSUER
from skiff.server.authz.chain import DEFAULT_MODES
from skiff.server.bootstrap import Facts
from skiff.server.cache import Change
from skiff.server.discovery.version import GIT_VERSION
from skiff.server.engine import Engine
from skiff.server.stamp import stamp
from skiff.server.streaming.kubelets import Kubelets
from skiff.server.streaming.table import connectors
from skiff.store.mvcc import Limits
from skiff.store.protocol import Conflict, FutureRevision, Store
from skiff.store.sqlite import SQLiteStore

HISTORY_S = 300.0
"""Watches can resume, and pages continue, for as long as this."""
COMPACT_EVERY_S = 60.0
HISTORY = Limits(events=50_000, bytes=32 * 1024 * 1024)
EVENT_TTL_S = 3600.0
BODY_MAX_BYTES = 3 * 1024 * 1024
CLOSE_GRACE_S = 3.0
START_WAIT_S = 5.0
"""Requests that come while the server starts wait for it this long, then are told to come again."""
GC_THRESHOLDS = (20_000, 20, 50)
"""Most garbage is acyclic and dies young; a full collection walks every live object."""


@dataclass(slots=True)
class ServerConfig:
    """What `skiff server` is told; the names are those of kube-apiserver's flags."""

    database: Path
    tls_cert_file: Path
    tls_private_key_file: Path
    client_ca_file: Path | None = None
    cluster_ca_file: Path | None = None
    """The authority of the cluster's own components, whose certificates are good beside those of
    `client_ca_file`; what pods and newcomers check the server by. Not said: `client_ca_file`."""
    bind_address: str = "0.0.0.0"  # noqa: S104 - pods and other machines reach the server here
    secure_port: int = 6443
    advertise_address: str = "127.0.0.1"
    external_hostname: str = ""
    service_cluster_ip_range: tuple[str, ...] = ("10.96.0.0/16",)
    service_node_port_range: tuple[int, int] = DEFAULT_PORTS
    authorization_mode: Sequence[str] = DEFAULT_MODES
    token_auth_file: Path | None = None
    anonymous_auth: bool = True
    enable_admission_plugins: Sequence[str] = ()
    disable_admission_plugins: Sequence[str] = ()
    service_account_signing_key_file: Path | None = None
    service_account_key_files: Sequence[Path] = ()
    service_account_issuer: str = DEFAULT_ISSUER
    api_audiences: tuple[str, ...] = ()
    version: str = GIT_VERSION
    kubelet_client_certificate: Path | None = None
    kubelet_client_key: Path | None = None
    kubelet_certificate_authority: Path | None = None
    requestheader_client_ca_file: Path | None = None
    event_ttl_s: float = EVENT_TTL_S

    @property
    def service_address(self) -> str:
        """The cluster IP of the server's own Service: the first of the range."""
        import ipaddress

        return str(ipaddress.ip_network(self.service_cluster_ip_range[0])[1])


@dataclass(slots=True)
class ServerComponent:
    """See the module's text. `api` is there once `run` has opened the store."""

    config: ServerConfig
    clock: Clock
    entropy: Entropy
    api: ApiServer | None = None
    assembly: Assembly | None = None
    address: tuple[str, int] = ("", 0)
    _serving: asyncio.Event = field(default_factory=asyncio.Event, repr=False)
    _failed: "asyncio.Future[Exception] | None" = field(default=None, repr=False)

    async def run(self, started: Started) -> None:
        """Serve until cancelled. Raises OSError (the port), StoreError (the file), ValueError (a
        setting)."""
        failed: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        self._failed = failed
        self._serving = asyncio.Event()
        http = Server(
            self._when_serving,
            clock=self.clock,
            limits=HttpLimits(body_bytes=BODY_MAX_BYTES, too_large=too_large()),
            tls=server_tls(self.config),
        )
        try:
            # First the port, so that a second server on it does not even look at the store.
            self.address = await http.listen(self.config.bind_address, self.config.secure_port)
            self.config = replace(self.config, secure_port=self.address[1])
            store = SQLiteStore.open(
                self.config.database,
                stamp,
                self.clock,
                limits=HISTORY,
                on_failure=self._fail,
            )
            try:
                await self._serve(http, store, failed, started)
            finally:
                await store.close()
        finally:
            await http.close(CLOSE_GRACE_S)

    def _fail(self, error: Exception) -> None:
        if self._failed is not None and not self._failed.done():
            self._failed.set_result(error)

    async def _serve(
        self, http: Server, store: Store, failed: "asyncio.Future[Exception]", started: Started
    ) -> None:
        config = self.config
        api = ApiServer(
            store,
            self.clock,
            self.entropy,
            Config(config.service_cluster_ip_range, config.service_node_port_range),
            self._assemble,
        )
        self.api = api
        api.engine.cache.on_failure = self._fail
        assembly = self.assembly
        assert assembly is not None
        assembly.writes_under_way = lambda: api.mutating
        kubelets = Kubelets(api.engine, *kubelet_tls(config))
        api.add_connectors(connectors(api.engine, kubelets, entropy=self.entropy))
        try:
            # Served from here on: before, a client would be told that it may not do what it may.
            await assembly.start(api.handle)
            http.handler = api.handle
            self._serving.set()
            settle_memory()
            upkeep = Group(
                [
                    *assembly.components(api.handle),
                    ("compaction", Compaction(store, self.clock)),
                    ("event-expiry", EventExpiry(api.engine, self.clock, config.event_ttl_s)),
                    ("failure", Failure(failed)),
                ]
            )
            await upkeep.run(started)
        finally:
            assembly.health.stop()
            api.engine.watches.close()
            await http.close(CLOSE_GRACE_S)
            api.close()
            http.handler = _not_yet

    async def _when_serving(self, request: Request) -> Response:
        """Hold requests while the server starts: a component that came early goes on at once."""
        try:
            async with asyncio.timeout(START_WAIT_S):
                await self._serving.wait()
        except TimeoutError:
            return _not_yet(request)
        assert self.api is not None
        answer = self.api.handle(request)
        return answer if isinstance(answer, Response) else await answer

    def _assemble(self, engine: Engine) -> Parts:
        self.assembly = Assembly(engine, read_settings(self.config))
        return self.assembly.parts


def _not_yet(request: Request) -> Response:
    """The answer while the store is being read, and once the server ends."""
    del request
    error = ServiceUnavailable("the server is starting", retry_after_s=1)
    return Response(503, orjson.dumps(error.status()), headers=(("Retry-After", "1"),))


def read_settings(config: ServerConfig) -> Settings:
    """Read the files that say who is believed. Raises OSError, ValueError."""
    tokens = {}
    if config.token_auth_file is not None:
        text = config.token_auth_file.read_text()
        tokens = parse_token_file(text, str(config.token_auth_file))
    keys = config.service_account_key_files
    settings = Settings(
        facts=facts(config),
        authorization_modes=config.authorization_mode,
        # As kube-apiserver: where everything is allowed, nobody is let in without a name.
        anonymous=config.anonymous_auth and "AlwaysAllow" not in config.authorization_mode,
        static_tokens=tokens,
        issuer=config.service_account_issuer,
        audiences=config.api_audiences,
        verifying_keys=(lambda: [p.read_bytes() for p in keys]) if keys else None,
        enabled_admission=config.enable_admission_plugins,
        disabled_admission=config.disable_admission_plugins,
        version=config.version,
    )
    signing = config.service_account_signing_key_file
    return replace(settings, signing_key=signing.read_bytes) if signing is not None else settings


def server_tls(config: ServerConfig) -> ssl.SSLContext:
    """TLS 1.2 and 1.3; a client certificate is asked for where there is a CA to check it against. One
    that is not believed comes through: authentication answers 401."""
    if config.client_ca_file is not None:
        context: ssl.SSLContext = checking(str(config.client_ca_file))
        if config.cluster_ca_file is not None:
            context.load_verify_locations(config.cluster_ca_file)
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(config.tls_cert_file, config.tls_private_key_file)
    context.set_alpn_protocols(["http/1.1"])
    # Connections are long and kept alive: resumption tickets would only cost handshakes time.
    context.num_tickets = 0
    return context


def kubelet_tls(config: ServerConfig) -> tuple[ssl.SSLContext | None, ssl.SSLContext | None]:
    """How the server speaks to kubelets: (checked, unchecked), with its client certificate."""
    if config.kubelet_client_certificate is None or config.kubelet_client_key is None:
        return None, None
    contexts = []
    for checked in (True, False):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if checked and config.kubelet_certificate_authority is not None:
            context.load_verify_locations(config.kubelet_certificate_authority)
        else:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        context.load_cert_chain(config.kubelet_client_certificate, config.kubelet_client_key)
        contexts.append(context)
    return contexts[0], contexts[1]


def facts(config: ServerConfig) -> Facts:
    """What of this server goes into objects."""

    def text(path: Path | None) -> str:
        return path.read_text() if path is not None else ""

    clients = dict.fromkeys((config.client_ca_file, config.cluster_ca_file))
    return Facts(
        advertise_address=config.advertise_address,
        secure_port=config.secure_port,
        service_address=config.service_address,
        service_cidrs=config.service_cluster_ip_range,
        client_ca="".join(text(file) for file in clients),
        front_proxy_ca=text(config.requestheader_client_ca_file),
        cluster_ca=text(config.cluster_ca_file or config.client_ca_file),
        server_url=(
            f"https://{config.external_hostname or config.advertise_address}:{config.secure_port}"
        ),
    )


def too_large() -> Response:
    """The answer to a body beyond the limit."""
    error = RequestEntityTooLarge(f"Request entity too large: limit is {BODY_MAX_BYTES}")
    return Response(413, orjson.dumps(error.status()))


def settle_memory() -> None:
    """After start: what lives by now stays, and is not walked again by the garbage collector."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


class Failure:
    """Ends the server when its store has failed, or its indexes have: nothing may be built on a write
    that was lost, and nobody be served from indexes that stand still."""

    def __init__(self, failed: "asyncio.Future[Exception]") -> None:
        self._failed = failed

    async def run(self, started: Started) -> None:
        """Raise the failure when it comes."""
        started()
        raise await self._failed


class Compaction:
    """Keeps HISTORY_S of history; the store's own limits bound its count and bytes."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def run(self, started: Started) -> None:
        """Remember which revision was when, and compact what is old enough."""
        started()
        samples: deque[tuple[float, int]] = deque()
        while True:
            samples.append((self._clock.monotonic(), self._store.revision))
            await self._clock.sleep(COMPACT_EVERY_S)
            old = 0
            while samples and samples[0][0] <= self._clock.monotonic() - HISTORY_S:
                old = samples.popleft()[1]
            if old > self._store.compacted:
                with contextlib.suppress(FutureRevision):
                    self._store.compact(old)


class EventExpiry:
    """Lets Events go an hour after they were last written (kube-apiserver's --event-ttl)."""

    def __init__(self, engine: Engine, clock: Clock, ttl_s: float) -> None:
        self._engine = engine
        self._clock = clock
        self._ttl_s = ttl_s
        self._index = engine.cache.of(EVENTS.storage)
        # In order of expiry; a key that was written again stands in it again, further back.
        self._due: deque[tuple[float, str, int]] = deque()

    async def run(self, started: Started) -> None:
        """Follow the events and delete those whose time is over."""
        end = self._clock.monotonic() + self._ttl_s
        self._due.extend((end, i.key, i.revision) for i in self._index.items.values())
        self._index.sinks.append(self._written)
        started()
        try:
            while True:
                await self._clock.sleep(COMPACT_EVERY_S)
                await self._expire()
        finally:
            self._index.sinks.remove(self._written)

    def _written(self, changes: Sequence[Change]) -> None:
        end = self._clock.monotonic() + self._ttl_s
        for change in changes:
            if change.new is not None:
                self._due.append((end, change.new.key, change.revision))

    async def _expire(self) -> None:
        now = self._clock.monotonic()
        last: asyncio.Future[int] | None = None
        while self._due and self._due[0][0] <= now:
            _, key, revision = self._due.popleft()
            item = self._index.items.get(key)
            if item is not None and item.revision == revision:
                with contextlib.suppress(Conflict):
                    last = self._engine.store.commit(key, None, expected=revision)
        if last is not None:
            await last
