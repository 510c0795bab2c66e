"""ReplicaSets and ReplicationControllers against the real API server, on virtual time."""

import pytest

from skiff.api.resources import PODS, REPLICASETS, RESOURCES
from tests.controllers.world import World, run, workload

RCS = RESOURCES["", "v1", "replicationcontrollers"]


@pytest.mark.parametrize(
    ("kind", "resource"), [("ReplicaSet", REPLICASETS), ("ReplicationController", RCS)]
)
def test_creates_scales_and_replaces(kind, resource) -> None:
    async def test(world: World) -> None:
        await world.client.create(resource, workload(kind, "web", 3))

        async def status(**wanted):
            async def check():
                found = (await world.client.get(resource, "web", "default"))["status"]
                return all(found.get(k) == v for k, v in wanted.items())

            return await world.until(check)

        await status(replicas=3, readyReplicas=3, availableReplicas=3, fullyLabeledReplicas=3)
        pods = await world.objects(PODS)
        owner = pods[0]["metadata"]["ownerReferences"][0]
        assert (owner["kind"], owner["name"], owner["controller"]) == (kind, "web", True)
        assert pods[0]["metadata"]["generateName"] == "web-"
        await world.client.patch(resource, "web", "default", {"spec": {"replicas": 5}})
        await status(replicas=5, readyReplicas=5)
        await world.client.patch(resource, "web", "default", {"spec": {"replicas": 1}})
        await status(replicas=1)
        (left,) = [p for p in await world.objects(PODS) if "deletionTimestamp" not in p["metadata"]]
        await world.client.delete(PODS, left["metadata"]["name"], "default")

        async def replaced():
            now = await world.objects(PODS)
            return len(now) == 1 and now[0]["metadata"]["uid"] != left["metadata"]["uid"]

        await world.until(replaced)
        assert len(await world.events("SuccessfulCreate")) == 6
        assert len(await world.events("SuccessfulDelete")) == 4

    run(test, play=True)
