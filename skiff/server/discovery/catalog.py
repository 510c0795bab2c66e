"""What is served, arranged for discovery: groups in order, their versions, their resources.

The built-in table comes first; more resources (custom ones, aggregated ones) are added and taken
out at run time, and `generation` counts those changes, so that documents can be kept until then.
"""

from collections.abc import Iterable, Iterator, Sequence
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
    """The resources that are served now."""

    def __init__(self, table: Sequence[Resource] = TABLE) -> None:
        self._builtin = tuple(table)
        self._extra: dict[str, tuple[Resource, ...]] = {}
        self.generation = 0

    def set_extra(self, owner: str, resources: Iterable[Resource]) -> None:
        """Serve `resources` besides the built-in ones, in place of what `owner` had before."""
        resources = tuple(resources)
        if self._extra.get(owner, ()) == resources:
            return
        if resources:
            self._extra[owner] = resources
        else:
            del self._extra[owner]
        self.generation += 1

    def resources(self) -> Iterator[Resource]:
        """Every resource."""
        yield from self._builtin
        for resources in self._extra.values():
            yield from resources

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
