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

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol
import asyncio

Stamp = Callable[[bytes, int], bytes]

ABSENT = 0
"""As an expected revision: the key must not exist. `None` expects nothing."""


class Entry(NamedTuple):
    """A live key: its value (stamped) and the revisions of its last write and of its creation."""

    key: str
    value: bytes
    revision: int
    created: int


class Event(NamedTuple):
    """One write as watchers see it: `value` is None for a delete; `previous` None for a create.

    `meta` is whatever the writer handed to `commit`, and None for events replayed from disk: a
    by-pass that spares the writer's own process decoding what it just encoded.
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
    """The key's newest revision is not the expected one; `current` is the newest entry, or None."""

    def __init__(self, key: str, expected: int, current: Entry | None) -> None:
        found = f"revision {current.revision}" if current else "no such key"
        super().__init__(f"{key}: expected revision {expected}, found {found}")
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
    """A revision that does not exist yet was asked for."""


class Corrupt(StoreError):
    """The store's file is torn or damaged: it is refused, and left as it is."""


class Watch(Protocol):
    """A subscription; `close` ends it."""

    def close(self) -> None: ...


class Store(Protocol):
    """See the module's text. All methods belong to the event loop's thread."""

    @property
    def revision(self) -> int:
        """The newest visible (durable) revision."""

    @property
    def compacted(self) -> int:
        """The newest revision whose history is gone; watches resume from this one or later."""

    def get(self, key: str) -> Entry | None:
        """The visible entry under `key`."""

    def latest(self, key: str) -> Entry | None:
        """The newest entry under `key`, staged writes included: what a read-modify-write starts from."""

    def list(
        self, prefix: str, *, start: str = "", limit: int = 0, revision: int = 0
    ) -> Page:
        """Entries whose key starts with `prefix` and is >= `start`, at most `limit` (0: all), as of
        `revision` (0: now). Raises Compacted, FutureRevision."""

    def commit(
        self, key: str, value: bytes | None, *, expected: int | None = None, meta: Any = None
    ) -> "asyncio.Future[int]":
        """Put `value` (None deletes) if the newest revision of `key` is `expected`. The future
        gives the write's revision once it is durable and visible. Raises Conflict at once."""

    def watch(self, prefix: str, since: int, sink: Callable[[Sequence[Event]], None]) -> Watch:
        """Call `sink` with every event under `prefix` after revision `since`: first those of the
        past, before this returns, then each batch as it becomes visible, in order, no gap, no
        duplicate. Raises Compacted."""

    def compact(self, revision: int) -> None:
        """Forget history up to and including `revision` (live entries stay)."""

    async def close(self) -> None:
        """Finish staged writes and release the file."""
