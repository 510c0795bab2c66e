"""Deployments against the real API server, on virtual time."""

import pytest

from skiff.api.resources import DEPLOYMENTS, PODS, REPLICASETS
from tests.controllers.world import World, run, workload

REVISION = "deployment.kubernetes.io/revision"


async def available(world: World, replicas: int, image: str = "", name: str = "web"):
    async def check():
        d = await world.client.get(DEPLOYMENTS, name, "default")
        s = d.get("status", {})
        return (
            s.get("observedGeneration") == d["metadata"]["generation"]
            and s.get("replicas", 0) == s.get("updatedReplicas", 0) == replicas
            and s.get("availableReplicas", 0) == replicas
            and d
        )

    return await world.until(check, 200)


def condition(deployment, kind):
    (found,) = [c for c in deployment["status"]["conditions"] if c["type"] == kind]
    return found


async def sets(world: World):
    found = await world.objects(REPLICASETS)
    return sorted(found, key=lambda r: int(r["metadata"]["annotations"][REVISION]))


async def set_image(world: World, image: str):
    patch = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}}
    await world.client.patch(DEPLOYMENTS, "web", "default", patch, "strategic")


@pytest.mark.conformance(
    "[sig-apps] Deployment RollingUpdateDeployment should delete old pods and create new ones [Conformance]"
)
def test_rolls_out_and_back() -> None:
    async def test(world: World) -> None:
        await world.client.create(DEPLOYMENTS, workload("Deployment", "web", 4))
        d = await available(world, 4)
        assert d["metadata"]["annotations"][REVISION] == "1"
        progress = condition(d, "Progressing")
        assert (progress["status"], progress["reason"]) == ("True", "NewReplicaSetAvailable")
        (first,) = await sets(world)
        name = first["metadata"]["name"]
        assert progress["message"] == f'ReplicaSet "{name}" has successfully progressed.'
        assert condition(d, "Available")["reason"] == "MinimumReplicasAvailable"
        digest = first["metadata"]["labels"]["pod-template-hash"]
        assert name == f"web-{digest}"
        assert first["spec"]["selector"]["matchLabels"]["pod-template-hash"] == digest

        await set_image(world, "web:2")
        d = await available(world, 4)
        old, new = await sets(world)
        assert (old["spec"]["replicas"], new["spec"]["replicas"]) == (0, 4)
        assert d["metadata"]["annotations"][REVISION] == "2"
        pods = await world.objects(PODS)
        assert {p["spec"]["containers"][0]["image"] for p in pods} == {"web:2"}

        # kubectl rollout undo: the old template again
        await set_image(world, "web:1")
        await available(world, 4)
        _back, again = await sets(world)
        assert again["metadata"]["name"] == name
        assert again["metadata"]["annotations"][REVISION] == "3"
        assert again["metadata"]["annotations"]["deployment.kubernetes.io/revision-history"] == "1"
        messages = await world.events("ScalingReplicaSet")
        assert f"Scaled up replica set {name} from 0 to 4" in messages

    run(test, play=True)


def test_surge_and_unavailable_are_kept() -> None:
    async def test(world: World) -> None:
        strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 1}}
        await world.client.create(DEPLOYMENTS, workload("Deployment", "web", 5, strategy=strategy))
        await available(world, 5)
        most, least = 0, 5
        done = False

        async def observe():
            nonlocal most, least
            while not done:
                found = await world.objects(REPLICASETS)
                most = max(most, sum(r["spec"]["replicas"] for r in found))
                ready = [
                    p
                    for p in await world.objects(PODS)
                    if "deletionTimestamp" not in p["metadata"]
                    and any(
                        c["type"] == "Ready" and c["status"] == "True"
                        for c in p["status"].get("conditions", ())
                    )
                ]
                least = min(least, len(ready))
                await world.clock.sleep(0.001)

        import asyncio

        async with asyncio.TaskGroup() as group:
            group.create_task(observe())
            await set_image(world, "web:2")
            await available(world, 5)
            done = True
        assert most == 6
        assert least >= 4

    run(test, play=True)


@pytest.mark.conformance("[sig-apps] Deployment deployment should support rollover [Conformance]")
def test_a_rollout_may_be_overtaken_by_the_next() -> None:
    async def test(world: World) -> None:
        await world.client.create(DEPLOYMENTS, workload("Deployment", "web", 6))
        await available(world, 6)
        await set_image(world, "web:2")

        async def begun():
            return len(await world.objects(REPLICASETS)) == 2

        await world.until(begun, every_s=0.001)
        await set_image(world, "web:3")
        await available(world, 6)
        first, second, third = await sets(world)
        assert [r["spec"]["replicas"] for r in (first, second, third)] == [0, 0, 6]

    run(test, play=True)


@pytest.mark.conformance(
    "[sig-apps] Deployment RecreateDeployment should delete old pods and create new ones [Conformance]"
)
def test_recreate_never_mixes_versions() -> None:
    async def test(world: World) -> None:
        await world.client.create(
            DEPLOYMENTS, workload("Deployment", "web", 3, strategy={"type": "Recreate"})
        )
        await available(world, 3)
        await set_image(world, "web:2")

        async def check():
            images = {p["spec"]["containers"][0]["image"] for p in await world.objects(PODS)}
            assert len(images) <= 1, images
            d = await world.client.get(DEPLOYMENTS, "web", "default")
            return images == {"web:2"} and d["status"].get("availableReplicas") == 3

        await world.until(check, every_s=0.001)

    run(test, play=True)


@pytest.mark.conformance(
    "[sig-apps] Deployment deployment should delete old replica sets [Conformance]"
)
def test_history_is_limited() -> None:
    async def test(world: World) -> None:
        await world.client.create(
            DEPLOYMENTS, workload("Deployment", "web", 1, revisionHistoryLimit=0)
        )
        await available(world, 1)
        await set_image(world, "web:2")

        async def check():
            return len(await world.objects(REPLICASETS)) == 1

        await available(world, 1)
        await world.until(check)

    run(test, play=True)


def test_deadline_passes_and_is_reported() -> None:
    async def test(world: World) -> None:
        await world.client.create(
            DEPLOYMENTS, workload("Deployment", "web", 1, progressDeadlineSeconds=5)
        )

        async def check():
            d = await world.client.get(DEPLOYMENTS, "web", "default")
            return condition(d, "Progressing")["reason"] == "ProgressDeadlineExceeded" and d

        d = await world.until(check)
        (rs,) = await world.objects(REPLICASETS)
        found = condition(d, "Progressing")
        assert found["status"] == "False"
        assert (
            found["message"] == f'ReplicaSet "{rs["metadata"]["name"]}" has timed out progressing.'
        )
        assert condition(d, "Available")["status"] == "False"
        assert 5 <= world.clock.monotonic() <= 10

    run(test, play=True, ready=lambda _: False)


def test_paused_deployments_scale_and_do_not_roll() -> None:
    async def test(world: World) -> None:
        await world.client.create(DEPLOYMENTS, workload("Deployment", "web", 2))
        await available(world, 2)
        await world.client.patch(DEPLOYMENTS, "web", "default", {"spec": {"paused": True}})
        await set_image(world, "web:2")
        await world.client.patch(DEPLOYMENTS, "web", "default", {"spec": {"replicas": 3}})

        async def check():
            d = await world.client.get(DEPLOYMENTS, "web", "default")
            return d["status"].get("availableReplicas") == 3 and d

        d = await world.until(check)
        assert condition(d, "Progressing")["reason"] == "DeploymentPaused"
        assert len(await world.objects(REPLICASETS)) == 1
        await world.client.patch(DEPLOYMENTS, "web", "default", {"spec": {"paused": False}})
        await available(world, 3)
        assert len(await world.objects(REPLICASETS)) == 2

    run(test, play=True)


@pytest.mark.conformance(
    "[sig-apps] Deployment deployment should support proportional scaling [Conformance]"
)
def test_proportional_scaling_in_a_stuck_rollout() -> None:
    async def test(world: World) -> None:
        strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}}
        await world.client.create(DEPLOYMENTS, workload("Deployment", "web", 10, strategy=strategy))
        await available(world, 10)
        await set_image(world, "web:404")

        async def stuck():
            old, new = await sets(world)
            return (old["spec"]["replicas"], new["spec"]["replicas"]) == (8, 5)

        await world.until(stuck)
        await world.client.patch(DEPLOYMENTS, "web", "default", {"spec": {"replicas": 30}})

        async def scaled():
            old, new = await sets(world)
            return (old["spec"]["replicas"], new["spec"]["replicas"]) == (20, 13)

        await world.until(scaled)

    run(test, play=True, ready=lambda p: p.spec.containers[0].image != "web:404")


def test_five_hundred_pods_take_few_requests() -> None:
    async def test(world: World) -> None:
        await world.client.create(DEPLOYMENTS, workload("Deployment", "web", 500))
        await available(world, 500)
        creates = sum(m == "POST" and p.endswith("/pods") for m, p in world.calls)
        assert creates == 500

    run(test, play=True)
