"""A work queue: keys that need attention, each worked on by one worker at a time.

A key that is added while it waits is there once; added while it is worked on, it comes back when
the worker is done. Keys may be added later (`add_after`) or after a failure (`add_failed`, longer
each time in a row). Only keys are queued, never objects: the worker reads the world anew.

Delays are timers of the running event loop, so they follow virtual time where the loop does.

Source: client-go `util/workqueue` (dirty and processing sets, delaying and rate limited queues).
"""

import asyncio
from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

from skiff.aio.backoff import Backoff

K = TypeVar("K", bound=Hashable)

SHORTEST_S = 0.001
"""No delay is shorter: who finds, when his timer runs out, that a rounding error is left to wait, must
not come back before time has passed."""


class ShutDown(Exception):
    """The queue takes and gives no more keys."""


class WorkQueue(Generic[K]):
    """See the module's text. Bounded by the number of distinct keys."""

    def __init__(self, backoff: Backoff | None = None) -> None:
        self._backoff = backoff or Backoff()
        self._ready: deque[K] = deque()
        # A key is in `_dirty` from add until a worker takes it; in `_working` until done().
        # `_ready` holds exactly the dirty keys that are not being worked on.
        self._dirty: set[K] = set()
        self._working: set[K] = set()
        self._failures: dict[K, int] = {}
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._closed = False

    def __len__(self) -> int:
        """Keys ready to be taken."""
        return len(self._ready)

    @property
    def idle(self) -> bool:
        """Nothing waits and nothing is being worked on (delayed keys aside)."""
        return not self._dirty and not self._working

    def add(self, key: K) -> None:
        """The key needs attention now."""
        if self._closed or key in self._dirty:
            return
        self._dirty.add(key)
        if key not in self._working:
            self._ready.append(key)
            self._wake()

    def add_after(self, key: K, delay_s: float) -> None:
        """The key needs attention in `delay_s` seconds; the soonest of several delays wins."""
        if self._closed:
            return
        if delay_s <= 0:
            self.add(key)
            return
        loop = asyncio.get_running_loop()
        delay_s = max(delay_s, SHORTEST_S)
        timer = self._timers.get(key)
        if timer is not None:
            if timer.when() <= loop.time() + delay_s:
                return
            timer.cancel()
        self._timers[key] = loop.call_later(delay_s, self._due, key)

    def add_failed(self, key: K) -> float:
        """Work on the key failed: again after its backoff, whose seconds this returns."""
        failures = self._failures.get(key, 0) + 1
        self._failures[key] = failures
        delay_s = self._backoff.delay_s(failures)
        self.add_after(key, delay_s)
        return delay_s

    def failures(self, key: K) -> int:
        """How often the key failed in a row."""
        return self._failures.get(key, 0)

    def forget(self, key: K) -> None:
        """Work on the key succeeded: its backoff starts anew."""
        self._failures.pop(key, None)

    async def get(self) -> K:
        """The next key, which is now being worked on; call `done(key)`. Raises ShutDown."""
        while not self._ready:
            if self._closed:
                raise ShutDown
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except BaseException:
                if waiter.done() and not waiter.cancelled():
                    self._wake()  # woken and cancelled at once: another may have it
                elif waiter in self._waiters:
                    self._waiters.remove(waiter)
                raise
        key = self._ready.popleft()
        self._dirty.discard(key)
        self._working.add(key)
        return key

    def done(self, key: K) -> None:
        """The worker has finished with the key."""
        self._working.discard(key)
        if key in self._dirty:
            self._ready.append(key)
            self._wake()

    def shut_down(self) -> None:
        """Give out no more keys; forget timers."""
        self._closed = True
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._ready.clear()
        self._dirty.clear()
        while self._waiters:
            self._wake()

    def _due(self, key: K) -> None:
        del self._timers[key]
        self.add(key)

    def _wake(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
