"""Deleting owners: what goes with them, what stays, and in which order."""

import pytest

from skiff.api.resources import (
    CONFIGMAPS,
    DEPLOYMENTS,
    NAMESPACES,
    PODS,
    REPLICASETS,
    REPLICATIONCONTROLLERS,
    SECRETS,
    SERVICEACCOUNTS,
    SERVICES,
    TABLE,
)
from skiff.testing.cluster import Cluster
from tests.cluster.world import deployment, named, pod, ready_pods, rolled_out, run, workload


async def roll_out(cluster: Cluster, name: str) -> None:
    await cluster.wait_until(lambda: rolled_out(cluster, name))


def owners(obj: dict) -> list[str]:
    return [o["name"] for o in obj["metadata"].get("ownerReferences") or ()]


@pytest.mark.parametrize("propagation", ["Background", ""])
@pytest.mark.conformance(
    "[sig-api-machinery] Garbage collector should delete RS created by deployment when not "
    "orphaning [Conformance]"
)
def test_in_the_background_the_owner_goes_first(propagation: str) -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.client.create(DEPLOYMENTS, deployment("web", 3))
        await roll_out(cluster, "web")
        await cluster.client.delete(DEPLOYMENTS, "web", "default", propagation=propagation)
        assert cluster.get(DEPLOYMENTS, "web", "default") is None, "at once"
        await cluster.wait_until(
            lambda: not cluster.list(REPLICASETS, "default") and not cluster.list(PODS, "default"),
            60,
        )

    run(scenario)


def test_in_the_foreground_it_goes_last() -> None:
    async def scenario(cluster: Cluster) -> None:
        slow = {"simulate": {"stop-seconds": "5"}}
        await cluster.client.create(DEPLOYMENTS, deployment("web", 3, pods=slow))
        await roll_out(cluster, "web")
        await cluster.client.delete(DEPLOYMENTS, "web", "default", propagation="Foreground")
        waits = cluster.get(DEPLOYMENTS, "web", "default")
        assert waits is not None
        assert waits["metadata"]["finalizers"] == ["foregroundDeletion"]

        def gone() -> bool:
            deployments = cluster.list(DEPLOYMENTS, "default")
            sets, pods = cluster.list(REPLICASETS, "default"), cluster.list(PODS, "default")
            assert sets or not pods, "the ReplicaSet stays until its pods are gone"
            assert deployments or not sets, "the Deployment stays until its ReplicaSet is gone"
            return not deployments

        await cluster.wait_until(gone, 60)

    run(scenario)


@pytest.mark.conformance(
    "[sig-api-machinery] Garbage collector should orphan RS created by deployment when "
    "deleteOptions.PropagationPolicy is Orphan [Conformance]"
)
def test_orphans_stay_and_run_on() -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.client.create(DEPLOYMENTS, deployment("web", 3))
        await roll_out(cluster, "web")
        pods = named(ready_pods(cluster, "web"))
        await cluster.client.delete(DEPLOYMENTS, "web", "default", propagation="Orphan")
        await cluster.wait_until(lambda: cluster.get(DEPLOYMENTS, "web", "default") is None)
        await cluster.advance(60)
        (left,) = cluster.list(REPLICASETS, "default")
        assert owners(left) == []
        assert named(ready_pods(cluster, "web")) == pods

    run(scenario)


@pytest.mark.conformance(
    "[sig-api-machinery] Garbage collector should delete pods created by rc when not orphaning "
    "[Conformance]"
)
def test_a_replication_controller_s_pods_go_with_it() -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.client.create(
            REPLICATIONCONTROLLERS, workload("ReplicationController", "rc", 2)
        )
        await cluster.wait_until(lambda: len(ready_pods(cluster, "rc")) == 2)
        await cluster.client.delete(
            REPLICATIONCONTROLLERS, "rc", "default", propagation="Background"
        )
        await cluster.wait_until(lambda: not cluster.list(PODS, "default"), 60)

    run(scenario)


@pytest.mark.conformance(
    "[sig-api-machinery] Garbage collector should keep the rc around until all its pods are "
    "deleted if the deleteOptions says so [Serial] [Conformance]"
)
def test_in_the_foreground_a_replication_controller_waits_for_its_pods() -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.client.create(
            REPLICATIONCONTROLLERS, workload("ReplicationController", "rc", 10)
        )
        await cluster.wait_until(lambda: len(ready_pods(cluster, "rc")) == 10)
        await cluster.client.delete(
            REPLICATIONCONTROLLERS, "rc", "default", propagation="Foreground"
        )

        def gone() -> bool:
            waits = cluster.get(REPLICATIONCONTROLLERS, "rc", "default")
            assert waits is not None or not cluster.list(PODS, "default")
            return waits is None

        await cluster.wait_until(gone, 60)

    run(scenario)


@pytest.mark.conformance(
    "[sig-api-machinery] Garbage collector should orphan pods created by rc if delete options say "
    "so [Serial] [Conformance]"
)
def test_a_replication_controller_s_orphans() -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.client.create(
            REPLICATIONCONTROLLERS, workload("ReplicationController", "rc", 10)
        )
        await cluster.wait_until(lambda: len(ready_pods(cluster, "rc")) == 10)
        await cluster.client.delete(REPLICATIONCONTROLLERS, "rc", "default", propagation="Orphan")
        await cluster.wait_until(
            lambda: cluster.get(REPLICATIONCONTROLLERS, "rc", "default") is None
        )
        await cluster.advance(30)
        assert len(ready_pods(cluster, "rc")) == 10
        assert not any(owners(p) for p in cluster.list(PODS, "default"))

    run(scenario)


@pytest.mark.conformance(
    "[sig-api-machinery] Garbage collector should not delete dependents that have both valid owner "
    "and owner that's waiting for dependents to be deleted [Serial] [Conformance]"
)
def test_who_has_another_owner_stays() -> None:
    async def scenario(cluster: Cluster) -> None:
        one = workload("ReplicationController", "one", 10)
        two = workload("ReplicationController", "two", 0)
        await cluster.client.create(REPLICATIONCONTROLLERS, one)
        other = await cluster.client.create(REPLICATIONCONTROLLERS, two)
        await cluster.wait_until(lambda: len(ready_pods(cluster, "one")) == 10)
        owner = {
            "apiVersion": "v1",
            "kind": "ReplicationController",
            "name": "two",
            "uid": other["metadata"]["uid"],
        }
        shared = named(ready_pods(cluster, "one"))[:5]
        for name in shared:
            patch = {"metadata": {"ownerReferences": [owner]}}
            await cluster.client.patch(PODS, name, "default", patch, "strategic")
        await cluster.client.delete(
            REPLICATIONCONTROLLERS, "one", "default", propagation="Foreground"
        )
        await cluster.wait_until(
            lambda: cluster.get(REPLICATIONCONTROLLERS, "one", "default") is None, 60
        )
        left = cluster.list(PODS, "default")
        assert sorted(named(left)) == sorted(shared)
        assert all("deletionTimestamp" not in p["metadata"] for p in left)
        assert all(owners(p) == ["two"] for p in left)

    run(scenario)


@pytest.mark.conformance(
    "[sig-api-machinery] Garbage collector should not be blocked by dependency circle [Conformance]"
)
def test_a_circle_of_owners() -> None:
    async def scenario(cluster: Cluster) -> None:
        uids = {}
        for name in ("pod1", "pod2", "pod3"):
            made = await cluster.client.create(PODS, pod(name))
            uids[name] = made["metadata"]["uid"]
        for name, owner in (("pod1", "pod3"), ("pod2", "pod1"), ("pod3", "pod2")):
            reference = {"apiVersion": "v1", "kind": "Pod", "name": owner, "uid": uids[owner]}
            reference |= {"controller": True, "blockOwnerDeletion": True}
            patch = {"metadata": {"ownerReferences": [reference]}}
            await cluster.client.patch(PODS, name, "default", patch, "strategic")
        await cluster.client.delete(PODS, "pod1", "default", propagation="Foreground")
        await cluster.wait_until(lambda: not cluster.list(PODS, "default"), 90)

    run(scenario)


def namespace(name: str, **metadata: object) -> dict:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, **metadata}}


@pytest.mark.conformance(
    "[sig-api-machinery] Namespaces [Serial] should ensure that all pods are removed when a "
    "namespace is deleted [Conformance]",
)
@pytest.mark.conformance(
    "[sig-api-machinery] Namespaces [Serial] should ensure that all services are removed when a "
    "namespace is deleted [Conformance]"
)
def test_a_namespace_takes_everything_with_it() -> None:
    async def scenario(cluster: Cluster) -> None:
        client = cluster.client
        await client.create(NAMESPACES, namespace("ns"))
        await cluster.wait_until(lambda: cluster.list(SERVICEACCOUNTS, "ns"), 5)
        await client.create(DEPLOYMENTS, deployment("web", 2) | {"metadata": {"name": "web"}}, "ns")
        await client.create(PODS, pod("p", metadata={"namespace": "ns"}))
        service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}}
        await client.create(SERVICES, service | {"spec": {"ports": [{"port": 80}]}}, "ns")
        await cluster.wait_until(lambda: len(ready_pods(cluster, "web", "ns")) == 2)
        await client.delete(NAMESPACES, "ns")
        assert (cluster.get(NAMESPACES, "ns") or {})["status"]["phase"] == "Terminating"
        await cluster.wait_until(lambda: cluster.get(NAMESPACES, "ns") is None, 90)
        left = [r for r in TABLE if r.namespaced and r.persisted]
        assert not any(cluster.list(r, "ns") for r in left)
        await client.create(NAMESPACES, namespace("ns"))
        await cluster.wait_until(lambda: cluster.list(CONFIGMAPS, "ns"), 5)
        assert not cluster.list(PODS, "ns") and not cluster.list(SERVICES, "ns")

    run(scenario)


@pytest.mark.conformance(
    "[sig-api-machinery] OrderedNamespaceDeletion namespace deletion should delete pod first "
    "[Conformance]"
)
def test_pods_go_first() -> None:
    async def scenario(cluster: Cluster) -> None:
        client = cluster.client
        await client.create(NAMESPACES, namespace("ns"))
        held = {"namespace": "ns", "finalizers": ["example.com/test"]}
        await cluster.wait_until(lambda: cluster.list(SERVICEACCOUNTS, "ns"), 5)
        await client.create(PODS, pod("p", metadata=held))
        data = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}
        await client.create(CONFIGMAPS, data, "ns")
        await client.delete(NAMESPACES, "ns")
        await cluster.wait_until(
            lambda: "deletionTimestamp" in (cluster.get(PODS, "p", "ns") or {})["metadata"], 30
        )
        await cluster.advance(60)
        assert cluster.get(CONFIGMAPS, "c", "ns") is not None, "while a pod is left"
        await client.patch(PODS, "p", "ns", {"metadata": {"finalizers": None}})
        await cluster.wait_until(lambda: cluster.get(NAMESPACES, "ns") is None, 90)

    run(scenario)


@pytest.mark.conformance(
    "[sig-api-machinery] Namespaces [Serial] should patch a Namespace [Conformance]"
)
@pytest.mark.conformance(
    "[sig-api-machinery] Namespaces [Serial] should apply an update to a Namespace [Conformance]"
)
@pytest.mark.conformance(
    "[sig-api-machinery] Namespaces [Serial] should apply changes to a namespace status "
    "[Conformance]"
)
@pytest.mark.conformance(
    "[sig-api-machinery] Namespaces [Serial] should apply a finalizer to a Namespace [Conformance]"
)
def test_the_changes_that_a_namespace_takes() -> None:
    async def scenario(cluster: Cluster) -> None:
        client = cluster.client
        await client.create(NAMESPACES, namespace("ns"))
        label = {"metadata": {"labels": {"testLabel": "testValue"}}}
        patched = await client.patch(NAMESPACES, "ns", "", label, "strategic")
        assert patched["metadata"]["labels"]["testLabel"] == "testValue"

        def relabel(obj: dict) -> dict:
            obj["metadata"]["labels"]["testLabel"] = "updated"
            return obj

        await client.update(NAMESPACES, "ns", "", relabel)
        read = await client.get(NAMESPACES, "ns")
        assert read["metadata"]["labels"]["testLabel"] == "updated"
        assert read["status"]["phase"] == "Active"

        status = await client.get(NAMESPACES, "ns", subresource="status")
        assert status["status"]["phase"] == "Active"
        kind = {"type": "StatusPatch", "status": "True", "reason": "E2E", "message": "Patched"}
        patch = {"status": {"conditions": [kind]}}
        patched = await client.patch(NAMESPACES, "ns", "", patch, subresource="status")
        assert patched["status"]["conditions"][0]["reason"] == "E2E"

        def update(obj: dict) -> dict:
            obj["status"]["conditions"].append({**kind, "type": "StatusUpdate"})
            return obj

        updated = await client.update(NAMESPACES, "ns", "", update, "status")
        assert [c["type"] for c in updated["status"]["conditions"]] == [
            "StatusPatch",
            "StatusUpdate",
        ]

        finalizer = "e2e.example.com/fakeFinalizer"

        def add(obj: dict) -> dict:
            obj["spec"]["finalizers"].append(finalizer)
            return obj

        def take(obj: dict) -> dict:
            obj["spec"]["finalizers"].remove(finalizer)
            return obj

        held = await client.update(NAMESPACES, "ns", "", add, "finalize")
        assert held["spec"]["finalizers"] == ["kubernetes", finalizer]
        freed = await client.update(NAMESPACES, "ns", "", take, "finalize")
        assert freed["spec"]["finalizers"] == ["kubernetes"]

    run(scenario, nodes=0)


def test_objects_of_a_deleted_namespace_s_owner_in_another_place_stay() -> None:
    """An owner is looked for in the dependent's namespace only; one of a wrong uid is no owner."""

    async def scenario(cluster: Cluster) -> None:
        reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "nobody", "uid": "0"}
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "s", "namespace": "default", "ownerReferences": [reference]},
        }
        await cluster.client.create(SECRETS, secret)
        await cluster.wait_until(lambda: cluster.get(SECRETS, "s", "default") is None, 60)

    run(scenario, nodes=0)
