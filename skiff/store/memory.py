"""The store in memory: for tests, and for clusters that need not outlive their process.

Writes of one turn of the loop become visible together at the next one, so that code meets the same
order of things as with a disk in between; which turn that is depends on nothing but the loop.
"""

import asyncio

from skiff.aio.clock import Clock
from skiff.store.local import LocalStore
from skiff.store.mvcc import DEFAULT_LIMITS, Limits, Mvcc, Staged
from skiff.store.protocol import Closed, Stamp


class MemoryStore(LocalStore):
    """See the module's text; the methods are those of store.protocol.Store."""

    def __init__(self, stamp: Stamp, clock: Clock, limits: Limits = DEFAULT_LIMITS) -> None:
        super().__init__(Mvcc(stamp, limits), clock)
        self._due = False

    async def close(self) -> None:
        if self._unusable is None:
            self._settle(self._core.newest)
            self._end(Closed("the store is closed"))

    def _persist(self, staged: Staged, loop: asyncio.AbstractEventLoop) -> None:
        if not self._due:
            self._due = True
            loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._due = False
        self._settle(self._core.newest)
