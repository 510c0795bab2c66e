"""The resource table against Kubernetes' own discovery data."""

import json
from pathlib import Path

import pytest

from skiff.api.resources import DEPLOYMENTS, GROUPS, PODS, RESOURCES, TABLE, by_kind, versions

REFERENCE = Path(__file__).parents[3] / "shared" / "reference"
needs_reference = pytest.mark.skipif(not REFERENCE.is_dir(), reason="no reference data here")


def as_discovery(group, version):
    out = {}
    for r in TABLE:
        if (r.group, r.version) != (group, version):
            continue
        out[r.plural] = {
            "kind": r.kind,
            "scope": "Namespaced" if r.namespaced else "Cluster",
            "singular": r.singular,
            "verbs": list(r.verbs),
            "shortNames": list(r.short_names),
            "categories": list(r.categories),
            "subresources": {
                s.name: (
                    # a subresource of the parent's own kind names neither group nor version
                    ("", "") if (s.group, s.version) == (group, version) else (s.group, s.version),
                    s.kind,
                    list(s.verbs),
                )
                for s in r.subresources.values()
            },
        }
    return out


@needs_reference
def test_equals_aggregated_discovery():
    doc = json.loads((REFERENCE / "aggregated_v2.json").read_text())
    seen = []
    for item in doc["items"]:
        group = item["metadata"]["name"]
        for v in item["versions"]:
            if v["version"] not in ("v1", "v2"):
                continue
            seen.append((group, v["version"]))
            expected = {}
            for r in v["resources"]:
                expected[r["resource"]] = {
                    "kind": r["responseKind"]["kind"],
                    "scope": r["scope"],
                    "singular": r["singularResource"],
                    "verbs": r["verbs"],
                    "shortNames": r.get("shortNames", []),
                    "categories": r.get("categories", []),
                    "subresources": {
                        s["subresource"]: (
                            (s["responseKind"]["group"], s["responseKind"]["version"]),
                            s["responseKind"]["kind"],
                            s["verbs"],
                        )
                        for s in r.get("subresources", [])
                    },
                }
            assert as_discovery(group, v["version"]) == expected
    ours = list(dict.fromkeys((r.group, r.version) for r in TABLE if r.group))
    assert ours == seen


@needs_reference
def test_core_resources_equal_the_published_paths():
    paths = json.loads((REFERENCE / "swagger.json").read_text())["paths"]
    expected: dict[str, set[str]] = {}
    for path in paths:
        if not path.startswith("/api/v1/") or "/watch/" in path or path == "/api/v1/":
            continue
        parts = path.removeprefix("/api/v1/").split("/")
        if parts[:2] == ["namespaces", "{namespace}"]:
            parts = parts[2:]
        subs = expected.setdefault(parts[0], set())
        if len(parts) > 2:
            subs.add(parts[2])
    ours = {r.plural: set(r.subresources) for r in TABLE if not r.group}
    assert ours == expected


def test_paths():
    assert PODS.path() == "/api/v1/pods"
    assert PODS.path("ns", "p", "log") == "/api/v1/namespaces/ns/pods/p/log"
    assert DEPLOYMENTS.path("ns") == "/apis/apps/v1/namespaces/ns/deployments"
    assert by_kind("v1", "Node").path("ignored", "n") == "/api/v1/nodes/n"


def test_every_row_is_found_by_its_keys():
    assert len(RESOURCES) == len(TABLE)
    for r in TABLE:
        assert by_kind(r.api_version, r.kind) is r
        assert r.version in versions(r.group)
        assert r.group in GROUPS


def test_versions_are_listed_preferred_first():
    assert versions("autoscaling") == ("v2", "v1")


def test_shared_storage():
    events = [r for r in TABLE if r.plural == "events"]
    assert {r.storage for r in events} == {("", "events")}
    assert {r.storage_version for r in events} == {"v1"}
    hpas = [r for r in TABLE if r.plural == "horizontalpodautoscalers"]
    assert {r.storage_version for r in hpas} == {"autoscaling/v2"}
    assert not by_kind("authentication.k8s.io/v1", "TokenReview").persisted
