"""The proxy's loop: Services and EndpointSlices are watched, changed Services planned anew, the
difference written to the packet filter in one transaction.

The first transaction replaces the whole table, so that rules which an earlier proxy left serve
until the moment when this one's stand; whom session affinity remembers is carried over. Where a
transaction fails, the next one replaces the whole table again. Rules outlive the process: while it
is away, traffic flows as it last said.
"""

import asyncio
import logging

from skiff.aio.clock import Clock
from skiff.aio.run import Started
from skiff.api.views.discovery import EndpointSlice
from skiff.api.views.service import Service
from skiff.client.informer import Informer
from skiff.network.proxy.affinity import remembered, restore
from skiff.network.proxy.base import base_rules
from skiff.network.proxy.conntrack import FlowTable, stale_among
from skiff.network.proxy.endpoints import Place
from skiff.network.proxy.health import Check, HealthPorts, health_check_port
from skiff.network.proxy.model import Table
from skiff.network.proxy.nft import PacketFilter, PacketFilterError, probe
from skiff.network.proxy.plan import (
    EMPTY,
    SERVICE_NAME_LABEL,
    Backend,
    Frontend,
    ServiceRules,
    is_proxied,
    local_ready_endpoints,
    plan_service,
)

SETTLE_S = 0.02
"""How long changes are gathered before they are written: a rollout comes in bursts."""
RETRY_S = 1.0
RETRY_MAX_S = 30.0
PLAN_RUN = 100
"""Services planned in one go; then others in this process get their turn."""

Key = tuple[str, str]

log = logging.getLogger("skiff.proxy")


class Proxy:
    """Keeps table `table` (such as `ip skiff`) as the cluster's Services want it at `place`."""

    def __init__(
        self,
        services: Informer[Service],
        slices: Informer[EndpointSlice],
        packet_filter: PacketFilter,
        flows: FlowTable,
        clock: Clock,
        *,
        place: Place,
        table: str,
        pod_cidr: str,
        service_cidr: str = "",
        health: HealthPorts | None = None,
    ) -> None:
        self._services = services
        self._slices = slices
        self._filter = packet_filter
        self._flows = flows
        self._clock = clock
        self._place = place
        self._pod_cidr = pod_cidr
        self._health = health or HealthPorts()
        self._table = Table(table, base_rules(pod_cidr, service_cidr))
        self._parts: dict[Key, ServiceRules] = {}
        self._stands = False  # the kernel holds what `_table` said at its last `take` or `start`
        self._udp_changed: dict[Frontend, frozenset[Backend]] = {}
        self._dirty: set[Key] = set()
        self._wake = asyncio.Event()
        slices.add_index("service", _service_of)
        services.subscribe(self._service_changed)
        slices.subscribe(self._slice_changed)

    async def run(self, started: Started) -> None:
        """Sync for ever; ready once the first ruleset stands."""
        await self._services.synced.wait()
        await self._slices.synced.wait()
        self._mark_all()
        retry_s = RETRY_S
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                try:
                    await self._sync()
                except PacketFilterError as e:
                    log.error("service rules were refused, again in %.0f s: %s", retry_s, e)
                    self._stands = self._health.healthy = False
                    await self._clock.sleep(retry_s)
                    retry_s = min(retry_s * 2, RETRY_MAX_S)
                    self._wake.set()
                    continue
                retry_s = RETRY_S
                self._health.healthy = True
                started()
                await self._clock.sleep(SETTLE_S)
        finally:
            await self._health.close()

    def move(self, place: Place) -> None:
        """This node's name or zone is another now."""
        if place != self._place:
            self._place = place
            self._mark_all()

    def _mark_all(self) -> None:
        self._dirty.update((s.metadata.namespace, s.metadata.name) for s in self._services.list())
        self._wake.set()

    def _service_changed(self, old: Service | None, new: Service | None) -> None:
        service = new or old
        if service is not None:
            self._mark((service.metadata.namespace, service.metadata.name))

    def _slice_changed(self, old: EndpointSlice | None, new: EndpointSlice | None) -> None:
        for piece in (old, new):
            name = piece.metadata.labels.get(SERVICE_NAME_LABEL, "") if piece is not None else ""
            if piece is not None and name:
                self._mark((piece.metadata.namespace, name))

    def _mark(self, key: Key) -> None:
        self._dirty.add(key)
        self._wake.set()

    async def _sync(self) -> None:
        await self._plan_dirty()
        await self._health.sync()
        if self._stands:
            text = self._table.take()
            if text:
                await asyncio.to_thread(self._filter.run, text)
        else:
            clients = await asyncio.to_thread(self._first_look)
            text = self._table.start() + restore(self._table.name, clients, self._table.sets)
            await asyncio.to_thread(self._filter.run, text)
            self._stands = True
        await self._forget_flows()

    async def _plan_dirty(self) -> None:
        dirty, self._dirty = self._dirty, set()
        for number, key in enumerate(dirty, 1):
            before = self._parts.get(key, EMPTY)
            after = self._plan(key)
            if before.udp != after.udp:
                self._udp_changed.update({f: frozenset() for f in before.udp if f not in after.udp})
                self._udp_changed.update(after.udp)
            self._table.put(key, after.share)
            if after is EMPTY:
                self._parts.pop(key, None)
            else:
                self._parts[key] = after
            if number % PLAN_RUN == 0:
                await self._clock.sleep(0)

    def _plan(self, key: Key) -> ServiceRules:
        namespace, name = key
        service = self._services.get(name, namespace)
        if service is None:
            self._health.want(key, None)
            return EMPTY
        slices = self._slices.by_index("service", f"{namespace}/{name}")
        port = health_check_port(service) if is_proxied(service) else 0
        count = local_ready_endpoints(service, slices, self._place) if port else 0
        self._health.want(key, Check(port, count) if port else None)
        return plan_service(service, slices, self._place, self._pod_cidr)

    def _first_look(self) -> dict[str, dict[str, str]]:
        """Whether rules can be written here at all, and which clients the kernel remembers."""
        probe(self._filter)
        try:
            return remembered(self._filter.run(f"list sets table {self._table.name}\n"))
        except PacketFilterError as e:
            if "No such file" not in str(e):  # there is no such table yet
                log.warning("session affinity starts anew: %s", e)
            return {}

    async def _forget_flows(self) -> None:
        """Flows of UDP clients that lead where their Service no longer does."""
        changed, self._udp_changed = self._udp_changed, {}
        if not changed:
            return
        try:
            await asyncio.to_thread(self._flows.forget, stale_among(changed))
        except OSError as e:
            log.warning("tracked UDP flows stay until they end by themselves: %s", e)


def _service_of(piece: EndpointSlice) -> list[str]:
    name = piece.metadata.labels.get(SERVICE_NAME_LABEL, "")
    return [f"{piece.metadata.namespace}/{name}"] if name else []
