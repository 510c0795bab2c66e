"""Watches: who hears of which change, in which bytes.

How it works. A `Feed` stands behind each index. Watchers that want the same thing (namespace,
selectors, representation) share a `Channel`, which encodes a change once for all of them. A channel
is found by the narrowest thing it insists on (an object's name, a node's name, a namespace), so that
five thousand kubelets, each watching its own pods, cost nothing for another's pod.

Changes leave after the answers to those who made them: who waits comes before who listens. Those of
one loop turn leave in one write. They are not gathered for longer: 5 ms spared the controllers a third
of their CPU under load, but then resources told of their changes at different times, which made
controllers act on pictures that never were (a Deployment below its maxUnavailable).

Relative to its selectors an object that begins to match is ADDED, one that ceases to is DELETED (with
its last matching content and the revision of the change). A watcher starts with a snapshot or with
the events since its revision; both are taken in the same turn in which it joins its channel, so that
there is no gap and no duplicate. A peer that does not keep up is cut off at a bounded buffer and
comes back with its last revision.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence

from skiff.aio.entropy import Entropy
from skiff.aio.http.message import Stream, Writer
from skiff.api.errors import ApiError, Expired
from skiff.api.selectors import FieldSelector
from skiff.server.cache import Cache, Change, Index, Item
from skiff.server.listing import Lister, fields_match, too_large
from skiff.server.options import ListOptions, revision_of
from skiff.server.shape import Presenter
from skiff.server.stamp import restamp
from skiff.store.protocol import Compacted, Event, Store

WATCH_BUFFER_BYTES = 8 * 1024 * 1024
"""What a watcher may have outstanding before it is cut off."""
BLOCK_BYTES = 262_144
BOOKMARK_S = 60.0
MIN_TIMEOUT_S = 1800.0
"""A watch without timeoutSeconds ends after this, up to twice as long, at random."""
FRESH_WAIT_S = 3.0
"""How long a list or watch waits for a revision that is yet to come."""

Route = tuple[str, str]
Wish = tuple[str, str, FieldSelector, object]
_BROAD: Route = ("", "")


class Channel:
    """What watchers with one wish share."""

    def __init__(
        self, index: Index, namespace: str, options: ListOptions, presenter: Presenter
    ) -> None:
        self.index = index
        self.presenter = presenter
        self.wish = wish_of(namespace, options, presenter)
        self.subscribers: dict[Subscriber, None] = {}
        self.lines: list[bytes] = []
        self._prefix = f"{index.prefix}{namespace}/" if namespace else ""
        self._labels = None if options.labels.everything else options.labels
        self._fields = None if options.fields.everything else options.fields
        self._plain = self._labels is None and self._fields is None
        self.route = _route(namespace, options)

    def selects(self, item: Item | None) -> bool:
        """Whether an object is among those watched."""
        if item is None or (self._prefix and not item.key.startswith(self._prefix)):
            return False
        if self._plain:
            return True
        index = self.index
        if self._labels is not None and not self._labels.matches(index.labels_of(item)):
            return False
        return self._fields is None or fields_match(index, item, self._fields)

    def encode(self, change: Change, shared: dict[object, bytes]) -> bytes:
        """A change as this channel's watchers see it, b"" where it does not concern them."""
        new = change.new if self.selects(change.new) else None
        old = change.old if self.selects(change.old) else None
        if new is not None:
            kind = "ADDED" if old is None else "MODIFIED"
        elif old is not None:
            kind = "DELETED"
        else:
            return b""
        key = (change.revision, kind, self.presenter.key)
        found = shared.get(key)
        if found is None:
            if new is not None:
                value = new.value
            else:
                assert old is not None
                value = restamp(old.value, change.revision)
            found = shared[key] = self.presenter.event(kind, self.presenter.object(value))
        return found


def wish_of(namespace: str, options: ListOptions, presenter: Presenter) -> Wish:
    """What makes two watchers want the same."""
    return (namespace, str(options.labels), options.fields, presenter.key)


def _route(namespace: str, options: ListOptions) -> Route:
    """The narrowest thing that a wish insists on."""
    fields = options.fields
    if not fields.everything:
        name = fields.exact("metadata.name")
        if name is not None:
            return ("name", name)
        node = fields.exact("spec.nodeName")
        if node is not None:
            return ("spec.nodeName", node)
    return ("namespace", namespace) if namespace else _BROAD


class Subscriber:
    """One watch under way. Until `live` its events wait, behind the initial ones."""

    __slots__ = ("_queue", "_queued_bytes", "bookmarks", "channel", "done", "live", "writer")

    def __init__(self, channel: Channel, writer: Writer, *, bookmarks: bool) -> None:
        self.channel = channel
        self.writer = writer
        self.bookmarks = bookmarks
        self.live = False
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue: list[bytes] = []
        self._queued_bytes = 0

    def push(self, data: bytes) -> None:
        """Hand on encoded events; a peer that takes them too slowly is cut off."""
        if self.done.done():
            return
        if not self.live:
            self._queue.append(data)
            self._queued_bytes += len(data)
            if self._queued_bytes > WATCH_BUFFER_BYTES:
                self.end()
            return
        try:
            self.writer.write(data)
        except ConnectionError:
            self.end()
            return
        if self.writer.buffered > WATCH_BUFFER_BYTES:
            self.end()

    def go_live(self) -> None:
        """The initial events are out: send what waited; from now on events go straight out."""
        self.live = True
        queue, self._queue = self._queue, []
        if queue:
            self.push(b"".join(queue))

    def end(self) -> None:
        """The watch is over."""
        if not self.done.done():
            self.done.set_result(None)


class Feed:
    """The changes of one index, on their way to its channels."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._channels: dict[Wish, Channel] = {}
        self._routes: dict[Route, dict[Channel, None]] = {}
        self._kinds: dict[str, int] = {}
        self._pending: list[Change] = []
        self._scheduled = False
        self._listening = False

    def join(
        self, namespace: str, options: ListOptions, presenter: Presenter, writer: Writer
    ) -> Subscriber:
        """Add a watcher, from the next change on."""
        self.flush()
        if not self._listening:
            self._index.sinks.append(self._take)
            self._listening = True
        wish = wish_of(namespace, options, presenter)
        channel = self._channels.get(wish)
        if channel is None:
            channel = self._channels[wish] = Channel(self._index, namespace, options, presenter)
            self._routes.setdefault(channel.route, {})[channel] = None
            self._kinds[channel.route[0]] = self._kinds.get(channel.route[0], 0) + 1
        subscriber = Subscriber(channel, writer, bookmarks=options.bookmarks)
        channel.subscribers[subscriber] = None
        return subscriber

    def leave(self, subscriber: Subscriber) -> None:
        """Take a watcher out."""
        channel = subscriber.channel
        channel.subscribers.pop(subscriber, None)
        if channel.subscribers:
            return
        if self._channels.pop(channel.wish, None) is None:
            return
        route = self._routes[channel.route]
        del route[channel]
        if not route:
            del self._routes[channel.route]
        self._kinds[channel.route[0]] -= 1
        if not self._channels and self._listening:
            self._index.sinks.remove(self._take)
            self._listening = False
            self._pending.clear()

    def subscribers(self) -> list[Subscriber]:
        return [s for c in self._channels.values() for s in c.subscribers]

    def _take(self, changes: Sequence[Change]) -> None:
        self._pending.extend(changes)
        if not self._scheduled:
            self._scheduled = True
            loop = asyncio.get_running_loop()
            # Whoever made these changes is answered in the coming turn: this is the one after.
            loop.call_soon(loop.call_soon, self._turn)

    def _turn(self) -> None:
        self._scheduled = False
        self.flush()

    def flush(self) -> None:
        """Send what changed since the last time: one write a watcher."""
        if not self._pending:
            return
        pending, self._pending = self._pending, []
        shared: dict[object, bytes] = {}
        touched: dict[Channel, None] = {}
        for change in pending:
            for route in self._routes_of(change):
                for channel in self._routes.get(route, ()):
                    data = channel.encode(change, shared)
                    if data:
                        channel.lines.append(data)
                        touched[channel] = None
        for channel in touched:
            data = b"".join(channel.lines)
            channel.lines = []
            for subscriber in tuple(channel.subscribers):
                subscriber.push(data)

    def _routes_of(self, change: Change) -> Iterable[Route]:
        """Where channels that may care are to be found."""
        kinds = self._kinds
        if kinds.get("", 0):
            yield _BROAD
        item = change.new or change.old
        assert item is not None
        namespace, name = self._index.names(item.key)
        if kinds.get("namespace", 0):
            yield ("namespace", namespace)
        if kinds.get("name", 0):
            yield ("name", name)
        if kinds.get("spec.nodeName", 0):
            nodes = {
                self._index.fields_of(i).get("spec.nodeName", "")
                for i in (change.old, change.new)
                if i is not None
            }
            for node in sorted(nodes):
                yield ("spec.nodeName", node)


class Watches:
    """Every watch on one server."""

    def __init__(self, store: Store, cache: Cache, entropy: Entropy) -> None:
        self._store = store
        self._cache = cache
        self._entropy = entropy
        self._lister = Lister(store)
        self._feeds: dict[Index, Feed] = {}
        self._bookmarked: dict[Subscriber, Callable[[], bytes]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: dict[asyncio.Future[None], int] = {}
        self.count = 0
        cache.applied.append(self._applied)

    def close(self) -> None:
        """End every watch."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for feed in self._feeds.values():
            for subscriber in feed.subscribers():
                subscriber.end()

    def counts(self) -> dict[tuple[str, str], int]:
        """How many watches there are of each (group, plural)."""
        return {i.storage: sum(1 for _ in f.subscribers()) for i, f in self._feeds.items()}

    def stream(
        self,
        index: Index,
        namespace: str,
        options: ListOptions,
        presenter: Presenter,
        bookmark: Callable[[int, bool], bytes],
    ) -> Stream:
        """The body of a watch's response. `bookmark(revision, initial_end)` makes the object of a
        bookmark. Raises Invalid for a bad resourceVersion."""
        revision = revision_of(options.revision)
        timeout_s = options.timeout_s or self._entropy.jitter(MIN_TIMEOUT_S, 1.0)

        async def body(writer: Writer) -> None:
            self.count += 1
            try:
                async with asyncio.timeout(timeout_s):
                    if await self._until(revision, options, presenter, writer):
                        await self._run(
                            index, namespace, options, presenter, bookmark, revision, writer
                        )
            except TimeoutError:
                pass  # the watch has had its time; the client starts another
            finally:
                self.count -= 1

        return body

    async def fresh(self, revision: int, wait_s: float = FRESH_WAIT_S) -> None:
        """Return when `revision` is visible. Raises Timeout (too large) after `wait_s`."""
        if revision <= self._cache.revision:
            return
        try:
            async with asyncio.timeout(wait_s):
                await self._reach(revision)
        except TimeoutError:
            raise too_large(revision, self._cache.revision) from None

    async def _reach(self, revision: int) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[waiter] = revision
        try:
            await waiter
        finally:
            self._waiting.pop(waiter, None)

    def _applied(self) -> None:
        if not self._waiting:
            return
        now = self._cache.revision
        for waiter, revision in list(self._waiting.items()):
            if revision <= now and not waiter.done():
                waiter.set_result(None)

    async def _until(
        self, revision: int, options: ListOptions, presenter: Presenter, writer: Writer
    ) -> bool:
        """Wait for a start revision that is yet to come; False where that is refused."""
        if revision <= self._cache.revision:
            return True
        if options.initial_events is not None:
            try:
                await self.fresh(revision)
            except ApiError as e:
                writer.write(presenter.event("ERROR", presenter.made(e.status())))
                return False
        else:
            await self._reach(revision)
        return True

    async def _run(
        self,
        index: Index,
        namespace: str,
        options: ListOptions,
        presenter: Presenter,
        bookmark: Callable[[int, bool], bytes],
        revision: int,
        writer: Writer,
    ) -> None:
        feed = self._feed(index)
        subscriber = feed.join(namespace, options, presenter, writer)
        try:
            # From here to the first await nothing may come between: see the module's text.
            snapshot = options.initial_events or (options.initial_events is None and revision == 0)
            try:
                if snapshot:
                    initial = self._snapshot(index, namespace, options, presenter)
                else:
                    initial = self._since(subscriber.channel, revision)
            except Compacted:
                gone = Expired(f"too old resource version: {revision} ({self._store.compacted})")
                writer.write(presenter.event("ERROR", presenter.made(gone.status())))
                return
            at = self._cache.revision
            if options.initial_events and options.bookmarks:
                initial.append(presenter.event("BOOKMARK", bookmark(at, True)))
            await _send(writer, initial)
            subscriber.go_live()
            if options.bookmarks:
                self._bookmark(subscriber, bookmark)
            await subscriber.done
        finally:
            self._bookmarked.pop(subscriber, None)
            feed.leave(subscriber)

    def _feed(self, index: Index) -> Feed:
        feed = self._feeds.get(index)
        if feed is None:
            feed = self._feeds[index] = Feed(index)
        return feed

    def _snapshot(
        self, index: Index, namespace: str, options: ListOptions, presenter: Presenter
    ) -> list[bytes]:
        wanted = ListOptions(labels=options.labels, fields=options.fields)
        page = self._lister.page(index, namespace, wanted, self._cache.revision)
        return [presenter.event("ADDED", presenter.object(i.value)) for i in page.items]

    def _since(self, channel: Channel, revision: int) -> list[bytes]:
        """The events after `revision`, from the store's history. Raises Compacted."""
        if revision >= self._cache.revision:
            return []
        shared: dict[object, bytes] = {}
        lines: list[bytes] = []

        def sink(events: Sequence[Event]) -> None:
            for event in events:
                data = channel.encode(_change(event), shared)
                if data:
                    lines.append(data)

        self._store.watch(channel.index.prefix, revision, sink).close()
        return lines

    # --- bookmarks -------------------------------------------------------------------------

    def _bookmark(self, subscriber: Subscriber, make: Callable[[int, bool], bytes]) -> None:
        self._bookmarked[subscriber] = lambda: make(self._cache.revision, False)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(BOOKMARK_S, self._bookmarks)

    def _bookmarks(self) -> None:
        """Tell every watcher that wants to know how far it has come."""
        self._timer = None
        for feed in self._feeds.values():
            feed.flush()
        for subscriber, make in list(self._bookmarked.items()):
            if subscriber.live:
                subscriber.push(subscriber.channel.presenter.event("BOOKMARK", make()))
        if self._bookmarked:
            self._timer = asyncio.get_running_loop().call_later(BOOKMARK_S, self._bookmarks)


def _change(event: Event) -> Change:
    """A replayed event as a change."""
    previous = event.previous
    old = Item(previous.key, previous.value, previous.revision) if previous else None
    new = None
    if event.value is not None:
        new = Item(event.key, event.value, event.revision)
    return Change(event.revision, old, new)


async def _send(writer: Writer, lines: list[bytes]) -> None:
    """Write the initial events in blocks, no faster than the peer takes them."""
    batch: list[bytes] = []
    size = 0
    for data in lines:
        batch.append(data)
        size += len(data)
        if size >= BLOCK_BYTES:
            writer.write(b"".join(batch))
            batch = []
            size = 0
            await writer.drain()
    if batch:
        writer.write(b"".join(batch))
