"""The SQLite store: the contract and the model, what survives a restart, and what is refused."""

import asyncio
import random
import shutil
import subprocess
import sys
from pathlib import Path

import apsw
import pytest
from hypothesis import settings

from skiff.aio.clock import RealClock
from skiff.store.database import CHECKPOINT_PAGES, PAGE_BYTES
from skiff.store.mvcc import DEFAULT_LIMITS, Limits
from skiff.store.protocol import (
    Compacted,
    Corrupt,
    Failed,
    Incompatible,
    Locked,
    Store,
    StoreError,
)
from skiff.store.sqlite import SQLiteStore
from tests.store.contract import StoreContract, brief, put, stamp
from tests.store.model import StoreModel

NAME = "store.db"


def open_store(directory: Path, limits: Limits = DEFAULT_LIMITS, **options) -> SQLiteStore:
    return SQLiteStore.open(directory / NAME, stamp, RealClock(), limits=limits, **options)


class TestSQLiteStore(StoreContract):
    def open(self, directory: Path, limits: Limits = DEFAULT_LIMITS) -> Store:
        return open_store(directory, limits)


class SQLiteModel(StoreModel):
    durable = True

    def open(self, directory: Path) -> Store:
        return open_store(directory)


TestSQLiteModel = SQLiteModel.TestCase
TestSQLiteModel.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)


def files(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def contents(directory: Path) -> tuple[int, list[tuple[str, bytes, int, int]], list]:
    """Revision, live entries, and events as far back as they go, of the store in `directory`."""

    async def main():
        store = open_store(directory)
        events = []
        store.watch("", store.compacted, events.extend)
        entries = [(e.key, e.value, e.revision, e.created) for e in store.list("").entries]
        revision = store.revision
        await store.close()
        return revision, entries, brief(events)

    return asyncio.run(main())


def fill(directory: Path, abandon: bool = False, rounds: int = 30) -> int:
    """A store with live keys, history, deletes and a compaction; with `abandon`, files as a killed
    process leaves them. Gives its revision."""

    async def main():
        store = open_store(directory)
        for i in range(rounds):
            await put(store, *[f"/p/{(i * 7 + j) % 40:02}" for j in range(5)], value=b"v" * 700)
            await store.commit(f"/p/{i * 7 % 40:02}", None)
            if i == rounds // 2:
                store.compact(store.revision - 5)
        if abandon:
            for _ in range(100):  # let the writer rest, so that the copies are of one moment
                await asyncio.sleep(0.001)
            copies = files(directory)
        revision = store.revision
        await store.close()
        if abandon:
            for name, data in copies.items():
                (directory / name).write_bytes(data)
        return revision

    return asyncio.run(main())


def refused(directory: Path, kind: type[StoreError]) -> str:
    """Opening raises `kind` and changes no file; gives the message."""
    before = files(directory)
    with pytest.raises(kind) as caught:
        open_store(directory)
    after = files(directory)
    after.pop(f"{NAME}.state", None)
    before.pop(f"{NAME}.state", None)
    assert after == before, "what is refused is left as it is"
    return str(caught.value)


class TestRestart:
    @pytest.mark.parametrize("abandon", [False, True])
    def test_everything_continues(self, tmp_path, abandon):
        async def main():
            store = open_store(tmp_path)
            await put(store, "/a", "/b", "/c")
            await store.commit("/b", None)
            await store.commit("/a", b"2")
            await store.close()
            store = open_store(tmp_path)
            assert store.revision == 6
            assert store.get("/a").created == 2
            seen = []
            store.watch("/", 3, seen.extend)
            assert brief(seen) == [(4, "/c", b"v@4"), (5, "/b", None), (6, "/a", b"2@6")]
            assert [e.previous and e.previous.revision for e in seen] == [None, 3, 2]
            assert await store.commit("/d", b"1") == 7
            assert brief(seen)[3:] == [(7, "/d", b"1@7")]
            assert [e.key for e in store.list("/", revision=4).entries] == ["/a", "/b", "/c"]
            await store.close()

        asyncio.run(main())
        revision = fill(tmp_path, abandon)
        assert contents(tmp_path)[0] == revision

    def test_a_killed_store_has_the_same_contents_as_a_closed_one(self, tmp_path):
        for name in ("closed", "killed"):
            (tmp_path / name).mkdir()
            fill(tmp_path / name, abandon=name == "killed")
        assert (tmp_path / "killed" / f"{NAME}-wal").stat().st_size > 32
        assert contents(tmp_path / "killed")[:2] == contents(tmp_path / "closed")[:2]

    def test_what_was_compacted_stays_so_once_it_is_deleted(self, tmp_path):
        async def main():
            store = open_store(tmp_path)
            await put(store, *["/a"] * 500)
            last = store.revision
            store.compact(last - 10)
            # Four portions of at most 128 events, each in a transaction of its own or with a put.
            for _ in range(20):
                await put(store, "/b")
            await store.close()
            store = open_store(tmp_path)
            assert store.compacted == last - 10
            with pytest.raises(Compacted):
                store.list("/", revision=last - 11)
            await store.close()
            connection = apsw.Connection(str(tmp_path / NAME))
            rows = connection.execute("SELECT count(*) FROM log").fetchone()
            connection.close()
            assert rows == (11 + 20,)

        asyncio.run(main())

    def test_the_counter_goes_on_after_everything_was_deleted_and_compacted(self, tmp_path):
        async def main():
            store = open_store(tmp_path)
            await put(store, "/a")
            last = await store.commit("/a", None)
            store.compact(last)
            await put(store, "/b")
            await store.commit("/b", None)
            store.compact(store.revision)
            await store.close()
            store = open_store(tmp_path)
            assert (store.revision, len(store.list("").entries)) == (5, 0)
            await store.close()

        asyncio.run(main())


class TestBounds:
    def test_file_and_log_stay_small(self, tmp_path):
        async def main():
            store = open_store(tmp_path, Limits(events=2000, bytes=2_000_000))
            log = 0
            for _ in range(150):
                await put(store, *[f"/{i:02}" for i in range(100)], value=bytes(2000))
                log = max(log, (tmp_path / f"{NAME}-wal").stat().st_size)
            assert log < 2 * CHECKPOINT_PAGES * PAGE_BYTES
            assert (tmp_path / NAME).stat().st_size < 12_000_000, "30 MB were written"
            await store.close()

        asyncio.run(main())

    def test_writes_of_one_moment_share_a_transaction(self, tmp_path):
        async def main():
            store = open_store(tmp_path)
            for _ in range(10):
                await put(store, *[f"/{i}" for i in range(200)])
            assert store.statistics.writes == 2000
            assert store.statistics.batches == 10
            assert store.statistics.waited_s > 0
            await store.close()

        asyncio.run(main())


class TestRefusal:
    def test_a_second_opener(self, tmp_path):
        async def main():
            store = open_store(tmp_path)
            await put(store, "/a")
            with pytest.raises(Locked, match=r"store\.db is in use by process \d+"):
                open_store(tmp_path)
            code = (
                "import sys; from skiff.store.sqlite import SQLiteStore\n"
                "from skiff.aio.clock import RealClock\n"
                "SQLiteStore.open(sys.argv[1], lambda v, r: v, RealClock())"
            )
            command = [sys.executable, "-c", code, str(tmp_path / NAME)]
            other = subprocess.run(
                command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=30
            )
            assert "is in use by process" in other.stderr
            (tmp_path / f"{NAME}.state").unlink()  # even then SQLite's own lock holds
            with pytest.raises(Locked, match="in use by another"):
                open_store(tmp_path)
            await put(store, "/b")
            await store.close()

        asyncio.run(main())

    def test_no_directory(self, tmp_path):
        with pytest.raises(Failed, match="cannot be opened"):
            open_store(tmp_path / "missing")

    def test_another_database(self, tmp_path):
        connection = apsw.Connection(str(tmp_path / NAME))
        connection.execute("CREATE TABLE t (a)")
        connection.close()
        assert "not of Skiff's store" in refused(tmp_path, Incompatible)

    def test_a_later_format(self, tmp_path):
        fill(tmp_path)
        with apsw.Connection(str(tmp_path / NAME)) as connection:
            connection.execute("PRAGMA user_version=2")
        connection.close()
        assert "written in format 2" in refused(tmp_path, Incompatible)

    @pytest.mark.parametrize("abandon", [False, True])
    def test_a_missing_file_is_not_a_new_store(self, tmp_path, abandon):
        fill(tmp_path, abandon)
        (tmp_path / NAME).unlink()
        message = refused(tmp_path, Corrupt)
        assert "store.db is missing" in message
        assert "backup" in message
        for name in (f"{NAME}-wal", f"{NAME}.state"):
            (tmp_path / name).unlink(missing_ok=True)
        assert contents(tmp_path)[0] == 1, "the advice of the message works"

    def test_a_file_restored_without_its_marker_opens(self, tmp_path):
        revision = fill(tmp_path)
        (tmp_path / f"{NAME}.state").unlink()
        assert contents(tmp_path)[0] == revision

    def test_a_missing_log_after_a_kill(self, tmp_path):
        fill(tmp_path, abandon=True)
        (tmp_path / f"{NAME}-wal").unlink()
        assert "store.db-wal is missing" in refused(tmp_path, Corrupt)

    @pytest.mark.parametrize(
        "size", [0, 50, 100, 4096, PAGE_BYTES, 3 * PAGE_BYTES, -PAGE_BYTES, -1]
    )
    def test_a_truncated_file(self, tmp_path, size):
        fill(tmp_path)
        data = (tmp_path / NAME).read_bytes()
        (tmp_path / NAME).write_bytes(data[:size])
        message = refused(tmp_path, Corrupt)
        assert "store.db is damaged" in message
        assert "Nothing was changed. Restore the data directory from a backup" in message

    def test_a_page_of_zeros(self, tmp_path):
        fill(tmp_path)
        data = bytearray((tmp_path / NAME).read_bytes())
        for page in range(len(data) // PAGE_BYTES):
            damaged = data.copy()
            damaged[page * PAGE_BYTES : (page + 1) * PAGE_BYTES] = bytes(PAGE_BYTES)
            (tmp_path / NAME).write_bytes(damaged)
            assert self.refused_or_same(tmp_path, None) in ("refused", "free page")

    def test_flipped_bits_are_refused_or_harmless(self, tmp_path):
        fill(tmp_path)
        whole = contents(tmp_path)
        data = (tmp_path / NAME).read_bytes()
        rng = random.Random(7)
        places = [*range(0, 200, 3), *(rng.randrange(len(data)) for _ in range(250))]
        outcomes = []
        for place in places:
            damaged = bytearray(data)
            damaged[place] ^= 1 << rng.randrange(8)
            (tmp_path / NAME).write_bytes(damaged)
            (tmp_path / f"{NAME}-wal").unlink(missing_ok=True)
            outcomes.append(self.refused_or_same(tmp_path, whole))
        assert outcomes.count("refused") > 100

    def refused_or_same(self, directory, whole):
        before = files(directory)
        try:
            store = open_store(directory)
        except (Corrupt, Incompatible) as e:
            assert NAME in str(e)
            after = files(directory)
            assert after[NAME] == before[NAME]
            return "refused"
        asyncio.run(store.close())
        if whole is None:
            return "free page"
        assert contents(directory) == whole
        return "same"

    def test_a_torn_log_gives_a_prefix(self, tmp_path):
        origin = tmp_path / "origin"
        origin.mkdir()
        fill(origin, abandon=True)
        size = (origin / f"{NAME}-wal").stat().st_size
        rng = random.Random(3)
        copy = tmp_path / "copy"
        shutil.copytree(origin, copy)
        whole = contents(copy)
        revisions = []
        for cut in sorted(rng.sample(range(33, size), 12)):
            shutil.rmtree(copy)
            shutil.copytree(origin, copy)
            with (copy / f"{NAME}-wal").open("r+b") as log:
                log.truncate(cut)
            revision, _, events = contents(copy)
            full = {event[0]: event for event in whole[2]}
            assert all(full.get(event[0], event) == event for event in events)
            revisions.append(revision)
        assert revisions == sorted(revisions)
        assert revisions[0] < revisions[-1] <= whole[0]
        for cut in (0, 20):
            (copy / f"{NAME}-wal").write_bytes((origin / f"{NAME}-wal").read_bytes()[:cut])
            for name in (NAME, f"{NAME}.state"):
                shutil.copy(origin / name, copy / name)
            assert "missing or cut off" in refused(copy, Corrupt)

    def test_damage_inside_the_log_is_not_taken_for_a_torn_end(self, tmp_path):
        origin = tmp_path / "origin"
        origin.mkdir()
        fill(origin, abandon=True)
        log = (origin / f"{NAME}-wal").read_bytes()
        copy = tmp_path / "copy"
        shutil.copytree(origin, copy)
        whole = contents(copy)
        rng = random.Random(5)
        frame = PAGE_BYTES + 24
        last = len(log) - 4 * frame  # in the last transaction damage cannot be told from a torn end
        for place in [*range(0, 60, 5), *(rng.randrange(last) for _ in range(40))]:
            shutil.rmtree(copy)
            shutil.copytree(origin, copy)
            damaged = bytearray(log)
            damaged[place] ^= 1 << rng.randrange(8)
            (copy / f"{NAME}-wal").write_bytes(damaged)
            try:
                assert contents(copy) == whole, place
            except Corrupt:
                shutil.rmtree(copy)
                shutil.copytree(origin, copy)
                (copy / f"{NAME}-wal").write_bytes(damaged)
                assert "of its log" in refused(copy, Corrupt)
            else:
                pytest.fail(f"a flipped bit at {place} went unseen")
