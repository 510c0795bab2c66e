"""Writing what is used into the quotas' status: a component beside the ledger.

Level-triggered: a namespace that changed is looked at again, and its quotas' status is written where
it is not what the ledger says.
"""

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Any

import orjson

from skiff.aio.clock import Clock
from skiff.aio.http.message import Handler, Peer, Request
from skiff.aio.run import Started
from skiff.api.resources import RESOURCEQUOTAS
from skiff.server.admission.quota.ledger import Ledger
from skiff.server.seams import Objects

USER = ("system:serviceaccount:kube-system:resourcequota-controller", ("system:masters",))
# Writes that follow each other closely are told of together.
SETTLE_S = 0.02


class QuotaStatus:
    """See the module's text."""

    def __init__(self, handler: Handler, objects: Objects, ledger: Ledger, clock: Clock) -> None:
        self._handler = handler
        self._objects = objects
        self._ledger = ledger
        self._clock = clock
        self._peer = Peer(("", 0), local=True, state={"user": USER})
        self._dirty: set[str] = set()
        self._wake = asyncio.Event()

    async def run(self, started: Started) -> None:
        """As a component."""
        self._ledger.changed.append(self._changed)
        for namespace in self._ledger.namespaces():
            self._changed(namespace)
        started()
        try:
            while True:
                await self._wake.wait()
                await self._clock.sleep(SETTLE_S)
                self._wake.clear()
                dirty, self._dirty = self._dirty, set()
                for namespace in sorted(dirty):
                    await self._write_all(namespace)
        finally:
            self._ledger.changed.remove(self._changed)

    def _changed(self, namespace: str) -> None:
        self._dirty.add(namespace)
        self._wake.set()

    async def _write_all(self, namespace: str) -> None:
        account = self._ledger.account(namespace)
        if account is None:
            return
        for quota in self._objects.list(RESOURCEQUOTAS, namespace):
            kept = account.quotas.get(quota["metadata"]["name"])
            if kept is None:
                continue
            wanted = {
                "hard": {n: str(a) for n, a in kept.hard.items()},
                "used": {n: str(a) for n, a in kept.used.items()},
            }
            if (quota.get("status") or {}) != wanted:
                await self._write(quota, wanted)

    async def _write(self, quota: Mapping[str, Any], status: Mapping[str, Any]) -> None:
        """A failure needs no answer here: a conflict or a deletion comes with a change of its own."""
        meta = quota["metadata"]
        body = orjson.dumps({**quota, "status": status})
        headers = {"content-type": "application/json", "user-agent": "resourcequota-controller"}
        path = RESOURCEQUOTAS.path(meta["namespace"], meta["name"], "status")
        outcome = self._handler(Request("PUT", path, "", headers, body, self._peer))
        if isinstance(outcome, Awaitable):
            await outcome
