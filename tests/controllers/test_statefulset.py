"""StatefulSets against the real API server, on virtual time."""

import asyncio

import pytest

from skiff.api.errors import AlreadyExists, NotFound
from skiff.api.resources import PERSISTENTVOLUMECLAIMS, PODS, RESOURCES
from skiff.api.views.apps import ControllerRevision, StatefulSet
from skiff.api.views.core import PersistentVolumeClaim, Pod
from skiff.client.events import EventRecorder
from skiff.client.informer import InformerFactory
from skiff.client.reconciler import Key
from skiff.controllers.context import Context
from skiff.controllers.statefulset.run import StatefulSetReconciler
from tests.controllers.world import Object, World, run, template

LIMITRANGES = RESOURCES["", "v1", "limitranges"]
SETS = RESOURCES["apps", "v1", "statefulsets"]
REVISIONS = RESOURCES["apps", "v1", "controllerrevisions"]
HASH = "controller-revision-hash"


def stateful(replicas: int = 3, image: str = "web:1", **spec) -> Object:
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "ss"},
        "spec": {
            "replicas": replicas,
            "serviceName": "web",
            "selector": {"matchLabels": {"app": "ss"}},
            "template": template({"app": "ss"}, image),
            **spec,
        },
    }


async def status(world: World, timeout_s: float = 60, **wanted):
    async def check():
        found = await world.client.get(SETS, "ss", "default")
        if found["status"].get("observedGeneration") != found["metadata"]["generation"]:
            return None
        return all(found["status"].get(k, 0) == v for k, v in wanted.items()) and found

    return await world.until(check, timeout_s)


async def set_image(world: World, image: str):
    patch = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}}
    await world.client.patch(SETS, "ss", "default", patch, "strategic")


async def images(world: World) -> dict[str, str]:
    return {
        p["metadata"]["name"]: p["spec"]["containers"][0]["image"]
        for p in await world.objects(PODS)
    }


class Order:
    """Notes in which order pods come and go."""

    def __init__(self, world: World) -> None:
        self.log: list[str] = []
        world.player.informer.subscribe(self._changed)

    def _changed(self, old, new) -> None:
        if old is None and new is not None:
            self.log.append(f"+{new.metadata.name[-1]}")
        elif new is None:
            self.log.append(f"-{old.metadata.name[-1]}")


def test_pods_come_in_order_with_their_names_and_go_in_reverse() -> None:
    async def test(world: World) -> None:
        order = Order(world)
        await world.client.create(SETS, stateful(), "default")
        await status(world, replicas=3, readyReplicas=3, availableReplicas=3, currentReplicas=3)
        assert order.log == ["+0", "+1", "+2"]
        pod = await world.client.get(PODS, "ss-1", "default")
        assert pod["spec"]["hostname"] == "ss-1"
        assert pod["spec"]["subdomain"] == "web"
        labels = pod["metadata"]["labels"]
        assert labels["statefulset.kubernetes.io/pod-name"] == "ss-1"
        assert labels["apps.kubernetes.io/pod-index"] == "1"
        found = await status(world)
        assert (
            labels[HASH] == found["status"]["currentRevision"] == found["status"]["updateRevision"]
        )
        order.log.clear()
        await world.client.patch(SETS, "ss", "default", {"spec": {"replicas": 0}})
        await status(world, replicas=0)
        assert order.log == ["-2", "-1", "-0"]
        events = await world.events("SuccessfulCreate")
        assert "create Pod ss-0 in StatefulSet ss successful" in events

    run(test, play=True)


@pytest.mark.conformance(
    "[sig-apps] StatefulSet Basic StatefulSet functionality [StatefulSetBasic] Scaling should happen "
    "in predictable order and halt if any stateful pod is unhealthy [Slow] [Conformance]"
)
def test_scaling_halts_at_an_unhealthy_pod() -> None:
    async def test(world: World) -> None:
        await world.client.create(SETS, stateful(1), "default")
        await status(world, readyReplicas=1)
        await world.player.set_ready("ss-0", False)
        await status(world, readyReplicas=0)
        await world.client.patch(SETS, "ss", "default", {"spec": {"replicas": 3}})
        await world.clock.sleep(20)
        assert set(await images(world)) == {"ss-0"}
        await world.player.set_ready("ss-0", True)
        await status(world, readyReplicas=3)
        for name in ("ss-0", "ss-1", "ss-2"):
            await world.player.set_ready(name, False)
        await world.client.patch(SETS, "ss", "default", {"spec": {"replicas": 0}})
        await world.clock.sleep(20)
        assert set(await images(world)) == {"ss-0", "ss-1", "ss-2"}
        for name in ("ss-0", "ss-1", "ss-2"):
            await world.player.set_ready(name, True)
        await status(world, replicas=0)

    run(test, play=True)


@pytest.mark.conformance(
    "[sig-apps] StatefulSet Basic StatefulSet functionality [StatefulSetBasic] Burst scaling should "
    "run to completion even with unhealthy pods [Slow] [Conformance]"
)
def test_parallel_sets_do_not_wait() -> None:
    async def test(world: World) -> None:
        body = stateful(4, podManagementPolicy="Parallel")
        await world.client.create(SETS, body, "default")
        await status(world, replicas=4, readyReplicas=0)
        await world.client.patch(SETS, "ss", "default", {"spec": {"replicas": 0}})
        await status(world, replicas=0)

    run(test, play=True, ready=lambda _: False)


@pytest.mark.conformance(
    "[sig-apps] StatefulSet Basic StatefulSet functionality [StatefulSetBasic] should perform rolling "
    "updates and roll backs of template modifications [Conformance]"
)
def test_rolling_update_and_rollback() -> None:
    async def test(world: World) -> None:
        await world.client.create(SETS, stateful(), "default")
        before = await status(world, readyReplicas=3, currentReplicas=3)
        order = Order(world)
        order.log.clear()
        await set_image(world, "web:2")
        after = await status(world, updatedReplicas=3, readyReplicas=3, currentReplicas=3)
        assert order.log == ["-2", "+2", "-1", "+1", "-0", "+0"]
        assert set((await images(world)).values()) == {"web:2"}
        assert after["status"]["currentRevision"] != before["status"]["currentRevision"]
        await set_image(world, "web:1")
        back = await status(world, updatedReplicas=3, readyReplicas=3, currentReplicas=3)
        assert back["status"]["currentRevision"] == before["status"]["currentRevision"]
        numbers = sorted(r["revision"] for r in await world.objects(REVISIONS))
        assert numbers == [2, 3]

    run(test, play=True)


@pytest.mark.conformance(
    "[sig-apps] StatefulSet Basic StatefulSet functionality [StatefulSetBasic] should perform canary "
    "updates and phased rolling updates of template modifications [Conformance]"
)
def test_partitions() -> None:
    async def test(world: World) -> None:
        def rolling(partition: int) -> Object:
            return {"type": "RollingUpdate", "rollingUpdate": {"partition": partition}}

        client = world.client
        await client.create(SETS, stateful(updateStrategy=rolling(3)), "default")
        await status(world, readyReplicas=3)
        await set_image(world, "web:2")
        await status(world, readyReplicas=3, updatedReplicas=0)
        await client.patch(SETS, "ss", "default", {"spec": {"updateStrategy": rolling(2)}})
        await status(world, readyReplicas=3, updatedReplicas=1, currentReplicas=2)
        assert await images(world) == {"ss-0": "web:1", "ss-1": "web:1", "ss-2": "web:2"}
        # what is deleted comes back in its own revision
        await client.delete(PODS, "ss-0", "default")
        await client.delete(PODS, "ss-2", "default")
        await status(world, readyReplicas=3, updatedReplicas=1, currentReplicas=2)
        assert await images(world) == {"ss-0": "web:1", "ss-1": "web:1", "ss-2": "web:2"}
        await client.patch(SETS, "ss", "default", {"spec": {"updateStrategy": rolling(0)}})
        await status(world, readyReplicas=3, updatedReplicas=3, currentReplicas=3)

    run(test, play=True)


@pytest.mark.conformance(
    "[sig-apps] StatefulSet Basic StatefulSet functionality [StatefulSetBasic] Should recreate "
    "evicted statefulset [Conformance]"
)
def test_failed_pods_are_recreated() -> None:
    async def test(world: World) -> None:
        await world.client.create(SETS, stateful(1), "default")
        await status(world, readyReplicas=1)
        before = await world.client.get(PODS, "ss-0", "default")
        failed = {"status": {"phase": "Failed", "conditions": []}}
        await world.client.patch(PODS, "ss-0", "default", failed, subresource="status")

        async def recreated():
            found = await world.client.get(PODS, "ss-0", "default")
            return found["metadata"]["uid"] != before["metadata"]["uid"]

        await world.until(recreated)
        await status(world, readyReplicas=1)

    run(test, play=True)


def claim_template(name: str = "data") -> Object:
    return {
        "metadata": {"name": name},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }


def test_claims_are_made_and_kept_as_the_policy_says() -> None:
    async def test(world: World) -> None:
        client = world.client
        policy = {"whenScaled": "Delete", "whenDeleted": "Retain"}
        body = stateful(
            2,
            volumeClaimTemplates=[claim_template()],
            persistentVolumeClaimRetentionPolicy=policy,
        )
        await client.create(SETS, body, "default")
        await status(world, readyReplicas=2)
        pod = await client.get(PODS, "ss-1", "default")
        (volume,) = [v for v in pod["spec"]["volumes"] if v["name"] == "data"]
        assert volume["persistentVolumeClaim"]["claimName"] == "data-ss-1"
        found = await client.get(PERSISTENTVOLUMECLAIMS, "data-ss-1", "default")
        assert found["metadata"]["labels"] == {"app": "ss"}
        assert not found["metadata"].get("ownerReferences")
        await client.patch(SETS, "ss", "default", {"spec": {"replicas": 1}})

        async def gone():
            found = await client.get(PERSISTENTVOLUMECLAIMS, "data-ss-1", "default")
            # the protection finalizer may hold it until nobody uses it
            return "deletionTimestamp" in found["metadata"]

        try:
            await world.until(gone, 5)
        except AssertionError:
            with pytest.raises(NotFound):
                await client.get(PERSISTENTVOLUMECLAIMS, "data-ss-1", "default")
        kept = await client.get(PERSISTENTVOLUMECLAIMS, "data-ss-0", "default")
        assert "deletionTimestamp" not in kept["metadata"]

    run(test, play=True)


def test_ordinals_may_start_elsewhere() -> None:
    async def test(world: World) -> None:
        await world.client.create(SETS, stateful(2, ordinals={"start": 5}), "default")
        await status(world, readyReplicas=2)
        assert set(await images(world)) == {"ss-5", "ss-6"}

    run(test, play=True)


def test_a_claim_that_is_refused_is_told_of() -> None:
    async def test(world: World) -> None:
        limit = {"type": "PersistentVolumeClaim", "max": {"storage": "500Mi"}}
        limits = {"metadata": {"name": "l"}, "spec": {"limits": [limit]}}
        await world.client.create(LIMITRANGES, limits, "default")
        body = stateful(1, volumeClaimTemplates=[claim_template()])
        await world.client.create(SETS, body, "default")

        async def told():
            return await world.events("FailedCreate")

        found = await world.until(told)
        start = "create Claim data-ss-0 for Pod ss-0 in StatefulSet ss failed error: "
        assert any(m.startswith(start) for m in found)
        assert any(m.startswith("create Pod ss-0 in StatefulSet ss failed error: ") for m in found)

    run(test, play=True)


def test_a_cache_that_is_behind_is_no_failure() -> None:
    """The pod was made, and its informer does not show it yet."""

    async def test(world: World) -> None:
        client = world.client
        events = EventRecorder(client, "test")
        informers = InformerFactory(client)
        context = Context(world.clock, client.entropy, client, informers, events)
        controller = StatefulSetReconciler(context)
        await client.create(SETS, stateful(1), "default")
        async with asyncio.TaskGroup() as group:
            tasks = []
            for view in (StatefulSet, Pod, PersistentVolumeClaim, ControllerRevision):
                informer = informers.of(view)
                tasks.append(group.create_task(informer.run(lambda: None)))
                await informer.synced.wait()
            tasks[1].cancel()
            recording = group.create_task(events.run(lambda: None))
            await controller.reconcile(Key("default", "ss"))
            with pytest.raises(AlreadyExists):
                await controller.reconcile(Key("default", "ss"))
            assert len(await world.events("SuccessfulCreate")) == 1
            assert await world.events("FailedCreate") == []
            for task in (*tasks, recording):
                task.cancel()

    run(test, without=("statefulset-controller",))


def test_identity_that_a_user_took_away_comes_back() -> None:
    name = "statefulset.kubernetes.io/pod-name"

    async def test(world: World) -> None:
        client = world.client
        await client.create(SETS, stateful(1), "default")
        await status(world, readyReplicas=1)
        taken = {"metadata": {"labels": {name: None, "mine": "kept"}}}
        before = await client.patch(PODS, "ss-0", "default", taken)

        async def back():
            return name in (await client.get(PODS, "ss-0", "default"))["metadata"]["labels"]

        await world.until(back)
        after = (await client.get(PODS, "ss-0", "default"))["metadata"]
        assert (after["labels"][name], after["labels"]["mine"]) == ("ss-0", "kept")
        assert after["uid"] == before["metadata"]["uid"]
        told = await world.events("SuccessfulUpdate")
        assert told == ["update Pod ss-0 in StatefulSet ss successful"]

    run(test, play=True)


def test_a_pending_pod_gets_the_claim_it_lacks() -> None:
    async def test(world: World) -> None:
        client = world.client
        await client.create(SETS, stateful(1, volumeClaimTemplates=[claim_template()]), "default")

        async def claim():
            try:
                found = await client.get(PERSISTENTVOLUMECLAIMS, "data-ss-0", "default")
            except NotFound:
                return None
            return found["metadata"]["uid"]

        async def pod():
            try:
                return await client.get(PODS, "ss-0", "default")
            except NotFound:
                return None

        await world.until(pod)
        await client.patch(
            PERSISTENTVOLUMECLAIMS, "data-ss-0", "default", {"metadata": {"finalizers": None}}
        )
        before = await claim()
        await client.delete(PERSISTENTVOLUMECLAIMS, "data-ss-0", "default")
        poke = {"metadata": {"labels": {"poked": "yes"}}}
        await client.patch(PODS, "ss-0", "default", poke)

        async def anew():
            return await claim() not in (None, before)

        await world.until(anew)

    run(test, without=("persistentvolumeclaim-protection-controller",))
