"""DaemonSets against the real API server, on virtual time."""

import msgspec
import pytest

from skiff.api.resources import NODES, PODS, RESOURCES
from skiff.api.views.apps import DaemonSet
from skiff.api.views.core import Node, Pod, PodSpec
from skiff.controllers.daemonset import plan
from tests.controllers.world import Object, World, node, run, template

DAEMONSETS = RESOURCES["apps", "v1", "daemonsets"]
REVISIONS = RESOURCES["apps", "v1", "controllerrevisions"]
HASH = "controller-revision-hash"


def daemon(name: str = "d", image: str = "web:1", pod_spec: Object | None = None, **spec) -> Object:
    body = template({"app": name}, image)
    body["spec"] |= pod_spec or {}
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": {"app": name}}, "template": body, **spec},
    }


async def status(world: World, **wanted):
    async def check():
        found = await world.client.get(DAEMONSETS, "d", "default")
        if found["status"].get("observedGeneration") != found["metadata"]["generation"]:
            return None
        return all(found["status"].get(k, 0) == v for k, v in wanted.items()) and found

    return await world.until(check)


async def set_image(world: World, image: str):
    patch = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}}
    await world.client.patch(DAEMONSETS, "d", "default", patch, "strategic")


def target(pod: Object) -> str:
    terms = pod["spec"]["affinity"]["nodeAffinity"][
        "requiredDuringSchedulingIgnoredDuringExecution"
    ]
    return terms["nodeSelectorTerms"][0]["matchFields"][0]["values"][0]


@pytest.mark.conformance(
    "[sig-apps] Daemon set [Serial] should run and stop simple daemon [Conformance]"
)
@pytest.mark.conformance(
    "[sig-apps] Daemon set [Serial] should run and stop complex daemon [Conformance]"
)
def test_one_pod_on_each_node_that_fits() -> None:
    async def test(world: World) -> None:
        client = world.client
        for name in ("a", "b", "c"):
            await client.create(NODES, node(name))
        selector = {"nodeSelector": {"kubernetes.io/hostname": "a"}}
        await client.create(DAEMONSETS, daemon(pod_spec=selector), "default")
        await status(world, desiredNumberScheduled=1, numberReady=1)
        (pod,) = await world.objects(PODS)
        assert target(pod) == "a"
        assert pod["metadata"]["labels"][HASH]
        keys = {(t["key"], t["effect"]) for t in pod["spec"]["tolerations"]}
        assert ("node.kubernetes.io/unschedulable", "NoSchedule") in keys
        patch = {"spec": {"template": {"spec": {"nodeSelector": None}}}}
        await client.patch(DAEMONSETS, "d", "default", patch)
        await status(world, desiredNumberScheduled=4, numberReady=4, updatedNumberScheduled=4)
        (first, *_) = await world.objects(PODS)
        await client.delete(PODS, first["metadata"]["name"], "default")
        await status(world, numberReady=4)
        await client.delete(NODES, "c")
        await status(world, desiredNumberScheduled=3)
        taint = {"spec": {"taints": [{"key": "k", "effect": "NoExecute"}]}}
        await client.patch(NODES, "b", "", taint)
        await status(world, desiredNumberScheduled=2, numberMisscheduled=0, numberReady=2)

    run(test, play=True)


@pytest.mark.conformance(
    "[sig-apps] Daemon set [Serial] should update pod when spec was updated and update strategy is "
    "RollingUpdate [Conformance]"
)
@pytest.mark.conformance(
    "[sig-apps] Daemon set [Serial] should rollback without unnecessary restarts [Conformance]"
)
def test_rolling_update_and_history() -> None:
    async def test(world: World) -> None:
        client = world.client
        for name in ("a", "b", "c"):
            await client.create(NODES, node(name))
        await client.create(DAEMONSETS, daemon(), "default")
        await status(world, numberReady=4)
        await set_image(world, "web:2")
        await status(world, updatedNumberScheduled=4, numberAvailable=4)
        images = {p["spec"]["containers"][0]["image"] for p in await world.objects(PODS)}
        assert images == {"web:2"}
        revisions = sorted(await world.objects(REVISIONS), key=lambda r: r["revision"])
        assert [r["revision"] for r in revisions] == [1, 2]
        held = revisions[0]["data"]["spec"]["template"]
        assert held["$patch"] == "replace"
        assert held["spec"]["containers"][0]["image"] == "web:1"
        await set_image(world, "web:1")
        await status(world, updatedNumberScheduled=4, numberAvailable=4)
        revisions = sorted(await world.objects(REVISIONS), key=lambda r: r["revision"])
        assert [r["revision"] for r in revisions] == [2, 3]
        # one pod is still old when the rollback comes: the others are not touched
        before = {p["metadata"]["uid"] for p in await world.objects(PODS)}
        await set_image(world, "web:404")

        async def one_replaced():
            found = {p["metadata"]["uid"] for p in await world.objects(PODS)}
            return len(found - before) == 1

        await world.until(one_replaced, every_s=0.001)
        await set_image(world, "web:1")
        await status(world, updatedNumberScheduled=4, numberAvailable=4)
        after = {p["metadata"]["uid"] for p in await world.objects(PODS)}
        assert len(after & before) == 3

    run(test, play=True, ready=lambda p: p.spec.containers[0].image != "web:404")


def test_surge_puts_the_new_pod_beside_the_old() -> None:
    async def test(world: World) -> None:
        strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
        await world.client.create(DAEMONSETS, daemon(updateStrategy=strategy), "default")
        await status(world, numberReady=1)
        await set_image(world, "web:2")
        most = 0

        async def done():
            nonlocal most
            pods = await world.objects(PODS)
            most = max(most, len(pods))
            assert pods
            return {p["spec"]["containers"][0]["image"] for p in pods} == {"web:2"}

        await world.until(done, every_s=0.001)
        assert most == 2

    run(test, play=True)


def test_on_delete_waits_for_the_user() -> None:
    async def test(world: World) -> None:
        await world.client.create(
            DAEMONSETS, daemon(updateStrategy={"type": "OnDelete"}), "default"
        )
        await status(world, numberReady=1)
        await set_image(world, "web:2")
        await status(world, updatedNumberScheduled=0, numberReady=1)
        (pod,) = await world.objects(PODS)
        await world.client.delete(PODS, pod["metadata"]["name"], "default")
        await status(world, updatedNumberScheduled=1, numberReady=1)

    run(test, play=True)


@pytest.mark.conformance(
    "[sig-apps] Daemon set [Serial] should retry creating failed daemon pods [Conformance]"
)
def test_failed_pods_are_replaced() -> None:
    async def test(world: World) -> None:
        await world.client.create(DAEMONSETS, daemon(), "default")
        await status(world, numberReady=1)
        (pod,) = await world.objects(PODS)
        failed = {"status": {"phase": "Failed", "conditions": []}}
        name = pod["metadata"]["name"]
        await world.client.patch(PODS, name, "default", failed, subresource="status")

        async def replaced():
            (now,) = await world.objects(PODS)
            return now["metadata"]["uid"] != pod["metadata"]["uid"]

        await world.until(replaced)
        await status(world, numberReady=1)
        assert (await world.events("FailedDaemonPod"))[0].endswith("will try to kill it")

    run(test, play=True)


def test_what_the_status_counts() -> None:
    """A failed pod is there until it is being deleted; a placed pod speaks for its node."""

    def pod(name: str, phase: str, *, node_name: str = "n", deleted: bool = False) -> Pod:
        meta = {"name": name, "creationTimestamp": f"2023-11-14T00:00:0{name[-1]}Z"}
        if deleted:
            meta["deletionTimestamp"] = "2023-11-14T00:01:00Z"
        conditions = [{"type": "Ready", "status": str(phase == "Running")}]
        spec = {"nodeName": node_name} if node_name else {}
        status = {"phase": phase, "conditions": conditions}
        return msgspec.convert({"metadata": meta, "spec": spec, "status": status}, Pod)

    def counts(*pods: Pod) -> tuple[int, int]:
        view = msgspec.json.decode(msgspec.json.encode(daemon()), type=DaemonSet)
        nodes = [msgspec.convert({"metadata": {"name": "n"}}, Node)]
        found = plan.next_status(view, PodSpec(), nodes, {"n": list(pods)}, "hash", 0.0)
        return found["currentNumberScheduled"], found["numberReady"]

    assert counts() == (0, 0)
    assert counts(pod("p1", "Failed")) == (1, 0)
    assert counts(pod("p1", "Failed", deleted=True)) == (0, 0)
    assert counts(pod("p1", "Failed", deleted=True), pod("p2", "Running")) == (1, 1)
    assert counts(pod("p1", "Pending", node_name=""), pod("p2", "Running")) == (1, 1)
