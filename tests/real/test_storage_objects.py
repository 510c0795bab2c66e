"""Objects of storage and their course through the API; claims and volumes bound to each other."""

from collections.abc import Iterator

import pytest

from tests.real.harness import RealCluster, wait_for
from tests.real.lifecycle import run_through
from tests.real.pods import MERGE, Api, Object, Space, container, pod

pytestmark = pytest.mark.real

STORAGE = "storage.k8s.io/v1"


@pytest.fixture(scope="module")
def space(cluster: RealCluster, images: dict[str, str]) -> Iterator[Space]:
    api = Api(cluster)
    made = Space(cluster, api, "storage")
    yield made
    made.delete("Namespace", made.name)
    api.close()


@pytest.mark.conformance(
    "[sig-storage] CSIInlineVolumes should run through the lifecycle of a CSIDriver [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] CSINodes CSI Conformance should run through the lifecycle of a csinode [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] CSIStorageCapacity should support CSIStorageCapacities API operations [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] StorageClasses CSI Conformance should run through the lifecycle of a StorageClass [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] VolumeAttachment Conformance should run through the lifecycle of a VolumeAttachment [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] VolumeAttributesClass [FeatureGate:VolumeAttributesClass] should run through the lifecycle of a VolumeAttributesClass [Conformance]"
)
def test_objects_run_their_course(space: Space) -> None:
    driver = {"name": "d.example.com", "nodeID": "n"}
    attachment = {
        "attacher": "a.example.com",
        "nodeName": "some-node",
        "source": {"persistentVolumeName": "v"},
    }
    objects: list[Object] = [
        {"kind": "CSIDriver", "spec": {"attachRequired": False, "podInfoOnMount": True}},
        {"kind": "CSINode", "spec": {"drivers": [driver]}},
        {"kind": "CSIStorageCapacity", "storageClassName": "c", "capacity": "100Gi"},
        {"kind": "StorageClass", "provisioner": "e2e-fake-provisioner"},
        {"kind": "VolumeAttachment", "spec": attachment},
        {"kind": "VolumeAttributesClass", "driverName": "d.example.com", "parameters": {"a": "b"}},
    ]
    for obj in objects:
        obj["apiVersion"] = STORAGE
        obj["metadata"] = {"name": f"course-{obj['kind'].lower()}"}
        run_through(space, obj)


@pytest.mark.conformance(
    "[sig-storage] VolumeAttachment Conformance should apply changes to a volumeattachment status [Conformance]"
)
def test_volume_attachments_have_a_status(space: Space) -> None:
    spec = {
        "attacher": "a.example.com",
        "nodeName": "some-node",
        "source": {"persistentVolumeName": "v"},
    }
    name = f"{space.name}-attachment"
    attachment = {
        "apiVersion": STORAGE,
        "kind": "VolumeAttachment",
        "metadata": {"name": name},
        "spec": spec,
    }
    made = space.create(attachment)
    assert made["status"]["attached"] is False
    told = space.patch("VolumeAttachment", name, {"status": {"attached": True}}, "status")
    assert told["status"]["attached"] is True
    told["status"]["attached"] = False
    assert space.replace(told, "status")["status"]["attached"] is False
    assert space.get("VolumeAttachment", name, "status")["status"]["attached"] is False
    space.delete("VolumeAttachment", name)


@pytest.mark.conformance(
    "[sig-storage] CSIInlineVolumes should support CSIVolumeSource in Pod API [Conformance]"
)
def test_pods_with_inline_csi_volumes(space: Space) -> None:
    source = {"driver": "e2e.example.com", "volumeAttributes": {"a": "b"}, "fsType": "ext4"}
    volumes = [{"name": "v", "csi": source}]
    mounts = [{"name": "v", "mountPath": "/v"}]
    space.create(pod("inline", container(script="true", volumeMounts=mounts), volumes=volumes))
    found = next(v for v in space.get("Pod", "inline")["spec"]["volumes"] if v["name"] == "v")
    assert found["csi"] == source
    space.has_event("inline", "FailedMount", "e2e.example.com (no CSIDriver object)")
    space.delete("Pod", "inline", 0)


def a_volume(name: str, **spec: object) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            **spec,
        },
    }


def a_claim(name: str, **spec: object) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
            **spec,
        },
    }


@pytest.mark.conformance(
    "[sig-storage] PersistentVolumes CSI Conformance should run through the lifecycle of a PV and a PVC [Conformance]"
)
@pytest.mark.conformance(
    "[sig-storage] PersistentVolumes CSI Conformance should apply changes to a pv/pvc status [Conformance]"
)
def test_volumes_and_claims(space: Space) -> None:
    volume, storage_class = f"{space.name}-pv", f"{space.name}-class"
    csi = {"driver": "e2e.example.com", "volumeHandle": "h"}
    space.create(a_volume(volume, csi=csi, storageClassName=storage_class))
    space.create(a_claim("claim", storageClassName=storage_class))

    for kind, name in (("PersistentVolume", volume), ("PersistentVolumeClaim", "claim")):
        assert space.get(kind, name)["status"]["phase"] in ("Pending", "Available", "Bound")
    for kind, name in (("PersistentVolume", volume), ("PersistentVolumeClaim", "claim")):
        told = space.patch(kind, name, {"metadata": {"labels": {"mine": name}}}, how=MERGE)
        assert told["metadata"]["labels"]["mine"] == name
        added = {"type": "StatusPatched", "status": "True", "reason": "E2E", "message": "m"}
        change = (
            {"status": {"conditions": [added]}}
            if kind.endswith("Claim")
            else {"status": {"message": "StatusPatched", "reason": "E2E"}}
        )
        told = space.patch(kind, name, change, "status")
        now = space.get(kind, name, "status")
        assert "StatusPatched" in str(now["status"])
        space.replace(now, "status")
    space.api("DELETE", space.path("PersistentVolumeClaim") + "?labelSelector=mine%3Dclaim")
    wait_for(lambda: space.gone("PersistentVolumeClaim", "claim"), "the claim is gone", 20)
    space.api("DELETE", f"{space.path('PersistentVolume')}?labelSelector=mine%3D{volume}")
    wait_for(lambda: space.gone("PersistentVolume", volume), "the volume is gone", 20)


def _bind(space: Space, volume: str, claim: str) -> None:
    """Say of both that they are each other's, as the one who provides the volume may."""
    uid = space.get("PersistentVolumeClaim", claim)["metadata"]["uid"]
    owner = {"kind": "PersistentVolumeClaim", "namespace": space.name, "name": claim, "uid": uid}
    space.patch("PersistentVolume", volume, {"spec": {"claimRef": owner}}, how=MERGE)
    space.patch("PersistentVolume", volume, {"status": {"phase": "Bound"}}, "status")
    bound = {"phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}}
    done = {"pv.kubernetes.io/bind-completed": "yes"}
    space.patch("PersistentVolumeClaim", claim, {"metadata": {"annotations": done}}, how=MERGE)
    space.patch("PersistentVolumeClaim", claim, {"status": bound}, "status")


def test_a_claim_in_a_pod(space: Space) -> None:
    volume, storage_class = f"{space.name}-host", f"{space.name}-host"
    where = {
        "path": str(space.cluster.state_dir / f"{space.name}-volume"),
        "type": "DirectoryOrCreate",
    }
    space.create(a_claim("used", storageClassName=storage_class, volumeName=volume))
    mounts = [{"name": "v", "mountPath": "/v"}]
    source = {"persistentVolumeClaim": {"claimName": "used"}}
    one = container(script="echo kept > /v/x; cat /v/x; sleep 600", volumeMounts=mounts)
    space.create(pod("claims", one, volumes=[{"name": "v", **source}]))
    space.has_event("claims", "FailedScheduling")
    space.create(a_volume(volume, hostPath=where, storageClassName=storage_class))
    _bind(space, volume, "used")
    space.ready("claims", 60)
    wait_for(lambda: space.log("claims") == "kept\n", "it writes", 10)
    space.delete("PersistentVolumeClaim", "used")
    claim = space.get("PersistentVolumeClaim", "used")  # in use: it stays until the pod is gone
    assert claim["metadata"]["finalizers"] == ["kubernetes.io/pvc-protection"]
    space.delete("Pod", "claims", 0)
    wait_for(lambda: space.gone("PersistentVolumeClaim", "used"), "the claim is gone", 20)
    space.patch("PersistentVolume", volume, {"status": {"phase": "Released"}}, "status")
    space.delete("PersistentVolume", volume)
