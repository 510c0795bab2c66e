"""The API server as a process of the in-process cluster: the whole chain on a store that is handed in,
without sockets and files.
"""

import asyncio
from collections.abc import Awaitable

from skiff.aio.clock import Clock
from skiff.aio.entropy import Entropy
from skiff.aio.http.message import Handler, Request, Response
from skiff.aio.run import Group, Started
from skiff.server.app import ApiServer, Parts
from skiff.server.assemble import Assembly, Settings
from skiff.server.bootstrap import Facts
from skiff.server.engine import Engine
from skiff.server.run import EVENT_TTL_S, HISTORY, Compaction, EventExpiry, Failure
from skiff.server.streaming.kubelets import Kubelets
from skiff.server.streaming.table import connectors
from skiff.store.protocol import Store

__all__ = ["HISTORY", "LocalServer"]

FACTS = Facts("192.0.2.1", 6443, "10.96.0.1", ("10.96.0.0/16",))
"""Where the server says that it is: an address of the documentation range (RFC 5737)."""


class LocalServer:
    """See the module's text. A component; `api` is there once it runs. `kubelets` holds the nodes' own
    handlers, by node name: logs, exec and the proxies reach them there."""

    def __init__(self, store: Store, clock: Clock, entropy: Entropy) -> None:
        self._store = store
        self._clock = clock
        self._entropy = entropy
        self._assembly: Assembly | None = None
        self._api: ApiServer | None = None
        self.kubelets: dict[str, Handler] = {}

    @property
    def api(self) -> ApiServer:
        """The server itself."""
        assert self._api is not None
        return self._api

    def handle(self, request: Request) -> Response | Awaitable[Response]:
        """Answer a request, as a Handler does."""
        if self._api is None:
            raise ConnectionRefusedError("connection refused")
        return self._api.handle(request)

    async def run(self, started: Started) -> None:
        """Write what every cluster has, then serve until cancelled."""
        self._api = api = ApiServer(
            self._store, self._clock, self._entropy, assemble=self._assemble
        )
        assert self._assembly is not None
        kubelets = Kubelets(api.engine, local=self.kubelets)
        api.add_connectors(connectors(api.engine, kubelets, entropy=self._entropy))
        failed: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()

        def fail(error: Exception) -> None:
            if not failed.done():
                failed.set_result(error)

        api.engine.cache.on_failure = fail
        try:
            await self._assembly.start(api.handle)
            upkeep = Group(
                [
                    *self._assembly.components(api.handle),
                    ("compaction", Compaction(self._store, self._clock)),
                    ("event-expiry", EventExpiry(api.engine, self._clock, EVENT_TTL_S)),
                    ("failure", Failure(failed)),
                ]
            )
            await upkeep.run(started)
        finally:
            self._api = None
            self._assembly.health.stop()
            api.close()

    def _assemble(self, engine: Engine) -> Parts:
        self._assembly = Assembly(engine, Settings(facts=FACTS))
        return self._assembly.parts
