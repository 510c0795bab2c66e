"""The writer's thread: what goes into a transaction, and how it ends."""

import asyncio
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from skiff.aio.clock import RealClock
from skiff.store import sqlite, writer
from skiff.store.database import Database
from skiff.store.mvcc import Row
from skiff.store.protocol import Entry, Event, Failed
from skiff.store.sqlite import SQLiteStore
from skiff.store.writer import Writer
from tests.store.contract import put, stamp

WAIT_S = 10


class Target:
    """Remembers transactions; each waits for `gate`; from `fails_at` on they fail."""

    def __init__(self, fails_at: int = 1 << 30, error: Exception | None = None) -> None:
        self.transactions: list[tuple[list[int], list[int], int]] = []
        self.begun = threading.Semaphore(0)
        self.gate = threading.Semaphore(0)
        self.fails_at = fails_at
        self.error = error or Failed("disk full")
        self.ends: list[str] = []
        self.full = False
        self.checkpointed = threading.Semaphore(0)
        self.threads: list[int] = []
        self.takes_s = 0.0
        self.now_s = 0.0

    def write(self, rows, obsolete, compacted) -> None:
        self.transactions.append(([row.revision for row in rows], list(obsolete), compacted))
        self.threads.append(threading.get_ident())
        self.now_s += self.takes_s
        self.begun.release()
        assert self.gate.acquire(timeout=WAIT_S)
        if len(self.transactions) >= self.fails_at:
            raise self.error

    def due(self) -> bool:
        return self.full

    def checkpoint(self) -> None:
        self.full = False
        self.checkpointed.release()

    def close(self) -> None:
        self.ends.append("close")

    def abandon(self) -> None:
        self.ends.append("abandon")


class Told:
    def __init__(self, target: Target) -> None:
        self.durable: list[int] = []
        self.failed: list[Failed] = []
        self.ended = threading.Event()
        self.writer = Writer(
            target,
            self.durable.append,
            self.failed.append,
            self.ended.set,
            lambda: target.now_s,
        )
        self.writer.start()


def rows(*revisions: int, size: int = 1) -> list[Row]:
    return [Row(revision, "/a", revision, bytes(size)) for revision in revisions]


def test_what_arrives_during_a_transaction_goes_into_the_next_one():
    target = Target()
    told = Told(target)
    told.writer.submit(rows(2))
    assert target.begun.acquire(timeout=WAIT_S)
    told.writer.submit(rows(3, 4))
    told.writer.submit(rows(5))
    target.gate.release(5)
    assert told.writer.stop()
    assert told.ended.wait(WAIT_S)
    told.writer.join()
    assert [t[0] for t in target.transactions] == [[2], [3, 4, 5]]
    assert told.durable == [2, 5]
    assert target.ends == ["close"]
    assert not told.failed


def test_transactions_are_bounded(monkeypatch):
    monkeypatch.setattr(writer, "BATCH_ROWS", 3)
    monkeypatch.setattr(writer, "BATCH_BYTES", 100)
    target = Target()
    told = Told(target)
    target.gate.release(20)
    told.writer.submit(rows(2, 3, 4, 5) + rows(6, size=200) + rows(7, 8))
    told.writer.stop()
    assert told.ended.wait(WAIT_S)
    assert [t[0] for t in target.transactions] == [[2, 3, 4], [5, 6], [7, 8]]


def test_history_is_deleted_in_portions_beside_the_writes(monkeypatch):
    monkeypatch.setattr(writer, "FORGET_EVENTS", 2)
    target = Target()
    told = Told(target)
    told.writer.submit(rows(20))
    assert target.begun.acquire(timeout=WAIT_S)
    events = [Event(r, "/a", b"", Entry("/a", b"", r - 1, 2)) for r in range(3, 8)]
    told.writer.forget([events[:3], events[3:]])
    told.writer.submit(rows(21))
    target.gate.release(10)
    for _ in range(3):
        assert target.begun.acquire(timeout=WAIT_S)
    told.writer.stop()
    assert told.ended.wait(WAIT_S)
    assert target.transactions == [
        ([20], [], 0),
        ([21], [2, 3], 4),
        ([], [4], 5),
        ([], [5, 6], 7),
    ]


@pytest.mark.parametrize("error", [Failed("disk full"), ValueError("disk full")])
def test_a_failure_ends_all_writing(error):
    target = Target(fails_at=2, error=error)
    told = Told(target)
    target.gate.release(10)
    assert told.writer.submit(rows(2)) is None
    assert target.begun.acquire(timeout=WAIT_S)
    told.writer.submit(rows(3))
    told.writer.join()
    told.writer.submit(rows(4))
    assert told.durable == [2]
    assert [isinstance(e, Failed) and "disk full" in str(e) for e in told.failed] == [True]
    assert told.writer.submit(rows(5)) is told.failed[0]
    assert len(target.transactions) == 2
    assert target.ends == ["abandon"]
    assert not told.writer.stop()
    assert not told.ended.is_set()


def at_rest(told: Told) -> None:
    """Wait until the thread has nothing to do."""
    for _ in range(WAIT_S * 1000):
        if told.writer._asleep:
            return
        time.sleep(0.001)
    raise AssertionError("the writer does not rest")


def test_a_lone_row_is_written_by_who_brings_it_while_the_disk_is_quick():
    target = Target()
    told = Told(target)
    target.gate.release(100)
    at_rest(told)
    assert told.writer.write_here(rows(2))
    assert not told.writer.write_here(rows(3, 4)), "rows in company go to the thread"
    assert not told.writer.write_here(rows(3, size=writer.HERE_BYTES + 1))
    assert target.threads == [threading.get_ident()]
    target.takes_s = 0.1
    assert told.writer.write_here(rows(3))
    target.takes_s = 0.0001
    quick = 0
    while not told.writer.write_here(rows(4 + quick)):
        told.writer.submit(rows(4 + quick))
        quick += 1
        assert target.begun.acquire(timeout=WAIT_S)
        at_rest(told)
    assert 10 < quick < 100, "after a slow sync it takes some quick ones"
    assert told.writer.stop()
    assert told.ended.wait(WAIT_S)
    assert [t[0][0] for t in target.transactions] == list(range(2, 5 + quick))


def test_no_row_is_written_here_while_the_thread_is_at_work():
    target = Target()
    told = Told(target)
    told.writer.submit(rows(2))
    assert target.begun.acquire(timeout=WAIT_S)
    assert not told.writer.write_here(rows(3))
    target.gate.release(10)
    told.writer.stop()
    assert told.ended.wait(WAIT_S)


def test_the_thread_makes_the_checkpoint_that_a_row_written_here_calls_for():
    target = Target()
    told = Told(target)
    target.gate.release(10)
    at_rest(told)
    while target.checkpointed.acquire(blocking=False):
        pass
    target.full = True
    assert told.writer.write_here(rows(2))
    assert target.checkpointed.acquire(timeout=WAIT_S)
    assert told.writer.stop()
    assert told.ended.wait(WAIT_S)


def test_a_failure_here_ends_all_writing_too():
    target = Target(fails_at=1)
    told = Told(target)
    target.gate.release(10)
    at_rest(told)
    assert not told.writer.write_here(rows(2))
    told.writer.submit(rows(2))
    told.writer.join()
    assert [str(e) for e in told.failed] == ["disk full"]
    assert len(target.transactions) == 1, "what failed is not tried again"
    assert target.ends == ["abandon"]
    assert not told.writer.stop()


def test_a_store_whose_lone_write_fails_is_of_no_more_use(tmp_path, monkeypatch):
    class Broken(Database):
        def write(self, rows, obsolete, compacted):
            if any(row.key == "/bad" for row in rows):
                raise Failed("store.db cannot grow")
            super().write(rows, obsolete, compacted)

    monkeypatch.setattr(sqlite, "Database", Broken)

    async def main():
        told = []
        store = SQLiteStore.open(tmp_path / "store.db", stamp, RealClock(), on_failure=told.append)
        good = await put(store, "/good")
        for _ in range(1000):
            await asyncio.sleep(0.001)
            if store._writer._asleep:
                break
        with pytest.raises(Failed, match="cannot grow"):
            await asyncio.wait_for(store.commit("/bad", b"1"), WAIT_S)
        with pytest.raises(Failed, match="cannot grow"):
            store.commit("/good", b"2")
        assert [str(error) for error in told] == ["store.db cannot grow"]
        await asyncio.wait_for(store.close(), WAIT_S)
        store = SQLiteStore.open(tmp_path / "store.db", stamp, RealClock())
        assert store.revision == good
        await store.close()

    asyncio.run(main())


def test_a_store_whose_writer_fails_is_of_no_more_use(tmp_path, monkeypatch):
    class Broken(Database):
        def write(self, rows, obsolete, compacted):
            if any(row.key == "/bad" for row in rows):
                raise Failed("store.db cannot grow")
            super().write(rows, obsolete, compacted)

    monkeypatch.setattr(sqlite, "Database", Broken)

    async def main():
        told = []
        store = SQLiteStore.open(tmp_path / "store.db", stamp, RealClock(), on_failure=told.append)
        good = await put(store, "/good")
        bad = [store.commit("/bad", b"1"), store.commit("/after", b"2")]
        for future in bad:
            with pytest.raises(Failed, match="cannot grow"):
                await asyncio.wait_for(future, WAIT_S)
        for call in (
            lambda: store.commit("/good", b"2"),
            lambda: store.get("/good"),
            lambda: store.latest("/bad"),
            lambda: store.list("/"),
            lambda: store.watch("/", 1, print),
            lambda: store.compact(1),
            lambda: store.revision,
        ):
            with pytest.raises(Failed, match="cannot grow"):
                call()
        assert [str(error) for error in told] == ["store.db cannot grow"]
        await asyncio.wait_for(store.close(), WAIT_S)
        monkeypatch.undo()
        store = SQLiteStore.open(tmp_path / "store.db", stamp, RealClock())
        assert store.revision == good
        assert [e.key for e in store.list("").entries] == ["/good"]
        await store.close()

    asyncio.run(main())


FULL_DISK = """
import asyncio, resource, sys
from skiff.aio.clock import RealClock
from skiff.store.protocol import Failed
from skiff.store.sqlite import SQLiteStore

async def main():
    store = SQLiteStore.open(sys.argv[1], lambda v, r: v, RealClock())
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))
    try:
        for i in range(1000):
            await store.commit(f"/{i}", bytes(10_000))
            print(i, flush=True)
    except Failed as e:
        print("failed:", e)
    try:
        store.get("/0")
    except Failed:
        await store.close()

asyncio.run(main())
"""


def test_a_disk_that_takes_no_more_fails_the_store_and_loses_nothing(tmp_path):
    path = tmp_path / "store.db"
    command = [sys.executable, "-c", FULL_DISK, str(path)]
    child = subprocess.run(
        command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=60
    )
    assert child.returncode == 0, child.stderr
    *acknowledged, last = child.stdout.splitlines()
    assert last.startswith("failed:")
    assert "store.db" in last
    assert len(acknowledged) > 50

    async def main():
        store = SQLiteStore.open(path, stamp, RealClock())
        assert all(store.get(f"/{i}") for i in acknowledged)
        await store.close()

    asyncio.run(main())
