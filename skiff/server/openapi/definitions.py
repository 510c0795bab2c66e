"""The definitions that documents refer to: those of built-in kinds, and a hook for custom ones."""

from collections.abc import Callable, Iterable
from typing import Any

from skiff.api import schema
from skiff.api.resources import Resource
from skiff.server.hooks import hooks_for
from skiff.server.openapi.operations import META, Path, resource_paths

Custom = Callable[[Resource], dict[str, dict[str, Any]]]
"""Gives a custom resource's definitions in v2 form: `object` and `list` first, by definition name."""


def no_custom(resource: Resource) -> dict[str, dict[str, Any]]:  # noqa: ARG001 - there are none
    """Where every kind is built in."""
    return {}


class Definitions:
    """Names and texts of definitions."""

    def __init__(self, custom: Custom = no_custom) -> None:
        self._custom = custom
        self._extra: dict[str, dict[str, Any]] = {}

    def paths(self, resources: Iterable[Resource]) -> list[Path]:
        """The paths of some resources; what custom kinds define is kept for `get`."""
        return [path for resource in resources for path in self._paths(resource)]

    def _paths(self, resource: Resource) -> Iterable[Path]:
        kinds = schema.kinds()
        key = f"{resource.group}/{resource.version}/{resource.kind}"
        if key in kinds:
            definition = kinds[key]
            listed = kinds.get(f"{key}List", definition)
        else:
            defined = self._custom(resource)
            if not defined:
                return ()
            self._extra.update(defined)
            definition, listed = list(defined)[:2]
        returned = definition if hooks_for(resource.storage).returns_deleted else META + "Status"
        subs = {
            s.name: kinds.get(f"{s.group}/{s.version}/{s.kind}", definition)
            for s in resource.subresources.values()
        }
        return resource_paths(resource, definition, listed, returned, subs)

    def get(self, name: str) -> dict[str, Any]:
        """A definition, descriptions and all, in v2 form."""
        found = self._extra.get(name)
        return found if found is not None else schema.definition_text(name)

    def closure(self, wanted: Iterable[str]) -> dict[str, dict[str, Any]]:
        """The wanted definitions and all that they refer to, by name."""
        out: dict[str, dict[str, Any]] = {}
        left = sorted(set(wanted), reverse=True)
        while left:
            name = left.pop()
            if name in out:
                continue
            out[name] = definition = self.get(name)
            left += [r for r in references(definition) if r not in out]
        return dict(sorted(out.items()))

    def extra_names(self) -> list[str]:
        """The custom kinds' definitions that paths have asked for."""
        return sorted(self._extra)


_PREFIX = "#/definitions/"


def references(value: Any) -> set[str]:
    """The definitions that a schema refers to."""
    found: set[str] = set()
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            reference = item.get("$ref")
            if isinstance(reference, str):
                found.add(reference.removeprefix(_PREFIX))
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
    return found


def used(paths: Iterable[Path]) -> set[str]:
    """The definitions that paths refer to."""
    found: set[str] = set()
    for path in paths:
        for operation in path.operations:
            found.update(operation.responses.values())
            found.add(operation.body)
    return found - {"", "string"}
