"""What happened in a cluster, in order: every write, with who-knows-what left out.

Two runs of one seed give equal logs; where they differ, the first entry that differs is where to look.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from itertools import zip_longest
from typing import NamedTuple, overload

from skiff.store.protocol import Event

KEPT = 1_000_000
"""Writes remembered; the oldest are forgotten first."""
DIGEST_BYTES = 8


class Write(NamedTuple):
    """One write. `at` is virtual seconds since the cluster's epoch; `digest` is of the stored bytes
    (empty for a delete)."""

    at: float
    revision: int
    verb: str
    key: str
    digest: str

    def __str__(self) -> str:
        return f"{self.at:.6f} {self.revision} {self.verb} {self.key} {self.digest}"


class EventLog(Sequence[Write]):
    """See the module's text."""

    def __init__(self) -> None:
        self._writes: deque[Write] = deque(maxlen=KEPT)

    def note(self, at: float, events: Sequence[Event]) -> None:
        """Add a batch from the store."""
        for event in events:
            if event.value is None:
                verb, digest = "delete", ""
            else:
                verb = "create" if event.previous is None else "update"
                digest = blake2b(event.value, digest_size=DIGEST_BYTES).hexdigest()
            self._writes.append(Write(at, event.revision, verb, event.key, digest))

    def __len__(self) -> int:
        return len(self._writes)

    def __iter__(self) -> Iterator[Write]:
        return iter(self._writes)

    @overload
    def __getitem__(self, index: int) -> Write: ...

    @overload
    def __getitem__(self, index: slice) -> list[Write]: ...

    def __getitem__(self, index: int | slice) -> Write | list[Write]:
        if isinstance(index, slice):
            return list(self._writes)[index]
        return self._writes[index]

    def of(self, prefix: str) -> list[Write]:
        """The writes to keys that start with `prefix` (`/core/pods/default/`)."""
        return [w for w in self._writes if w.key.startswith(prefix)]

    def digest(self) -> str:
        """One number for the whole log: equal for equal logs, whatever the process."""
        total = blake2b(digest_size=16)
        for write in self._writes:
            total.update(str(write).encode())
        return total.hexdigest()


def first_difference(one: Sequence[Write], other: Sequence[Write]) -> str:
    """Where two logs part, for people to read; empty where they do not."""
    for a, b in zip_longest(one, other):
        if a != b:
            return f"{a}\n{b}"
    return ""
