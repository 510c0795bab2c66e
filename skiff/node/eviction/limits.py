"""Limits of local storage: a pod that keeps more on the node's disk than it may is evicted. Pure.

Looked at are an emptyDir's `sizeLimit`, the pod's limit of ephemeral-storage, and each container's.

Source: https://kubernetes.io/docs/concepts/storage/ephemeral-storage/
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from skiff.api.quantity import parse
from skiff.api.views.pod import Pod
from skiff.node.resources import pod_limits

STORAGE = "ephemeral-storage"
IN_MEMORY = "Memory"


@dataclass(frozen=True, slots=True)
class Stored:
    """What a pod keeps on the disk, in bytes: by emptyDir, and by container (its own files and logs)."""

    volumes: Mapping[str, int] = field(default_factory=dict)
    containers: Mapping[str, int] = field(default_factory=dict)


def is_limited(pod: Pod) -> bool:
    """Whether there is anything to look at."""
    return bool(_sizes(pod)) or any(
        STORAGE in c.resources.limits for c in pod.spec.containers if c.resources
    )


def excess(pod: Pod, stored: Stored) -> str:
    """What the pod's status says of a limit that it exceeds, or ""."""
    for name, limit in _sizes(pod).items():
        if stored.volumes.get(name, 0) > parse(limit).whole():
            return f'Usage of EmptyDir volume "{name}" exceeds the limit "{parse(limit)}". '
    whole = pod_limits(pod).get(STORAGE)
    on_disk = [v.name for v in pod.spec.volumes if v.empty_dir and v.empty_dir.medium != IN_MEMORY]
    used = sum(stored.containers.values()) + sum(stored.volumes.get(n, 0) for n in on_disk)
    if whole is not None and used > whole.whole():
        return f"Pod ephemeral local storage usage exceeds the total limit of containers {whole}. "
    for container in pod.spec.containers:
        own = container.resources.limits.get(STORAGE, "") if container.resources else ""
        if own and 0 < parse(own).whole() < stored.containers.get(container.name, 0):
            shown = parse(own)
            return (
                f'Container {container.name} exceeded its local ephemeral storage limit "{shown}". '
            )
    return ""


def _sizes(pod: Pod) -> dict[str, str]:
    """The emptyDirs that have a limit."""
    found = {v.name: v.empty_dir.size_limit for v in pod.spec.volumes if v.empty_dir is not None}
    return {name: limit for name, limit in found.items() if limit and parse(limit).nano > 0}
