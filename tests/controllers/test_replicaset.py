"""ReplicaSets and ReplicationControllers against the real API server, on virtual time."""

import pytest

from skiff.api.resources import PODS, REPLICASETS, RESOURCES, SERVICEACCOUNTS
from tests.controllers.world import Object, World, run, template, workload

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


def orphan(name: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "web"}},
        "spec": template({})["spec"],
    }


@pytest.mark.parametrize(
    ("kind", "resource"),
    [
        pytest.param(
            "ReplicaSet",
            REPLICASETS,
            marks=pytest.mark.conformance(
                "[sig-apps] ReplicaSet should adopt matching pods on creation and release no longer "
                "matching pods [Conformance]"
            ),
        ),
        pytest.param(
            "ReplicationController",
            RCS,
            marks=[
                pytest.mark.conformance(
                    "[sig-apps] ReplicationController should adopt matching pods on creation "
                    "[Conformance]"
                ),
                pytest.mark.conformance(
                    "[sig-apps] ReplicationController should release no longer matching pods "
                    "[Conformance]"
                ),
            ],
        ),
    ],
)
def test_adopts_and_releases(kind, resource) -> None:
    async def test(world: World) -> None:
        client = world.client
        await client.create(PODS, orphan("lonely"), "default")
        await client.create(resource, workload(kind, "web", 1))

        async def adopted():
            found = await client.get(PODS, "lonely", "default")
            return found["metadata"]["ownerReferences"][0]["kind"] == kind

        await world.until(adopted)
        assert len(await world.objects(PODS)) == 1
        await client.patch(PODS, "lonely", "default", {"metadata": {"labels": {"app": "other"}}})

        async def released():
            found = await client.get(PODS, "lonely", "default")
            return (
                not found["metadata"].get("ownerReferences") and len(await world.objects(PODS)) == 2
            )

        await world.until(released)

    run(test, play=True)


def test_a_refusal_costs_one_request_and_shows_in_the_status() -> None:
    async def test(world: World) -> None:
        body = workload("ReplicaSet", "web", 100)
        body["spec"]["template"]["spec"]["serviceAccountName"] = "ghost"
        await world.client.create(REPLICASETS, body)

        async def failing():
            found = await world.client.get(REPLICASETS, "web", "default")
            (condition,) = found["status"]["conditions"]
            return condition

        condition = await world.until(failing)
        assert (condition["type"], condition["status"]) == ("ReplicaFailure", "True")
        assert condition["reason"] == "FailedCreate"
        assert 'serviceaccount "ghost" not found' in condition["message"]
        assert sum(m == "POST" and p.endswith("/pods") for m, p in world.calls) < 5
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "ghost"}}
        await world.client.create(SERVICEACCOUNTS, account, "default")

        async def healed():
            found = await world.client.get(REPLICASETS, "web", "default")
            return found["status"]["replicas"] == 100 and not found["status"].get("conditions")

        await world.until(healed, 300)

    run(test, play=True)
