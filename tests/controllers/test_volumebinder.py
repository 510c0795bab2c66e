"""Claims and volumes find each other, and volumes are reclaimed."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from skiff.api.errors import NotFound
from skiff.api.resources import (
    PERSISTENTVOLUMECLAIMS,
    PERSISTENTVOLUMES,
    PODS,
    STORAGECLASSES,
)
from skiff.api.volume_match import BIND_COMPLETED, BOUND_BY_CONTROLLER
from skiff.controllers.volumebinder import disk
from tests.controllers.world import Object, World, run

WAITS = {"volumeBindingMode": "WaitForFirstConsumer"}
DEFAULT = {"storageclass.kubernetes.io/is-default-class": "true"}


def claim(
    name: str = "data", size: str = "1Gi", storage_class: str | None = "manual", **spec: Any
) -> Object:
    spec = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": size}},
        **({} if storage_class is None else {"storageClassName": storage_class}),
        **spec,
    }
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": "default"},
        "spec": spec,
    }


def volume(
    name: str = "disk", size: str = "1Gi", storage_class: str = "manual", **spec: Any
) -> Object:
    labels = spec.pop("labels", {})
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": size},
            "storageClassName": storage_class,
            "hostPath": {"path": "/mnt/data"},
            **spec,
        },
    }


def storage_class(
    name: str = "manual", provisioner: str = "kubernetes.io/no-provisioner", **more: Any
) -> Object:
    annotations = more.pop("annotations", {})
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": name, "annotations": annotations},
        "provisioner": provisioner,
        **more,
    }


async def make(world: World, *objects: Object) -> None:
    resources = {
        "PersistentVolumeClaim": PERSISTENTVOLUMECLAIMS,
        "PersistentVolume": PERSISTENTVOLUMES,
        "StorageClass": STORAGECLASSES,
        "Pod": PODS,
    }
    for obj in objects:
        await world.client.create(resources[obj["kind"]], obj)


async def the_claim(world: World, name: str = "data") -> Object:
    return await world.client.get(PERSISTENTVOLUMECLAIMS, name, "default")


async def the_volume(world: World, name: str = "disk") -> Object:
    return await world.client.get(PERSISTENTVOLUMES, name)


async def claim_in(world: World, phase: str, name: str = "data") -> Object:
    async def look() -> Object | None:
        found = await the_claim(world, name)
        return found if found["status"]["phase"] == phase else None

    return await world.until(look)


async def volume_in(world: World, phase: str, name: str = "disk") -> Object:
    async def look() -> Object | None:
        found = await the_volume(world, name)
        return found if found["status"]["phase"] == phase else None

    return await world.until(look)


async def told(world: World, reason: str, text: str) -> None:
    async def look() -> bool:
        return text in await world.events(reason)

    assert await world.until(look)


@pytest.mark.parametrize("first", ["claim", "volume"])
def test_a_claim_and_a_volume_are_bound(first: str) -> None:
    async def scenario(world: World) -> None:
        both = [claim(), volume(size="2Gi")]
        await make(world, both[0] if first == "claim" else both[1])
        if first == "claim":
            missing = 'storageclass.storage.k8s.io "manual" not found'
            await told(world, "ProvisioningFailed", missing)
        else:
            await volume_in(world, "Available")
        await make(world, both[1] if first == "claim" else both[0])
        mine = await claim_in(world, "Bound")
        disk = await volume_in(world, "Bound")
        assert mine["spec"]["volumeName"] == "disk"
        assert mine["status"] == {
            "phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "2Gi"},
        }  # fmt: skip
        marks = mine["metadata"]["annotations"]
        assert marks == {BIND_COMPLETED: "yes", BOUND_BY_CONTROLLER: "yes"}
        assert disk["metadata"]["annotations"] == {BOUND_BY_CONTROLLER: "yes"}
        reference = disk["spec"]["claimRef"]
        assert (reference["name"], reference["uid"]) == ("data", mine["metadata"]["uid"])
        assert disk["status"]["lastPhaseTransitionTime"]

    run(scenario)


@pytest.mark.parametrize(
    ("wants", "offers", "chosen"),
    [
        ({}, [volume("a", "5Gi"), volume("b", "2Gi"), volume("c", "3Gi")], "b"),
        ({"size": "3Gi"}, [volume("a", "5Gi"), volume("b", "2Gi"), volume("c", "3Gi")], "c"),
        ({"selector": {"matchLabels": {"x": "y"}}}, [volume("a"), volume("b", labels={"x": "y"})], "b"),
        ({"storage_class": ""}, [volume("a"), volume("b", storage_class="")], "b"),
        ({"volumeMode": "Block"}, [volume("a"), volume("b", "9Gi", volumeMode="Block")], "b"),
        (
            {"accessModes": ["ReadWriteMany"]},
            [volume("a"), volume("b", accessModes=["ReadWriteOnce", "ReadWriteMany"])],
            "b",
        ),
        (
            {},
            [volume("a", accessModes=["ReadWriteOnce", "ReadWriteMany"]), volume("b", "9Gi")],
            "b",
        ),
        (
            {},
            [volume("a"), volume("b", "9Gi", claimRef={"namespace": "default", "name": "data"})],
            "b",
        ),
        ({}, [volume("a", claimRef={"namespace": "default", "name": "other"}), volume("b", "9Gi")], "b"),
        ({"volumeName": "b"}, [volume("a"), volume("b", "9Gi")], "b"),
    ],
)  # fmt: skip
def test_which_volume(wants: Any, offers: list[Object], chosen: str) -> None:
    async def scenario(world: World) -> None:
        await make(world, *offers)
        for offer in offers:
            await volume_in(world, "Available", offer["metadata"]["name"])
        await make(world, claim(**wants))
        mine = await claim_in(world, "Bound")
        assert mine["spec"]["volumeName"] == chosen
        by_hand = "volumeName" in wants
        assert (BOUND_BY_CONTROLLER in mine["metadata"]["annotations"]) != by_hand
        disk = await the_volume(world, chosen)
        meant = any("claimRef" in o["spec"] and o["metadata"]["name"] == chosen for o in offers)
        assert (BOUND_BY_CONTROLLER in disk["metadata"].get("annotations", {})) != meant

    run(scenario)


def test_no_two_claims_get_one_volume() -> None:
    async def scenario(world: World) -> None:
        names = [f"c{i}" for i in range(8)]
        await make(world, *(claim(n) for n in names))
        await make(world, *(volume(f"v{i}", f"{i + 1}Gi") for i in range(5)))

        async def settled() -> bool:
            volumes = await world.objects(PERSISTENTVOLUMES)
            return all(v["status"]["phase"] == "Bound" for v in volumes)

        await world.until(settled)
        claims = await world.objects(PERSISTENTVOLUMECLAIMS)
        bound = [c["spec"]["volumeName"] for c in claims if c["status"]["phase"] == "Bound"]
        assert sorted(bound) == [f"v{i}" for i in range(5)]

    run(scenario)


@pytest.mark.parametrize(
    ("wants", "offers", "reason", "text"),
    [
        (
            {"storage_class": ""}, [], "FailedBinding",
            "no persistent volumes available for this claim and no storage class is set",
        ),
        (
            {}, [storage_class()], "ProvisioningFailed",
            "no volume plugin matched name: kubernetes.io/no-provisioner",
        ),
        (
            {}, [storage_class(provisioner="csi.example.com")], "ExternalProvisioning",
            "Waiting for a volume to be created either by the external provisioner "
            "'csi.example.com' or manually by the system administrator. If volume creation is "
            "delayed, please verify that the provisioner is running and correctly registered.",
        ),
        (
            {}, [storage_class(**WAITS), volume()], "WaitForFirstConsumer",
            "waiting for first consumer to be created before binding",
        ),
        (
            {"volumeName": "disk", "size": "9Gi"}, [volume()], "VolumeMismatch",
            'Cannot bind to requested volume "disk": requested PV is too small',
        ),
        (
            {"volumeName": "disk"}, [volume(storage_class="other")], "VolumeMismatch",
            'Cannot bind to requested volume "disk": storageClassName does not match',
        ),
        (
            {"volumeName": "disk"}, [volume(accessModes=["ReadWriteMany"])], "VolumeMismatch",
            'Cannot bind to requested volume "disk": incompatible accessMode',
        ),
        (
            {"volumeName": "disk"},
            [volume(claimRef={"namespace": "default", "name": "other"})],
            "FailedBinding",
            'volume "disk" already bound to a different claim.',
        ),
    ],
)  # fmt: skip
def test_why_a_claim_waits(wants: Any, offers: list[Object], reason: str, text: str) -> None:
    async def scenario(world: World) -> None:
        await make(world, *offers, claim(**wants))
        await told(world, reason, text)
        mine = await the_claim(world)
        assert mine["status"] == {"phase": "Pending"}
        if reason == "ExternalProvisioning":
            asked = mine["metadata"]["annotations"]["volume.kubernetes.io/storage-provisioner"]
            assert asked == "csi.example.com"

    run(scenario)


def test_a_claim_that_waits_for_its_pod_to_be_scheduled() -> None:
    async def scenario(world: World) -> None:
        await make(world, storage_class(**WAITS), volume())
        uses = {"name": "v", "persistentVolumeClaim": {"claimName": "data"}}
        spec = {"containers": [{"name": "c", "image": "i"}], "volumes": [uses]}
        meta = {"name": "p", "namespace": "default"}
        await make(world, {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec})
        await make(world, claim())
        await told(world, "WaitForPodScheduled", "waiting for pod p to be scheduled")

        # The scheduler decides for the volume by writing whose it is.
        uid = (await the_claim(world))["metadata"]["uid"]
        reference = {
            "kind": "PersistentVolumeClaim",
            "namespace": "default",
            "name": "data",
            "uid": uid,
        }
        await world.client.patch(PERSISTENTVOLUMES, "disk", "", {"spec": {"claimRef": reference}})
        assert (await claim_in(world, "Bound"))["spec"]["volumeName"] == "disk"

    run(scenario)


def test_a_claim_without_class_gets_the_default_one_that_comes_later() -> None:
    async def scenario(world: World) -> None:
        await make(world, claim(storage_class=None), claim("none", storage_class=""))
        await told(
            world,
            "FailedBinding",
            "no persistent volumes available for this claim and no storage class is set",
        )
        await make(world, storage_class("fast", annotations=DEFAULT), volume(storage_class="fast"))
        mine = await claim_in(world, "Bound")
        assert mine["spec"]["storageClassName"] == "fast"
        assert (await the_claim(world, "none"))["spec"]["storageClassName"] == ""

    run(scenario)


def test_a_kept_volume_is_released_and_may_be_offered_again() -> None:
    async def scenario(world: World) -> None:
        await make(world, volume(), claim())
        await claim_in(world, "Bound")
        await volume_in(world, "Bound")
        await world.client.delete(PERSISTENTVOLUMECLAIMS, "data", "default")
        await volume_in(world, "Released")
        await make(world, claim("next"))
        await world.clock.sleep(30)
        assert (await the_claim(world, "next"))["status"]["phase"] == "Pending"
        await world.client.patch(PERSISTENTVOLUMES, "disk", "", {"spec": {"claimRef": None}})
        assert (await claim_in(world, "Bound", "next"))["spec"]["volumeName"] == "disk"

    run(scenario)


def test_a_deleted_volume_goes_with_its_data(monkeypatch: pytest.MonkeyPatch) -> None:
    removed: list[str] = []

    async def remove(path: str) -> None:
        removed.append(path)

    monkeypatch.setattr(disk, "remove", remove)

    async def scenario(world: World) -> None:
        policy = {"persistentVolumeReclaimPolicy": "Delete"}
        await make(world, volume(**policy, hostPath={"path": "/tmp/data"}), claim())
        await claim_in(world, "Bound")
        await volume_in(world, "Bound")
        await world.client.delete(PERSISTENTVOLUMECLAIMS, "data", "default")

        async def gone() -> bool:
            try:
                await the_volume(world)
            except NotFound:
                return True
            return False

        await world.until(gone)
        assert removed == ["/tmp/data"]

    run(scenario)


def test_data_is_removed(tmp_path: Path) -> None:
    tree, file = tmp_path / "tree", tmp_path / "file"
    (tree / "inner").mkdir(parents=True)
    file.write_text("x")
    for path in (tree, file, tmp_path / "nothing"):
        asyncio.run(disk.remove(str(path)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("spec", "reason", "message"),
    [
        (
            {"persistentVolumeReclaimPolicy": "Delete"}, "VolumeFailedDelete",
            "host_path deleter only supports /tmp/.+ but received provided /mnt/data",
        ),
        (
            {
                "persistentVolumeReclaimPolicy": "Delete", "hostPath": None,
                "nfs": {"server": "s", "path": "/p"},
            },
            "VolumeFailedDelete",
            'error getting deleter volume plugin for volume "disk": no deletable volume plugin matched',
        ),
        (
            {
                "persistentVolumeReclaimPolicy": "Recycle", "hostPath": None,
                "csi": {"driver": "d", "volumeHandle": "h"},
            },
            "VolumeFailedRecycle", "No recycler plugin found for the volume!",
        ),
    ],
)  # fmt: skip
def test_volumes_that_cannot_be_reclaimed(spec: Any, reason: str, message: str) -> None:
    async def scenario(world: World) -> None:
        await make(world, volume(**spec), claim())
        await claim_in(world, "Bound")
        await world.client.delete(PERSISTENTVOLUMECLAIMS, "data", "default")
        disk = await volume_in(world, "Failed")
        assert disk["status"]["message"] == message
        await told(world, reason, message)

    run(scenario)


def test_a_recycled_volume_is_emptied_by_a_pod_and_offered_again() -> None:
    async def scenario(world: World) -> None:
        await world.client.create(STORAGECLASSES, storage_class("other"))
        await make(world, volume(persistentVolumeReclaimPolicy="Recycle"), claim())
        await claim_in(world, "Bound")
        await world.client.delete(PERSISTENTVOLUMECLAIMS, "data", "default")
        name = "recycler-for-disk"
        pod = await world.until(lambda: world.client.get(PODS, name, "default"))
        assert pod["spec"]["volumes"][0]["hostPath"]["path"] == "/mnt/data"
        assert (await the_volume(world))["status"]["phase"] == "Released"
        await world.client.patch(
            PODS, name, "default", {"status": {"phase": "Succeeded"}}, "merge", "status"
        )
        disk = await volume_in(world, "Available")
        assert "claimRef" not in disk["spec"]

    run(scenario)


@pytest.mark.parametrize("loses", ["volume", "reference"])
def test_a_claim_that_lost_its_volume(loses: str) -> None:
    async def scenario(world: World) -> None:
        await make(world, volume(), claim())
        await claim_in(world, "Bound")
        await volume_in(world, "Bound")
        if loses == "volume":
            await world.client.delete(PERSISTENTVOLUMES, "disk")
            free = {"metadata": {"finalizers": None}}
            await world.client.patch(PERSISTENTVOLUMES, "disk", "", free)
        else:
            other = {"namespace": "default", "name": "other", "uid": "u"}
            await world.client.patch(PERSISTENTVOLUMES, "disk", "", {"spec": {"claimRef": other}})
        mine = await claim_in(world, "Lost")
        assert mine["status"] == {"phase": "Lost"}

    run(scenario)


def test_a_volume_goes_back_where_its_claim_has_another() -> None:
    async def scenario(world: World) -> None:
        await make(world, volume("first"), claim())
        mine = await claim_in(world, "Bound")
        reference = {"namespace": "default", "name": "data", "uid": mine["metadata"]["uid"]}
        await make(world, volume("second", claimRef=reference))
        second = await volume_in(world, "Available", "second")
        assert second["spec"]["claimRef"] == {"namespace": "default", "name": "data"}

    run(scenario, play=False)


def test_a_pods_own_volume_gets_a_claim_that_goes_with_it() -> None:
    def uses(name: str) -> Object:
        template = {"metadata": {"labels": {"of": "p"}}, "spec": claim()["spec"]}
        own = {"name": "scratch", "ephemeral": {"volumeClaimTemplate": template}}
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"containers": [{"name": "c", "image": "i"}], "volumes": [own]},
        }

    async def scenario(world: World) -> None:
        await make(world, volume(), claim("q-scratch", "9Gi"))
        await make(world, uses("p"), uses("q"))
        mine = await claim_in(world, "Bound", "p-scratch")
        assert mine["metadata"]["labels"] == {"of": "p"}
        assert mine["spec"]["storageClassName"] == "manual"
        (owner,) = mine["metadata"]["ownerReferences"]
        pod = await world.client.get(PODS, "p", "default")
        assert (owner["kind"], owner["uid"]) == ("Pod", pod["metadata"]["uid"])
        assert owner["controller"] and owner["blockOwnerDeletion"]
        await world.client.delete(PODS, "p", "default", grace_period_s=0)

        async def gone() -> bool:
            try:
                await the_claim(world, "p-scratch")
            except NotFound:
                return True
            return False

        await world.until(gone, 120)
        assert "ownerReferences" not in (await the_claim(world, "q-scratch"))["metadata"]

    run(scenario)
