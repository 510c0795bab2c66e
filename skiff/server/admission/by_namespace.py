"""Objects of a kind, read once and kept by namespace: rules look at them on every write."""

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from skiff.api.resources import Resource
from skiff.server.seams import Change, Objects

T = TypeVar("T")


class ByNamespace(Generic[T]):
    """What `read` makes of each object of `resource`, by namespace; read again after a change."""

    def __init__(
        self, objects: Objects, resource: Resource, read: Callable[[dict[str, Any]], T]
    ) -> None:
        self._objects = objects
        self._resource = resource
        self._read = read
        self._kept: dict[str, tuple[T, ...]] = {}
        objects.subscribe(resource, self._changed)

    def of(self, namespace: str) -> tuple[T, ...]:
        """In the order of the objects' names. Most namespaces have none: that costs a look-up."""
        kept = self._kept.get(namespace)
        if kept is None:
            kept = tuple(self._read(o) for o in self._objects.list(self._resource, namespace))
            self._kept[namespace] = kept
        return kept

    def _changed(self, changes: Sequence[Change]) -> None:
        for change in changes:
            self._kept.pop(change.namespace, None)
