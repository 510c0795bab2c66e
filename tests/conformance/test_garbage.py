"""Deletion of owners: foreground, orphans; and what depends on two."""

import pytest

from skiff.api.resources import PODS, REPLICATIONCONTROLLERS
from tests.conformance.world import Kube, Object, meta, run, template


def controller(name: str, replicas: int, labels: Object) -> Object:
    return {
        "metadata": meta(name),
        "spec": {"replicas": replicas, "selector": labels, "template": template(labels)},
    }


@pytest.mark.conformance(
    "[sig-api-machinery] Garbage collector should orphan pods created by rc if delete options say so"
    " [Serial] [Conformance]"
)
def test_orphans() -> None:
    async def scenario(kube: Kube) -> None:
        api, pods = kube.of(REPLICATIONCONTROLLERS), kube.of(PODS)
        made = await api.create(controller("rc", 20, {"gctest": "orphan"}))
        await pods.count(20)
        await api.delete(
            "rc", propagationPolicy="Orphan", preconditions={"uid": made["metadata"]["uid"]}
        )
        await api.gone("rc")
        await kube.cluster.advance(30)
        found = await pods.items()
        assert len(found) == 20
        assert not any(p["metadata"].get("ownerReferences") for p in found)
        assert not any(p["metadata"].get("deletionTimestamp") for p in found)

    run(scenario)


@pytest.mark.conformance(
    "[sig-api-machinery] Garbage collector should keep the rc around until all its pods are deleted if the"
    " deleteOptions says so [Serial] [Conformance]"
)
def test_foreground() -> None:
    async def scenario(kube: Kube) -> None:
        api, pods = kube.of(REPLICATIONCONTROLLERS), kube.of(PODS)
        made = await api.create(controller("rc", 10, {"gctest": "foreground"}))
        await pods.count(10)
        first = (await pods.items())[0]["metadata"]["name"]
        await pods.patch(first, {"metadata": {"finalizers": ["example.com/stay"]}})
        going = await api.delete(
            "rc", propagationPolicy="Foreground", preconditions={"uid": made["metadata"]["uid"]}
        )
        assert going["metadata"]["finalizers"] == ["foregroundDeletion"]
        await pods.count(1)
        await kube.cluster.advance(30)
        assert (await api.get("rc"))["metadata"]["deletionTimestamp"]
        await pods.patch(first, {"metadata": {"finalizers": None}})
        await api.gone("rc")
        assert await pods.items() == []

    run(scenario)


@pytest.mark.conformance(
    "[sig-api-machinery] Garbage collector should not delete dependents that have both valid owner and"
    " owner that's waiting for dependents to be deleted [Serial] [Conformance]"
)
def test_two_owners() -> None:
    async def scenario(kube: Kube) -> None:
        api, pods = kube.of(REPLICATIONCONTROLLERS), kube.of(PODS)
        await api.create(controller("going", 20, {"gctest": "going"}))
        stays = await api.create(controller("stays", 0, {"gctest": "stays"}))
        found = await pods.count(20)
        owner = {
            "apiVersion": "v1",
            "kind": "ReplicationController",
            "name": "stays",
            "uid": stays["metadata"]["uid"],
        }
        for one in found[:10]:
            patch = {"metadata": {"ownerReferences": [owner]}}
            patched = await pods.patch(one["metadata"]["name"], patch, "strategic")
            assert len(patched["metadata"]["ownerReferences"]) == 2
        await api.delete("going", propagationPolicy="Foreground")
        await api.gone("going")
        await kube.cluster.advance(30)
        left = await pods.items()
        assert {p["metadata"]["name"] for p in left} == {p["metadata"]["name"] for p in found[:10]}
        for one in left:
            assert "deletionTimestamp" not in one["metadata"]
            assert [o["name"] for o in one["metadata"]["ownerReferences"]] == ["stays"]

    run(scenario)
