"""The proxy's loop: Services and EndpointSlices are watched, changed Services planned anew, the
difference written to the packet filter in one transaction.

The first transaction replaces the whole table, so that rules which an earlier proxy left serve
until the moment when this one's stand. Where a transaction fails, the next one replaces the whole
table again. Rules outlive the process: while it is away, traffic flows as it last said.
"""

import asyncio
import logging
import subprocess
from collections.abc import Iterable

from skiff.aio.clock import Clock
from skiff.aio.run import Started
from skiff.api.views.discovery import EndpointSlice
from skiff.api.views.service import Service
from skiff.client.informer import Informer
from skiff.network.proxy.model import Ruleset, changes, whole
from skiff.network.proxy.nft import PacketFilter, PacketFilterError
from skiff.network.proxy.plan import (
    EMPTY,
    SERVICE_NAME_LABEL,
    ServiceRules,
    assemble,
    plan_service,
)

SETTLE_S = 0.02
"""How long changes are gathered before they are written: a rollout comes in bursts."""
RETRY_S = 1.0
RETRY_MAX_S = 30.0

Key = tuple[str, str]

log = logging.getLogger("skiff.proxy")


class Proxy:
    """Keeps table `table` (such as `ip skiff`) as the cluster's Services want it on `node_name`."""

    def __init__(
        self,
        services: Informer[Service],
        slices: Informer[EndpointSlice],
        packet_filter: PacketFilter,
        clock: Clock,
        *,
        node_name: str,
        table: str,
        pod_cidr: str,
    ) -> None:
        self._services = services
        self._slices = slices
        self._filter = packet_filter
        self._clock = clock
        self._node_name = node_name
        self._table = table
        self._pod_cidr = pod_cidr
        self._parts: dict[Key, ServiceRules] = {}
        self._written: Ruleset | None = None
        self._dirty: set[Key] = set()
        self._wake = asyncio.Event()
        slices.add_index("service", _service_of)
        services.subscribe(self._service_changed)
        slices.subscribe(self._slice_changed)

    async def run(self, started: Started) -> None:
        """Sync for ever; ready once the first ruleset stands."""
        await self._services.synced.wait()
        await self._slices.synced.wait()
        self._dirty.update((s.metadata.namespace, s.metadata.name) for s in self._services.list())
        self._wake.set()
        retry_s = RETRY_S
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._sync()
            except PacketFilterError as e:
                log.error("service rules were refused, again in %.0f s: %s", retry_s, e)
                self._written = None
                await self._clock.sleep(retry_s)
                retry_s = min(retry_s * 2, RETRY_MAX_S)
                self._wake.set()
                continue
            retry_s = RETRY_S
            started()
            await self._clock.sleep(SETTLE_S)

    def _service_changed(self, old: Service | None, new: Service | None) -> None:
        service = new or old
        if service is not None:
            self._mark((service.metadata.namespace, service.metadata.name))

    def _slice_changed(self, old: EndpointSlice | None, new: EndpointSlice | None) -> None:
        for piece in (old, new):
            if piece is not None:
                self._mark(
                    (piece.metadata.namespace, piece.metadata.labels.get(SERVICE_NAME_LABEL, ""))
                )

    def _mark(self, key: Key) -> None:
        self._dirty.add(key)
        self._wake.set()

    async def _sync(self) -> None:
        dirty, self._dirty = self._dirty, set()
        stale: set[tuple[str, int]] = set()
        for key in dirty:
            before = self._parts.get(key, EMPTY)
            after = self._plan(key)
            stale |= before.udp_targets - after.udp_targets
            if after is EMPTY:
                self._parts.pop(key, None)
            else:
                self._parts[key] = after
        rules = assemble(self._parts.values(), self._pod_cidr)
        if self._written is None:
            text = whole(self._table, rules)
        else:
            text = changes(self._table, self._written, rules)
        if text:
            await asyncio.to_thread(self._filter.run, text)
        self._written = rules
        if stale:
            await asyncio.to_thread(forget_flows, stale)

    def _plan(self, key: Key) -> ServiceRules:
        namespace, name = key
        service = self._services.get(name, namespace)
        if service is None:
            return EMPTY
        slices = self._slices.by_index("service", f"{namespace}/{name}")
        return plan_service(service, slices, self._node_name)


def _service_of(piece: EndpointSlice) -> list[str]:
    name = piece.metadata.labels.get(SERVICE_NAME_LABEL, "")
    return [f"{piece.metadata.namespace}/{name}"] if name else []


def forget_flows(targets: Iterable[tuple[str, int]]) -> None:
    """Drop tracked UDP flows to endpoints that are gone: UDP has no end that would do it. Needs conntrack(8);
    where it is missing, flows end by their own timeout (30 s to 3 min)."""
    for address, port in targets:
        command = [
            "conntrack",
            "-D",
            "-p",
            "udp",
            "--dst-nat",
            address,
            "--reply-port-src",
            str(port),
        ]
        try:
            subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, timeout=5, check=False
            )
        except (FileNotFoundError, subprocess.TimeoutExpired):
            return
