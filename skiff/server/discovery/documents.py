"""The discovery documents' content. Pure.

Source: https://kubernetes.io/docs/concepts/overview/kubernetes-api/#discovery-api, KEP-3352
(aggregated discovery), metav1 APIGroupList, APIGroup, APIResourceList.
"""

import base64
import hashlib
from collections.abc import Iterator
from typing import Any

from skiff.api.resources import Resource, Subresource
from skiff.server.discovery.catalog import Catalog, Group


def storage_version_hash(resource: Resource) -> str:
    """A short name for the version that objects are stored in, as Kubernetes computes it."""
    group, _, version = resource.storage_version.rpartition("/")
    digest = hashlib.sha256(f"{group}/{version}/{resource.kind}".encode()).digest()
    return base64.b64encode(digest[:8]).decode()


def api_versions(address: str) -> dict[str, Any]:
    """`/api`."""
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    }


def api_group(group: Group, *, alone: bool) -> dict[str, Any]:
    """`/apis/<group>`, or one entry of `/apis`."""
    versions = [{"groupVersion": group.group_version(v), "version": v} for v in group.versions]
    head = {"kind": "APIGroup", "apiVersion": "v1"} if alone else {}
    return {
        **head,
        "name": group.name,
        "versions": versions,
        "preferredVersion": versions[0],
    }


def api_group_list(catalog: Catalog) -> dict[str, Any]:
    """`/apis`."""
    groups = [api_group(g, alone=False) for g in catalog.groups() if g.name]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def api_resource_list(catalog: Catalog, group: Group, version: str) -> dict[str, Any]:
    """`/api/v1` and `/apis/<group>/<version>`."""
    resources = [
        entry for r in catalog.in_version(group.name, version) for entry in _legacy_entries(r)
    ]
    # The core document is older than the rule that each carries its own apiVersion.
    head = {"kind": "APIResourceList", **({"apiVersion": "v1"} if group.name else {})}
    return {**head, "groupVersion": group.group_version(version), "resources": resources}


def _legacy_entries(resource: Resource) -> Iterator[dict[str, Any]]:
    entry: dict[str, Any] = {
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    if resource.persisted:
        entry["storageVersionHash"] = storage_version_hash(resource)
    yield entry
    for subresource in resource.subresources.values():
        entry = {
            "name": f"{resource.plural}/{subresource.name}",
            "singularName": "",
            "namespaced": resource.namespaced,
        }
        if _foreign(resource, subresource):
            entry["group"] = subresource.group
            entry["version"] = subresource.version
        entry["kind"] = subresource.kind
        entry["verbs"] = list(subresource.verbs)
        yield entry


def aggregated(catalog: Catalog, version: str, *, core: bool) -> dict[str, Any]:
    """The aggregated document of `/api` (core) or `/apis`, apidiscovery `version` v2 or v2beta1."""
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"apidiscovery.k8s.io/{version}",
        "metadata": {},
        "items": [_aggregated_group(catalog, g) for g in catalog.groups() if bool(g.name) != core],
    }


def _aggregated_group(catalog: Catalog, group: Group) -> dict[str, Any]:
    return {
        "metadata": {"name": group.name} if group.name else {},
        "versions": [
            {
                "version": version,
                "resources": [
                    _aggregated_resource(r) for r in catalog.in_version(group.name, version)
                ],
                "freshness": "Current",
            }
            for version in group.versions
        ],
    }


def _aggregated_resource(resource: Resource) -> dict[str, Any]:
    out: dict[str, Any] = {
        "resource": resource.plural,
        "responseKind": {"group": "", "version": "", "kind": resource.kind},
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        out["shortNames"] = list(resource.short_names)
    if resource.categories:
        out["categories"] = list(resource.categories)
    if resource.subresources:
        out["subresources"] = [
            _aggregated_subresource(resource, s) for s in resource.subresources.values()
        ]
    return out


def _aggregated_subresource(resource: Resource, subresource: Subresource) -> dict[str, Any]:
    foreign = _foreign(resource, subresource)
    return {
        "subresource": subresource.name,
        "responseKind": {
            # Empty means the parent's own group and version.
            "group": subresource.group if foreign else "",
            "version": subresource.version if foreign else "",
            "kind": subresource.kind,
        },
        "verbs": list(subresource.verbs),
    }


def _foreign(resource: Resource, subresource: Subresource) -> bool:
    return (subresource.group, subresource.version) != (resource.group, resource.version)
