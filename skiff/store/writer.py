"""The thread that writes: group commit.

Everything that is staged while one transaction is on its way to the disk goes into the next one, so
the sync, which takes as long for one write as for fifty, is shared by all who wait. What history
lets go of is deleted in small portions, in the same transactions, or alone when nothing else is to
do. The log is copied into the database between two transactions, after the answer to the first.

The loop's thread and this one meet in a few lists under one lock; the thread sleeps on a second
lock that serves as a bell.

While the thread sleeps nobody else uses the target, and only the loop's thread can ring. So where
the disk is quick, a lone row is written on the loop's thread itself (`write_here`): to hand it over
and back costs four switches of threads, which take longer than such a sync.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from skiff.store.mvcc import Row, obsolete
from skiff.store.protocol import Event, Failed

BATCH_ROWS = 512
BATCH_BYTES = 8 * 1024 * 1024
"""A transaction takes no more than this (at least one row); the rest goes into the next."""

FORGET_EVENTS = 128
"""Events whose rows are deleted in one transaction."""

HERE_BYTES = 64 * 1024
"""A row up to this size is written on the loop's thread,"""

HERE_MAX_S = 0.0005
"""unless a write takes longer than this, as far as the last ones tell: the loop stands still."""

RECOVERY = 0.9
"""A slow write counts at once; each quick one after it takes away a tenth of what is too much."""


class Target(Protocol):
    """What is written to: Database."""

    def write(self, rows: Sequence[Row], obsolete: Sequence[int], compacted: int) -> None: ...
    def due(self) -> bool: ...
    def checkpoint(self) -> None: ...
    def close(self) -> None: ...
    def abandon(self) -> None: ...


class Writer:
    """`durable(revision)`, `failed(error)` and, after `stop`, `ended()` are called in the writer's
    thread; `monotonic` is a clock."""

    def __init__(
        self,
        target: Target,
        durable: Callable[[int], None],
        failed: Callable[[Failed], None],
        ended: Callable[[], None],
        monotonic: Callable[[], float],
    ) -> None:
        self._target = target
        self._durable = durable
        self._failed = failed
        self._ended = ended
        self._monotonic = monotonic
        self._pace_s = 0.0  # how long a write takes; see RECOVERY
        self._broken: Exception | None = None
        self._lock = threading.Lock()
        self._bell = threading.Lock()
        self._bell.acquire()
        self._rows: deque[Row] = deque()  # guarded by _lock, like the rest
        self._forgotten: deque[Sequence[Event]] = deque()
        self._stopping = False
        self._asleep = False
        self._over = False
        self._error: Failed | None = None
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def write_here(self, rows: Sequence[Row]) -> bool:
        """Write a lone row in the calling thread, which is the one that submits, if none wait before
        it and the disk is quick. False if not, or if it failed: then it is to be submitted."""
        if len(rows) != 1 or not self._asleep or self._pace_s > HERE_MAX_S:
            return False
        if len(rows[0].value or b"") > HERE_BYTES:
            return False
        try:
            self._write(rows, (), 0)
            due = self._target.due()
        except Exception as e:  # noqa: BLE001 - the thread ends writing, as for its own errors
            self._broken = e
            return False
        if due:
            with self._lock:
                self._wake()
        return True

    def submit(self, rows: Sequence[Row]) -> Failed | None:
        """Write `rows` after those before; gives the failure that has ended all writing, if any."""
        with self._lock:
            self._rows += rows
            self._wake()
            return self._error

    def forget(self, dropped: Sequence[Sequence[Event]]) -> None:
        """Delete what only these events still needed; they must be durable."""
        with self._lock:
            self._forgotten += dropped
            self._wake()

    def stop(self) -> bool:
        """Write what was submitted, close the target, end. False if a failure has ended it before:
        then nobody calls `ended`."""
        with self._lock:
            self._stopping = True
            self._wake()
            return not self._over

    def join(self) -> None:
        self._thread.join()

    def _wake(self) -> None:
        if self._asleep:
            self._asleep = False
            self._bell.release()

    def _run(self) -> None:
        try:
            self._write_all()
            self._target.close()
        except Exception as e:  # noqa: BLE001 - whatever it is, no later write may be built on it
            self._fail(e)
        with self._lock:
            self._over = True
            awaited = self._stopping
        if awaited:
            self._ended()

    def _fail(self, error: Exception) -> None:
        if isinstance(error, Failed):
            failed = error
        else:
            failed = Failed(f"the store's writer broke: {error}")
            failed.__cause__ = error
        with self._lock:
            self._error = failed
        self._failed(failed)
        self._target.abandon()

    def _write_all(self) -> None:
        while True:
            with self._lock:
                if self._broken is not None:
                    raise self._broken
                rows = self._take_rows()
                if not rows and self._stopping:
                    return
                events = self._take_events()
                if not rows and not events:
                    self._asleep = True
            if rows or events:
                self._write(rows, obsolete(events), events[-1].revision if events else 0)
                if rows:
                    self._durable(rows[-1].revision)
            else:
                self._bell.acquire()
            self._target.checkpoint()

    def _write(self, rows: Sequence[Row], obsolete: Sequence[int], compacted: int) -> None:
        began = self._monotonic()
        self._target.write(rows, obsolete, compacted)
        took = self._monotonic() - began
        self._pace_s = max(took, took + (self._pace_s - took) * RECOVERY)

    def _take_rows(self) -> list[Row]:
        taken: list[Row] = []
        size = 0
        while self._rows and len(taken) < BATCH_ROWS and size < BATCH_BYTES:
            row = self._rows.popleft()
            size += len(row.value or b"")
            taken.append(row)
        return taken

    def _take_events(self) -> Sequence[Event]:
        if not self._forgotten:
            return ()
        events = self._forgotten[0]
        if len(events) <= FORGET_EVENTS:
            self._forgotten.popleft()
            return events
        self._forgotten[0] = events[FORGET_EVENTS:]
        return events[:FORGET_EVENTS]
