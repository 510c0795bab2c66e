"""Informers: a local, current copy of a resource's objects, shared by everyone in a process.

An informer lists in pages, then watches from the list's revision. When the watch ends, it goes on
from the last revision it saw (bookmarks move it forward while nothing happens). When the server
answers 410, it lists anew and tells subscribers the difference. When the server cannot be reached,
it keeps what it has and tries again, longer each time. There is no periodic resync: what was told
once is not told again.

Source: client-go `tools/cache` (reflector, shared informer); API concepts, "Efficient detection of
changes".
"""

import asyncio
import builtins
import contextlib
import logging
from collections.abc import Hashable
from typing import Any, Generic, TypeVar, cast

from skiff.aio.backoff import Backoff
from skiff.aio.run import Started
from skiff.api.errors import ApiError, Expired, Gone, ServiceUnavailable
from skiff.api.resources import Resource
from skiff.api.views.base import ObjectView
from skiff.client.cache import Cache, IndexFunction, Subscriber
from skiff.client.client import PAGE_SIZE, Client
from skiff.client.request import Selection
from skiff.client.transport import Unreachable

V = TypeVar("V", bound=ObjectView)

RECONNECT = Backoff(base_s=0.1, cap_s=10.0, jitter=1.0)
# A watch that ends sooner than this without an event counts as a failure.
SHORT_WATCH_S = 1.0

log = logging.getLogger(__name__)


class Informer(Generic[V]):
    """See the module's text. A component; its reads are those of `cache.Cache`."""

    def __init__(
        self,
        client: Client,
        view: type[V],
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        *,
        resource: Resource | None = None,
    ) -> None:
        self.synced = asyncio.Event()
        self.revision = ""
        self._client = client
        self._view = view
        self._resource = resource or view.RESOURCE
        self._selection = Selection(namespace, label_selector, field_selector)
        self._cache: Cache[V] = Cache()
        self._failures = 0

    # Reads

    def get(self, name: str, namespace: str = "") -> V | None:
        """The object as last seen, or None."""
        return self._cache.get(name, namespace)

    def list(self, namespace: str | None = None) -> list[V]:
        """All objects as last seen, or those of one namespace."""
        return self._cache.list(namespace)

    def add_index(self, name: str, function: IndexFunction[V]) -> None:
        """Keep objects findable by the keys that `function` gives."""
        self._cache.add_index(name, function)

    def by_index(self, name: str, key: Hashable) -> "builtins.list[V]":
        """The objects under `key` of the index `name`."""
        return self._cache.by_index(name, key)

    def subscribe(self, subscriber: Subscriber[V]) -> None:
        """Call `subscriber(old, new)` on each change; at once for what is known already."""
        self._cache.subscribe(subscriber)

    def __len__(self) -> int:
        return len(self._cache)

    # The loop

    async def run(self, started: Started) -> None:
        """List, then watch, for ever; `started` after the first list."""
        while True:
            try:
                if not self.revision:
                    await self._relist()
                    if not self.synced.is_set():
                        self.synced.set()
                        started()
                await self._watch()
            except (Expired, Gone) as e:
                log.debug("%s: listing anew: %s", self._resource.plural, e)
                self.revision = ""
                self._failures += 1
                if self._failures == 1:
                    continue
            except Unreachable as e:
                self._failures += 1
                log.debug("%s: %s", self._resource.plural, e)
            except ServiceUnavailable as e:
                self._failures += 1
                log.debug("%s: %s", self._resource.plural, e)
            except ApiError as e:
                self._failures += 1
                log.warning("%s: list or watch failed: %s", self._resource.plural, e)
            if self._failures:
                delay_s = RECONNECT.delay_s(self._failures, self._client.entropy)
                await self._client.clock.sleep(delay_s)

    async def _relist(self) -> None:
        page = await self._client.list_page(
            self._view, self._selection, limit=PAGE_SIZE, resource=self._resource
        )
        items = page.items
        while page.continue_token:
            page = await self._client.list_page(
                self._view,
                self._selection,
                limit=PAGE_SIZE,
                continue_token=page.continue_token,
                resource=self._resource,
            )
            items += page.items
        self._cache.replace(items)
        self.revision = page.revision

    async def _watch(self) -> None:
        opened_at = self._client.clock.monotonic()
        heard = False
        batches = self._client.watch_batches(
            self._view, self._selection, self.revision, resource=self._resource
        )
        async with contextlib.aclosing(batches):
            async for batch in batches:
                heard = True
                self._failures = 0
                for event in batch:
                    if event.type != "BOOKMARK":
                        self._cache.apply(event.object, gone=event.type == "DELETED")
                    self.revision = event.object.metadata.resource_version or self.revision
        if not heard and self._client.clock.monotonic() - opened_at < SHORT_WATCH_S:
            self._failures += 1
        else:
            self._failures = 0


class InformerFactory:
    """Makes informers and shares them: the same view and selection give the same informer.

    A component: it runs every informer that was asked for, also those asked for later. `started`
    is called at once; who needs data waits for an informer's `synced`.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._informers: dict[tuple[type, Resource, Selection], Informer[Any]] = {}
        self._tasks: dict[tuple[type, Resource, Selection], asyncio.Task[None]] = {}
        self._group: asyncio.TaskGroup | None = None

    def of(
        self,
        view: type[V],
        *,
        namespace: str = "",
        label_selector: str = "",
        field_selector: str = "",
        resource: Resource | None = None,
    ) -> Informer[V]:
        """The shared informer of `view` with those selectors."""
        selection = Selection(namespace, label_selector, field_selector)
        key = (view, resource or view.RESOURCE, selection)
        informer = self._informers.get(key)
        if informer is None:
            informer = Informer(
                self._client, view, namespace, label_selector, field_selector, resource=resource
            )
            self._informers[key] = informer
            if self._group is not None:
                self._start(key, informer)
        return cast("Informer[V]", informer)

    def existing(self, resource: Resource) -> "Informer[Any] | None":
        """An unselective informer of `resource` that somebody asked for, whatever its view."""
        for (_, of, selection), informer in self._informers.items():
            if of == resource and selection == Selection():
                return informer
        return None

    def drop(self, view: type[V], resource: Resource) -> None:
        """Stop and forget the unselective informer of a resource that is no longer served."""
        key = (view, resource, Selection())
        self._informers.pop(key, None)
        task = self._tasks.pop(key, None)
        if task is not None:
            task.cancel()

    async def run(self, started: Started) -> None:
        """Run all informers until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            try:
                for key, informer in self._informers.items():
                    self._start(key, informer)
                started()
                await asyncio.get_running_loop().create_future()
            finally:
                self._group = None
                self._tasks.clear()

    def _start(self, key: tuple[type, Resource, Selection], informer: Informer[Any]) -> None:
        assert self._group is not None
        name = f"informer {key[1].group_resource}"
        self._tasks[key] = self._group.create_task(informer.run(lambda: None), name=name)
