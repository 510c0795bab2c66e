"""What is served: each resource with everything that a verb needs of it, in one place.

The registry is a dictionary by (group, version, plural), so that routing costs one look-up; custom
resources are added to it and taken out while the server runs.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any

from skiff.api.errors import AlreadyExists, ApiError, Conflict, NotFound
from skiff.api.fields.managed import Versions
from skiff.api.kinds import Strategy, strategy_for
from skiff.api.resources import Resource
from skiff.api.schema import Schema, schema_for
from skiff.server.cache import Cache, Index
from skiff.server.convert import KindVersions
from skiff.server.hooks import Hooks, hooks_for
from skiff.server.negotiate import Shape
from skiff.server.shape import STORED, Converted, Partial, Presenter

_NO_FIELDS: dict[str, str] = {}
Convert = Callable[[dict[str, Any]], dict[str, Any]]

MODIFIED = (
    "the object has been modified; please apply your changes to the latest version and try again"
)

# What clients of a resource are warned of.
DEPRECATED = {
    ("", "v1", "componentstatuses"): "v1 ComponentStatus is deprecated in v1.19+",
    ("", "v1", "endpoints"): (
        "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"
    ),
}


class Served:
    """One served resource: its strategy, its index, its hooks, and how its versions convert."""

    def __init__(
        self,
        resource: Resource,
        index: Index,
        *,
        strategy: Strategy | None = None,
        schema: Schema | None = None,
        to_storage: Convert | None = None,
        from_storage: Convert | None = None,
    ) -> None:
        self.resource = resource
        self.index = index
        self.hooks: Hooks = hooks_for(resource.storage)
        self.to_storage = to_storage
        self.from_storage = from_storage
        self.presenter: Presenter = STORED
        if from_storage is not None:
            self.presenter = Converted(resource.api_version, from_storage)
        self.versions: Versions | None = KindVersions(resource.kind) if to_storage else None
        """How to reach the other served versions of the same objects, where there are any."""
        self.partial: dict[str, Presenter] = {}
        self.namespaced = resource.namespaced
        self.deprecated = DEPRECATED.get((resource.group, resource.version, resource.plural), "")
        self.list_head = (
            f'{{"kind":"{resource.list_kind}","apiVersion":"{resource.api_version}","metadata":{{'
        )
        if strategy is not None:
            self.strategy = strategy
        if schema is not None:
            self.schema = schema

    @cached_property
    def strategy(self) -> Strategy:
        """The kind's rules; their module is loaded when first needed."""
        return strategy_for(self.resource)

    @cached_property
    def schema(self) -> Schema:
        """The type of the resource's objects; loaded when first needed."""
        return schema_for(self.resource)

    def selectable(self, obj: dict[str, Any]) -> Mapping[str, str]:
        """An object's selectable fields beyond name and namespace."""
        strategy = self.strategy
        return strategy.selectable(obj) if strategy.selectable_fields else _NO_FIELDS

    def presenter_for(self, shape: Shape) -> Presenter:
        """Whole or metadata-only objects, in this version."""
        if shape.form != "partial":
            return self.presenter
        found = self.partial.get(shape.version)
        if found is None:
            found = self.partial[shape.version] = Partial(shape)
        return found

    # --- errors about this resource's objects ----------------------------------------------

    def not_found(self, name: str) -> ApiError:
        r = self.resource
        return NotFound(
            f'{r.group_resource} "{name}" not found', group=r.group, kind=r.plural, name=name
        )

    def already_exists(self, name: str, prefix: str = "") -> ApiError:
        r = self.resource
        return AlreadyExists(
            f'{prefix}{r.group_resource} "{name}" already exists',
            group=r.group,
            kind=r.plural,
            name=name,
        )

    def conflict(self, name: str, why: str = MODIFIED) -> ApiError:
        r = self.resource
        return Conflict(
            f'Operation cannot be fulfilled on {r.group_resource} "{name}": {why}',
            group=r.group,
            kind=r.plural,
            name=name,
        )


class Registry:
    """Every served resource."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._served: dict[tuple[str, str, str], Served] = {}
        self._groups: dict[tuple[str, str], int] = {}
        self.changed: list[Callable[[], None]] = []
        """Called after a resource came or went (discovery and OpenAPI drop what they made)."""

    def add(self, resource: Resource, **how: Any) -> Served:
        """Serve a resource. `how` are Served's keywords, for what is not built in."""
        index = (
            self._cache.of(resource.storage) if resource.persisted else Index(("", resource.plural))
        )
        served = Served(resource, index, **how)
        if index.selectable is None and resource.storage_version == resource.api_version:
            index.selectable = served.selectable
        self._served[resource.group, resource.version, resource.plural] = served
        version = (resource.group, resource.version)
        self._groups[version] = self._groups.get(version, 0) + 1
        for call in self.changed:
            call()
        return served

    def remove(self, resource: Resource) -> None:
        """Serve it no more."""
        del self._served[resource.group, resource.version, resource.plural]
        version = (resource.group, resource.version)
        self._groups[version] -= 1
        if not self._groups[version]:
            del self._groups[version]
        for call in self.changed:
            call()

    def add_all(self, resources: Iterable[Resource]) -> None:
        for resource in resources:
            self.add(resource)

    def find(self, group: str, version: str, plural: str) -> Served | None:
        return self._served.get((group, version, plural))

    def of(self, resource: Resource) -> Served:
        """Raises KeyError where the resource is not served."""
        return self._served[resource.group, resource.version, resource.plural]

    def has_version(self, group: str, version: str) -> bool:
        return (group, version) in self._groups

    def resources(self) -> Iterator[Resource]:
        """All served resources, in the order in which they were added."""
        return (s.resource for s in self._served.values())
