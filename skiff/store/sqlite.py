"""The store on disk: one SQLite file, one thread that writes it, everything readable in memory.

Reads never touch the disk. A commit is staged at once, handed to the writer at the end of the loop's
turn (so that all writes of a turn travel together), and visible when it is synced. A lone write on a
quick disk is synced right there, on the loop's thread (see `writer`). If the writer fails, the store
does.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from skiff.aio.clock import Clock
from skiff.store.database import Database
from skiff.store.local import LocalStore
from skiff.store.mvcc import DEFAULT_LIMITS, Limits, Mvcc, Row, Staged
from skiff.store.protocol import Closed, Corrupt, Event, Failed, Stamp, StoreError
from skiff.store.writer import Writer


class SQLiteStore(LocalStore):
    """See the module's text; the methods are those of store.protocol.Store."""

    def __init__(
        self,
        core: Mvcc,
        clock: Clock,
        database: Database,
        on_failure: Callable[[Failed], None] | None,
    ) -> None:
        """Use `open`."""
        super().__init__(core, clock)
        self._on_failure = on_failure
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turn: list[Row] = []
        self._closing: asyncio.Future[None] | None = None
        self._writer = Writer(
            database, self._on_durable, self._on_failed, self._on_ended, clock.monotonic
        )

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        stamp: Stamp,
        clock: Clock,
        *,
        limits: Limits = DEFAULT_LIMITS,
        on_failure: Callable[[Failed], None] | None = None,
    ) -> Self:
        """Open the store at `path` and read all of it; create it if it never existed (its directory
        must). Blocks: some 10 ms for a thousand objects. `on_failure` is called on the loop if the
        store fails later. Raises Corrupt, Incompatible, Locked, Failed."""
        database = Database(Path(path))
        core = Mvcc(stamp, limits)
        try:
            try:
                core.restore(database.compacted, database.rows())
            except ValueError as e:
                raise Corrupt(
                    f"{path} is damaged: {e}. Nothing was changed. "
                    "Restore the data directory from a backup"
                ) from e
            database.take_over()
        except StoreError:
            database.abandon()
            raise
        store = cls(core, clock, database, on_failure)
        store._writer.forget(core.trim())
        store._writer.start()
        return store

    async def close(self) -> None:
        if self._closing is not None:
            await asyncio.shield(self._closing)
            return
        self._loop = asyncio.get_running_loop()
        self._closing = self._loop.create_future()
        self._hand_over()
        if self._writer.stop():
            await asyncio.shield(self._closing)
        else:
            self._ended()

    def _check(self) -> None:
        if self._unusable is not None:
            raise self._unusable
        if self._closing is not None:
            raise Closed("the store is closed")

    def _persist(self, staged: Staged, loop: asyncio.AbstractEventLoop) -> None:
        if not self._turn:
            self._loop = loop
            loop.call_soon(self._hand_over)
        self._turn.append(staged.row())

    def _hand_over(self) -> None:
        rows, self._turn = self._turn, []
        if not rows:
            return
        if self._writer.write_here(rows):
            self._settle(rows[-1].revision)
        elif error := self._writer.submit(rows):
            self._fail(error)

    def _forget(self, dropped: "Sequence[Sequence[Event]]") -> None:
        if dropped:
            self._writer.forget(dropped)

    def _on_durable(self, revision: int) -> None:
        self._call(self._settle, revision)

    def _on_failed(self, error: Failed) -> None:
        self._call(self._fail, error)

    def _on_ended(self) -> None:
        self._call(self._ended)

    def _call(self, callback: Callable[..., None], *args: object) -> None:
        """Have the loop call back; where it is closed, nobody is left to be told."""
        if self._loop is not None:
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(callback, *args)

    def _fail(self, error: Failed) -> None:
        if self._unusable is not None:
            return
        self._end(error)
        if self._on_failure is not None:
            self._on_failure(error)

    def _ended(self) -> None:
        self._writer.join()
        if self._closing is not None:
            self._end(Closed("the store is closed"))
            if not self._closing.done():
                self._closing.set_result(None)
