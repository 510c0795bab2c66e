"""What an informer knows: objects by namespace and name, indexes, and who wants to hear of changes.

Synchronous and deterministic: `replace` takes a whole listing, `apply` one change; both tell the
subscribers what changed, in order, before they return. Objects are frozen views; nobody copies.
"""

import builtins
import logging
from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeVar

from skiff.api.views.base import ObjectView

V = TypeVar("V", bound=ObjectView)

Subscriber = Callable[[V | None, V | None], None]
IndexFunction = Callable[[V], Iterable[Hashable]]

log = logging.getLogger(__name__)


class Cache(Generic[V]):
    """See the module's text."""

    def __init__(self) -> None:
        self._spaces: dict[str, dict[str, V]] = {}
        self._count = 0
        self._indexes: dict[str, tuple[IndexFunction[V], dict[Hashable, dict[tuple[str, str], V]]]]
        self._indexes = {}
        self._subscribers: list[Subscriber[V]] = []

    def __len__(self) -> int:
        return self._count

    def get(self, name: str, namespace: str = "") -> V | None:
        """The object, or None."""
        space = self._spaces.get(namespace)
        return space.get(name) if space else None

    def list(self, namespace: str | None = None) -> list[V]:
        """All objects, or those of one namespace."""
        if namespace is not None:
            return list(self._spaces.get(namespace, {}).values())
        return [obj for space in self._spaces.values() for obj in space.values()]

    def add_index(self, name: str, function: IndexFunction[V]) -> None:
        """Keep objects findable by the keys that `function` gives. The same name again is a no-op."""
        if name in self._indexes:
            return
        table: dict[Hashable, dict[tuple[str, str], V]] = {}
        self._indexes[name] = (function, table)
        for obj in self.list():
            for key in function(obj):
                table.setdefault(key, {})[_id(obj)] = obj

    def by_index(self, name: str, key: Hashable) -> "builtins.list[V]":
        """The objects under `key` of the index `name`."""
        return list(self._indexes[name][1].get(key, {}).values())

    def subscribe(self, subscriber: Subscriber[V]) -> None:
        """Call `subscriber(old, new)` for each change; for what is there already, at once."""
        self._subscribers.append(subscriber)
        for obj in self.list():
            self._tell(subscriber, None, obj)

    def replace(self, objects: Iterable[V]) -> None:
        """The whole truth anew: what is not in it is gone."""
        fresh = {_id(obj): obj for obj in objects}
        for old in self.list():
            if _id(old) not in fresh:
                self.apply(old, gone=True)
        for obj in fresh.values():
            self.apply(obj)

    def apply(self, obj: V, *, gone: bool = False) -> None:
        """One object as it is now, or as it was when it went."""
        namespace, name = key = _id(obj)
        space = self._spaces.setdefault(namespace, {})
        old = space.get(name)
        new = None if gone else obj
        if old is None and new is None:
            return
        if (
            old is not None
            and new is not None
            and old.metadata.resource_version == new.metadata.resource_version
            and old.metadata.uid == new.metadata.uid
        ):
            return
        if new is None:
            del space[name]
            self._count -= 1
            if not space:
                del self._spaces[namespace]
        else:
            space[name] = new
            self._count += old is None
        for function, table in self._indexes.values():
            self._reindex(function, table, key, old, new)
        seen = obj if gone else old  # a delete carries the last state
        for subscriber in self._subscribers:
            self._tell(subscriber, seen, new)

    def _reindex(
        self,
        function: IndexFunction[V],
        table: dict[Hashable, dict[tuple[str, str], V]],
        key: tuple[str, str],
        old: V | None,
        new: V | None,
    ) -> None:
        wanted = set(function(new)) if new is not None else set()
        for under in function(old) if old is not None else ():
            if under not in wanted and (bucket := table.get(under)) is not None:
                bucket.pop(key, None)
                if not bucket:
                    del table[under]
        if new is not None:
            for under in function(new):
                table.setdefault(under, {})[key] = new

    def _tell(self, subscriber: Subscriber[V], old: V | None, new: V | None) -> None:
        try:
            subscriber(old, new)
        except Exception:  # one subscriber's bug must not blind the others
            log.exception("a subscriber failed on a change")


def _id(obj: ObjectView) -> tuple[str, str]:
    return obj.metadata.namespace, obj.metadata.name
