"""The thread that writes: group commit.

Everything that is staged while one transaction is on its way to the disk goes into the next one, so
the sync, which takes as long for one write as for fifty, is shared by all who wait. What history
lets go of is deleted in small portions, in the same transactions, or alone when nothing else is to
do. The log is copied into the database between two transactions, after the answer to the first.

The loop's thread and this one meet in a few lists under one lock; the thread sleeps on a second
lock that serves as a bell.
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


class Target(Protocol):
    """What is written to: Database."""

    def write(self, rows: Sequence[Row], obsolete: Sequence[int], compacted: int) -> None: ...
    def checkpoint(self) -> None: ...
    def close(self) -> None: ...
    def abandon(self) -> None: ...


class Writer:
    """`durable(revision)`, `failed(error)` and, after `stop`, `ended()` are called in the writer's
    thread."""

    def __init__(
        self,
        target: Target,
        durable: Callable[[int], None],
        failed: Callable[[Failed], None],
        ended: Callable[[], None],
    ) -> None:
        self._target = target
        self._durable = durable
        self._failed = failed
        self._ended = ended
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
                rows = self._take_rows()
                if not rows and self._stopping:
                    return
                events = self._take_events()
                if not rows and not events:
                    self._asleep = True
            if rows or events:
                self._target.write(rows, obsolete(events), events[-1].revision if events else 0)
                if rows:
                    self._durable(rows[-1].revision)
                self._target.checkpoint()
            else:
                self._bell.acquire()

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
