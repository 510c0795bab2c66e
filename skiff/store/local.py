"""What the stores of one process have in common: an Mvcc core, watchers, and futures that wait.

A subclass says how staged writes become durable (`_persist`) and calls `_settle` on the loop when
they are.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

from skiff.aio.clock import Clock
from skiff.store.fanout import Fanout, Subscription
from skiff.store.mvcc import Mvcc, Staged
from skiff.store.protocol import Entry, Event, Page, Sink, StoreError


class Statistics(NamedTuple):
    """Since the store was opened: writes that became visible, the batches they came in, and the
    seconds that they waited, summed (their mean is the commit latency)."""

    writes: int
    batches: int
    waited_s: float


class _Waiting(NamedTuple):
    revision: int
    future: "asyncio.Future[int]"
    since: float


class LocalStore:
    """A Store whose live entries and recent history are in this process's memory."""

    def __init__(self, core: Mvcc, clock: Clock) -> None:
        self._core = core
        self._clock = clock
        self._fanout = Fanout()
        self._waiting: deque[_Waiting] = deque()
        self._unusable: StoreError | None = None
        self._writes = 0
        self._batches = 0
        self._waited_s = 0.0

    @property
    def revision(self) -> int:
        self._check()
        return self._core.revision

    @property
    def compacted(self) -> int:
        self._check()
        return self._core.compacted

    @property
    def statistics(self) -> Statistics:
        return Statistics(self._writes, self._batches, self._waited_s)

    def get(self, key: str) -> Entry | None:
        self._check()
        return self._core.get(key)

    def latest(self, key: str) -> Entry | None:
        self._check()
        return self._core.latest(key)

    def list(self, prefix: str, *, start: str = "", limit: int = 0, revision: int = 0) -> Page:
        self._check()
        return self._core.list(prefix, start, limit, revision)

    def commit(
        self, key: str, value: bytes | None, *, expected: int | None = None, meta: Any = None
    ) -> "asyncio.Future[int]":
        self._check()
        loop = asyncio.get_running_loop()
        staged = self._core.stage(key, value, expected, meta)
        future: asyncio.Future[int] = loop.create_future()
        self._waiting.append(_Waiting(staged.event.revision, future, self._clock.monotonic()))
        self._persist(staged, loop)
        return future

    def watch(self, prefix: str, since: int, sink: Sink) -> Subscription:
        self._check()
        past = [*self._core.events_after(since, prefix)]
        subscription = self._fanout.add(prefix, sink)
        if past:
            sink(past)
        return subscription

    def compact(self, revision: int) -> None:
        self._check()
        self._forget(self._core.compact(revision))

    def _check(self) -> None:
        if self._unusable is not None:
            raise self._unusable

    def _persist(self, staged: Staged, loop: asyncio.AbstractEventLoop) -> None:
        """Make `staged` durable, then have `_settle` called on the loop, later than now."""
        raise NotImplementedError

    def _forget(self, dropped: "Sequence[Sequence[Event]]") -> None:
        """History in memory has let go of these events: let go of what is kept of them elsewhere."""

    def _settle(self, revision: int) -> None:
        """Writes up to `revision` are durable: show them, tell watchers, answer who waits."""
        if self._unusable is not None:
            return
        events = self._core.publish(revision)
        now = self._clock.monotonic()
        self._writes += len(events)
        self._batches += 1
        for error in self._fanout.publish(events):
            asyncio.get_running_loop().call_exception_handler(
                {"message": "a watcher's sink raised; its watch is closed", "exception": error}
            )
        while self._waiting and self._waiting[0].revision <= revision:
            written, future, since = self._waiting.popleft()
            self._waited_s += now - since
            if not future.done():  # its waiter may have been cancelled
                future.set_result(written)
        if self._unusable is None and (dropped := self._core.trim()):
            self._forget(dropped)

    def _end(self, reason: StoreError) -> None:
        """Nothing works from now on; who still waits gets `reason`."""
        if self._unusable is not None:
            return
        self._unusable = reason
        while self._waiting:
            future = self._waiting.popleft().future
            if not future.done():
                future.set_exception(reason)
