"""What is served, arranged for discovery: groups in order, their versions, their resources.

Resources (custom ones, aggregated ones) come and go at run time; `generation` counts those changes, so
that documents can be kept until then.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from skiff.api.resources import TABLE, Resource


@dataclass(frozen=True, slots=True)
class Group:
    """One API group; `versions` in order of preference."""

    name: str
    versions: tuple[str, ...]

    def group_version(self, version: str) -> str:
        """`apps/v1`, or `v1` for the core group."""
        return f"{self.name}/{version}" if self.name else version


class Catalog:
    """The resources that are served now, as `source` lists them."""

    def __init__(self, source: Callable[[], Iterable[Resource]] = lambda: TABLE) -> None:
        self._source = source
        self._resources: tuple[Resource, ...] | None = None
        self.generation = 0

    def changed(self) -> None:
        """A resource came or went: ask the source again."""
        self._resources = None
        self.generation += 1

    def resources(self) -> tuple[Resource, ...]:
        """Every resource."""
        if self._resources is None:
            self._resources = tuple(self._source())
        return self._resources

    def groups(self) -> list[Group]:
        """Every group, the core group first."""
        versions: dict[str, dict[str, None]] = {}
        for resource in self.resources():
            versions.setdefault(resource.group, {})[resource.version] = None
        return [Group(name, tuple(found)) for name, found in versions.items()]

    def group(self, name: str) -> Group | None:
        """One group by name."""
        return next((g for g in self.groups() if g.name == name), None)

    def in_version(self, group: str, version: str) -> list[Resource]:
        """The resources of one group version, sorted by plural."""
        found = [r for r in self.resources() if r.group == group and r.version == version]
        return sorted(found, key=lambda r: r.plural)
