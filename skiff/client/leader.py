"""Leader election over a Lease: of several candidates, one works.

The holder renews its lease; a candidate that saw no renewal for the lease's duration (by its own
clock, so that clocks need not agree) takes it over. A holder that cannot renew within the deadline
stops working before another may start. A holder that ends properly gives the lease up at once.

Source: client-go `tools/leaderelection`; coordination.k8s.io/v1 Lease.
"""

import asyncio
import logging
from dataclasses import dataclass
from typing import Any

from skiff.aio.clock import rfc3339_micro
from skiff.aio.run import Component, Started
from skiff.api.errors import AlreadyExists, ApiError, Conflict, NotFound
from skiff.api.resources import RESOURCES
from skiff.client.client import Client, Object

LEASES = RESOURCES["coordination.k8s.io", "v1", "leases"]
JITTER = 1.2

log = logging.getLogger(__name__)


class LostLeadership(Exception):
    """The lease could not be renewed in time: whoever held it must stop."""


@dataclass(frozen=True, slots=True)
class Election:
    """What is elected: the Lease, who stands, and Kubernetes' three durations."""

    namespace: str
    name: str
    identity: str
    lease_duration_s: int = 15
    renew_deadline_s: float = 10.0
    retry_period_s: float = 2.0


class LeaderElector:
    """A component that runs another one while it leads."""

    def __init__(self, client: Client, election: Election, component: Component) -> None:
        self._client = client
        self._election = election
        self._component = component
        # The record last seen and when: expiry is judged from there.
        self._seen: dict[str, Any] = {}
        self._seen_at = 0.0

    @property
    def leading(self) -> bool:
        """Whether the record last seen names us."""
        return bool(self._seen.get("holderIdentity") == self._election.identity)

    async def run(self, started: Started) -> None:
        """Stand for election; lead; raise LostLeadership when the lease is lost."""
        while not await self._try():
            await self._pause()
        log.info("%s leads: lease %s", self._election.identity, self._election.name)
        try:
            async with asyncio.TaskGroup() as group:
                work = group.create_task(self._component.run(started), name="leader's work")
                await self._renew_until_lost()
                work.cancel()
        finally:
            await self._release()
        raise LostLeadership(f"lease {self._election.name} was lost by {self._election.identity}")

    async def _renew_until_lost(self) -> None:
        clock = self._client.clock
        renewed_at = clock.monotonic()
        while True:
            await clock.sleep(self._election.retry_period_s)
            if await self._try():
                renewed_at = clock.monotonic()
            elif clock.monotonic() - renewed_at >= self._election.renew_deadline_s:
                return

    async def _pause(self) -> None:
        period = self._client.entropy.jitter(self._election.retry_period_s, JITTER)
        await self._client.clock.sleep(period)

    async def _try(self) -> bool:
        """Acquire or renew; True when the lease is ours."""
        try:
            async with asyncio.timeout(self._election.renew_deadline_s):
                return await self._acquire_or_renew()
        except (ApiError, TimeoutError) as e:
            log.debug("lease %s: %s", self._election.name, e)
            return False

    async def _acquire_or_renew(self) -> bool:
        election, clock = self._election, self._client.clock
        try:
            lease = await self._client.get(LEASES, election.name, election.namespace)
        except NotFound:
            return await self._create()
        spec = lease.get("spec") or {}
        if spec != self._seen:
            self._seen, self._seen_at = spec, clock.monotonic()
        holder = spec.get("holderIdentity")
        duration_s = spec.get("leaseDurationSeconds") or election.lease_duration_s
        if (
            holder
            and holder != election.identity
            and self._seen_at + duration_s > clock.monotonic()
        ):
            return False
        lease["spec"] = self._record(spec)
        try:
            written = await self._client.replace(LEASES, lease)
        except Conflict:
            return False
        self._note(written)
        return True

    async def _create(self) -> bool:
        election = self._election
        lease = {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.kind,
            "metadata": {"name": election.name, "namespace": election.namespace},
            "spec": self._record({}),
        }
        try:
            written = await self._client.create(LEASES, lease, election.namespace)
        except AlreadyExists:
            return False
        self._note(written)
        return True

    def _record(self, old: dict[str, Any]) -> dict[str, Any]:
        """The lease's new spec, following `old`."""
        now = rfc3339_micro(self._client.clock.now())
        held = old.get("holderIdentity") == self._election.identity
        transitions = old.get("leaseTransitions", 0)
        return {
            **old,
            "holderIdentity": self._election.identity,
            "leaseDurationSeconds": self._election.lease_duration_s,
            "acquireTime": old.get("acquireTime", now) if held else now,
            "renewTime": now,
            "leaseTransitions": transitions if held or not old else transitions + 1,
        }

    def _note(self, lease: Object) -> None:
        self._seen = lease.get("spec") or {}
        self._seen_at = self._client.clock.monotonic()

    async def _release(self) -> None:
        if not self.leading:
            return

        def give_up(lease: Object) -> Object | None:
            spec = lease.get("spec") or {}
            if spec.get("holderIdentity") != self._election.identity:
                return None
            now = rfc3339_micro(self._client.clock.now())
            spec |= {"leaseDurationSeconds": 1, "renewTime": now, "acquireTime": now}
            spec.pop("holderIdentity")
            return lease | {"spec": spec}

        try:
            async with asyncio.timeout(self._election.retry_period_s):
                await self._client.update(
                    LEASES, self._election.name, self._election.namespace, give_up
                )
        except (ApiError, TimeoutError) as e:
            log.debug("lease %s not released: %s", self._election.name, e)
        self._seen = {}
