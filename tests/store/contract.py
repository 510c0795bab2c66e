"""What every store must do: one suite, run over each implementation (test_memory, test_sqlite, …)."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from skiff.store.mvcc import DEFAULT_LIMITS, Limits
from skiff.store.protocol import (
    ABSENT,
    FIRST_REVISION,
    Closed,
    Compacted,
    Conflict,
    Event,
    FutureRevision,
    Store,
)

WAIT_S = 20


def stamp(value: bytes, revision: int) -> bytes:
    return value + b"@%d" % revision


async def put(store: Store, *keys: str, value: bytes = b"v") -> int:
    """Put every key in one turn; gives the last revision."""
    futures = [store.commit(key, value) for key in keys]
    for future in futures:
        await asyncio.wait_for(future, WAIT_S)
    return store.revision


def keys_of(page: Any) -> list[str]:
    return [entry.key for entry in page.entries]


def brief(events: Sequence[Event]) -> list[tuple[int, str, bytes | None]]:
    return [(event.revision, event.key, event.value) for event in events]


class StoreContract:
    """A subclass says how to open a store."""

    def open(self, directory: Path, limits: Limits = DEFAULT_LIMITS) -> Store:
        raise NotImplementedError

    @pytest.fixture
    def run(self, tmp_path: Path) -> Callable[..., None]:
        """Runs `body(store)` on a loop, and closes the store."""

        def run(body: Callable[[Store], Awaitable[None]], **options: Any) -> None:
            async def main() -> None:
                store = self.open(tmp_path, **options)
                try:
                    await asyncio.wait_for(body(store), WAIT_S)
                finally:
                    await store.close()

            asyncio.run(main())

        return run

    def test_empty(self, run):
        async def body(store):
            assert store.revision == FIRST_REVISION
            assert store.get("/a") is None
            assert store.latest("/a") is None
            assert store.list("/") == ([], FIRST_REVISION, False, 0)

        run(body)

    def test_revisions_count_writes(self, run):
        async def body(store):
            first = await store.commit("/a", b"1")
            second = await store.commit("/b", b"2")
            third = await store.commit("/a", b"3")
            fourth = await store.commit("/b", None)
            assert [first, second, third, fourth] == [2, 3, 4, 5]
            assert store.revision == 5
            entry = store.get("/a")
            assert (entry.key, entry.revision, entry.created) == ("/a", third, first)
            assert store.get("/b") is None
            again = await store.commit("/b", b"5", expected=ABSENT)
            assert store.get("/b").created == again

        run(body)

    def test_values_are_stamped_with_their_revision(self, run):
        async def body(store):
            seen = []
            store.watch("/", store.revision, seen.extend)
            revision = await store.commit("/a", b"v")
            stamped = b"v@%d" % revision
            assert store.get("/a").value == store.latest("/a").value == stamped
            assert store.list("/").entries[0].value == stamped
            assert seen[0].value == stamped

        run(body)

    def test_staged_writes_are_seen_by_latest_alone(self, run):
        async def body(store):
            base = await put(store, "/a", "/b")
            seen = []
            store.watch("/", base, seen.extend)
            futures = [
                store.commit("/a", b"2", expected=base - 1),
                store.commit("/a", b"3", expected=base + 1),
                store.commit("/b", None),
                store.commit("/c", b"1", expected=ABSENT),
            ]
            assert store.latest("/a").value == b"3@%d" % (base + 2)
            assert store.latest("/a").created == base - 1
            assert store.latest("/b") is None
            assert store.latest("/c").revision == base + 4
            assert store.get("/a").revision == base - 1
            assert store.get("/b") is not None
            assert store.get("/c") is None
            assert keys_of(store.list("/")) == ["/a", "/b"]
            assert store.revision == base
            assert not seen
            assert not any(future.done() for future in futures)
            assert [await future for future in futures] == [base + 1, base + 2, base + 3, base + 4]
            assert keys_of(store.list("/")) == ["/a", "/c"]
            assert store.get("/a") == store.latest("/a")
            assert [event.revision for event in seen] == [base + 1, base + 2, base + 3, base + 4]

        run(body)

    def test_staged_put_over_staged_delete_over_staged_put(self, run):
        async def body(store):
            store.commit("/a", b"1")
            store.commit("/a", None)
            store.commit("/a", b"3")
            last = store.commit("/a", None)
            assert store.latest("/a") is None
            await last
            assert store.get("/a") is store.latest("/a") is None
            assert await store.commit("/a", b"5", expected=ABSENT) == last.result() + 1

        run(body)

    def test_conflicts(self, run):
        async def body(store):
            revision = await put(store, "/a")
            for expected in (ABSENT, revision - 1, revision + 1):
                with pytest.raises(Conflict) as caught:
                    store.commit("/a", b"2", expected=expected)
                assert caught.value.key == "/a"
                assert caught.value.expected == expected
                assert caught.value.current == store.get("/a")
            with pytest.raises(
                Conflict, match="/b: expected revision 7, found no such key"
            ) as caught:
                store.commit("/b", b"2", expected=7)
            assert caught.value.current is None
            for expected in (None, ABSENT, 7):
                with pytest.raises(Conflict):
                    store.commit("/b", None, expected=expected)
            staged = store.commit("/a", b"2", expected=revision)
            with pytest.raises(Conflict) as caught:
                store.commit("/a", b"3", expected=revision)
            assert caught.value.current == store.latest("/a")
            assert caught.value.current.revision == await staged
            assert store.revision == revision + 1, "a conflict takes no revision"

        run(body)

    def test_a_failing_stamp_stages_nothing(self, run):
        async def body(store):
            with pytest.raises(TypeError):
                store.commit("/a", 5)
            assert store.latest("/a") is None
            assert await store.commit("/a", b"v") == FIRST_REVISION + 1

        run(body)

    def test_keys_are_unicode(self, run):
        async def body(store):
            with pytest.raises(ValueError, match="surrogates not allowed"):
                store.commit("/half\ud800", b"v")
            await put(store, "/ü", "/\U0001f40b", "/a\0b", "")
            assert [e.key for e in store.list("").entries] == ["", "/a\0b", "/ü", "/\U0001f40b"]

        run(body)

    def test_concurrent_increments_lose_nothing(self, run):
        async def body(store):
            async def increment() -> None:
                for _ in range(20):
                    while True:
                        entry = store.get("/n")  # not `latest`: so that conflicts do happen
                        number = int(entry.value.split(b"@")[0]) if entry else 0
                        expected = entry.revision if entry else ABSENT
                        try:
                            await store.commit("/n", b"%d" % (number + 1), expected=expected)
                            break
                        except Conflict:
                            await asyncio.sleep(0)

            async with asyncio.TaskGroup() as group:
                for _ in range(5):
                    group.create_task(increment())
            assert store.get("/n").value == b"100@%d" % store.revision
            assert store.revision == FIRST_REVISION + 100

        run(body)

    def test_list_by_prefix_in_key_order(self, run):
        async def body(store):
            await put(
                store, "/pods/b/1", "/pods/a/2", "/pods/a/10", "/podsets/a", "/nodes/n", "/pods"
            )
            assert keys_of(store.list("/pods/")) == ["/pods/a/10", "/pods/a/2", "/pods/b/1"]
            assert keys_of(store.list("/pods/a/")) == ["/pods/a/10", "/pods/a/2"]
            assert len(store.list("").entries) == 6
            assert keys_of(store.list("/pods/a/2")) == ["/pods/a/2"]
            assert keys_of(store.list("/q")) == []
            assert keys_of(store.list("/pods/", start="/pods/a/2")) == ["/pods/a/2", "/pods/b/1"]
            assert keys_of(store.list("/pods/", start="/a")) == keys_of(store.list("/pods/"))
            assert keys_of(store.list("/pods/", start="/z")) == []

        run(body)

    def test_list_in_pages_at_one_revision(self, run):
        async def body(store):
            names = [f"/p/{i:02}" for i in range(10)]
            await put(store, *names)
            first = store.list("/p/", limit=4)
            assert (keys_of(first), first.more, first.remaining) == (names[:4], True, 6)
            await store.commit("/p/01", None)  # behind
            await store.commit("/p/05", None)  # ahead: still in the past
            await store.commit("/p/055", b"new")
            changed = await store.commit("/p/06", b"new")
            second = store.list(
                "/p/", start=first.entries[-1].key + "\0", limit=4, revision=first.revision
            )
            assert (keys_of(second), second.more, second.remaining) == (names[4:8], True, 2)
            assert second.revision == first.revision
            third = store.list(
                "/p/", start=second.entries[-1].key + "\0", limit=4, revision=first.revision
            )
            assert (keys_of(third), third.more, third.remaining) == (names[8:], False, 0)
            assert all(e.revision < changed for e in [*second.entries, *third.entries])
            whole = store.list("/p/", limit=9)
            assert (whole.more, whole.remaining, whole.revision) == (False, 0, changed)
            assert store.list("/p/", revision=changed) == store.list("/p/")

        run(body)

    def test_a_page_of_the_past_is_cut_although_the_present_fills_it_less(self, run):
        async def body(store):
            past = await put(store, "/b", "/c")
            await put(store, "/a")  # not there in the past, but before its first page
            page = store.list("/", limit=1, revision=past)
            assert (keys_of(page), page.more, page.remaining) == (["/b"], True, 1)

        run(body)

    def test_list_refuses_the_future_and_the_forgotten(self, run):
        async def body(store):
            await put(store, "/a")
            await put(store, "/a")
            last = await put(store, "/a")
            with pytest.raises(FutureRevision):
                store.list("/", revision=last + 1)
            store.compact(last - 1)
            assert store.compacted == last - 1
            assert keys_of(store.list("/", revision=last - 1)) == ["/a"]
            with pytest.raises(Compacted, match="has been compacted") as caught:
                store.list("/", revision=last - 2)
            assert caught.value.oldest == last - 1

        run(body)

    def test_watch_sees_every_event_of_its_prefix(self, run):
        async def body(store):
            seen, all_seen, one = [], [], []
            start = store.revision
            store.watch("/p/", start, seen.extend)
            store.watch("", start, all_seen.extend)
            store.watch("/p/a", start, one.extend)
            created = await put(store, "/p/a", value=b"1")
            meta = object()
            changed = await store.commit("/p/a", b"2", meta=meta)
            await put(store, "/q/a", "/p/b", "/p")
            deleted = await store.commit("/p/a", None)
            assert brief(seen) == [
                (created, "/p/a", b"1@%d" % created),
                (changed, "/p/a", b"2@%d" % changed),
                (changed + 2, "/p/b", b"v@%d" % (changed + 2)),
                (deleted, "/p/a", None),
            ]
            assert seen[0].previous is None
            assert (seen[1].previous.revision, seen[1].previous.value) == (created, seen[0].value)
            assert (seen[3].previous.revision, seen[3].previous.created) == (changed, created)
            assert seen[1].meta is meta
            assert [event.revision for event in all_seen] == list(range(start + 1, deleted + 1))
            assert [event.revision for event in one] == [created, changed, deleted]

        run(body)

    def test_watch_resumes_without_gap_or_duplicate(self, run):
        async def body(store):
            start = store.revision
            for i in range(10):
                await put(store, f"/p/{i % 3}", f"/q/{i}")
            complete = []
            store.watch("/p/", start, complete.extend)
            assert [e.revision for e in complete] == list(range(start + 1, start + 21, 2))
            for since in range(start, store.revision + 1):
                seen = []
                store.watch("/p/", since, seen.extend).close()
                assert brief(seen) == [e for e in brief(complete) if e[0] > since]
                assert all(event.meta is None for event in seen)
            late = []
            staged = store.commit("/p/late", b"1")  # staged before, visible after the watch
            store.watch("/p/", store.revision, late.extend)
            await staged
            await put(store, "/p/later")
            assert [e.key for e in late] == ["/p/late", "/p/later"]

        run(body)

    def test_watch_refuses_the_future_and_the_forgotten(self, run):
        async def body(store):
            last = await put(store, "/a", "/b", "/c")
            with pytest.raises(FutureRevision):
                store.watch("/", last + 1, lambda events: None)
            store.compact(last - 1)
            with pytest.raises(Compacted):
                store.watch("/", last - 2, lambda events: None)
            seen = []
            store.watch("/", last - 1, seen.extend)
            assert [event.key for event in seen] == ["/c"]

        run(body)

    def test_one_call_a_batch_and_reads_show_it_whole(self, run):
        async def body(store):
            batches = []

            def sink(events):
                batches.append([event.key for event in events])
                assert store.revision >= events[-1].revision
                for event in events:
                    assert store.get(event.key).revision >= event.revision

            store.watch("/p/", store.revision, sink)
            await put(store, "/p/a", "/q/b", "/p/c")
            assert [key for batch in batches for key in batch] == ["/p/a", "/p/c"]
            assert len(batches) == 1, "writes of one turn become visible together"

        run(body)

    def test_watchers_are_told_before_the_writer(self, run):
        async def body(store):
            seen = []
            store.watch("/", store.revision, seen.extend)
            revision = await store.commit("/a", b"v")
            assert [event.revision for event in seen] == [revision]

        run(body)

    def test_sinks_may_close_open_and_write(self, run):
        async def body(store):
            start = store.revision
            first, second, third, written = [], [], [], []

            def sink(events):
                first.extend(events)
                if len(first) == 1:
                    watches[1].close()
                    watches[0].close()
                    store.watch("/", start, third.extend)
                    written.append(store.commit("/x", b"from a sink"))

            watches = [store.watch("/", start, sink)]
            watches.append(store.watch("/", start, second.extend))
            await put(store, "/a")
            await written[0]
            await put(store, "/b")
            assert [event.key for event in first] == ["/a"]
            assert second == [], "closed before its turn"
            assert [event.key for event in third] == ["/a", "/x", "/b"]
            watches[0].close()

        run(body)

    def test_a_sink_that_raises_does_not_cut_off_others(self, run):
        async def body(store):
            reported = []
            asyncio.get_running_loop().set_exception_handler(
                lambda loop, context: reported.append(context["exception"])
            )
            seen, calls = [], []

            def broken(events):
                calls.append(events)
                raise ValueError("broken sink")

            store.watch("/", store.revision, broken)
            store.watch("/", store.revision, seen.extend)
            await put(store, "/a")
            await put(store, "/b")
            assert [event.key for event in seen] == ["/a", "/b"]
            assert len(calls) == 1
            assert [str(error) for error in reported] == ["broken sink"]

        run(body)

    def test_cancelling_who_waits_does_not_take_the_write_back(self, run):
        async def body(store):
            future = store.commit("/a", b"1")
            future.cancel()
            await put(store, "/b")
            assert store.get("/a").value == b"1@2"

        run(body)

    def test_compaction_keeps_what_lives(self, run):
        async def body(store):
            await put(store, "/a", "/b", "/c")
            await put(store, "/a")
            await store.commit("/b", None)
            revision = store.revision
            await put(store, "/c")
            store.compact(revision)
            store.compact(revision - 2)  # older than that: nothing to do
            assert store.compacted == revision
            with pytest.raises(FutureRevision):
                store.compact(store.revision + 1)
            assert keys_of(store.list("/")) == ["/a", "/c"]
            old = store.list("/", revision=revision)
            assert [(e.key, e.revision) for e in old.entries] == [("/a", 5), ("/c", 4)]
            seen = []
            store.watch("/", revision, seen.extend)
            assert [(e.key, e.previous.revision) for e in seen] == [("/c", 4)]
            store.compact(store.revision)
            await put(store, "/d")
            assert len(seen) == 2

        run(body)

    def test_history_is_bounded_by_itself(self, run):
        async def body(store):
            for _ in range(60):
                await put(store, *["/a"] * 100)
            assert store.revision == FIRST_REVISION + 6000
            assert 1000 <= store.revision - store.compacted <= 2000 + 1024
            with pytest.raises(Compacted):
                store.watch("/", store.compacted - 1, lambda events: None)
            seen = []
            store.watch("/", store.compacted, seen.extend)
            assert len(seen) == store.revision - store.compacted

        run(body, limits=Limits(events=2000, bytes=1 << 30))

    def test_history_is_bounded_in_bytes(self, run):
        async def body(store):
            for _ in range(40):
                await put(store, *["/a"] * 10, value=bytes(10_000))
            kept = store.revision - store.compacted
            assert 50 <= kept <= 100

        run(body, limits=Limits(events=1_000_000, bytes=1_000_000))

    def test_closed(self, run):
        async def body(store):
            seen = []
            store.watch("/", store.revision, seen.extend)
            future = store.commit("/a", b"v")
            await store.close()
            assert future.done()
            assert len(seen) == 1, "what was staged is finished, and told"
            for call in (
                lambda: store.get("/a"),
                lambda: store.latest("/a"),
                lambda: store.list("/"),
                lambda: store.commit("/a", b"v"),
                lambda: store.watch("/", 1, seen.extend),
                lambda: store.compact(1),
                lambda: store.revision,
                lambda: store.compacted,
            ):
                with pytest.raises(Closed):
                    call()
            await store.close()

        run(body)
