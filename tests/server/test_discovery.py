"""Discovery documents: against Kubernetes' own where it is at hand, forms, tags."""

import json
from pathlib import Path

import orjson
import pytest

from skiff.aio.http.message import Request
from skiff.api.errors import NotAcceptable, NotFound
from skiff.api.resources import PODS, TABLE
from skiff.server.discovery import Catalog, Discovery, documents
from skiff.server.request import parse
from skiff.server.seams import Call, User

REFERENCE = Path(__file__).parents[3] / "shared" / "reference" / "aggregated_v2.json"
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v={};as=APIGroupDiscoveryList"


@pytest.fixture
def discovery() -> Discovery:
    return Discovery(Catalog(), "192.0.2.1:6443", lambda: ["/healthz"])


def get(discovery: Discovery, path: str, **headers: str):
    call = Call(Request("GET", path, "", headers), parse("GET", path, ""), User("x"))
    prefix = "/" + path.strip("/").partition("/")[0]
    return discovery.handlers()[prefix](call)


def body(discovery: Discovery, path: str, **headers: str) -> dict:
    return orjson.loads(get(discovery, path, **headers).body)


@pytest.mark.skipif(not REFERENCE.exists(), reason="the reference document is not here")
def test_aggregated_equals_the_reference(discovery: Discovery):
    reference = json.loads(REFERENCE.read_text())
    ours = {
        g["metadata"]["name"]: g
        for g in body(discovery, "/apis", accept=AGGREGATED.format("v2"))["items"]
    }
    stable = []
    for group in reference["items"]:
        group["versions"] = [
            v
            for v in group["versions"]
            if "alpha" not in v["version"] and "beta" not in v["version"]
        ]
        if group["versions"]:
            stable.append(group)
    assert [g["metadata"]["name"] for g in stable] == list(ours)
    for group in stable:
        mine = ours[group["metadata"]["name"]]
        assert mine["metadata"] == group["metadata"]
        for theirs, version in zip(group["versions"], mine["versions"], strict=True):
            assert version == theirs


@pytest.mark.conformance(
    "[sig-api-machinery] AggregatedDiscovery should support aggregated discovery interface [Conformance]"
)
@pytest.mark.conformance(
    "[sig-api-machinery] AggregatedDiscovery should support raw aggregated discovery endpoint Accept headers [Conformance]"
)
@pytest.mark.parametrize("version", ["v2", "v2beta1"])
def test_aggregated_form_names_itself_and_has_a_tag(discovery: Discovery, version: str):
    accept = f"{AGGREGATED.format(version)},application/json"
    response = get(discovery, "/api", accept=accept)
    assert response.content_type == AGGREGATED.format(version)
    document = orjson.loads(response.body)
    assert document["kind"] == "APIGroupDiscoveryList"
    assert document["apiVersion"] == f"apidiscovery.k8s.io/{version}"
    pods = next(
        r for r in document["items"][0]["versions"][0]["resources"] if r["resource"] == "pods"
    )
    assert pods["shortNames"] == ["po"]
    tag = dict(response.headers)["etag"]
    assert get(discovery, "/api", accept=accept, **{"if-none-match": tag}).status == 304


def test_legacy_documents(discovery: Discovery):
    assert body(discovery, "/api")["versions"] == ["v1"]
    assert (
        body(discovery, "/api")["serverAddressByClientCIDRs"][0]["serverAddress"]
        == "192.0.2.1:6443"
    )
    groups = body(discovery, "/apis")
    assert groups["kind"] == "APIGroupList"
    assert [
        g["preferredVersion"]["version"] for g in groups["groups"] if g["name"] == "autoscaling"
    ] == ["v2"]
    assert body(discovery, "/apis/apps")["versions"] == [
        {"groupVersion": "apps/v1", "version": "v1"}
    ]
    resources = {r["name"]: r for r in body(discovery, "/apis/apps/v1")["resources"]}
    assert resources["deployments/scale"] == {
        "name": "deployments/scale", "singularName": "", "namespaced": True, "group": "autoscaling",
        "version": "v1", "kind": "Scale", "verbs": ["get", "patch", "update"],
    }  # fmt: skip
    core = body(discovery, "/api/v1")
    assert core["groupVersion"] == "v1"
    assert {r["name"] for r in core["resources"]} >= {"pods", "pods/log", "namespaces/finalize"}


@pytest.mark.conformance(
    "[sig-api-machinery] Discovery should locate the groupVersion and a resource within each APIGroup [Conformance]"
)
@pytest.mark.conformance(
    "[sig-api-machinery] Discovery should validate PreferredVersion for each APIGroup [Conformance]"
)
def test_every_preferred_version_is_served(discovery: Discovery):
    for group in body(discovery, "/apis")["groups"]:
        alone = body(discovery, f"/apis/{group['name']}")
        assert alone["preferredVersion"] == group["preferredVersion"] == group["versions"][0]
        for version in group["versions"]:
            assert body(discovery, f"/apis/{version['groupVersion']}")["resources"]


def test_storage_version_hashes_are_kubernetes_own():
    assert documents.storage_version_hash(PODS) == "xPOwRZ+Yhw8="


def test_paths_version_and_what_is_not_there(discovery: Discovery):
    paths = body(discovery, "/")["paths"]
    assert {"/", "/api", "/api/v1", "/apis/apps/v1", "/healthz", "/version"} <= {"/", *paths}
    assert body(discovery, "/version")["gitVersion"] == "v1.36.0"
    for path in ("/apis/nothing", "/apis/apps/v9", "/api/v2"):
        with pytest.raises(NotFound):
            get(discovery, path)
    with pytest.raises(NotAcceptable):
        get(discovery, "/apis", accept="application/cbor")


def test_people_get_documents_in_lines(discovery: Discovery):
    for path in ("/api", "/apis", "/api/v1", "/apis/apps"):
        plain = get(discovery, path)
        shown = get(discovery, path, **{"user-agent": "curl/8.5.0"})
        assert shown.body.startswith(b'{\n  "kind": "')
        assert orjson.loads(shown.body) == orjson.loads(plain.body)
        assert b"\n  " not in plain.body


def test_custom_resources_come_and_go():
    served = list(TABLE)
    catalog = Catalog(lambda: served)
    discovery = Discovery(catalog, "x:1")
    first = get(discovery, "/apis").body
    served[:] = [r for r in served if r.group != "batch"]
    assert get(discovery, "/apis").body == first
    catalog.changed()
    assert b"batch" not in get(discovery, "/apis").body
