"""Nodes that fall silent, that are tainted, that come back and that go."""

import pytest

from skiff.api.resources import DEPLOYMENTS, LEASES, NODES, PODS
from skiff.testing.cluster import Cluster
from tests.cluster.world import (
    condition,
    deployment,
    events,
    is_ready,
    pod,
    ready_pods,
    rolled_out,
    run,
)

UNREACHABLE = "node.kubernetes.io/unreachable"


def taints(cluster: Cluster, name: str) -> set[tuple[str, str]]:
    node = cluster.get(NODES, name) or {}
    return {(t["key"], t["effect"]) for t in node["spec"].get("taints") or ()}


def short(seconds: int) -> dict[str, object]:
    keys = ("node.kubernetes.io/not-ready", UNREACHABLE)
    return {
        "tolerations": [
            {"key": k, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds}
            for k in keys
        ]
    }


def test_leases_are_renewed() -> None:
    async def scenario(cluster: Cluster) -> None:
        def renewed() -> str:
            return str(
                (cluster.get(LEASES, "node-1", "kube-node-lease") or {})["spec"]["renewTime"]
            )

        before = renewed()
        await cluster.advance(11)
        after = renewed()
        assert after > before
        await cluster.advance(600)
        assert is_ready(cluster.get(NODES, "node-1") or {})

    run(scenario, nodes=1)


def test_a_silent_node_is_tainted_and_its_pods_go_elsewhere() -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.client.create(DEPLOYMENTS, deployment("web", 4, pods=short(30)))
        await cluster.wait_until(lambda: rolled_out(cluster, "web"))
        there = [p for p in ready_pods(cluster, "web") if p["spec"]["nodeName"] == "node-1"]
        assert there
        died = cluster.clock.monotonic()
        await cluster.kill("node-1")

        def ready() -> str:
            return str(condition(cluster.get(NODES, "node-1"), "Ready")["status"])

        await cluster.wait_until(lambda: ready() == "Unknown", 60)
        assert 30 <= cluster.clock.monotonic() - died <= 55, "40 s after the last sign of life"
        found = condition(cluster.get(NODES, "node-1"), "Ready")
        assert found["reason"] == "NodeStatusUnknown"
        assert found["message"] == "Kubelet stopped posting node status."
        await cluster.wait_until(
            lambda: (
                {(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")}
                <= taints(cluster, "node-1")
            ),
            10,
        )
        assert not any(
            is_ready(p) for p in cluster.list(PODS, "default") if p["spec"]["nodeName"] == "node-1"
        )
        tainted = cluster.clock.monotonic()
        await cluster.wait_until(lambda: len(ready_pods(cluster, "web")) == 4, 60)
        assert 28 <= cluster.clock.monotonic() - tainted <= 40, "after tolerationSeconds"
        assert {p["spec"]["nodeName"] for p in ready_pods(cluster, "web")} == {"node-2"}

        # The old pods' objects stay until their node is heard of again.
        old = [p for p in cluster.list(PODS, "default") if p["spec"]["nodeName"] == "node-1"]
        assert old and all("deletionTimestamp" in p["metadata"] for p in old)
        await cluster.start("node-1")
        await cluster.wait_until(lambda: is_ready(cluster.get(NODES, "node-1") or {}), 30)
        await cluster.wait_until(lambda: not taints(cluster, "node-1"), 30)
        await cluster.wait_until(lambda: len(cluster.list(PODS, "default")) == 4, 60)

    run(scenario)


def test_a_node_that_comes_back_in_time_keeps_its_pods() -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.client.create(DEPLOYMENTS, deployment("web", 4))
        await cluster.wait_until(lambda: rolled_out(cluster, "web"))
        before = {p["metadata"]["uid"] for p in ready_pods(cluster, "web")}
        restarts = [
            p["status"]["containerStatuses"][0]["restartCount"] for p in ready_pods(cluster, "web")
        ]
        await cluster.kill("node-1")
        await cluster.advance(120)
        assert (UNREACHABLE, "NoExecute") in taints(cluster, "node-1")
        await cluster.start("node-1")
        await cluster.wait_until(lambda: rolled_out(cluster, "web"), 60)
        await cluster.advance(400)
        assert {p["metadata"]["uid"] for p in ready_pods(cluster, "web")} == before
        assert restarts == [0, 0, 0, 0]

    run(scenario)


def taint(key: str, effect: str) -> dict[str, object]:
    return {"spec": {"taints": [{"key": key, "value": "evict", "effect": effect}]}}


def tolerating(name: str, seconds: int | None, **spec: object) -> dict:
    toleration = {"key": "evict", "operator": "Exists", "effect": "NoExecute"}
    if seconds is not None:
        toleration["tolerationSeconds"] = seconds
    return pod(name, tolerations=[toleration], **spec)


async def running(cluster: Cluster, *names: str) -> None:
    await cluster.wait_until(
        lambda: all(is_ready(cluster.get(PODS, n, "default") or {}) for n in names), 30
    )


@pytest.mark.conformance(
    "[sig-node] NoExecuteTaintManager Single Pod [Serial] removing taint cancels eviction "
    "[Disruptive] [Conformance]"
)
def test_a_taint_that_is_taken_off_in_time_evicts_nobody() -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.client.create(PODS, tolerating("p", 60))
        await running(cluster, "p")
        await cluster.client.patch(NODES, "node-1", "", taint("evict", "NoExecute"), "strategic")
        await cluster.advance(30)
        await cluster.client.patch(NODES, "node-1", "", {"spec": {"taints": None}})
        await cluster.advance(120)
        survivor = cluster.get(PODS, "p", "default") or {}
        assert is_ready(survivor) and "deletionTimestamp" not in survivor["metadata"]

    run(scenario, nodes=1)


@pytest.mark.conformance(
    "[sig-node] NoExecuteTaintManager Multiple Pods [Serial] evicts pods with minTolerationSeconds "
    "[Disruptive] [Conformance]"
)
def test_pods_are_evicted_when_their_toleration_ends() -> None:
    async def scenario(cluster: Cluster) -> None:
        for name, seconds in (("none", 0), ("short", 20), ("long", 90), ("ever", None)):
            await cluster.client.create(PODS, tolerating(name, seconds))
        await running(cluster, "none", "short", "long", "ever")
        await cluster.client.patch(NODES, "node-1", "", taint("evict", "NoExecute"), "strategic")
        gone: dict[str, float] = {}
        start = cluster.clock.monotonic()

        def all_gone() -> bool:
            for name in ("none", "short", "long"):
                now = cluster.get(PODS, name, "default")
                if name not in gone and (now is None or "deletionTimestamp" in now["metadata"]):
                    gone[name] = cluster.clock.monotonic() - start
            return len(gone) == 3

        await cluster.wait_until(all_gone, 120)
        assert gone["none"] < 2
        assert 20 <= gone["short"] < 22
        assert 90 <= gone["long"] < 92
        await cluster.advance(300)
        assert is_ready(cluster.get(PODS, "ever", "default") or {})
        assert "Marking for deletion Pod default/short" in events(
            cluster, "TaintManagerEviction", "short"
        )

    run(scenario, nodes=1)


def test_a_deleted_node_s_pods_go() -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.client.create(DEPLOYMENTS, deployment("web", 4))
        await cluster.wait_until(lambda: rolled_out(cluster, "web"))
        await cluster.kill("node-1")
        await cluster.client.delete(NODES, "node-1")
        await cluster.wait_until(
            lambda: (
                {p["spec"].get("nodeName") for p in cluster.list(PODS, "default")} == {"node-2"}
            ),
            120,
        )
        await cluster.wait_until(lambda: len(ready_pods(cluster, "web")) == 4, 5)

    run(scenario)


def test_a_node_that_registers_anew_is_used_again() -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.kill("node-1")
        await cluster.client.delete(NODES, "node-1")
        await cluster.advance(60)
        await cluster.start("node-1")
        await cluster.wait_until(lambda: not taints(cluster, "node-1"), 60)
        await cluster.client.create(PODS, pod("p"))
        await running(cluster, "p")

    run(scenario, nodes=1)


def test_every_node_gets_its_own_addresses() -> None:
    async def scenario(cluster: Cluster) -> None:
        nodes = [cluster.get(NODES, f"node-{i}") or {} for i in (1, 2, 3)]
        ranges = [n["spec"]["podCIDR"] for n in nodes]
        assert len(set(ranges)) == 3
        await cluster.client.create(DEPLOYMENTS, deployment("web", 9))
        await cluster.wait_until(lambda: rolled_out(cluster, "web"))
        by_name = {n["metadata"]["name"]: n["spec"]["podCIDR"] for n in nodes}
        for p in ready_pods(cluster, "web"):
            prefix = by_name[p["spec"]["nodeName"]].rsplit(".", 1)[0]
            assert p["status"]["podIP"].startswith(prefix + ".")

    run(scenario, nodes=3)
