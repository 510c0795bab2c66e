"""Putting the security parts together for an engine: from settings to `app.Parts` and components.

The order: `Assembly(engine, settings)` makes authentication, authorization, admission, discovery,
health and metrics; `ApiServer(…, assemble=…)` takes its `parts`; then, with the server's handler,
`Assembly.start(handler)` writes what every cluster has, and `components(handler)` gives what runs on.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from skiff.aio.http.message import Handler, Response
from skiff.aio.run import Component
from skiff.server.addresses import ServiceAddresses
from skiff.server.admission import table as admission_table
from skiff.server.admission.quota import Ledger, QuotaStatus
from skiff.server.app import Parts
from skiff.server.authn.bootstrap_tokens import BootstrapTokens
from skiff.server.authn.chain import AuthenticationChain
from skiff.server.authn.issuer_discovery import KEYS_PATH, IssuerDiscovery
from skiff.server.authn.jwt import Signer
from skiff.server.authn.reviews import AuthenticationReviews
from skiff.server.authn.tokens import DEFAULT_ISSUER, Issuer, ServiceAccountTokens
from skiff.server.authz.aggregation import Aggregation
from skiff.server.authz.chain import DEFAULT_MODES, AuthorizationChain
from skiff.server.authz.reviews import AccessReviews
from skiff.server.bootstrap import Bootstrap, Facts
from skiff.server.bootstrap.flow_status import FlowSchemaStatus
from skiff.server.component_status import FOLLOWERS, ComponentStatuses
from skiff.server.discovery import Catalog, Discovery
from skiff.server.discovery.version import GIT_VERSION
from skiff.server.engine import Engine
from skiff.server.flow import FlowControl
from skiff.server.health import Health, steps
from skiff.server.metrics import Metrics
from skiff.server.seams import Call, Connector, PathHandler, User
from skiff.store.protocol import StoreError


def _fresh_key() -> bytes:
    from skiff.server.pki import certificates

    return certificates.new_key()


@dataclass(frozen=True)
class Settings:
    """What the parts are told. The defaults suit a server in memory: its signing key is made when
    the first token is asked for."""

    facts: Facts = field(
        # an address for documentation: nobody calls a server in memory
        default_factory=lambda: Facts("192.0.2.1", 6443, "10.96.0.1", ("10.96.0.0/16",))
    )
    authorization_modes: Sequence[str] = DEFAULT_MODES
    anonymous: bool = True
    static_tokens: Mapping[str, User] = field(default_factory=dict)
    bootstrap_tokens: bool = True
    issuer: str = DEFAULT_ISSUER
    audiences: Sequence[str] = ()
    """The server's own audiences; the issuer where empty."""
    signing_key: Callable[[], bytes] = _fresh_key
    """The service account key, PEM; asked once, on the first use."""
    verifying_keys: Callable[[], Sequence[bytes]] | None = None
    """Keys that tokens may be signed with, PEM; the signing key where None."""
    enabled_admission: Sequence[str] = ()
    disabled_admission: Sequence[str] = ()
    version: str = GIT_VERSION


class Assembly:
    """See the module's text."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self.settings = settings
        self._engine = engine
        clock = engine.clock
        audiences = tuple(settings.audiences) or (settings.issuer,)
        key = _Once(settings.signing_key)
        self.tokens = ServiceAccountTokens(
            engine,
            clock,
            key_pems=settings.verifying_keys or (lambda: [key()]),
            issuers=[settings.issuer],
            audiences=audiences,
        )
        self.authenticate = AuthenticationChain(
            clock,
            static_tokens=settings.static_tokens,
            service_accounts=self.tokens,
            bootstrap_tokens=BootstrapTokens(engine, clock) if settings.bootstrap_tokens else None,
            anonymous=settings.anonymous,
        )
        self.authorizer = AuthorizationChain(engine, settings.authorization_modes)
        self.ledger = Ledger(engine, clock)
        self.admission = admission_table.build(
            admission_table.Needs(engine, engine.entropy, self.authorizer, self.ledger),
            enabled=settings.enabled_admission,
            disabled=settings.disabled_admission,
        )
        issuer = Issuer(Signer(key), clock, settings.issuer, audiences, engine.entropy.uid)
        self._reviews = AuthenticationReviews(
            clock, engine, self.authenticate, issuer, audiences, self.admission
        )
        self._documents: dict[str, PathHandler] | None = None
        self.health = Health(self._store_check)
        self.writes_under_way: Callable[[], int] = lambda: 0
        """Set by whoever has the server."""
        self.metrics = Metrics(
            clock.now(),
            self._stored,
            lambda: self.writes_under_way(),
            engine.watches.counts,
            settings.version,
        )
        self.catalog = Catalog(engine.registry.resources)
        engine.registry.changed.append(self.catalog.changed)
        self.flows = FlowControl(engine)
        self._watching = dict.fromkeys(FOLLOWERS, 0)
        self.metrics.registry.add(*self.flows.gauges())
        self.parts = Parts(
            authenticate=self.authenticate,
            authorizer=self.authorizer,
            admission=self.admission,
            paths=self._paths(),
            connectors=self._connectors(),
            flows=self.flows,
            watching=self._watching,
            observe=self._observe,
        )

    async def start(self, handler: Handler) -> int:
        """Write what every cluster has; returns how many objects were written."""
        written = await Bootstrap(handler, self._engine, self.settings.facts).apply()
        self.health.reached(steps.READ)
        self.health.reached(steps.BOOTSTRAPPED)
        return written

    def components(self, handler: Handler) -> list[tuple[str, Component]]:
        """What goes on running beside the server, by name."""
        found: list[tuple[str, Component]] = [
            ("clusterrole-aggregation", Aggregation(handler, self._engine)),
            ("quota-status", QuotaStatus(handler, self._engine, self.ledger, self._engine.clock)),
            ("flow-schema-status", FlowSchemaStatus(handler, self._engine, self._engine.clock)),
            ("service-addresses", ServiceAddresses(handler, self._engine, self._engine.allocators)),
            ("kubernetes-service", Bootstrap(handler, self._engine, self.settings.facts)),
        ]
        return [(name, self.health.noted(name, component)) for name, component in found]

    def _store_check(self) -> str:
        """What is wrong with the store: one that has failed or is closed says so when it is read."""
        try:
            self._engine.store.get("")
        except StoreError as e:
            return str(e)
        return ""

    def _paths(self) -> dict[str, PathHandler]:
        facts = self.settings.facts
        address = f"{facts.advertise_address}:{facts.secure_port}"
        issuer = IssuerDiscovery(self.tokens, self.settings.issuer, f"https://{address}{KEYS_PATH}")
        paths: dict[str, PathHandler] = {
            **self.health.handlers(),
            **self.metrics.handlers(),
            **issuer.handlers(),
        }
        paths.update(dict.fromkeys(("/openapi/v2", "/openapi/v3"), self._openapi))
        discovery = Discovery(
            self.catalog,
            address,
            lambda: [*paths, *self.health.paths()],
            self.settings.version,
        )
        paths.update(discovery.handlers())
        return paths

    def _openapi(self, call: Call) -> Response | Awaitable[Response]:
        """The documents' builders are loaded by the first client that asks for one."""
        if self._documents is None:
            from skiff.server.openapi import OpenApi

            self._documents = OpenApi(self.catalog, self._engine.clock).handlers()
        prefix = "/openapi/v2" if call.info.path.startswith("/openapi/v2") else "/openapi/v3"
        return self._documents[prefix](call)

    def _connectors(self) -> dict[tuple[str, str, str], Connector]:
        statuses = ComponentStatuses(self._engine, self._watching, self._store_check)
        return {
            **self._reviews.connectors(),
            **AccessReviews(self.authorizer).connectors(),
            **statuses.connectors(),
        }

    def _observe(self, call: Call, code: int, seconds: float) -> None:
        self.metrics.requests.count(call.info, code, seconds, known=call.resource is not None)

    def _stored(self) -> dict[tuple[str, str], int]:
        cache = self._engine.cache
        storages = {r.storage for r in self.catalog.resources() if r.persisted}
        return {s: len(cache.of(s).keys) for s in sorted(storages)}


class _Once:
    """A value that is made on the first call and kept."""

    def __init__(self, make: Callable[[], bytes]) -> None:
        self._make = make
        self._value: bytes | None = None

    def __call__(self) -> bytes:
        if self._value is None:
            self._value = self._make()
        return self._value
