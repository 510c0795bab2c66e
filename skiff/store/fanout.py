"""Who watches what: from an event's key to the sinks of every prefix that covers it. Pure.

The prefixes of a key that can have watchers are those that end at one of its slashes, and those of
the few other lengths in use (a whole key, or nothing): a handful of dictionary look-ups an event,
however many watchers there are.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

from skiff.store.protocol import Event, Sink


class Subscription:
    """One watcher; `close` ends it."""

    __slots__ = ("_fanout", "prefix", "sink")

    def __init__(self, fanout: "Fanout", prefix: str, sink: Sink) -> None:
        self._fanout = fanout
        self.prefix = prefix
        self.sink: Sink | None = sink

    def close(self) -> None:
        if self.sink is not None:
            self.sink = None
            self._fanout.forget(self)


class Fanout:
    """Invariants: a group is never empty; `_lengths` counts the groups whose prefix does not end in
    a slash, by length."""

    def __init__(self) -> None:
        self._groups: dict[str, dict[Subscription, None]] = {}
        self._lengths: Counter[int] = Counter()

    def __len__(self) -> int:
        return sum(map(len, self._groups.values()))

    def add(self, prefix: str, sink: Sink) -> Subscription:
        """Call `sink` with every batch of events under `prefix` from now on."""
        group = self._groups.get(prefix)
        if group is None:
            group = self._groups[prefix] = {}
            if not prefix.endswith("/"):
                self._lengths[len(prefix)] += 1
        subscription = Subscription(self, prefix, sink)
        group[subscription] = None
        return subscription

    def forget(self, subscription: Subscription) -> None:
        """The subscription's own way out: see Subscription.close."""
        prefix = subscription.prefix
        group = self._groups[prefix]
        del group[subscription]
        if not group:
            del self._groups[prefix]
            if not prefix.endswith("/"):
                self._lengths[len(prefix)] -= 1
                self._lengths += Counter()  # drops what is zero

    def publish(self, events: Sequence[Event]) -> list[Exception]:
        """Hand `events` to those who watch them, one call a sink. A sink that raises is closed; gives
        what was raised."""
        if not self._groups:
            return []
        batches: dict[str, list[Event]] = {}
        for event in events:
            for prefix in self._watched(event.key):
                batch = batches.get(prefix)
                if batch is None:
                    batches[prefix] = [event]
                else:
                    batch.append(event)
        # Who gets what is settled before the first call: sinks may open and close watches.
        calls = [(s, batch) for prefix, batch in batches.items() for s in self._groups[prefix]]
        raised = []
        for subscription, batch in calls:
            if subscription.sink is None:
                continue
            try:
                subscription.sink(batch)
            except Exception as e:  # noqa: BLE001 - one watcher's bug must not cut off the others
                subscription.close()
                raised.append(e)
        return raised

    def _watched(self, key: str) -> Iterator[str]:
        groups = self._groups
        for length in self._lengths:
            prefix = key[:length]
            if length <= len(key) and not prefix.endswith("/") and prefix in groups:
                yield prefix
        end = key.find("/") + 1
        while end:
            if (prefix := key[:end]) in groups:
                yield prefix
            end = key.find("/", end) + 1
