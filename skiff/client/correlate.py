"""Which events are worth writing: aggregation, counting, and the spam filter. Pure.

Three steps, as in client-go `tools/record` (events_cache.go):
1. Spam filter: each object has a bucket of 25 events from a source, refilled one in 5 minutes.
2. Aggregation: more than 10 different messages of one kind about one object within 10 minutes
   become one event, "(combined from similar events): …".
3. Counting: the same event again raises the count of the first.
Each memory is bounded to 4096 entries; the least recently used goes first.
"""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

MAX_REMEMBERED = 4096
SPAM_BURST = 25
SPAM_REFILL_S = 300.0
MAX_SIMILAR = 10
SIMILAR_WITHIN_S = 600.0
COMBINED_PREFIX = "(combined from similar events): "

T = TypeVar("T")


class Occurrence(NamedTuple):
    """Something that happened: to which object (a hashable identity), of which type and reason."""

    about: Hashable
    type: str
    reason: str
    message: str


@dataclass(slots=True)
class Recorded:
    """An event as it was written: its name, how often, since when.

    `writing` while a write is under way; what happened meanwhile waits in `waiting` (the newest
    says all, since it carries the count).
    """

    name: str = ""
    count: int = 0
    first_at: float = 0.0
    writing: bool = False
    waiting: dict[str, Any] | None = None


@dataclass(slots=True)
class _Bucket:
    tokens: float = SPAM_BURST
    at: float = 0.0


@dataclass(slots=True)
class _Similar:
    messages: set[str] = field(default_factory=set)
    at: float = 0.0


class _Memory(Generic[T]):
    def __init__(self) -> None:
        self._entries: OrderedDict[Hashable, T] = OrderedDict()

    def get(self, key: Hashable, default: T) -> T:
        found = self._entries.setdefault(key, default)
        self._entries.move_to_end(key)
        if len(self._entries) > MAX_REMEMBERED:
            self._entries.popitem(last=False)
        return found


class Correlator:
    """Remembers what was recorded. `observe` says what to write for one more occurrence."""

    def __init__(self) -> None:
        self._buckets: _Memory[_Bucket] = _Memory()
        self._similar: _Memory[_Similar] = _Memory()
        self._recorded: _Memory[Recorded] = _Memory()

    def observe(self, what: Occurrence, now: float) -> tuple[str, Recorded] | None:
        """The message to write and the record to write it under (its count already raised; an
        empty name means that it is new), or None where the spam filter holds it back."""
        if not self._admit(what.about, now):
            return None
        message, key = self._aggregate(what, now)
        recorded = self._recorded.get(key, Recorded(first_at=now))
        recorded.count += 1
        return message, recorded

    def _admit(self, about: Hashable, now: float) -> bool:
        bucket = self._buckets.get(about, _Bucket(at=now))
        refilled = bucket.tokens + (now - bucket.at) / SPAM_REFILL_S
        bucket.tokens, bucket.at = min(refilled, float(SPAM_BURST)), now
        if bucket.tokens < 1.0:
            return False
        bucket.tokens -= 1.0
        return True

    def _aggregate(self, what: Occurrence, now: float) -> tuple[str, Hashable]:
        group = (what.about, what.type, what.reason)
        similar = self._similar.get(group, _Similar(at=now))
        if now - similar.at > SIMILAR_WITHIN_S:
            similar.messages.clear()
        similar.at = now
        similar.messages.add(what.message)
        if len(similar.messages) < MAX_SIMILAR:
            return what.message, (*group, what.message)
        similar.messages.pop()
        return COMBINED_PREFIX + what.message, group
