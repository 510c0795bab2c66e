"""The recent past: every event after the compacted revision, in order.

Events lie in segments, dropped whole as history is compacted, so that forgetting a hundred thousand
events costs a few list operations. Revisions are dense, so an event is found by its revision.
What an event holds beyond the live entries is the value that it superseded: that, and a fixed sum,
is its cost in memory.
"""

from bisect import bisect_right
from collections.abc import Iterator

from skiff.store.protocol import Event

SEGMENT_EVENTS = 1024
"""Events in a full segment."""

SEGMENTS_MIN = 16
"""A segment is also full at this part of the allowed bytes: what goes at once is a small share."""

EVENT_BYTES = 300
"""What an event costs beside the value it superseded: itself, its key, its entry."""


class History:
    """Invariants: revisions ascend by one from `compacted` + 1 to `newest`; no segment is empty."""

    __slots__ = (
        "_costs",
        "_events_max",
        "_firsts",
        "_segments",
        "bytes_max",
        "compacted",
        "cost",
        "newest",
    )

    def __init__(self, compacted: int, events_max: int, bytes_max: int) -> None:
        self.compacted = compacted
        self.newest = compacted
        self.cost = 0
        self.bytes_max = bytes_max
        self._events_max = events_max
        self._segments: list[list[Event]] = []
        self._firsts: list[int] = []  # the revision of each segment's first event
        self._costs: list[int] = []

    def append(self, event: Event) -> None:
        """Add the next event (without its meta: that is for those who watch now)."""
        assert event.revision == self.newest + 1, (event.revision, self.newest)
        if event.meta is not None:
            event = Event(event.revision, event.key, event.value, event.previous)
        cost = _cost(event)
        segments, costs = self._segments, self._costs
        if (
            not segments
            or len(segments[-1]) >= SEGMENT_EVENTS
            or costs[-1] * SEGMENTS_MIN > self.bytes_max
        ):
            segments.append([])
            self._firsts.append(event.revision)
            costs.append(0)
        segments[-1].append(event)
        costs[-1] += cost
        self.cost += cost
        self.newest = event.revision

    def after(self, revision: int) -> Iterator[Event]:
        """Events after `revision` (at least the compacted one), oldest first."""
        assert revision >= self.compacted, (revision, self.compacted)
        if revision >= self.newest:
            return
        i = bisect_right(self._firsts, revision + 1) - 1
        yield from self._segments[i][revision + 1 - self._firsts[i] :]
        for segment in self._segments[i + 1 :]:
            yield from segment

    def drop(self, revision: int) -> list[list[Event]]:
        """Forget events up to and including `revision`; gives them in order, in lists."""
        if revision <= self.compacted:
            return []
        assert revision <= self.newest, (revision, self.newest)
        whole = bisect_right(self._firsts, revision + 1) - 1
        if revision == self.newest:
            whole = len(self._segments)
        dropped = self._drop_segments(whole)
        if self._firsts and (part := revision + 1 - self._firsts[0]):
            gone = self._segments[0][:part]
            del self._segments[0][:part]
            self._firsts[0] = revision + 1
            cost = sum(map(_cost, gone))
            self._costs[0] -= cost
            self.cost -= cost
            dropped.append(gone)
        self.compacted = revision
        return dropped

    def trim(self) -> list[list[Event]]:
        """Forget the oldest segments while there is more than allowed; gives what `drop` gives."""
        dropped: list[list[Event]] = []
        while len(self._segments) > 1 and (
            self.cost > self.bytes_max or self.newest - self.compacted > self._events_max
        ):
            self.compacted = self._firsts[1] - 1
            dropped += self._drop_segments(1)
        return dropped

    def _drop_segments(self, count: int) -> list[list[Event]]:
        dropped = self._segments[:count]
        self.cost -= sum(self._costs[:count])
        del self._segments[:count], self._firsts[:count], self._costs[:count]
        return dropped


def _cost(event: Event) -> int:
    previous = event.previous
    return EVENT_BYTES + (len(previous.value) if previous is not None else 0)
