"""The machine's gauges: how much memory, disk, inodes and processes are left, and who uses them."""

import asyncio
import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from skiff.api.views.pod import Pod
from skiff.node.cgroups import Cgroups
from skiff.node.config import KubeletConfig
from skiff.node.eviction.limits import Stored
from skiff.node.eviction.model import (
    DISK,
    IMAGE_INODES,
    IMAGES,
    INODES,
    MEMORY,
    PIDS,
    Reading,
    Usage,
    Usages,
)
from skiff.node.runtime import LABEL_CONTAINER_NAME, LABEL_POD_UID, Runtime, RuntimeRemoteError
from skiff.node.simulated import SimulatedRuntime

PROC = Path("/proc")
EMPTY_DIRS = "kubernetes.io~empty-dir"


class Gauges(Protocol):
    """What the loop reads."""

    async def read(self) -> Mapping[str, Reading]:
        """The readings by signal; a signal that cannot be read is left out."""

    async def usages(self, pods: Sequence[Pod]) -> Usages:
        """What the pods' containers use."""

    async def stored(self, pods: Sequence[Pod]) -> Mapping[str, Stored]:
        """What the pods keep on the disk, by uid."""


class MachineGauges:
    """This machine's. The runtime says where its images are."""

    def __init__(self, config: KubeletConfig, runtime: Runtime, cgroups: Cgroups | None) -> None:
        self._config = config
        self._runtime = runtime
        self._cgroups = cgroups
        self._images: Path | None = None

    async def read(self) -> Mapping[str, Reading]:
        found = {}
        memory = _meminfo()
        if "MemAvailable" in memory:
            found[MEMORY] = Reading(memory["MemAvailable"], memory["MemTotal"])
        _add_filesystem(found, self._config.root_dir, DISK, INODES)
        images = await self._image_store()
        if images is not None:
            _add_filesystem(found, images, IMAGES, IMAGE_INODES)
        found |= _processes()
        return found

    async def usages(self, pods: Sequence[Pod]) -> Usages:
        found = await container_usages(self._runtime)
        if self._cgroups is not None:
            for pod in pods:
                count = self._cgroups.processes(pod)
                found.setdefault(pod.metadata.uid, {})[""] = Usage(processes=count)
        return found

    async def stored(self, pods: Sequence[Pod]) -> Mapping[str, Stored]:
        usages = await container_usages(self._runtime)
        return {
            pod.metadata.uid: await asyncio.to_thread(
                self._stored, pod, usages.get(pod.metadata.uid, {})
            )
            for pod in pods
        }

    def _stored(self, pod: Pod, usages: Mapping[str, Usage]) -> Stored:
        meta = pod.metadata
        volumes = self._config.pod_dir(meta.uid) / "volumes" / EMPTY_DIRS
        logs = self._config.pod_log_dir(meta.namespace, meta.name, meta.uid)
        return Stored(
            {v.name: tree_bytes(volumes / v.name) for v in pod.spec.volumes if v.empty_dir},
            {
                c.name: usages.get(c.name, Usage()).disk_bytes + tree_bytes(logs / c.name)
                for c in (*pod.spec.init_containers, *pod.spec.containers)
            },
        )

    async def _image_store(self) -> Path | None:
        if self._images is None:
            try:
                stores = await self._runtime.image_fs()
            except RuntimeRemoteError:
                return None
            self._images = Path(stores[0].mountpoint) if stores else None
        return self._images


class SimulatedGauges:
    """What a test says of the simulated machine."""

    def __init__(self, runtime: SimulatedRuntime) -> None:
        self._runtime = runtime

    async def read(self) -> Mapping[str, Reading]:
        return {s: Reading(*amounts) for s, amounts in self._runtime.readings.items()}

    async def usages(self, pods: Sequence[Pod]) -> Usages:
        del pods
        return await container_usages(self._runtime)

    async def stored(self, pods: Sequence[Pod]) -> Mapping[str, Stored]:
        return {
            pod.metadata.uid: Stored(self._runtime.stored.get(pod.metadata.name, {}))
            for pod in pods
        }


def tree_bytes(top: Path) -> int:
    """What a directory's files take on the disk. It may change or go meanwhile."""
    total = 0
    for directory, _, files in os.walk(top):
        for name in files:
            with contextlib.suppress(OSError):
                total += Path(directory, name).lstat().st_blocks * 512
    return total


async def container_usages(runtime: Runtime) -> dict[str, dict[str, Usage]]:
    """What containers use, by their pod's uid and their name."""
    found: dict[str, dict[str, Usage]] = {}
    try:
        stats = await runtime.container_stats()
    except RuntimeRemoteError:
        return found
    for s in stats:
        name = s.labels.get(LABEL_CONTAINER_NAME, s.name)
        found.setdefault(s.labels.get(LABEL_POD_UID, ""), {})[name] = Usage(
            memory_bytes=s.memory_working_set_bytes,
            disk_bytes=s.rootfs_used_bytes,
            inodes=s.rootfs_inodes_used,
        )
    return found


def _add_filesystem(found: dict[str, Reading], path: Path, space: str, inodes: str) -> None:
    try:
        about = os.statvfs(next(p for p in (path, *path.parents) if p.exists()))
    except OSError:
        return
    if about.f_blocks:
        found[space] = Reading(about.f_bavail * about.f_frsize, about.f_blocks * about.f_frsize)
    if about.f_files:  # some file systems do not count them
        found[inodes] = Reading(about.f_ffree, about.f_files)


def _meminfo() -> dict[str, int]:
    try:
        lines = (PROC / "meminfo").read_text().splitlines()
    except OSError:
        return {}
    fields = (line.split() for line in lines)
    return {f[0].rstrip(":"): int(f[1]) * 1024 for f in fields if len(f) == 3}


def _processes() -> dict[str, Reading]:
    try:
        running = int((PROC / "loadavg").read_text().split()[3].split("/")[1])
        most = min(
            int((PROC / "sys/kernel" / name).read_text()) for name in ("pid_max", "threads-max")
        )
    except (OSError, ValueError, IndexError):
        return {}
    return {PIDS: Reading(most - running, most)}
