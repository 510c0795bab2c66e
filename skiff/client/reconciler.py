"""The base of level-triggered controllers: a key goes in, the world is made to match.

Subclasses subscribe to informers, which add keys to the queue; `reconcile(key)` reads the caches,
acts, and may ask to be called again later. One key is worked on by one task at a time, up to
`workers` keys at once. What goes wrong is decided here, in one place: a conflict or an unreachable
server is retried quietly, another error with a warning, each time after a longer wait.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, TypeVar

from skiff.aio.backoff import Backoff
from skiff.aio.queue import WorkQueue
from skiff.aio.run import Started
from skiff.api.errors import AlreadyExists, ApiError, Conflict, Forbidden, NotFound
from skiff.api.views.base import ObjectView
from skiff.client.informer import Informer
from skiff.client.transport import Unreachable

V = TypeVar("V", bound=ObjectView)

DEFAULT_WORKERS = 5

log = logging.getLogger(__name__)


class Key(NamedTuple):
    """Which object: `namespace` is empty for cluster-scoped ones."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


@dataclass(frozen=True, slots=True)
class Result:
    """Reconcile again after so many seconds."""

    requeue_after_s: float


def key_of(obj: ObjectView) -> Key:
    """The object's own key."""
    return Key(obj.metadata.namespace, obj.metadata.name)


class Reconciler:
    """See the module's text."""

    name: ClassVar[str] = "reconciler"

    def __init__(self, workers: int = DEFAULT_WORKERS, backoff: Backoff | None = None) -> None:
        self.queue: WorkQueue[Key] = WorkQueue(backoff)
        self._workers = workers
        self._sources: list[Informer[Any]] = []

    async def reconcile(self, key: Key) -> Result | None:
        """Make the world match what `key` says. Raises to be called again after a backoff."""
        raise NotImplementedError

    def needs(self, *informers: Informer[Any]) -> None:
        """Start work only when these are synced."""
        self._sources.extend(informers)

    def follow(
        self,
        informer: Informer[V],
        keys: Callable[[V], Iterable[Key]] | None = None,
    ) -> None:
        """Reconcile the keys that `keys` gives (default: the object's own) at each change of an
        object, of its old state and of its new one."""
        self.needs(informer)
        find = keys or (lambda obj: (key_of(obj),))

        def changed(old: V | None, new: V | None) -> None:
            for obj in (old, new):
                if obj is not None:
                    for key in find(obj):
                        self.queue.add(key)

        informer.subscribe(changed)

    async def run(self, started: Started) -> None:
        """Work until cancelled."""
        for informer in self._sources:
            await informer.synced.wait()
        slots = asyncio.Semaphore(self._workers)
        async with asyncio.TaskGroup() as group:
            started()
            try:
                while True:
                    await slots.acquire()
                    key = await self.queue.get()
                    group.create_task(self._work(key, slots), name=f"{self.name} {key}")
            finally:
                self.queue.shut_down()

    async def _work(self, key: Key, slots: asyncio.Semaphore) -> None:
        try:
            result = await self.reconcile(key)
        except (Conflict, NotFound, AlreadyExists, Unreachable) as e:
            delay_s = self.queue.add_failed(key)
            log.debug("%s: %s: %s; again in %.3f s", self.name, key, e, delay_s)
        except Forbidden as e:
            delay_s = self.queue.add_failed(key)
            level = logging.DEBUG if _namespace_ends(e) else logging.WARNING
            log.log(level, "%s: %s: %s; again in %.3f s", self.name, key, e, delay_s)
        except ApiError as e:
            delay_s = self.queue.add_failed(key)
            log.warning("%s: %s: %s; again in %.3f s", self.name, key, e, delay_s)
        except Exception:
            delay_s = self.queue.add_failed(key)
            log.exception("%s: %s: failed; again in %.3f s", self.name, key, delay_s)
        else:
            self.queue.forget(key)
            if result is not None:
                self.queue.add_after(key, result.requeue_after_s)
        finally:
            self.queue.done(key)
            slots.release()


def _namespace_ends(error: ApiError) -> bool:
    """The namespace is being deleted: nothing more can be created in it, which is as it should be."""
    return any(cause.reason == "NamespaceTerminating" for cause in error.causes)


async def all_of(*calls: Callable[[], Any], limit: int = 0) -> Sequence[BaseException | None]:
    """Call all at once (at most `limit` at a time, 0: all); each one's error, or None."""
    errors: list[BaseException | None] = [None] * len(calls)
    slots = asyncio.Semaphore(limit or max(len(calls), 1))

    async def guarded(index: int, call: Callable[[], Any]) -> None:
        async with slots:
            try:
                await call()
            except ApiError as e:
                errors[index] = e

    async with asyncio.TaskGroup() as group:
        for index, call in enumerate(calls):
            group.create_task(guarded(index, call), name=f"call {index}")
    return errors
