"""A store against a model of it that is too simple to be wrong, driven by Hypothesis.

The model is the list of all events; every answer is computed from it anew. Chunks and segments are
made tiny so that a few dozen steps cross their borders.
"""

import asyncio
import tempfile
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from skiff.store import history, index
from skiff.store.protocol import (
    ABSENT,
    FIRST_REVISION,
    Compacted,
    Conflict,
    Event,
    FutureRevision,
    Store,
)
from tests.store.contract import WAIT_S, stamp

NAMES = [f"/{kind}/{name}" for kind in "pq" for name in ("a", "ab", "b", "c/d", "c/e", "ca", "z")]
PREFIXES = ["", "/", "/p/", "/q/", "/p/c/", "/p/a", "/p/c", "/r/"]


class Watcher:
    def __init__(self, prefix: str, since: int) -> None:
        self.prefix = prefix
        self.since = since
        self.until: int | None = None
        self.seen: list[Event] = []


class StoreModel(RuleBasedStateMachine):
    """A subclass says how to open a store, and whether it outlives `close`."""

    durable = False

    def open(self, directory: Path) -> Store:
        raise NotImplementedError

    def __init__(self) -> None:
        super().__init__()
        self.patches = [
            mock.patch.object(history, "SEGMENT_EVENTS", 4),
            mock.patch.object(index, "CHUNK_ENTRIES", 4),
        ]
        for patch in self.patches:
            patch.start()
        self.directory = tempfile.TemporaryDirectory()
        self.runner = asyncio.Runner()
        self.store = self.on_loop(self.open, Path(self.directory.name))
        self.events: list[Event] = []
        self.pending: list[asyncio.Future[int]] = []
        self.visible = FIRST_REVISION
        self.compacted = FIRST_REVISION
        self.watchers: list[tuple[Watcher, object]] = []

    def on_loop(self, call, *args, **kwargs):
        async def main():
            return call(*args, **kwargs)

        return self.runner.run(main())

    def teardown(self) -> None:
        self.runner.run(self.store.close())
        self.runner.close()
        self.directory.cleanup()
        for patch in self.patches:
            patch.stop()

    # The model's answers.

    def state(self, revision: int) -> dict[str, tuple[bytes, int, int]]:
        """Key to (value, revision, created) as of `revision`."""
        live: dict[str, tuple[bytes, int, int]] = {}
        for event in self.events:
            if event.revision > revision:
                break
            if event.value is None:
                del live[event.key]
            else:
                created = live[event.key][2] if event.key in live else event.revision
                live[event.key] = (event.value, event.revision, created)
        return live

    @property
    def newest(self) -> int:
        return FIRST_REVISION + len(self.events)

    # What happens.

    @rule(
        writes=st.lists(
            st.tuples(
                st.sampled_from(NAMES),
                st.one_of(st.none(), st.binary(max_size=3)),
                st.sampled_from(["none", "right", "absent", "wrong"]),
            ),
            min_size=1,
            max_size=6,
        ),
        settle=st.booleans(),
    )
    def write(self, writes, settle):
        async def main():
            for key, value, expectation in writes:
                self.write_one(key, value, expectation)
            if settle:
                await self.settle()

        self.runner.run(main())

    def write_one(self, key, value, expectation):
        found = self.state(self.newest).get(key)
        revision = found[1] if found else 0
        expected = {"none": None, "right": revision, "absent": ABSENT, "wrong": revision + 1}[
            expectation
        ]
        fails = (expected is not None and expected != revision) or (value is None and not found)
        if fails:
            with pytest.raises(Conflict) as caught:
                self.store.commit(key, value, expected=expected)
            current = caught.value.current
            assert (current and (current.value, current.revision, current.created)) == found
            return
        self.pending.append(self.store.commit(key, value, expected=expected))
        number = self.newest + 1
        self.events.append(
            Event(number, key, None if value is None else stamp(value, number), None)
        )

    async def settle(self):
        for future in self.pending:
            self.visible = await asyncio.wait_for(future, WAIT_S)
        self.pending.clear()
        assert self.visible == self.newest

    @rule()
    def wait(self):
        self.runner.run(self.settle())

    @rule(back=st.integers(0, 12))
    def compact(self, back):
        self.runner.run(self.settle())
        revision = max(self.visible - back, 0)
        self.on_loop(self.store.compact, revision)
        self.compacted = max(self.compacted, revision)

    @rule(prefix=st.sampled_from(PREFIXES), back=st.integers(0, 12))
    def watch(self, prefix, back):
        self.runner.run(self.settle())
        watcher = Watcher(prefix, max(self.visible - back, 0))
        if watcher.since < self.compacted:
            with pytest.raises(Compacted):
                self.on_loop(self.store.watch, prefix, watcher.since, watcher.seen.extend)
            return
        handle = self.on_loop(self.store.watch, prefix, watcher.since, watcher.seen.extend)
        self.watchers.append((watcher, handle))

    @rule(data=st.data())
    def close_watch(self, data):
        self.runner.run(self.settle())
        running = [w for w in self.watchers if w[0].until is None]
        if running:
            watcher, handle = data.draw(st.sampled_from(running))
            handle.close()
            watcher.until = self.visible

    @rule(
        prefix=st.sampled_from(PREFIXES),
        start=st.sampled_from(["", *NAMES]),
        limit=st.integers(0, 5),
        back=st.one_of(st.none(), st.integers(-1, 12)),
    )
    def list(self, prefix, start, limit, back):
        self.runner.run(self.settle())
        revision = 0 if back is None else max(self.visible - back, 0)
        if revision > self.visible:
            with pytest.raises(FutureRevision):
                self.store.list(prefix, start=start, limit=limit, revision=revision)
            return
        if 0 < revision < self.compacted:
            with pytest.raises(Compacted):
                self.store.list(prefix, start=start, limit=limit, revision=revision)
            return
        page = self.store.list(prefix, start=start, limit=limit, revision=revision)
        expected = [
            (key, *rest)
            for key, rest in sorted(self.state(revision or self.visible).items())
            if key.startswith(prefix) and key >= start
        ]
        shown = expected[: limit or None]
        assert [(e.key, e.value, e.revision, e.created) for e in page.entries] == shown
        assert page.revision == (revision or self.visible)
        assert page.remaining == len(expected) - len(shown)
        assert page.more == (page.remaining > 0)

    @rule()
    def reopen(self):
        if not self.durable:
            return
        self.runner.run(self.settle())
        self.runner.run(self.store.close())
        for watcher, _ in self.watchers:
            watcher.until = self.visible if watcher.until is None else watcher.until
        self.store = self.on_loop(self.open, Path(self.directory.name))
        # The disk may lag behind in forgetting, never in remembering.
        assert self.store.compacted <= self.compacted
        self.compacted = self.store.compacted

    # What always holds.

    @invariant()
    def answers_agree(self):
        if self.pending:
            newest = self.state(self.newest)
        else:
            newest = self.state(self.visible)
            assert self.store.revision == self.visible
            assert self.store.compacted == self.compacted
            for key in NAMES:
                entry = self.store.get(key)
                assert (entry and (entry.value, entry.revision, entry.created)) == newest.get(key)
        for key in NAMES:
            entry = self.store.latest(key)
            assert (entry and (entry.value, entry.revision, entry.created)) == newest.get(key)

    @invariant()
    def watchers_saw_everything(self):
        if self.pending:
            return
        for watcher, _ in self.watchers:
            until = self.visible if watcher.until is None else watcher.until
            expected = [
                (event.revision, event.key, event.value)
                for event in self.events
                if watcher.since < event.revision <= until and event.key.startswith(watcher.prefix)
            ]
            assert [(e.revision, e.key, e.value) for e in watcher.seen] == expected
            for event in watcher.seen:
                before = self.state(event.revision - 1).get(event.key)
                previous = event.previous
                assert (
                    previous and (previous.value, previous.revision, previous.created)
                ) == before
