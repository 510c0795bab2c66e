"""The pod that empties a volume whose policy is Recycle. Pure.

Source: https://kubernetes.io/docs/concepts/storage/persistent-volumes/#recycle
"""

from collections.abc import Iterator
from typing import Any, Final

from skiff.api.views.base import as_json
from skiff.api.views.core import Pod
from skiff.api.views.volume import PersistentVolume
from skiff.api.volume_match import size_of
from skiff.client.reconciler import Key

NAMESPACE: Final = "default"
PREFIX: Final = "recycler-for-"
IMAGE: Final = "registry.k8s.io/build-image/debian-base:bookworm-v1.0.4"
SCRIPT: Final = (
    'test -e /scrub && find /scrub -mindepth 1 -delete && test -z "$(ls -A /scrub)" || exit 1'
)
# --pv-recycler-minimum-timeout-hostpath, -increment-timeout-hostpath; -nfs: seconds, and per GiB.
TIMEOUTS_S: Final = {"hostPath": (60, 30), "nfs": (300, 30)}
GIB: Final = 1 << 30


def name_for(volume: PersistentVolume) -> str:
    """The pod's name."""
    return PREFIX + volume.metadata.name


def keys(pod: Pod) -> Iterator[Key]:
    """The volume that a pod empties, if it is such a pod."""
    if pod.metadata.namespace == NAMESPACE and pod.metadata.name.startswith(PREFIX):
        yield Key("", pod.metadata.name.removeprefix(PREFIX))


def pod_for(volume: PersistentVolume) -> dict[str, Any]:
    """The pod for a hostPath or NFS volume."""
    spec = volume.spec
    kind = "hostPath" if spec.host_path is not None else "nfs"
    least, more = TIMEOUTS_S[kind]
    source = spec.host_path if spec.host_path is not None else spec.nfs
    assert source is not None
    scrub = {
        "name": "pv-recycler",
        "image": IMAGE,
        "command": ["/bin/sh"],
        "args": ["-c", SCRIPT],
        "volumeMounts": [{"name": "vol", "mountPath": "/scrub"}],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name_for(volume), "namespace": NAMESPACE},
        "spec": {
            "activeDeadlineSeconds": least + more * (size_of(volume) // GIB),
            "restartPolicy": "Never",
            "volumes": [{"name": "vol", kind: as_json(source)}],
            "containers": [scrub],
        },
    }
