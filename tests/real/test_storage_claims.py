"""Claims on the real cluster: a workshop's hostPath volume, local volumes that wait for their pod, what
becomes of data when a claim goes."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.harness import RealCluster, wait_for
from tests.real.pods import IMAGE, Api, Object, Space, condition, container, pod

pytestmark = pytest.mark.real


@pytest.fixture
def space(cluster: RealCluster, images: dict[str, str]) -> Iterator[Space]:
    api = Api(cluster)
    made = Space(cluster, api, "claims")
    yield made
    for volume in made.list("PersistentVolume"):
        if volume["metadata"]["name"].startswith(made.name):
            made.delete("PersistentVolume", volume["metadata"]["name"])
    made.delete("Namespace", made.name)
    api.close()


@pytest.fixture
def data() -> Iterator[Path]:
    # Not below the state directory: like a directory that somebody prepared for a workshop.
    directory = Path(tempfile.mkdtemp(prefix="skiff-claims-", dir="/tmp"))
    (directory / "index.html").write_text("Hello from Kubernetes storage")
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


def claim(name: str, storage_class: str, size: str = "1Gi") -> Object:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name},
        "spec": {
            "storageClassName": storage_class,
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": size}},
        },
    }


def volume(space: Space, name: str, storage_class: str, **spec: object) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"{space.name}-{name}"},
        "spec": {
            "storageClassName": storage_class,
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            **spec,
        },
    }


def user(name: str, claim_name: str, script: str, **mount: object) -> Object:
    mounts = [{"name": "data", "mountPath": "/data", **mount}]
    source = {"name": "data", "persistentVolumeClaim": {"claimName": claim_name}}
    return pod(name, container("main", script, volumeMounts=mounts), volumes=[source])


def phase(space: Space, kind: str, name: str, wanted: str) -> None:
    def look() -> bool:
        return bool(space.get(kind, name)["status"]["phase"] == wanted)

    wait_for(look, f"{kind} {name} is {wanted}", 30)


def test_a_prepared_directory_becomes_a_pods_volume(space: Space, data: Path) -> None:
    space.create(volume(space, "pv", space.name, hostPath={"path": str(data)}))
    space.create(claim("data", space.name))
    space.create(user("writes", "data", "cat /data/index.html; echo -n more > /data/more"))
    assert space.output("writes") == "Hello from Kubernetes storage"
    phase(space, "PersistentVolumeClaim", "data", "Bound")
    # The next pod sees what the first one wrote, through a part of the volume, and may not write.
    script = "cat /data; (echo x > /data) 2>&1 || echo ' refused'"
    space.create(user("reads", "data", script, subPath="more", readOnly=True))
    text = space.output("reads")
    assert text.startswith("more") and text.endswith("refused\n")
    space.delete("PersistentVolumeClaim", "data")
    # It stays while pods that use it are there, though they have ended.
    assert "deletionTimestamp" in space.get("PersistentVolumeClaim", "data")["metadata"]
    for name in ("writes", "reads"):
        space.delete("Pod", name, 0)
    wait_for(lambda: space.gone("PersistentVolumeClaim", "data"), "the claim is gone", 30)
    phase(space, "PersistentVolume", f"{space.name}-pv", "Released")
    assert (data / "more").read_text() == "more"


def test_a_pod_waits_until_its_volume_is_there(space: Space, data: Path) -> None:
    space.create(claim("data", ""))
    space.create(user("waits", "data", "cat /data/index.html"))
    words = "pod has unbound immediate PersistentVolumeClaims"
    space.until("waits", lambda p: condition(p, "PodScheduled") == "False", "is refused")
    space.has_event("waits", "FailedScheduling", words)
    space.has_event("data", "FailedBinding", "no persistent volumes available for this claim")
    space.create(volume(space, "pv", "", hostPath={"path": str(data)}))
    assert space.output("waits") == "Hello from Kubernetes storage"


def test_a_local_volume_waits_for_its_first_pod(space: Space, data: Path) -> None:
    node = space.list("Node")[0]["metadata"]["name"]
    here = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
    affinity = {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}}
    elsewhere = {
        "required": {"nodeSelectorTerms": [{"matchExpressions": [{**here, "values": ["x"]}]}]}
    }
    space.create({
        "apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": space.name},
        "provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer",
    })  # fmt: skip
    try:
        local = {"local": {"path": str(data)}}
        space.create(volume(space, "far", space.name, **local, nodeAffinity=elsewhere))
        space.create(claim("data", space.name))
        space.has_event("data", "WaitForFirstConsumer", "waiting for first consumer")
        space.create(user("first", "data", "cat /data/index.html"))
        words = "node(s) didn't find available persistent volumes to bind"
        space.has_event("first", "FailedScheduling", words)
        assert space.get("PersistentVolumeClaim", "data")["status"]["phase"] == "Pending"
        space.create(volume(space, "near", space.name, **local, nodeAffinity=affinity))
        assert space.output("first") == "Hello from Kubernetes storage"
        mine = space.get("PersistentVolumeClaim", "data")
        assert mine["spec"]["volumeName"] == f"{space.name}-near"
        phase(space, "PersistentVolume", f"{space.name}-far", "Available")
    finally:
        space.delete("StorageClass", space.name)


@pytest.mark.conformance(
    "[sig-node] ImageVolume should succeed with pod and pull policy of Always [LinuxOnly] [MinimumKubeletVersion:1.35] [Conformance]"
)
def test_an_image_is_a_volume(space: Space) -> None:
    files = {"name": "files", "image": {"reference": IMAGE, "pullPolicy": "Never"}}
    mounts = [
        {"name": "files", "mountPath": "/files"},
        {"name": "files", "mountPath": "/part", "subPath": "bin"},
    ]
    script = "cmp /files/bin/serve /bin/serve && ls /part/busybox; touch /files/x 2>&1 || true"
    space.create(pod("image", container("main", script, volumeMounts=mounts), volumes=[files]))
    text = space.output("image")
    assert "/part/busybox" in text and "Read-only file system" in text
    uid = space.get("Pod", "image")["metadata"]["uid"]
    space.delete("Pod", "image", 0)
    mounted = Path("/proc/self/mounts")
    wait_for(lambda: uid not in mounted.read_text(), "nothing stays mounted", 30)


def test_data_goes_with_its_claim_where_the_volume_says_so(space: Space, data: Path) -> None:
    policy = {"persistentVolumeReclaimPolicy": "Delete"}
    space.create(volume(space, "pv", space.name, hostPath={"path": str(data)}, **policy))
    space.create(claim("data", space.name))
    phase(space, "PersistentVolumeClaim", "data", "Bound")
    space.delete("PersistentVolumeClaim", "data")
    wait_for(lambda: space.gone("PersistentVolume", f"{space.name}-pv"), "the volume is gone", 30)
    assert not data.exists()
