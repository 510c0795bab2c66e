"""The heart of a local store: live entries, staged writes and recent history, in memory. Pure.

A write goes through two steps. `stage` checks it against the newest value, gives it its revision and
stamps it; from then on only `latest` sees it. `publish` makes every staged write up to a revision
visible, in order; the shell calls it when they are durable. So the visible state is always the
state after some prefix of all writes.

The past is rebuilt from the present: a list at an old revision is the list of now with the
events since then undone.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from operator import attrgetter
from typing import Any, NamedTuple

from skiff.store.history import History
from skiff.store.index import KeyIndex, prefix_end
from skiff.store.protocol import (
    FIRST_REVISION,
    Compacted,
    Conflict,
    Entry,
    Event,
    FutureRevision,
    Page,
    Stamp,
)


class Limits(NamedTuple):
    """What history may hold; beyond it the oldest is forgotten, as if compacted."""

    events: int = 100_000
    bytes: int = 64 * 1024 * 1024


DEFAULT_LIMITS = Limits()

_Events = list[Event]
_Dropped = list[list[Event]]


class Row(NamedTuple):
    """A write as it is kept on disk. `value` None and `created` 0 for a delete."""

    revision: int
    key: str
    created: int
    value: bytes | None


class Staged(NamedTuple):
    """A staged write: what watchers will see and what will be live (None: deleted)."""

    event: Event
    entry: Entry | None

    def row(self) -> Row:
        event, entry = self
        return Row(event.revision, event.key, entry.created if entry else 0, event.value)


class Mvcc:
    """Invariants: `revision` <= `newest`; `_staged` holds exactly the revisions between them, and
    `_newest` the last staged write of each key among them."""

    def __init__(self, stamp: Stamp, limits: Limits = DEFAULT_LIMITS) -> None:
        self._stamp = stamp
        self._live: dict[str, Entry] = {}
        self._index = KeyIndex()
        self._history = History(FIRST_REVISION, limits.events, limits.bytes)
        self._limits = limits
        self._staged: deque[Staged] = deque()
        self._newest: dict[str, Staged] = {}
        self.newest = FIRST_REVISION

    @property
    def revision(self) -> int:
        return self._history.newest

    @property
    def compacted(self) -> int:
        return self._history.compacted

    def __len__(self) -> int:
        return len(self._live)

    def restore(self, compacted: int, rows: Iterable[Row]) -> None:
        """Take over what was kept: the rows in ascending revision. Up to `compacted` those of the
        keys live then, after it every one. Raises ValueError if that does not hold."""
        live: dict[str, Entry] = {}
        history = History(compacted, self._limits.events, self._limits.bytes)
        for revision, key, created, value in rows:
            previous = live.get(key)
            if revision > compacted:
                if revision != history.newest + 1:
                    raise ValueError(f"revision {history.newest + 1} is missing")
                history.append(Event(revision, key, value, previous))
            elif previous is not None or value is None:
                raise ValueError(f"revision {revision} should have been compacted")
            if value is not None:
                if previous is not None and previous.created != created:
                    raise ValueError(f"revision {revision} is of another creation of its key")
                live[key] = Entry(key, value, revision, created)
            elif previous is None:
                raise ValueError(f"revision {revision} deletes a key that does not exist")
            else:
                del live[key]
        self._live = live
        self._index = KeyIndex(sorted(live.values(), key=attrgetter("key")))
        self._history = history
        self.newest = history.newest

    def get(self, key: str) -> Entry | None:
        return self._live.get(key)

    def latest(self, key: str) -> Entry | None:
        staged = self._newest.get(key)
        return staged.entry if staged is not None else self._live.get(key)

    def list(self, prefix: str, start: str, limit: int, revision: int) -> Page:
        low, high = max(prefix, start), prefix_end(prefix)
        now = self._history.newest
        undone: dict[str, Entry | None] = {}
        if revision and revision != now:
            for event in self.events_after(revision, prefix):
                if event.key >= low:
                    undone.setdefault(event.key, event.previous)
        if not undone:
            entries, remaining = self._index.range(low, high, limit)
            return Page(entries, revision or now, remaining > 0, remaining)
        # Whatever is undone, the first `limit` entries lie among the first `limit` + len(undone).
        entries, _ = self._index.range(low, high, limit and limit + len(undone))
        entries = [entry for entry in entries if entry.key not in undone]
        entries += [entry for entry in undone.values() if entry is not None]
        entries.sort(key=attrgetter("key"))
        total = self._index.count(low, high)
        total += sum((entry is not None) - (key in self._live) for key, entry in undone.items())
        entries = entries[: limit or None]
        return Page(entries, revision, len(entries) < total, total - len(entries))

    def events_after(self, revision: int, prefix: str) -> Iterator[Event]:
        """Visible events under `prefix` after `revision`, oldest first. Raises Compacted,
        FutureRevision, at once."""
        if revision < self._history.compacted:
            raise Compacted(revision, self._history.compacted)
        if revision > self._history.newest:
            raise FutureRevision(revision, self._history.newest)
        after = self._history.after(revision)
        return (event for event in after if event.key.startswith(prefix)) if prefix else after

    def stage(self, key: str, value: bytes | None, expected: int | None, meta: Any) -> Staged:
        """Check, number and stamp a write. Raises Conflict; ValueError if `key` is no Unicode."""
        staged = self._newest.get(key)
        current = staged.entry if staged is not None else self._live.get(key)
        found = current.revision if current is not None else 0
        if (expected is not None and expected != found) or (value is None and current is None):
            raise Conflict(key, expected, current)
        if not key.isascii():
            key.encode()  # half a surrogate pair would be the writer's death
        revision = self.newest + 1
        entry = None
        if value is not None:
            value = self._stamp(value, revision)
            created = current.created if current is not None else revision
            entry = Entry(key, value, revision, created)
        staged = Staged(Event(revision, key, value, current, meta), entry)
        self.newest = revision
        self._newest[key] = staged
        self._staged.append(staged)
        return staged

    def publish(self, revision: int) -> _Events:
        """Make staged writes up to and including `revision` visible; gives their events."""
        events = []
        while self._staged and self._staged[0].event.revision <= revision:
            staged = self._staged.popleft()
            event, entry = staged
            if self._newest[event.key] is staged:
                del self._newest[event.key]
            if entry is not None:
                self._live[event.key] = entry
                self._index.put(entry)
            else:
                del self._live[event.key]
                self._index.remove(event.key)
            self._history.append(event)
            events.append(event)
        return events

    def compact(self, revision: int) -> _Dropped:
        """Forget history up to and including `revision`; gives the forgotten events, in lists, for
        the shell to forget too. Raises FutureRevision."""
        if revision > self._history.newest:
            raise FutureRevision(revision, self._history.newest)
        return self._history.drop(revision)

    def trim(self) -> _Dropped:
        """Forget what exceeds the limits; gives what `compact` gives."""
        return self._history.trim()


def obsolete(events: Iterable[Event]) -> list[int]:
    """The revisions whose rows are needed no more once `events` are forgotten: the rows that they
    superseded, and their own where they are deletes."""
    revisions = []
    for event in events:
        if event.previous is not None:
            revisions.append(event.previous.revision)
        if event.value is None:
            revisions.append(event.revision)
    return revisions
