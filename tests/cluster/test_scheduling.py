"""The scheduler in a cluster: what it binds, what it says where it cannot, whom it evicts."""

from typing import Any

import pytest

from skiff.api.errors import Invalid
from skiff.api.resources import (
    NODES,
    PERSISTENTVOLUMECLAIMS,
    PERSISTENTVOLUMES,
    PODDISRUPTIONBUDGETS,
    PODS,
    PRIORITYCLASSES,
    REPLICASETS,
    STORAGECLASSES,
)
from skiff.testing.cluster import Cluster
from tests.cluster.world import condition, events, is_ready, named, pod, run, workload

SMALL = {"cpu": "1", "memory": "2Gi"}
HELPLESS = (
    "no new claims to deallocate, preemption: 0/1 nodes are available: "
    "1 Preemption is not helpful for scheduling."
)


def node_of(cluster: Cluster, name: str) -> str:
    return str((cluster.get(PODS, name, "default") or {}).get("spec", {}).get("nodeName", ""))


async def running(cluster: Cluster, *names: str, timeout_s: float = 60.0) -> None:
    def check() -> bool:
        return all(
            (p := cluster.get(PODS, n, "default")) is not None and is_ready(p) for n in names
        )

    await cluster.wait_until(check, timeout_s)


async def refused(cluster: Cluster, name: str) -> str:
    """The message of the condition PodScheduled=False, once it is there."""

    def message() -> str:
        found = condition(cluster.get(PODS, name, "default"), "PodScheduled")
        return str(found.get("message", "")) if found.get("status") == "False" else ""

    return await cluster.wait_until(message, 10)


def priority_class(name: str, value: int, **more: Any) -> dict[str, Any]:
    kind = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass"}
    return {**kind, "metadata": {"name": name}, "value": value, **more}


def test_a_pod_is_bound_and_it_is_told() -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.client.create(PODS, pod("p"))
        await running(cluster, "p")
        node = node_of(cluster, "p")
        assert condition(cluster.get(PODS, "p", "default"), "PodScheduled")["status"] == "True"
        await cluster.advance(1)
        assert events(cluster, "Scheduled") == [f"Successfully assigned default/p to {node}"]

    run(scenario)


@pytest.mark.conformance(
    "[sig-scheduling] SchedulerPredicates [Serial] validates resource limits of pods that are "
    "allowed to run [Conformance]"
)
def test_a_pod_that_does_not_fit_is_told_in_kubernetes_words() -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.client.create(PODS, pod("first", requests={"cpu": "900m"}))
        await running(cluster, "first")
        await cluster.client.create(PODS, pod("second", requests={"cpu": "900m"}))
        expected = (
            "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: "
            "0/1 nodes are available: 1 No preemption victims found for incoming pod."
        )
        assert await refused(cluster, "second") == expected
        found = condition(cluster.get(PODS, "second", "default"), "PodScheduled")
        assert found["reason"] == "Unschedulable"
        await cluster.advance(1)
        assert events(cluster, "FailedScheduling", "second") == [expected]
        assert (cluster.get(PODS, "second", "default") or {})["status"]["phase"] == "Pending"

        # Larger than the node: no eviction could help.
        await cluster.client.create(PODS, pod("third", requests={"cpu": "5"}))
        assert await refused(cluster, "third") == (
            f"0/1 nodes are available: 1 Insufficient cpu. {HELPLESS}"
        )

        # Room that becomes free is used.
        await cluster.client.delete(PODS, "first", "default")
        await running(cluster, "second")

    run(scenario, nodes=1, capacity=SMALL)


def test_without_nodes_a_pod_waits_until_one_comes() -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.client.create(PODS, pod("p"))
        assert await refused(cluster, "p") == "no nodes available to schedule pods"
        await cluster.add_node("late")
        await running(cluster, "p")
        assert node_of(cluster, "p") == "late"

    run(scenario, nodes=0)


@pytest.mark.conformance(
    "[sig-scheduling] SchedulerPredicates [Serial] validates that NodeSelector is respected if "
    "matching [Conformance]"
)
def test_a_node_selector_that_matches() -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.client.patch(NODES, "node-2", "", {"metadata": {"labels": {"k": "v"}}})
        for i in range(4):
            await cluster.client.create(PODS, pod(f"p{i}", nodeSelector={"k": "v"}))
        await running(cluster, "p0", "p1", "p2", "p3")
        assert {node_of(cluster, f"p{i}") for i in range(4)} == {"node-2"}

    run(scenario)


@pytest.mark.conformance(
    "[sig-scheduling] SchedulerPredicates [Serial] validates that NodeSelector is respected if "
    "not matching [Conformance]"
)
def test_a_node_selector_that_does_not_match_until_a_node_is_labelled() -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.client.create(PODS, pod("p", nodeSelector={"label": "nonempty"}))
        assert await refused(cluster, "p") == (
            "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. "
            + HELPLESS
        )
        await cluster.advance(60)
        assert not node_of(cluster, "p")
        labels = {"metadata": {"labels": {"label": "nonempty"}}}
        await cluster.client.patch(NODES, "node-1", "", labels)
        await running(cluster, "p", timeout_s=11)

    run(scenario, nodes=1)


@pytest.mark.conformance(
    "[sig-scheduling] SchedulerPredicates [Serial] validates that there exists conflict between "
    "pods with same hostPort and protocol but one using 0.0.0.0 hostIP [Conformance]"
)
def test_host_ports_conflict_with_the_wildcard_address() -> None:
    def with_port(name: str, address: str) -> dict[str, Any]:
        port = {"containerPort": 8080, "hostPort": 54322, "hostIP": address}
        return pod(name, container={"ports": [port]})

    async def scenario(cluster: Cluster) -> None:
        await cluster.client.create(PODS, with_port("any", "0.0.0.0"))
        await running(cluster, "any")
        await cluster.client.create(PODS, with_port("one", "192.0.2.11"))
        assert "1 node(s) didn't have free ports for the requested pod ports" in await refused(
            cluster, "one"
        )
        await cluster.advance(300)
        assert not node_of(cluster, "one")

    run(scenario, nodes=1)


def test_a_cordoned_node_takes_nothing_until_it_is_let_again() -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.client.patch(NODES, "node-1", "", {"spec": {"unschedulable": True}})
        await cluster.wait_until(lambda: (cluster.get(NODES, "node-1") or {})["spec"].get("taints"))
        await cluster.client.create(PODS, pod("p"))
        assert "1 node(s) were unschedulable" in await refused(cluster, "p")
        await cluster.client.patch(NODES, "node-1", "", {"spec": {"unschedulable": None}})
        await running(cluster, "p")

    run(scenario, nodes=1)


def test_gates_hold_a_pod_back() -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.client.create(PODS, pod("p", schedulingGates=[{"name": "example.com/wait"}]))
        await cluster.advance(60)
        held = condition(cluster.get(PODS, "p", "default"), "PodScheduled")
        assert held["reason"] == "SchedulingGated"
        assert held["message"] == "Scheduling is blocked due to non-empty scheduling gates"
        assert not events(cluster, "FailedScheduling")
        await cluster.client.patch(PODS, "p", "default", {"spec": {"schedulingGates": None}})
        await running(cluster, "p")

    run(scenario, nodes=1)


def test_another_scheduler_s_pods_are_left_alone() -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.client.create(PODS, pod("p", schedulerName="other"))
        await cluster.advance(60)
        assert not node_of(cluster, "p")
        assert not condition(cluster.get(PODS, "p", "default"), "PodScheduled")

    run(scenario, nodes=1)


def test_the_more_important_goes_first() -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.client.patch(NODES, "node-1", "", {"spec": {"unschedulable": True}})
        await cluster.client.create(PRIORITYCLASSES, priority_class("high", 1000))
        for name in ("low", "high"):
            spec = {"priorityClassName": "high"} if name == "high" else {}
            await cluster.client.create(PODS, pod(name, requests={"cpu": "900m"}, **spec))
            await refused(cluster, name)
        await cluster.client.patch(NODES, "node-1", "", {"spec": {"unschedulable": None}})
        await running(cluster, "high")
        assert not node_of(cluster, "low")

    run(scenario, nodes=1, capacity=SMALL)


@pytest.mark.conformance(
    "[sig-scheduling] SchedulerPreemption [Serial] validates basic preemption works [Conformance]"
)
def test_a_lower_pod_makes_room() -> None:
    async def scenario(cluster: Cluster) -> None:
        for name, value in (("low", 1), ("medium", 100), ("high", 1000)):
            await cluster.client.create(PRIORITYCLASSES, priority_class(name, value))
        share = {"requests": {"cpu": "600m"}}
        await cluster.client.create(PODS, pod("low", **share, priorityClassName="low"))
        await running(cluster, "low")
        await cluster.client.create(PODS, pod("medium", **share, priorityClassName="medium"))
        await running(cluster, "low", "medium")
        await cluster.client.create(PODS, pod("high", **share, priorityClassName="high"))
        await running(cluster, "high")
        assert cluster.get(PODS, "low", "default") is None
        assert cluster.get(PODS, "medium", "default") is not None
        uid = (cluster.get(PODS, "high", "default") or {})["metadata"]["uid"]
        node = node_of(cluster, "high")
        await cluster.advance(1)
        assert events(cluster, "Preempted", "low") == [f"Preempted by pod {uid} on node {node}"]
        assert events(cluster, "FailedScheduling", "high") == [
            "0/2 nodes are available: 2 Insufficient cpu."
        ]

    run(scenario, nodes=2, capacity=SMALL)


@pytest.mark.conformance(
    "[sig-scheduling] SchedulerPreemption [Serial] validates lower priority pod preemption by "
    "critical pod [Conformance]"
)
def test_a_critical_pod_gets_room() -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.client.create(PRIORITYCLASSES, priority_class("low", 1))
        share = {"requests": {"cpu": "600m"}}
        await cluster.client.create(PODS, pod("low", **share, priorityClassName="low"))
        await running(cluster, "low")
        critical = pod(
            "critical",
            **share,
            metadata={"namespace": "kube-system"},
            priorityClassName="system-cluster-critical",
        )
        await cluster.client.create(PODS, critical)
        await cluster.wait_until(
            lambda: is_ready(cluster.get(PODS, "critical", "kube-system") or {}), 60
        )
        assert cluster.get(PODS, "low", "default") is None

    run(scenario, nodes=1, capacity=SMALL)


@pytest.mark.conformance(
    "[sig-scheduling] SchedulerPreemption [Serial] validates pod disruption condition is added to "
    "the preempted pod [Conformance]"
)
def test_a_preempted_pod_says_so() -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.client.create(PRIORITYCLASSES, priority_class("high", 1000))
        kept = {"finalizers": ["example.com/test"]}
        await cluster.client.create(PODS, pod("victim", requests={"cpu": "900m"}, metadata=kept))
        await running(cluster, "victim")
        await cluster.client.create(
            PODS, pod("high", requests={"cpu": "900m"}, priorityClassName="high")
        )

        def disrupted() -> dict[str, Any]:
            return condition(cluster.get(PODS, "victim", "default"), "DisruptionTarget")

        await cluster.wait_until(disrupted, 30)
        assert disrupted()["status"] == "True"
        assert disrupted()["reason"] == "PreemptionByScheduler"
        assert disrupted()["message"] == (
            "default-scheduler: preempting to accommodate a higher priority pod"
        )
        waiting = cluster.get(PODS, "high", "default") or {}
        assert waiting["status"]["nominatedNodeName"] == "node-1"
        await cluster.client.patch(PODS, "victim", "default", {"metadata": {"finalizers": None}})
        await running(cluster, "high")
        assert cluster.get(PODS, "victim", "default") is None
        bound = cluster.get(PODS, "high", "default") or {}
        assert "nominatedNodeName" not in bound["status"]

    run(scenario, nodes=1, capacity=SMALL)


def test_a_disruption_budget_directs_preemption_elsewhere() -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.client.create(PRIORITYCLASSES, priority_class("high", 1000))
        budget = {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": "guard", "namespace": "default"},
            "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "guarded"}}},
        }
        await cluster.client.create(PODDISRUPTIONBUDGETS, budget)
        # To the scheduler, a budget that selects everything guards nothing.
        everything = {"metadata": {"name": "all", "namespace": "default"}}
        spec = {"spec": {"minAvailable": 2, "selector": {}}}
        await cluster.client.create(PODDISRUPTIONBUDGETS, budget | everything | spec)
        share = {"requests": {"cpu": "900m"}}
        for app in ("free", "guarded"):  # of equals, the younger one would go
            await cluster.client.create(PODS, pod(app, **share, labels={"app": app}))
            await running(cluster, app)
            await cluster.advance(5)
        await cluster.client.create(PODS, pod("high", **share, priorityClassName="high"))
        await running(cluster, "high")
        assert cluster.get(PODS, "free", "default") is None
        assert cluster.get(PODS, "guarded", "default") is not None

    run(scenario, nodes=2, capacity=SMALL)


def test_a_promised_node_that_is_lost_is_not_waited_for() -> None:
    """The victim there is still going when the node is cordoned."""

    async def scenario(cluster: Cluster) -> None:
        for level, value in (("low", 1), ("middle", 100), ("high", 1000)):
            await cluster.client.create(PRIORITYCLASSES, priority_class(level, value))
        share = {"requests": {"cpu": "900m"}}
        for level in ("low", "middle"):
            await cluster.client.create(PODS, pod(level, **share, priorityClassName=level))
            await running(cluster, level)
        promised, other = node_of(cluster, "low"), node_of(cluster, "middle")
        await cluster.kill(promised)
        await cluster.client.create(PODS, pod("high", **share, priorityClassName="high"))

        def nominated() -> str:
            found = cluster.get(PODS, "high", "default") or {}
            return str(found.get("status", {}).get("nominatedNodeName", ""))

        assert await cluster.wait_until(nominated, 10) == promised
        await cluster.client.patch(NODES, promised, "", {"spec": {"unschedulable": True}})
        await cluster.client.patch(NODES, other, "", {"metadata": {"labels": {"look": "again"}}})
        await running(cluster, "high", timeout_s=400)
        assert node_of(cluster, "high") == other
        assert cluster.get(PODS, "middle", "default") is None
        left = cluster.get(PODS, "low", "default") or {}
        assert "deletionTimestamp" in left["metadata"]

    run(scenario, nodes=2, capacity=SMALL)


def test_preemption_keeps_to_the_spreading_that_is_asked_for() -> None:
    """One victim would give the room, two are needed for the skew."""

    async def scenario(cluster: Cluster) -> None:
        resource = "example.com/fake"
        for name, value in (("low", 1), ("medium", 100), ("high", 1000)):
            await cluster.client.create(PRIORITYCLASSES, priority_class(name, value))
        amounts = {"capacity": {resource: "10"}, "allocatable": {resource: "10"}}
        for name in ("node-1", "node-2"):
            labels = {"metadata": {"labels": {"slot": name}}}
            await cluster.client.patch(NODES, name, "", labels)
            await cluster.client.patch(NODES, name, "", {"status": amounts}, "merge", "status")

        async def placed(name: str, level: str, amount: str, **more: Any) -> None:
            share = {resource: amount}
            body = pod(
                name, labels={"group": "x"}, requests=share, limits=share,
                priorityClassName=level, terminationGracePeriodSeconds=0, **more,
            )  # fmt: skip
            await cluster.client.create(PODS, body)
            await running(cluster, name)

        await placed("high", "high", "9")
        for index in range(3):
            await placed(f"low-{index}", "low", "3")
        spread = {
            "maxSkew": 1,
            "topologyKey": "slot",
            "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"group": "x"}},
        }
        await placed("medium", "medium", "3", topologySpreadConstraints=[spread])
        left = sorted(
            p["metadata"]["name"].partition("-")[0] for p in cluster.list(PODS, "default")
        )
        assert left == ["high", "low", "medium"]

    run(scenario)


@pytest.mark.conformance(
    "[sig-scheduling] SchedulerPreemption [Serial] PreemptionExecutionPath runs ReplicaSets to "
    "verify preemption running path [Conformance]"
)
def test_replica_sets_of_four_priorities() -> None:
    async def scenario(cluster: Cluster) -> None:
        fakecpu = {"example.com/fakecpu": "1000"}
        status = {"status": {"capacity": fakecpu, "allocatable": fakecpu}}
        await cluster.client.patch(NODES, "node-1", "", status, "strategic", "status")
        for level in range(1, 5):
            await cluster.client.create(PRIORITYCLASSES, priority_class(f"p{level}", level))

        def replica_set(level: int, count: int, share: str) -> dict[str, Any]:
            amount = {"example.com/fakecpu": share}
            pods = {"requests": amount, "limits": amount, "priorityClassName": f"p{level}"}
            return workload("ReplicaSet", f"rs-{level}", count, pods=pods)

        async def available(level: int, count: int) -> None:
            def check() -> bool:
                rs = cluster.get(REPLICASETS, f"rs-{level}", "default") or {}
                return rs["status"].get("availableReplicas", 0) == count

            await cluster.wait_until(check, 60)

        for level, count, share in ((1, 5, "40"), (2, 4, "50"), (3, 4, "95")):
            await cluster.client.create(REPLICASETS, replica_set(level, count, share))
            await available(level, count)
        await cluster.client.create(REPLICASETS, replica_set(4, 1, "400"))
        await available(4, 1)
        await cluster.advance(30)
        # 400 are taken by the fourth, 380 by the third, 200 by the second: the first are left out.
        for level, count in ((1, 0), (2, 4), (3, 4), (4, 1)):
            await available(level, count)
        assert len(cluster.list(PODS, "default")) == 14, "the first are replaced, and wait"

    run(scenario, nodes=1)


@pytest.mark.conformance(
    "[sig-scheduling] SchedulerPreemption [Serial] PriorityClass endpoints verify PriorityClass "
    "endpoints can be operated with different HTTP methods [Conformance]"
)
def test_priority_classes_change_only_in_words() -> None:
    async def scenario(cluster: Cluster) -> None:
        client = cluster.client
        for name, value in (("p1", 1), ("p2", 2)):
            await client.create(PRIORITYCLASSES, priority_class(name, value))
        body = (await client.raw_get(PRIORITYCLASSES.path())).body
        assert b'"name":"p1"' in body and b'"name":"p2"' in body
        words = {"description": "updated"}
        assert (await client.patch(PRIORITYCLASSES, "p1", "", words))["description"] == "updated"
        obj = await client.get(PRIORITYCLASSES, "p2")
        assert (await client.replace(PRIORITYCLASSES, obj | words))["description"] == "updated"
        with pytest.raises(Invalid, match="may not be changed in an update"):
            await client.patch(PRIORITYCLASSES, "p1", "", {"value": 9})
        with pytest.raises(Invalid, match="may not be changed in an update"):
            obj = await client.get(PRIORITYCLASSES, "p2")
            await client.replace(PRIORITYCLASSES, obj | {"value": 9})

    run(scenario, nodes=0)


class TestVolumes:
    def claim(self, **spec: Any) -> dict[str, Any]:
        return {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "data", "namespace": "default"},
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "1Gi"}},
                "storageClassName": "local",
                **spec,
            },
        }

    def volume(self, node: str) -> dict[str, Any]:
        host = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
        return {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": "disk"},
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "capacity": {"storage": "1Gi"},
                "storageClassName": "local",
                "hostPath": {"path": "/data"},
                "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [host]}]}},
            },
        }

    def uses(self) -> dict[str, Any]:
        volume = {"name": "v", "persistentVolumeClaim": {"claimName": "data"}}
        return pod("p", volumes=[volume])

    def test_a_pod_waits_for_its_claim_and_goes_where_the_volume_is(self) -> None:
        async def scenario(cluster: Cluster) -> None:
            def words(reason: str) -> str:
                return (
                    f"0/2 nodes are available: {reason}. no new claims to deallocate, preemption: "
                    "0/2 nodes are available: 2 Preemption is not helpful for scheduling."
                )

            await cluster.client.create(PODS, self.uses())
            expected = words('persistentvolumeclaim "data" not found')
            assert await refused(cluster, "p") == expected
            await cluster.client.create(PERSISTENTVOLUMECLAIMS, self.claim())
            expected = words("pod has unbound immediate PersistentVolumeClaims")
            assert await cluster.wait_until(lambda: self.told(cluster, expected), 15)
            await cluster.client.create(PERSISTENTVOLUMES, self.volume("node-2"))
            await cluster.wait_until(lambda: node_of(cluster, "p"), 15)
            assert node_of(cluster, "p") == "node-2"

        run(scenario)

    def told(self, cluster: Cluster, words: str) -> bool:
        found = condition(cluster.get(PODS, "p", "default"), "PodScheduled")
        return bool(found.get("message") == words)

    @pytest.mark.parametrize("provisioner", ["kubernetes.io/no-provisioner", "csi.example.com"])
    def test_a_claim_that_waits_for_its_consumer(self, provisioner: str) -> None:
        async def scenario(cluster: Cluster) -> None:
            local = {
                "apiVersion": "storage.k8s.io/v1",
                "kind": "StorageClass",
                "metadata": {"name": "local"},
                "provisioner": provisioner,
                "volumeBindingMode": "WaitForFirstConsumer",
            }
            await cluster.client.create(STORAGECLASSES, local)
            await cluster.client.create(PERSISTENTVOLUMECLAIMS, self.claim())
            static = provisioner == "kubernetes.io/no-provisioner"
            if static:
                await cluster.client.create(PERSISTENTVOLUMES, self.volume("node-2"))
            await cluster.client.create(PODS, self.uses())

            def chosen() -> str:
                if static:
                    spec = (cluster.get(PERSISTENTVOLUMES, "disk") or {})["spec"]
                    return str((spec.get("claimRef") or {}).get("name", ""))
                meta = (cluster.get(PERSISTENTVOLUMECLAIMS, "data", "default") or {})["metadata"]
                selected = "volume.kubernetes.io/selected-node"
                return str((meta.get("annotations") or {}).get(selected, ""))

            found = await cluster.wait_until(chosen, 15)
            if not static:
                await cluster.advance(30)
                assert not node_of(cluster, "p"), "not before the claim is bound"
                # What makes volumes names the claim on the new one.
                made = self.volume(found)
                made["spec"]["claimRef"] = {"namespace": "default", "name": "data"}
                await cluster.client.create(PERSISTENTVOLUMES, made)
            await cluster.wait_until(lambda: node_of(cluster, "p"), 15)
            assert node_of(cluster, "p") == ("node-2" if static else found)

        run(scenario)


def test_pods_that_other_pods_attract_follow_them() -> None:
    async def scenario(cluster: Cluster) -> None:
        term = {
            "labelSelector": {"matchLabels": {"app": "db"}},
            "topologyKey": "kubernetes.io/hostname",
        }
        rule = "requiredDuringSchedulingIgnoredDuringExecution"
        await cluster.client.create(PODS, pod("fan", affinity={"podAffinity": {rule: [term]}}))
        assert "2 node(s) didn't match pod affinity rules" in await refused(cluster, "fan")
        await cluster.advance(20)
        await cluster.client.create(PODS, pod("db", labels={"app": "db"}))
        await running(cluster, "db", "fan", timeout_s=5)
        assert node_of(cluster, "db") == node_of(cluster, "fan")

    run(scenario)


def test_a_restarted_scheduler_knows_what_is_where() -> None:
    async def scenario(cluster: Cluster) -> None:
        for i in range(2):
            await cluster.client.create(PODS, pod(f"p{i}", requests={"cpu": "600m"}))
        await running(cluster, "p0", "p1")
        await cluster.restart("scheduler")
        await cluster.client.create(PODS, pod("p2", requests={"cpu": "600m"}))
        assert "2 Insufficient cpu" in await refused(cluster, "p2")
        assert set(named(cluster.list(PODS, "default"))) == {"p0", "p1", "p2"}

    run(scenario, capacity=SMALL)
