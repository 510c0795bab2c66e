"""Objects around nodes and pods: their course through the API, and what the node makes of them."""

from collections.abc import Iterator

import pytest

from tests.real.harness import RealCluster, wait_for
from tests.real.lifecycle import run_through
from tests.real.pods import (
    IMAGE,
    MERGE,
    Api,
    ApiFailure,
    Object,
    Space,
    config_map,
    container,
    pod,
    secret,
)

pytestmark = pytest.mark.real

DRA = "resource.k8s.io/v1"
TOLERATED = [{"key": "conformance", "operator": "Exists"}]


@pytest.fixture(scope="module")
def space(cluster: RealCluster, images: dict[str, str]) -> Iterator[Space]:
    api = Api(cluster)
    made = Space(cluster, api, "objects")
    yield made
    made.delete("Namespace", made.name)
    api.close()


@pytest.mark.conformance("[sig-node] Lease lease API should be available [Conformance]")
@pytest.mark.conformance(
    "[sig-node] PodTemplates should run the lifecycle of PodTemplates [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] PodTemplates should delete a collection of pod templates [Conformance]"
)
@pytest.mark.conformance("[sig-node] PodTemplates should replace a pod template [Conformance]")
@pytest.mark.conformance(
    "[sig-node] RuntimeClass should support RuntimeClasses API operations [Conformance]"
)
@pytest.mark.conformance("[sig-node] [DRA] CRUD Tests resource.k8s.io/v1 DeviceClass [Conformance]")
@pytest.mark.conformance(
    "[sig-node] [DRA] CRUD Tests resource.k8s.io/v1 ResourceClaim [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] [DRA] CRUD Tests resource.k8s.io/v1 ResourceClaimTemplate [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] [DRA] CRUD Tests resource.k8s.io/v1 ResourceSlice [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] ConfigMap should run through a ConfigMap lifecycle [Conformance]"
)
def test_objects_run_their_course(space: Space) -> None:
    request = {"name": "req-0", "exactly": {"deviceClassName": "my-class"}}
    claim = {"devices": {"requests": [request]}}
    template = {"spec": {"containers": [{"name": "c", "image": IMAGE}]}}
    objects: list[Object] = [
        {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "spec": {
                "holderIdentity": "holder",
                "leaseDurationSeconds": 30,
                "acquireTime": "2026-01-02T03:04:05.000006Z",
                "renewTime": "2026-01-02T03:04:07.000008Z",
                "leaseTransitions": 0,
            },
        },
        {"apiVersion": "v1", "kind": "PodTemplate", "template": template},
        {"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "b"}},
        {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "handler": "runc"},
        {"apiVersion": DRA, "kind": "DeviceClass", "spec": {"selectors": []}},
        {"apiVersion": DRA, "kind": "ResourceClaim", "spec": claim},
        {"apiVersion": DRA, "kind": "ResourceClaimTemplate", "spec": {"spec": claim}},
        {
            "apiVersion": DRA,
            "kind": "ResourceSlice",
            "spec": {
                "driver": "cdi.example.com",
                "nodeName": "some-node",
                "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1},
                "devices": [{"name": "d"}],
            },
        },
    ]
    for obj in objects:
        obj["metadata"] = {"name": f"course-{obj['kind'].lower()}"}
        run_through(space, obj)


@pytest.mark.conformance(
    "[sig-node] [DRA] CRUD Tests resource.k8s.io/v1 ResourceClaim [Conformance]"
)
def test_resource_claims_have_a_status(space: Space) -> None:
    request = {"name": "req-0", "exactly": {"deviceClassName": "my-class"}}
    claim = {
        "apiVersion": DRA,
        "kind": "ResourceClaim",
        "metadata": {"name": "claim"},
        "spec": {"devices": {"requests": [request]}},
    }
    made = space.create(claim)
    result = {"request": "req-0", "driver": "d.example.com", "pool": "p", "device": "d"}
    made["status"] = {"allocation": {"devices": {"results": [result]}}}
    told = space.replace(made, "status")
    assert told["status"]["allocation"]["devices"]["results"][0]["device"] == "d"
    space.delete("ResourceClaim", "claim")


@pytest.mark.conformance(
    "[sig-node] ConfigMap should fail to create ConfigMap with empty key [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] Secrets should fail to create secret due to empty secret key [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] ConfigMap should update ConfigMap successfully [NodeConformance] [Conformance]"
)
@pytest.mark.conformance("[sig-node] Secrets should patch a secret [Conformance]")
def test_config_maps_and_secrets(space: Space) -> None:
    for made in (config_map("empty-key", {"": "value"}), secret("empty-key", {"": "value"})):
        with pytest.raises(ApiFailure) as e:
            space.create(made)
        assert e.value.code == 422
        assert "a valid config key must consist of alphanumeric characters" in e.value.message
    space.create(config_map("map", {"a": "b"}))
    space.change("ConfigMap", "map", lambda o: o.update(data={"c": "d"}))
    assert space.get("ConfigMap", "map")["data"] == {"c": "d"}
    space.create(secret("patched", {"key": "value"}))
    change = {"metadata": {"labels": {"s": "true"}}, "data": {"key": "dmFsdWUxMjM="}}
    space.patch("Secret", "patched", change)
    found = space.api("GET", "api/v1/secrets?labelSelector=s%3Dtrue")["items"]
    assert [o["data"] for o in found] == [{"key": "dmFsdWUxMjM="}]
    space.api("DELETE", space.path("Secret") + "?labelSelector=s%3Dtrue")
    assert space.gone("Secret", "patched")


@pytest.mark.conformance(
    "[sig-node] Node Lifecycle should run through the lifecycle of a node [Conformance]"
)
def test_node_objects(space: Space) -> None:
    node: Object = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "e2e-fake-node"}}
    node["metadata"]["labels"] = {"fake": "true"}
    try:
        space.create(node)
        assert len(space.list("Node", "labelSelector=fake%3Dtrue")) == 1
        change = {"metadata": {"labels": {"patched": "true"}}}
        assert space.patch("Node", "e2e-fake-node", change, how=MERGE)["metadata"]["labels"][
            "patched"
        ]
        status = {"status": {"phase": "Running"}}
        assert (
            space.patch("Node", "e2e-fake-node", status, "status")["status"]["phase"] == "Running"
        )

        def note(o: Object) -> None:
            o["spec"]["unschedulable"] = True

        space.change("Node", "e2e-fake-node", note)
    finally:
        space.api("DELETE", "api/v1/nodes?labelSelector=fake%3Dtrue")
    assert space.gone("Node", "e2e-fake-node")


@pytest.mark.conformance(
    "[sig-node] RuntimeClass should reject a Pod requesting a non-existent RuntimeClass [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] RuntimeClass should reject a Pod requesting a deleted RuntimeClass [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] RuntimeClass should schedule a Pod requesting a RuntimeClass without PodOverhead [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] RuntimeClass should schedule a Pod requesting a RuntimeClass and initialize its Overhead [NodeConformance] [Conformance]"
)
def test_runtime_classes(space: Space) -> None:
    def a_class(name: str, **more: object) -> Object:
        return {
            "apiVersion": "node.k8s.io/v1",
            "kind": "RuntimeClass",
            "metadata": {"name": f"{space.name}-{name}"},
            "handler": "runc",
            **more,
        }

    def refused(name: str) -> str:
        with pytest.raises(ApiFailure) as e:
            space.create(pod("refused", "true", runtimeClassName=f"{space.name}-{name}"))
        assert e.value.code == 403
        return e.value.message

    assert f'RuntimeClass "{space.name}-absent" not found' in refused("absent")
    overhead = {"podFixed": {"cpu": "10m", "memory": "1Mi"}}
    space.create(a_class("plain"))
    space.create(a_class("overhead", overhead=overhead))
    space.create(pod("plain", "echo ran", runtimeClassName=f"{space.name}-plain"))
    one = pod("overhead", "echo ran", runtimeClassName=f"{space.name}-overhead")
    assert space.create(one)["spec"]["overhead"] == overhead["podFixed"]
    assert space.output("plain") == space.output("overhead") == "ran\n"
    for name in ("plain", "overhead"):
        space.delete("RuntimeClass", f"{space.name}-{name}")

    def now_refused() -> bool:
        return "not found" in refused("plain")

    wait_for(now_refused, "the deleted class is refused", 10)


@pytest.mark.conformance(
    "[sig-node] NoExecuteTaintManager Single Pod [Serial] removing taint cancels eviction [Disruptive] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] NoExecuteTaintManager Multiple Pods [Serial] evicts pods with minTolerationSeconds [Disruptive] [Conformance]"
)
def test_no_execute_taints_evict(space: Space) -> None:
    def tolerating(name: str, seconds: int) -> Object:
        mine = {"key": "evict", "operator": "Equal", "value": "v", "effect": "NoExecute"}
        return pod(
            name,
            container(script="trap 'exit 0' TERM; while true; do sleep 0.1; done"),
            labels={"taint": name},
            tolerations=[{**mine, "tolerationSeconds": seconds}],
        )

    names = {"evict-soon": 2, "evict-later": 60}
    for name, seconds in names.items():
        space.create(tolerating(name, seconds))
    seen = [space.ready(name) for name in names]
    node = seen[0]["spec"]["nodeName"]
    # The taint would evict the others' pods on the only node: they are of other namespaces' tests, so
    # this test stands alone with its own at the end of its file.
    others = [
        p for p in space.api("GET", "api/v1/pods")["items"]
        if p["metadata"]["namespace"] != space.name and "deletionTimestamp" not in p["metadata"]
        and p["status"].get("phase") in ("Running", "Pending")
    ]  # fmt: skip
    if others:
        pytest.skip("pods of others would be evicted")
    taint = {"key": "evict", "value": "v", "effect": "NoExecute"}

    def set_taints(taints: list[Object]) -> None:
        space.change("Node", node, lambda o: o["spec"].update(taints=taints))

    set_taints([taint])
    try:
        wait_for(lambda: space.gone("Pod", "evict-soon"), "the first is evicted", 20)
        later = space.get("Pod", "evict-later")
        assert "deletionTimestamp" not in later["metadata"]
        space.has_event("evict-soon", "TaintManagerEviction", "Marking for deletion Pod")
    finally:
        set_taints([])
    space.has_event("evict-later", "TaintManagerEviction", "Cancelling deletion of Pod")
    assert not space.gone("Pod", "evict-later")
