"""Which resources the server serves now, custom ones too, from aggregated discovery.

Source: https://kubernetes.io/docs/concepts/overview/kubernetes-api/#aggregated-discovery.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import orjson

from skiff.api.resources import RESOURCES, Resource
from skiff.client.client import Client

ACCEPT: Final = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


@dataclass(frozen=True, slots=True)
class Catalog:
    """`resources` in the server's order, each in its preferred version; `stale` names the group
    versions whose own server could not say what it serves."""

    resources: tuple[Resource, ...]
    stale: tuple[str, ...]

    def of_kind(self, api_version: str, kind: str) -> Resource | None:
        """The resource of that kind, in the version asked for or the preferred one."""
        group = api_version.rpartition("/")[0]
        for resource in self.resources:
            if resource.group == group and resource.kind == kind:
                return resource
        return None


async def discover(client: Client) -> Catalog:
    """Ask the server. Raises ApiError."""
    documents = []
    for path in ("/api", "/apis"):
        response = await client.raw_get(path, accept=ACCEPT)
        documents.append(orjson.loads(response.body))
    return read(documents)


def read(documents: Iterable[dict[str, Any]]) -> Catalog:
    """The catalog that APIGroupDiscoveryLists give. Pure."""
    resources: list[Resource] = []
    stale: list[str] = []
    for document in documents:
        for item in document.get("items") or ():
            group = item["metadata"].get("name", "")
            known: set[str] = set()
            for version in item["versions"]:
                if version.get("freshness") == "Stale":
                    stale.append(f"{group}/{version['version']}" if group else version["version"])
                for entry in version.get("resources") or ():
                    if entry["resource"] not in known and entry.get("verbs"):
                        known.add(entry["resource"])
                        resources.append(_resource(group, version["version"], entry))
    return Catalog(tuple(resources), tuple(stale))


def _resource(group: str, version: str, entry: dict[str, Any]) -> Resource:
    plural = entry["resource"]
    built_in = RESOURCES.get((group, version, plural))
    if built_in is not None:
        return built_in
    return Resource(
        group=group,
        version=version,
        plural=plural,
        kind=entry["responseKind"]["kind"],
        singular=entry.get("singularResource", ""),
        namespaced=entry.get("scope") == "Namespaced",
        verbs=tuple(entry["verbs"]),
        short_names=tuple(entry.get("shortNames") or ()),
        categories=tuple(entry.get("categories") or ()),
        storage=(group, plural),
    )
