"""The garbage collector: the pure graph, and the whole against the real API server."""

import pytest

from skiff.api.errors import NotFound
from skiff.api.resources import CONFIGMAPS, DEPLOYMENTS, PODS, REPLICASETS, RESOURCES
from skiff.api.views.meta import ObjectMeta, OwnerReference
from skiff.controllers.garbage.graph import Graph
from tests.controllers.test_deployment import available
from tests.controllers.world import Object, World, run, workload

RCS = RESOURCES["", "v1", "replicationcontrollers"]


def meta(
    uid: str,
    *owners: str,
    block: bool = False,
    finalizers: tuple[str, ...] = (),
    deleting: bool = False,
    namespace: str = "default",
) -> ObjectMeta:
    return ObjectMeta(
        uid=uid,
        name=uid,
        namespace=namespace,
        resource_version="1",
        finalizers=finalizers,
        deletion_timestamp="2023-11-14T00:00:00Z" if deleting else "",
        owner_references=tuple(
            OwnerReference(
                api_version="v1", kind="ConfigMap", name=o, uid=o, block_owner_deletion=block
            )
            for o in owners
        ),
    )


def test_dependents_are_checked_when_the_owner_vanishes() -> None:
    graph = Graph()
    graph.observe(CONFIGMAPS, meta("owner"))
    assert not graph.observe(CONFIGMAPS, meta("child", "owner")).check
    assert list(graph.vanished("owner").check) == ["child"]
    assert graph.is_absent("owner")
    # one that is created later with the same dead owner goes at once
    assert list(graph.observe(CONFIGMAPS, meta("late", "owner")).check) == ["late"]


def test_unknown_owners_are_virtual_until_seen() -> None:
    graph = Graph()
    assert list(graph.observe(CONFIGMAPS, meta("child", "owner")).check) == ["owner"]
    assert graph.nodes["owner"].virtual
    graph.observe(CONFIGMAPS, meta("owner"))
    assert not graph.nodes["owner"].virtual
    assert "child" in graph.nodes["owner"].dependents


def test_virtual_owners_go_with_their_last_dependent() -> None:
    graph = Graph()
    graph.observe(CONFIGMAPS, meta("child", "owner"))
    graph.observe(CONFIGMAPS, meta("child"))
    assert "owner" not in graph.nodes


def test_foreground_deletion_waits_for_those_that_block() -> None:
    graph = Graph()
    graph.observe(CONFIGMAPS, meta("owner"))
    graph.observe(CONFIGMAPS, meta("blocks", "owner", block=True))
    graph.observe(CONFIGMAPS, meta("does-not", "owner"))
    work = graph.observe(
        CONFIGMAPS, meta("owner", finalizers=("foregroundDeletion",), deleting=True)
    )
    assert set(work.check) == {"owner", "blocks", "does-not"}
    assert [n.uid for n in graph.blocking(graph.nodes["owner"])] == ["blocks"]
    assert list(graph.vanished("blocks").check) == ["owner"]
    assert graph.blocking(graph.nodes["owner"]) == []


def test_orphaning_is_asked_for_once() -> None:
    graph = Graph()
    graph.observe(CONFIGMAPS, meta("owner"))
    dying = meta("owner", finalizers=("orphan",), deleting=True)
    assert list(graph.observe(CONFIGMAPS, dying).orphan) == ["owner"]
    assert not graph.observe(CONFIGMAPS, dying).orphan


def config_map(name: str, *owners: Object, **metadata) -> Object:
    references = [
        {
            "apiVersion": o["apiVersion"],
            "kind": o["kind"],
            "name": o["metadata"]["name"],
            "uid": o["metadata"]["uid"],
            "blockOwnerDeletion": True,
        }
        for o in owners
    ]
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": name,
            "namespace": "default",
            "ownerReferences": references,
            **metadata,
        },
    }


async def absent(world: World, resource, name: str):
    async def check():
        try:
            await world.client.get(resource, name, "default")
        except NotFound:
            return True

    await world.until(check)


@pytest.mark.conformance(
    "[sig-api-machinery] Garbage collector should delete RS created by deployment when not orphaning "
    "[Conformance]"
)
def test_background_deletion_takes_the_whole_tree() -> None:
    async def test(world: World) -> None:
        await world.client.create(DEPLOYMENTS, workload("Deployment", "web", 3))
        await available(world, 3)
        await world.client.delete(DEPLOYMENTS, "web", "default", propagation="Background")

        async def empty():
            return not await world.objects(REPLICASETS) and not await world.objects(PODS)

        await world.until(empty)

    run(test, play=True)


def test_foreground_deletion_removes_the_owner_last() -> None:
    async def test(world: World) -> None:
        await world.client.create(DEPLOYMENTS, workload("Deployment", "web", 3))
        await available(world, 3)
        await world.client.delete(DEPLOYMENTS, "web", "default", propagation="Foreground")

        async def check():
            try:
                found = await world.client.get(DEPLOYMENTS, "web", "default")
            except NotFound:
                assert not await world.objects(PODS)
                assert not await world.objects(REPLICASETS)
                return True
            assert "foregroundDeletion" in found["metadata"]["finalizers"]
            return None

        await world.until(check, every_s=0.001)

    run(test, play=True)


@pytest.mark.conformance(
    "[sig-api-machinery] Garbage collector should orphan RS created by deployment when "
    "deleteOptions.PropagationPolicy is Orphan [Conformance]"
)
def test_orphans_stay_and_are_adopted_again() -> None:
    async def test(world: World) -> None:
        await world.client.create(DEPLOYMENTS, workload("Deployment", "web", 2))
        await available(world, 2)
        (before,) = await world.objects(REPLICASETS)
        await world.client.delete(DEPLOYMENTS, "web", "default", propagation="Orphan")
        await absent(world, DEPLOYMENTS, "web")
        (rs,) = await world.objects(REPLICASETS)
        assert not rs["metadata"].get("ownerReferences")
        assert len(await world.objects(PODS)) == 2
        again = await world.client.create(DEPLOYMENTS, workload("Deployment", "web", 2))
        await available(world, 2)
        (rs,) = await world.objects(REPLICASETS)
        assert rs["metadata"]["uid"] == before["metadata"]["uid"]
        assert rs["metadata"]["ownerReferences"][0]["uid"] == again["metadata"]["uid"]

    run(test, play=True)


@pytest.mark.conformance(
    "[sig-api-machinery] Garbage collector should not delete dependents that have both valid owner "
    "and owner that's waiting for dependents to be deleted [Serial] [Conformance]"
)
def test_a_second_owner_keeps_the_dependent() -> None:
    async def test(world: World) -> None:
        a = await world.client.create(CONFIGMAPS, config_map("a"), "default")
        b = await world.client.create(CONFIGMAPS, config_map("b"), "default")
        await world.client.create(CONFIGMAPS, config_map("child", a, b), "default")
        await world.client.delete(CONFIGMAPS, "a", "default", propagation="Foreground")
        await absent(world, CONFIGMAPS, "a")
        child = await world.client.get(CONFIGMAPS, "child", "default")
        assert [r["name"] for r in child["metadata"]["ownerReferences"]] == ["b"]

    run(test)


@pytest.mark.conformance(
    "[sig-api-machinery] Garbage collector should not be blocked by dependency circle [Conformance]"
)
def test_a_circle_is_deleted() -> None:
    async def test(world: World) -> None:
        made = {}
        for name in "abc":
            made[name] = await world.client.create(CONFIGMAPS, config_map(name), "default")
        for name, owner in (("a", "c"), ("b", "a"), ("c", "b")):
            references = config_map(name, made[owner])["metadata"]["ownerReferences"]
            patch = {"metadata": {"ownerReferences": references}}
            await world.client.patch(CONFIGMAPS, name, "default", patch)
        await world.client.delete(CONFIGMAPS, "a", "default", propagation="Foreground")
        for name in "abc":
            await absent(world, CONFIGMAPS, name)

    run(test)


def test_owners_that_never_were_and_owners_elsewhere() -> None:
    async def test(world: World) -> None:
        ghost = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "g", "uid": "0-0"}}
        await world.client.create(CONFIGMAPS, config_map("child", ghost), "default")
        await absent(world, CONFIGMAPS, "child")

    run(test)


async def running_rc(world: World) -> None:
    await world.client.create(RCS, workload("ReplicationController", "rc", 2))

    async def ready():
        found = await world.client.get(RCS, "rc", "default")
        return found["status"].get("readyReplicas") == 2

    await world.until(ready)


@pytest.mark.conformance(
    "[sig-api-machinery] Garbage collector should delete pods created by rc when not orphaning "
    "[Conformance]"
)
@pytest.mark.conformance(
    "[sig-api-machinery] Garbage collector should keep the rc around until all its pods are deleted if "
    "the deleteOptions says so [Serial] [Conformance]"
)
@pytest.mark.parametrize("propagation", ["Background", "Foreground"])
def test_an_rc_takes_its_pods_along(propagation: str) -> None:
    async def test(world: World) -> None:
        await running_rc(world)
        await world.client.delete(RCS, "rc", "default", propagation=propagation)

        async def check():
            pods = await world.objects(PODS)
            rcs = await world.objects(RCS)
            assert rcs or propagation == "Background" or not pods
            return not rcs and not pods

        await world.until(check, every_s=0.001)

    run(test, play=True)


@pytest.mark.conformance(
    "[sig-api-machinery] Garbage collector should orphan pods created by rc if delete options say so "
    "[Serial] [Conformance]"
)
def test_an_rc_may_leave_its_pods() -> None:
    async def test(world: World) -> None:
        await running_rc(world)
        await world.client.delete(RCS, "rc", "default", propagation="Orphan")
        await absent(world, RCS, "rc")
        await world.clock.sleep(30)
        pods = await world.objects(PODS)
        assert len(pods) == 2
        assert not any(p["metadata"].get("ownerReferences") for p in pods)

    run(test, play=True)
