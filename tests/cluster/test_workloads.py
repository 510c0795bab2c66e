"""ReplicaSets, ReplicationControllers and DaemonSets with real scheduling and (simulated) containers."""

from typing import Any

import pytest

from skiff.api.resources import (
    DAEMONSETS,
    ENDPOINTSLICES,
    NODES,
    PODS,
    REPLICASETS,
    REPLICATIONCONTROLLERS,
    RESOURCEQUOTAS,
    SERVICES,
    Resource,
)
from skiff.testing.cluster import Cluster
from tests.cluster.world import (
    condition,
    events,
    is_ready,
    named,
    pod,
    ready_pods,
    run,
    status,
    template,
    workload,
)

BOTH = pytest.mark.parametrize(
    "resource", [REPLICASETS, REPLICATIONCONTROLLERS], ids=lambda r: r.plural
)


async def made(cluster: Cluster, resource: Resource, count: int, **more: Any) -> None:
    await cluster.client.create(resource, workload(resource.kind, "rs", count, **more))
    await ready(cluster, resource, count)


async def ready(cluster: Cluster, resource: Resource, count: int) -> None:
    await cluster.wait_until(
        lambda: (
            status(cluster, resource, "rs").get("availableReplicas", 0) == count
            and status(cluster, resource, "rs").get("replicas", 0) == count
            and len(ready_pods(cluster, "rs")) == count
        )
    )


@BOTH
def test_replicas_run_and_are_replaced(resource: Resource) -> None:
    async def scenario(cluster: Cluster) -> None:
        await made(cluster, resource, 3)
        names = named(ready_pods(cluster, "rs"))
        assert all(n.startswith("rs-") for n in names)
        await cluster.client.delete(PODS, names[0], "default", grace_period_s=0)
        await ready(cluster, resource, 3)
        assert names[0] not in named(ready_pods(cluster, "rs"))
        await cluster.advance(1)
        assert len(events(cluster, "SuccessfulCreate", "rs")) == 4

    run(scenario)


@BOTH
@pytest.mark.conformance(
    "[sig-apps] ReplicaSet Replicaset should have a working scale subresource [Conformance]"
)
@pytest.mark.conformance(
    "[sig-apps] ReplicationController should get and update a ReplicationController scale "
    "[Conformance]"
)
def test_scale(resource: Resource) -> None:
    async def scenario(cluster: Cluster) -> None:
        client = cluster.client
        await made(cluster, resource, 1)
        scale = await client.get(resource, "rs", "default", "scale")
        assert scale["kind"] == "Scale"
        assert scale["spec"]["replicas"] == 1
        scale["spec"]["replicas"] = 2
        assert (await client.replace(resource, scale, "scale"))["spec"]["replicas"] == 2
        await ready(cluster, resource, 2)
        patched = await client.patch(
            resource, "rs", "default", {"spec": {"replicas": 4}}, subresource="scale"
        )
        assert patched["spec"]["replicas"] == 4
        await ready(cluster, resource, 4)
        assert (await client.get(resource, "rs", "default"))["spec"]["replicas"] == 4

    run(scenario)


@pytest.mark.conformance("[sig-apps] ReplicaSet Replace and Patch tests [Conformance]")
def test_a_replica_set_is_scaled_replaced_and_patched() -> None:
    async def scenario(cluster: Cluster) -> None:
        await made(cluster, REPLICASETS, 1)

        def scale(obj: dict) -> dict:
            obj["spec"]["replicas"] = 2
            return obj

        await cluster.client.update(REPLICASETS, "rs", "default", scale)
        await ready(cluster, REPLICASETS, 2)
        patch = {
            "metadata": {"labels": {"test-rs": "patched"}},
            "spec": {
                "replicas": 3,
                "template": {
                    "metadata": {"labels": {"test-rs": "patched"}},
                    "spec": {"containers": [{"name": "c", "image": "web:2"}]},
                },
            },
        }
        await cluster.client.patch(REPLICASETS, "rs", "default", patch, "strategic")
        await ready(cluster, REPLICASETS, 3)
        found = await cluster.client.get(REPLICASETS, "rs", "default")
        assert found["metadata"]["labels"]["test-rs"] == "patched"
        assert found["spec"]["template"]["spec"]["containers"][0]["image"] == "web:2"
        images = [p["spec"]["containers"][0]["image"] for p in ready_pods(cluster, "rs")]
        assert sorted(images) == ["web:1", "web:1", "web:2"], (
            "only new pods are of the new template"
        )

    run(scenario)


@BOTH
@pytest.mark.conformance(
    "[sig-apps] ReplicaSet should adopt matching pods on creation and release no longer matching "
    "pods [Conformance]"
)
@pytest.mark.conformance(
    "[sig-apps] ReplicationController should adopt matching pods on creation [Conformance]"
)
@pytest.mark.conformance(
    "[sig-apps] ReplicationController should release no longer matching pods [Conformance]"
)
def test_adoption_and_release(resource: Resource) -> None:
    async def scenario(cluster: Cluster) -> None:
        def owner(name: str) -> list[str]:
            meta = (cluster.get(PODS, name, "default") or {})["metadata"]
            return [o["name"] for o in meta.get("ownerReferences") or ()]

        await cluster.client.create(PODS, pod("orphan", labels={"app": "rs"}))
        await made(cluster, resource, 1)
        assert owner("orphan") == ["rs"]
        assert named(cluster.list(PODS, "default")) == ["orphan"], "no second one was made"
        label = {"metadata": {"labels": {"app": "no-more"}}}
        await cluster.client.patch(PODS, "orphan", "default", label)
        await cluster.wait_until(lambda: owner("orphan") == [])
        await ready(cluster, resource, 1)
        assert is_ready(cluster.get(PODS, "orphan", "default") or {})

    run(scenario)


@pytest.mark.conformance(
    "[sig-apps] ReplicaSet should list and delete a collection of ReplicaSets [Conformance]"
)
@pytest.mark.conformance(
    "[sig-apps] Daemon set [Serial] should list and delete a collection of DaemonSets [Conformance]"
)
@pytest.mark.parametrize("resource", [REPLICASETS, DAEMONSETS], ids=lambda r: r.plural)
def test_a_collection_is_listed_and_deleted(resource: Resource) -> None:
    async def scenario(cluster: Cluster) -> None:
        for name in ("one", "two"):
            obj = workload(resource.kind, name, 2)
            obj["metadata"]["labels"] = {"of": "test"}
            if resource is DAEMONSETS:
                del obj["spec"]["replicas"]
            await cluster.client.create(resource, obj)
        await cluster.wait_until(lambda: len(ready_pods(cluster, "one")) == 2)
        body = (await cluster.client.raw_get(resource.path() + "?labelSelector=of%3Dtest")).body
        assert body.count(b'"of":"test"') == 2
        await cluster.client.delete_collection(resource, "default", label_selector="of=test")
        await cluster.wait_until(lambda: not cluster.list(resource, "default"))
        await cluster.wait_until(lambda: not cluster.list(PODS, "default"), 60)

    run(scenario)


@pytest.mark.conformance(
    "[sig-apps] ReplicaSet should validate Replicaset Status endpoints [Conformance]"
)
@pytest.mark.conformance(
    "[sig-apps] Daemon set [Serial] should verify changes to a daemon set status [Conformance]"
)
@pytest.mark.parametrize("resource", [REPLICASETS, DAEMONSETS], ids=lambda r: r.plural)
def test_status_is_read_updated_and_patched(resource: Resource) -> None:
    async def scenario(cluster: Cluster) -> None:
        client = cluster.client
        obj = workload(resource.kind, "rs", 1)
        if resource is DAEMONSETS:
            del obj["spec"]["replicas"]
        await client.create(resource, obj)
        await cluster.wait_until(lambda: ready_pods(cluster, "rs"))
        await cluster.advance(1)
        kind = {"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set"}

        def update(obj: dict) -> dict:
            obj["status"].setdefault("conditions", []).append(kind)
            return obj

        await client.update(resource, "rs", "default", update, "status")
        read = await client.get(resource, "rs", "default", "status")
        assert condition(read, "StatusUpdate")["message"] == "Set"
        patch = {"status": {"conditions": [{"type": "StatusPatched", "status": "True"}]}}
        await client.patch(resource, "rs", "default", patch, subresource="status")
        await cluster.advance(5)
        read = await client.get(resource, "rs", "default")
        assert [c["type"] for c in read["status"]["conditions"]] == ["StatusPatched"]

    run(scenario, nodes=1)


@pytest.mark.conformance(
    "[sig-apps] ReplicationController should surface a failure condition on a common issue like "
    "exceeded quota [Conformance]"
)
@BOTH
def test_what_keeps_pods_from_being_made_is_a_condition(resource: Resource) -> None:
    async def scenario(cluster: Cluster) -> None:
        quota = {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"name": "two", "namespace": "default"},
            "spec": {"hard": {"pods": "2"}},
        }
        await cluster.client.create(RESOURCEQUOTAS, quota)
        await cluster.wait_until(lambda: status(cluster, RESOURCEQUOTAS, "two").get("used"))
        await cluster.client.create(resource, workload(resource.kind, "rs", 3))

        def failure() -> dict[str, Any]:
            return condition(cluster.get(resource, "rs", "default"), "ReplicaFailure")

        found = await cluster.wait_until(failure)
        assert found["reason"] == "FailedCreate"
        assert (
            "exceeded quota: two, requested: pods=1, used: pods=2, limited: pods=2"
            in found["message"]
        )
        await cluster.client.patch(resource, "rs", "default", {"spec": {"replicas": 2}})
        await cluster.wait_until(lambda: not failure())
        await ready(cluster, resource, 2)

    run(scenario)


@pytest.mark.conformance(
    "[sig-apps] ReplicationController should test the lifecycle of a ReplicationController "
    "[Conformance]"
)
def test_the_life_of_a_replication_controller() -> None:
    async def scenario(cluster: Cluster) -> None:
        client, resource = cluster.client, REPLICATIONCONTROLLERS
        await made(cluster, resource, 1)
        patch = {"metadata": {"labels": {"test-rc": "patched"}}}
        patched = await client.patch(resource, "rs", "default", patch, "strategic")
        assert patched["metadata"]["labels"]["test-rc"] == "patched"
        await client.patch(
            resource, "rs", "default", {"status": {"readyReplicas": 0, "availableReplicas": 0}},
            subresource="status",
        )  # fmt: skip
        await ready(cluster, resource, 1)
        scaled = {"spec": {"replicas": 2}}
        await client.patch(resource, "rs", "default", scaled, subresource="scale")
        await ready(cluster, resource, 2)
        body = (await client.raw_get(resource.path() + "?labelSelector=test-rc%3Dpatched")).body
        assert b'"name":"rs"' in body

        def relabel(obj: dict) -> dict:
            obj["metadata"]["labels"]["test-rc"] = "updated"
            return obj

        assert await client.update(resource, "rs", "default", relabel)
        await client.delete_collection(resource, "default", label_selector="test-rc=updated")
        await cluster.wait_until(lambda: not cluster.list(resource, "default"))

    run(scenario)


def daemon(name: str, **spec: Any) -> dict[str, Any]:
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"selector": {"matchLabels": labels}, "template": template(labels, **spec)},
    }


def daemon_nodes(cluster: Cluster, name: str) -> list[str]:
    return sorted(p["spec"]["nodeName"] for p in ready_pods(cluster, name))


@pytest.mark.conformance(
    "[sig-apps] Daemon set [Serial] should run and stop simple daemon [Conformance]"
)
def test_a_daemon_on_every_node_also_on_late_ones() -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.client.create(DAEMONSETS, daemon("agent"))
        await cluster.wait_until(lambda: daemon_nodes(cluster, "agent") == ["node-1", "node-2"])
        await cluster.add_node("node-3")
        await cluster.wait_until(
            lambda: daemon_nodes(cluster, "agent") == ["node-1", "node-2", "node-3"]
        )
        victim = named(ready_pods(cluster, "agent"))[0]
        await cluster.client.delete(PODS, victim, "default")
        await cluster.wait_until(lambda: victim not in named(ready_pods(cluster, "agent")))
        await cluster.wait_until(lambda: len(daemon_nodes(cluster, "agent")) == 3, 60)
        await cluster.client.delete(DAEMONSETS, "agent", "default")
        await cluster.wait_until(lambda: not cluster.list(PODS, "default"), 60)

    run(scenario)


@pytest.mark.conformance(
    "[sig-apps] Daemon set [Serial] should run and stop complex daemon [Conformance]"
)
def test_a_daemon_where_a_label_says_so() -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.client.create(DAEMONSETS, daemon("agent", nodeSelector={"color": "blue"}))
        await cluster.advance(20)
        assert not cluster.list(PODS, "default")
        blue = {"metadata": {"labels": {"color": "blue"}}}
        await cluster.client.patch(NODES, "node-2", "", blue)
        await cluster.wait_until(lambda: daemon_nodes(cluster, "agent") == ["node-2"])
        green = {"metadata": {"labels": {"color": "green"}}}
        await cluster.client.patch(NODES, "node-2", "", green)
        await cluster.wait_until(lambda: not cluster.list(PODS, "default"), 60)

    run(scenario)


@pytest.mark.conformance(
    "[sig-apps] Daemon set [Serial] should retry creating failed daemon pods [Conformance]"
)
def test_a_daemon_that_failed_is_made_anew() -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.client.create(DAEMONSETS, daemon("agent"))
        await cluster.wait_until(lambda: len(daemon_nodes(cluster, "agent")) == 2)
        failed = named(ready_pods(cluster, "agent"))[0]
        patch = {"status": {"phase": "Failed"}}
        await cluster.client.patch(PODS, failed, "default", patch, subresource="status")
        await cluster.wait_until(lambda: cluster.get(PODS, failed, "default") is None, 60)
        await cluster.wait_until(lambda: len(daemon_nodes(cluster, "agent")) == 2, 60)

    run(scenario)


def test_a_service_has_the_ready_pods_as_endpoints() -> None:
    async def scenario(cluster: Cluster) -> None:
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "rs", "namespace": "default"},
            "spec": {"selector": {"app": "rs"}, "ports": [{"port": 80}]},
        }
        await cluster.client.create(SERVICES, service)
        await made(cluster, REPLICASETS, 3, pods={"simulate": {"start-seconds": "2"}})
        addresses = {p["status"]["podIP"] for p in ready_pods(cluster, "rs")}

        def told() -> set[str]:
            body = cluster.list(ENDPOINTSLICES, "default")
            return {
                a
                for s in body
                if s["metadata"]["labels"].get("kubernetes.io/service-name") == "rs"
                for e in s.get("endpoints") or ()
                if e["conditions"]["ready"]
                for a in e["addresses"]
            }

        await cluster.wait_until(lambda: told() == addresses)
        victim = ready_pods(cluster, "rs")[0]
        runtime = cluster.runtimes[victim["spec"]["nodeName"]]
        sandbox = victim["status"]["containerStatuses"][0]["containerID"].split("//")[1]
        runtime.end(sandbox, 1)
        await cluster.wait_until(lambda: victim["status"]["podIP"] not in told(), 10)
        await cluster.wait_until(lambda: told() == addresses, 60)

    run(scenario)
