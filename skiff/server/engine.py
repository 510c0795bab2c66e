"""The engine: what every verb works with, and the one way an object gets into the store.

Verbs are generic functions over (engine, call, served). They read from the indexes, write through
`Engine.commit` and know no kinds: kinds have strategies (`api/kinds`) and hooks (`server/hooks`).
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import orjson

from skiff.aio.clock import Clock, rfc3339
from skiff.aio.entropy import Entropy
from skiff.api.errors import BadRequest
from skiff.api.resources import Resource
from skiff.server.allocate import Allocators
from skiff.server.cache import Cache, Extract
from skiff.server.cache import Change as IndexChange
from skiff.server.listing import Lister
from skiff.server.managed import ManagedFields
from skiff.server.seams import Admission, Change
from skiff.server.served import Registry, Served
from skiff.server.stamp import stamp
from skiff.server.watch import Watches
from skiff.store.protocol import Entry, Store

Object = dict[str, Any]


class Engine:
    """Store, indexes, watches and the parts handed in, together."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        entropy: Entropy,
        admission: Admission,
        allocators: Allocators,
    ) -> None:
        self.store = store
        self.clock = clock
        self.entropy = entropy
        self.admission = admission
        self.cache = Cache(store)
        self.registry = Registry(self.cache)
        self.lister = Lister(store)
        self.watches = Watches(store, self.cache, entropy)
        self.managed = ManagedFields()
        self.allocators = allocators
        self._now_s = 0
        self._now = ""

    def now(self) -> str:
        """The time, as metav1.Time; the text is made once a second."""
        seconds = int(self.clock.now())
        if seconds != self._now_s:
            self._now_s = seconds
            self._now = rfc3339(seconds)
        return self._now

    def latest(self, served: Served, namespace: str, name: str) -> Entry | None:
        """The newest entry, writes under way included: what a read-modify-write starts from."""
        return self.store.latest(served.index.key(namespace, name))

    def stage(
        self, served: Served, key: str, obj: Object, expected: int
    ) -> tuple[bytes, "asyncio.Future[int]"]:
        """Write an object (in its storage version) if `key` is still at `expected` (0: absent).
        Returns its bytes and the future of its revision. Raises store Conflict."""
        value = encode(obj)
        extract = Extract(
            obj["metadata"].get("labels") or _NOTHING,
            served.selectable(obj),
        )
        return value, self.store.commit(key, value, expected=expected, meta=extract)

    async def commit(self, served: Served, key: str, obj: Object, expected: int) -> bytes:
        """The same; returns the stamped bytes once they are durable."""
        value, revision = self.stage(served, key, obj, expected)
        return stamp(value, await revision)

    async def remove(self, key: str, expected: int) -> int:
        """Delete a key; returns the revision of the deletion. Raises store Conflict."""
        return await self.store.commit(key, None, expected=expected)

    # --- Objects: what authorization, admission and discovery read --------------------------

    def get(self, resource: Resource, name: str, namespace: str = "") -> Object | None:
        value = self.get_bytes(resource, name, namespace)
        return orjson.loads(value) if value is not None else None

    def get_bytes(self, resource: Resource, name: str, namespace: str = "") -> bytes | None:
        item = self.cache.of(resource.storage).get(namespace, name)
        return item.value if item is not None else None

    def list(self, resource: Resource, namespace: str = "") -> list[Object]:
        return [orjson.loads(v) for v in self.list_bytes(resource, namespace)]

    def list_bytes(self, resource: Resource, namespace: str = "") -> Sequence[bytes]:
        index = self.cache.of(resource.storage)
        low, high = index.range(namespace)
        return [index.items[k].value for k in index.keys[low:high]]

    def subscribe(
        self, resource: Resource, sink: Callable[[Sequence[Change]], None]
    ) -> Callable[[], None]:
        index = self.cache.of(resource.storage)

        def relay(changes: Sequence[IndexChange]) -> None:
            out = []
            for change in changes:
                item = change.new or change.old
                assert item is not None
                namespace, name = index.names(item.key)
                value = change.new.value if change.new is not None else None
                out.append(Change(namespace, name, value, change.revision))
            sink(out)

        index.sinks.append(relay)
        return lambda: index.sinks.remove(relay)


_NOTHING: dict[str, str] = {}


def encode(obj: Object) -> bytes:
    """An object's JSON as the store wants it: apiVersion, kind and metadata first, no revision."""
    metadata = obj["metadata"]
    metadata.pop("resourceVersion", None)
    ordered = {"apiVersion": obj["apiVersion"], "kind": obj["kind"], "metadata": metadata}
    for key, value in obj.items():
        if key not in ordered:
            ordered[key] = value
    try:
        return orjson.dumps(ordered)
    except TypeError as e:
        if "ecursion" in str(e):
            raise BadRequest("the object is nested too deeply") from None
        raise


def decode(entry: Entry) -> Object:
    """A stored object, with its resourceVersion."""
    out: Object = orjson.loads(entry.value)
    return out
