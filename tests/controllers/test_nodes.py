"""Nodes: silence, taints, eviction, pod ranges, pods left behind."""

import pytest

from skiff.aio.clock import rfc3339_micro
from skiff.api.errors import NotFound
from skiff.api.resources import LEASES, NAMESPACES, NODES, PODS
from skiff.api.views.core import Taint, Toleration
from skiff.controllers.context import Options
from skiff.controllers.nodes.eviction import eviction_in_s
from skiff.controllers.nodes.ipam import Exhausted, Ranges
from skiff.controllers.nodes.ttl import ANNOTATION
from tests.controllers.world import EPOCH, Object, World, node, run, template

NOT_READY = "node.kubernetes.io/not-ready"


@pytest.mark.parametrize(
    ("tolerations", "expected"),
    [
        ([], 0.0),
        ([Toleration(operator="Exists")], None),
        ([Toleration(key=NOT_READY, operator="Exists", effect="NoExecute")], None),
        ([Toleration(key=NOT_READY, operator="Exists", toleration_seconds=300)], 290.0),
        ([Toleration(key=NOT_READY, operator="Exists", toleration_seconds=5)], 0.0),
        ([Toleration(key="other", operator="Exists")], 0.0),
        ([Toleration(key=NOT_READY, operator="Exists", effect="NoSchedule")], 0.0),
        ([Toleration(key=NOT_READY, value="x")], 0.0),
        ([Toleration(key=NOT_READY, value="")], None),
        # Of several that match, the first counts.
        (
            [
                Toleration(operator="Exists"),
                Toleration(key=NOT_READY, operator="Exists", toleration_seconds=300),
            ],
            None,
        ),
    ],
)
def test_when_a_pod_must_leave(tolerations, expected) -> None:
    taint = Taint(key=NOT_READY, effect="NoExecute", time_added="2023-11-14T22:13:20Z")
    assert eviction_in_s([taint], tolerations, EPOCH + 10, EPOCH + 10) == expected


def test_ranges_are_given_once_and_again_late() -> None:
    ranges = Ranges("10.0.0.0/22", 24)
    assert ranges.occupy("10.0.1.0/24", "b")
    assert not ranges.occupy("10.9.0.0/24", "x")
    assert not ranges.occupy("10.0.1.0/24", "c")
    assert [ranges.allocate(n) for n in "acd"] == ["10.0.0.0/24", "10.0.2.0/24", "10.0.3.0/24"]
    with pytest.raises(Exhausted):
        ranges.allocate("e")
    ranges.release("c")
    assert ranges.allocate("e") == "10.0.2.0/24"


def lease(name: str) -> Object:
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name, "namespace": "kube-node-lease"},
        "spec": {"holderIdentity": name, "leaseDurationSeconds": 40},
    }


async def renew(world: World, name: str) -> None:
    patch = {"spec": {"renewTime": rfc3339_micro(world.clock.now())}}
    await world.client.patch(LEASES, name, "kube-node-lease", patch)


async def ensure_lease_namespace(world: World) -> None:
    try:
        await world.client.get(NAMESPACES, "kube-node-lease")
    except NotFound:
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kube-node-lease"}}
        await world.client.create(NAMESPACES, body)


def pod(name: str, node_name: str, **spec) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": template({})["spec"] | {"nodeName": node_name} | spec,
    }


def test_a_silent_node_becomes_unknown_tainted_and_loses_its_pods() -> None:
    async def test(world: World) -> None:
        client = world.client
        await ensure_lease_namespace(world)
        for name in ("well", "sick"):
            await client.create(NODES, node(name))
            await client.create(LEASES, lease(name), "kube-node-lease")
        brief = [{"key": "node.kubernetes.io/unreachable", "operator": "Exists",
                  "effect": "NoExecute", "tolerationSeconds": 30}]  # fmt: skip
        await client.create(PODS, pod("p", "sick", tolerations=brief), "default")
        ready = {"conditions": [{"type": "Ready", "status": "True"}], "phase": "Running"}
        await client.patch(PODS, "p", "default", {"status": ready}, subresource="status")
        for _ in range(3):
            await world.clock.sleep(10)
            await renew(world, "well")
            await renew(world, "sick")
        silent_from = world.clock.monotonic()

        async def unknown():
            await renew(world, "well")
            found = await client.get(NODES, "sick")
            (condition,) = [c for c in found["status"]["conditions"] if c["type"] == "Ready"]
            return condition["status"] == "Unknown" and condition

        condition = await world.until(unknown, 100, every_s=0.5)
        assert 39 <= world.clock.monotonic() - silent_from <= 42
        assert condition["reason"] == "NodeStatusUnknown"
        assert condition["message"] == "Kubelet stopped posting node status."

        async def tainted():
            taints = (await client.get(NODES, "sick"))["spec"].get("taints", [])
            keys = {(t["key"], t["effect"]) for t in taints}
            return keys == {
                ("node.kubernetes.io/unreachable", "NoSchedule"),
                ("node.kubernetes.io/unreachable", "NoExecute"),
            }

        await world.until(tainted)
        conditions = (await client.get(PODS, "p", "default"))["status"]["conditions"]
        assert [c["status"] for c in conditions if c["type"] == "Ready"] == ["False"]

        async def evicted():
            await renew(world, "well")
            return "deletionTimestamp" in (await client.get(PODS, "p", "default"))["metadata"]

        started = world.clock.monotonic()
        await world.until(evicted, 100, every_s=0.5)
        assert 28 <= world.clock.monotonic() - started <= 32
        conditions = (await client.get(PODS, "p", "default"))["status"]["conditions"]
        (target,) = [c for c in conditions if c["type"] == "DisruptionTarget"]
        assert target["reason"] == "DeletionByTaintManager"
        well = await client.get(NODES, "well")
        assert not well["spec"].get("taints")
        assert await world.events("TaintManagerEviction") == ["Marking for deletion Pod default/p"]

    run(test)


def test_pods_stay_when_every_node_is_silent() -> None:
    async def test(world: World) -> None:
        await world.client.create(NODES, node("only"))
        await world.client.create(PODS, pod("p", "only"), "default")
        await world.clock.sleep(600)
        found = await world.client.get(NODES, "only")
        assert {t["effect"] for t in found["spec"]["taints"]} == {"NoSchedule"}
        assert "deletionTimestamp" not in (await world.client.get(PODS, "p", "default"))["metadata"]

    run(test)


def test_conditions_and_cordon_are_taints() -> None:
    async def test(world: World) -> None:
        client = world.client
        await client.create(NODES, node("n"))
        await client.patch(NODES, "n", "", {"spec": {"unschedulable": True}})
        pressure = [{"type": "DiskPressure", "status": "True"}, {"type": "Ready", "status": "True"}]
        await client.patch(
            NODES, "n", "", {"status": {"conditions": pressure}}, subresource="status"
        )

        async def tainted():
            taints = (await client.get(NODES, "n"))["spec"].get("taints", [])
            return {t["key"] for t in taints} == {
                "node.kubernetes.io/unschedulable",
                "node.kubernetes.io/disk-pressure",
            }

        await world.until(tainted)
        await client.patch(NODES, "n", "", {"spec": {"unschedulable": False}})
        await client.patch(
            NODES, "n", "", {"status": {"conditions": pressure[1:]}}, subresource="status"
        )

        async def clean():
            return not (await client.get(NODES, "n"))["spec"].get("taints")

        await world.until(clean)

    run(test)


@pytest.mark.conformance(
    "[sig-node] NoExecuteTaintManager Single Pod [Serial] removing taint cancels eviction "
    "[Disruptive] [Conformance]"
)
def test_removing_the_taint_cancels_the_eviction() -> None:
    async def test(world: World) -> None:
        client = world.client
        await client.create(NODES, node("n"))
        brief = [{"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 30}]
        await client.create(PODS, pod("p", "n", tolerations=brief), "default")
        taint = [{"key": "k", "value": "v", "effect": "NoExecute"}]
        await client.patch(NODES, "n", "", {"spec": {"taints": taint}})
        await world.clock.sleep(10)
        await client.patch(NODES, "n", "", {"spec": {"taints": None}})
        await world.clock.sleep(25)
        found = await client.get(PODS, "p", "default")
        assert "deletionTimestamp" not in found["metadata"]
        assert await world.events("TaintManagerEviction") == [
            "Cancelling deletion of Pod default/p"
        ]

    run(test, options=Options(node_startup_grace_s=1e6, node_monitor_grace_s=1e6))


def test_nodes_get_their_ranges() -> None:
    async def test(world: World) -> None:
        for name in ("a", "b"):
            await world.client.create(NODES, node(name))

        async def given():
            found = [(await world.client.get(NODES, n))["spec"]["podCIDR"] for n in ("a", "b")]
            return found == ["10.244.0.0/24", "10.244.1.0/24"]

        await world.until(given)

    run(test)


def test_pods_left_behind_are_swept_up() -> None:
    async def test(world: World) -> None:
        client = world.client
        await client.create(NODES, node("n"))
        await client.create(PODS, pod("p", "n"), "default")
        await client.create(PODS, pod("q", ""), "default")
        await client.delete(NODES, "n")
        await world.clock.sleep(30)
        await client.get(PODS, "p", "default")
        await world.clock.sleep(15)
        with pytest.raises(NotFound):
            await client.get(PODS, "p", "default")
        await client.get(PODS, "q", "default")

    run(test)


def test_ended_pods_beyond_the_threshold_go_oldest_first() -> None:
    async def test(world: World) -> None:
        client = world.client
        for n in range(5):
            await client.create(PODS, pod(f"p{n}", ""), "default")
            await client.patch(
                PODS, f"p{n}", "default", {"status": {"phase": "Succeeded"}}, subresource="status"
            )
            await world.clock.sleep(1)
        await world.clock.sleep(10)
        assert {p["metadata"]["name"] for p in await world.objects(PODS)} == {"p3", "p4"}
        evicted = {"status": {"phase": "Failed", "reason": "Evicted"}}
        await client.create(PODS, pod("p5", ""), "default")
        await client.patch(PODS, "p5", "default", evicted, subresource="status")
        await world.clock.sleep(10)
        assert {p["metadata"]["name"] for p in await world.objects(PODS)} == {"p3", "p4"}

    run(test, options=Options(terminated_pod_threshold=2))


def test_a_pod_that_never_ran_ends_as_failed() -> None:
    async def test(world: World) -> None:
        body = pod("p", "")
        body["metadata"]["finalizers"] = ["test/held"]
        await world.client.create(PODS, body, "default")
        await world.client.delete(PODS, "p", "default")

        async def failed():
            return (await world.client.get(PODS, "p", "default"))["status"]["phase"] == "Failed"

        await world.until(failed)
        await world.client.patch(PODS, "p", "default", {"metadata": {"finalizers": None}})

    run(test)


def test_nodes_are_told_how_long_to_keep_what_they_read() -> None:
    async def test(world: World) -> None:
        async def told(name: str, wanted: str) -> bool:
            found = await world.client.get(NODES, name)
            return found["metadata"].get("annotations", {}).get(ANNOTATION) == wanted

        wrong = node("n-0")
        wrong["metadata"]["annotations"] = {ANNOTATION: "soon"}
        await world.client.create(NODES, wrong)
        for number in range(1, 100):
            await world.client.create(NODES, node(f"n-{number}"))
        await world.until(lambda: told("n-0", "0"))
        await world.until(lambda: told("n-99", "0"))
        await world.client.create(NODES, node("n-100"))
        await world.until(lambda: told("n-100", "15"))
        for number in range(100, 88, -1):
            await world.client.delete(NODES, f"n-{number}")
        await world.client.patch(
            NODES, "n-1", "", {"metadata": {"annotations": {ANNOTATION: None}}}
        )
        await world.until(lambda: told("n-1", "0"))

    run(test)
