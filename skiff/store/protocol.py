"""What a store is.

A store maps keys (strings such as `/pods/default/web`) to values (bytes) and counts revisions: one
totally ordered counter, one step a write. It knows nothing of objects. Where the value itself
should carry its revision, the store is built with a `stamp` function, which it applies once, when
the revision is known; every value that a store hands out is stamped.

Writes are staged and acknowledged: `commit` checks its expectation at once against the newest
value, staged ones included (`latest`), gives the write its revision, and returns a future that is
done when the write is durable. Only then do `get`, `list` and watchers see it. A failure to make a
staged write durable is fatal to the store: it fails every later call, so nothing is ever built on
a value that was lost.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

Stamp = Callable[[bytes, int], bytes]

ABSENT = 0
"""As an expected revision: the key must not exist. `None` expects nothing."""


FIRST_REVISION = 1
"""The revision of a store that was never written to (as in etcd); the first write is 2. So "0" stays
free for what it means in Kubernetes' API: any revision."""


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A live key: its value (stamped) and the revisions of its last write and of its creation.

    A struct and not a tuple because hundreds of thousands live at once: 48 bytes each, and unseen
    by the garbage collector (nothing in it can be part of a cycle).
    """

    key: str
    value: bytes
    revision: int
    created: int


class Event(msgspec.Struct, frozen=True, gc=False):
    """One write as watchers see it: `value` is None for a delete; `previous` None for a create.

    `meta` is whatever the writer handed to `commit`, and None for events replayed from history: a
    by-pass that spares the writer's own process decoding what it just encoded. It must not refer
    back to the event (the garbage collector does not look into events).
    """

    revision: int
    key: str
    value: bytes | None
    previous: Entry | None
    meta: Any = None


class Page(NamedTuple):
    """Entries in key order as of `revision`; `more` says that the limit cut the list; `remaining`
    counts what was cut."""

    entries: Sequence[Entry]
    revision: int
    more: bool
    remaining: int


class StoreError(Exception):
    """The base of what a store raises."""


class Conflict(StoreError):
    """The key's newest revision is not the expected one; `current` is the newest entry, or None.

    `expected` None: a delete without expectation of a key that does not exist.
    """

    def __init__(self, key: str, expected: int | None, current: Entry | None) -> None:
        wanted = {None: "some revision", ABSENT: "no such key"}.get(
            expected, f"revision {expected}"
        )
        found = f"revision {current.revision}" if current else "no such key"
        super().__init__(f"{key}: expected {wanted}, found {found}")
        self.key = key
        self.expected = expected
        self.current = current


class Compacted(StoreError):
    """History before `oldest` is gone: read or watch from now instead."""

    def __init__(self, revision: int, oldest: int) -> None:
        super().__init__(f"revision {revision} has been compacted: the oldest kept is {oldest}")
        self.revision = revision
        self.oldest = oldest


class FutureRevision(StoreError):
    """A revision that is not visible yet was asked for; `newest` is."""

    def __init__(self, revision: int, newest: int) -> None:
        super().__init__(f"revision {revision} is in the future: the newest is {newest}")
        self.revision = revision
        self.newest = newest


class Corrupt(StoreError):
    """The store's file is missing, torn or damaged: it is refused, and left as it is."""


class Incompatible(StoreError):
    """The file is not a store of this kind, or was written in a format that this version does not know."""


class Locked(StoreError):
    """Another process (or another store of this one) has the file open."""


class Failed(StoreError):
    """The store could not make a write durable (disk full, I/O error). Nothing works until it is
    opened anew; whether the writes that were under way survived is seen only then."""


class Closed(StoreError):
    """The store was closed."""


class Watch(Protocol):
    """A subscription; `close` ends it: no call of its sink follows, not even of a batch under way."""

    def close(self) -> None: ...


Sink = Callable[[Sequence[Event]], None]
"""What a watcher hands in. Watchers of one prefix share the sequence: read it, do not alter it. A
sink may call any method of the store, but must not raise: one that does is closed and reported to
the loop's exception handler."""


class Store(Protocol):
    """See the module's text. All methods belong to the event loop's thread.

    Once a store has failed or is closed, every method raises Failed or Closed.
    """

    @property
    def revision(self) -> int:
        """The newest visible (durable) revision."""

    @property
    def compacted(self) -> int:
        """The newest revision whose history is gone; watches resume from this one or later.

        It moves by `compact`, and by the store itself where history exceeds what it may hold.
        """

    def get(self, key: str) -> Entry | None:
        """The visible entry under `key`."""

    def latest(self, key: str) -> Entry | None:
        """The newest entry under `key`, staged writes included: what a read-modify-write starts from."""

    def list(self, prefix: str, *, start: str = "", limit: int = 0, revision: int = 0) -> Page:
        """Entries whose key starts with `prefix` and is >= `start`, at most `limit` (0: all), as of
        `revision` (0: now). Continue a cut list from `start` = last key + "\\0" at the page's
        revision. Raises Compacted, FutureRevision."""

    def commit(
        self, key: str, value: bytes | None, *, expected: int | None = None, meta: Any = None
    ) -> "asyncio.Future[int]":
        """Put `value` (None deletes) if the newest revision of `key` is `expected`. The future
        gives the write's revision once it is durable and visible; watchers have been told by then.
        Cancelling the future does not take the write back. Raises Conflict at once, also for the
        delete of a key that does not exist, whatever was expected; ValueError if `key` cannot be
        written as UTF-8."""

    def watch(self, prefix: str, since: int, sink: Sink) -> Watch:
        """Call `sink` with every event under `prefix` after revision `since`: first those of the
        past (if any), before this returns, then each batch as it becomes visible, in order, no gap,
        no duplicate. When a sink is called, `get` and `list` show the whole batch already. Raises
        Compacted, FutureRevision."""

    def compact(self, revision: int) -> None:
        """Forget history up to and including `revision` (live entries stay). Cheap: what is on disk
        is deleted bit by bit behind the writes. Raises FutureRevision."""

    async def close(self) -> None:
        """Finish staged writes, tell watchers of them, and release the file."""
