"""The pods' cgroups: `/kubepods[/burstable|/besteffort]/pod<uid>`, on cgroup v1 and v2.

The runtime makes a container's cgroup below its pod's. The pod's own holds limits around all of its
containers together. On v1 (also "hybrid", with an unused v2 tree beside it) each controller has a
tree of its own; runc makes the directories that we do not. Everything here is a few small writes to
kernel files: they do not block. Where cgroups cannot be written (a read-only /sys/fs/cgroup),
`usable` is false and pods run without a cgroup of their own.

Source: https://kubernetes.io/docs/concepts/workloads/pods/pod-qos/ and
https://docs.kernel.org/admin-guide/cgroup-v2.html
"""

import contextlib
import logging
import os
from pathlib import Path

from skiff.api.views.pod import Pod
from skiff.node.lifecycle.qos import BEST_EFFORT, BURSTABLE, qos_class
from skiff.node.resources import MIN_SHARES, pod_cgroup_limits
from skiff.node.runtime import LinuxResources

MOUNT = Path("/sys/fs/cgroup")
CONTROLLERS = ("cpu", "memory", "pids", "cpuset")
LIMITED = ("cpu", "memory")

log = logging.getLogger(__name__)


def cgroup_parent(root: str, pod: Pod) -> str:
    """The path of a pod's cgroup, as the runtime takes it (cgroupfs driver)."""
    qos = qos_class(pod)
    middle = f"/{qos.lower()}" if qos in (BURSTABLE, BEST_EFFORT) else ""
    return f"{root}{middle}/pod{pod.metadata.uid}"


class Cgroups:
    """The cgroup trees below `mount`; `root` is the pods' common parent (`/kubepods`)."""

    def __init__(self, root: str, mount: Path = MOUNT) -> None:
        self._root = root
        self._mount = mount
        self.unified = (mount / "cgroup.controllers").exists()
        self.usable = self._make(Path(root.lstrip("/")))
        if self.usable:
            for qos in (BURSTABLE, BEST_EFFORT):
                self._make(Path(root.lstrip("/")) / qos.lower())
            self._limit(
                Path(root.lstrip("/")) / BEST_EFFORT.lower(), LinuxResources(cpu_shares=MIN_SHARES)
            )

    def make_pod(self, pod: Pod) -> None:
        """Make the pod's cgroup, or bring its limits up to date."""
        if not self.usable:
            return
        path = Path(cgroup_parent(self._root, pod).lstrip("/"))
        if self._make(path):
            self._limit(path, pod_cgroup_limits(pod))

    def lift_pod(self, pod: Pod) -> None:
        """Take the limits of the pod's own cgroup away, while those of its containers change: a
        container's may never exceed its pod's."""
        if self.usable:
            self._limit(Path(cgroup_parent(self._root, pod).lstrip("/")), LinuxResources())

    def remove_pod(self, uid: str) -> None:
        """Remove what is left of the pod's cgroups in every tree."""
        for base in self._bases():
            for directory in self._pod_directories(base):
                if directory.name == f"pod{uid}":
                    _remove(directory)

    def processes(self, pod: Pod) -> int:
        """How many processes and threads the pod's containers have."""
        path = Path(cgroup_parent(self._root, pod).lstrip("/"))
        base = self._mount if self.unified else self._mount / "pids"
        count = 0
        # On v1 the runtime makes this tree, and a container's directory is the one that is counted.
        for file in (base / path).glob("pids.current" if self.unified else "**/pids.current"):
            with contextlib.suppress(OSError, ValueError):
                count = max(count, int(file.read_text()))
        return count

    def pod_uids(self) -> set[str]:
        """The pods that have a cgroup."""
        return {d.name.removeprefix("pod") for b in self._bases() for d in self._pod_directories(b)}

    def _bases(self) -> list[Path]:
        """The mounted trees: one on v2, one a controller on v1."""
        if self.unified:
            return [self._mount]
        try:
            return [p for p in self._mount.iterdir() if p.is_dir() and not p.is_symlink()]
        except OSError:
            return []

    def _pod_directories(self, base: Path) -> list[Path]:
        top = base / self._root.lstrip("/")
        found = []
        for parent in (top, top / "burstable", top / "besteffort"):
            with contextlib.suppress(OSError):
                found += [p for p in parent.iterdir() if p.name.startswith("pod") and p.is_dir()]
        return found

    def _make(self, path: Path) -> bool:
        try:
            if not self.unified:
                for controller in LIMITED:
                    (self._mount / controller / path).mkdir(parents=True, exist_ok=True)
                return True
            at = self._mount
            for part in path.parts:
                _enable(at)
                at /= part
                at.mkdir(exist_ok=True)
            _enable(at)
        except OSError as e:
            log.debug("no cgroup %s: %s", path, e)
            return False
        return True

    def _limit(self, path: Path, limits: LinuxResources) -> None:
        for file, value in self.settings(path, limits):
            try:
                file.write_text(value)
            except OSError as e:
                log.debug("cgroup %s: %s", file, e)

    def settings(self, path: Path, limits: LinuxResources) -> list[tuple[Path, str]]:
        """The files of a cgroup to write, in order, and what to write."""
        quota = limits.cpu_quota_us
        memory = str(limits.memory_limit_bytes) if limits.memory_limit_bytes else ""
        if self.unified:
            at = self._mount / path
            period = limits.cpu_period_us or 100_000
            settings = [
                (at / "cpu.max", f"{quota or 'max'} {period}"),
                (at / "memory.max", memory or "max"),
            ]
            if limits.cpu_shares:
                settings.append((at / "cpu.weight", str(cpu_weight(limits.cpu_shares))))
            return settings
        cpu, mem = self._mount / "cpu" / path, self._mount / "memory" / path
        settings = [
            (cpu / "cpu.cfs_quota_us", str(quota or -1)),
            (mem / "memory.limit_in_bytes", memory or "-1"),
        ]
        if quota:
            settings.insert(0, (cpu / "cpu.cfs_period_us", str(limits.cpu_period_us)))
        if limits.cpu_shares:
            settings.append((cpu / "cpu.shares", str(limits.cpu_shares)))
        return settings


def remove_cgroups(root: str, mount: Path = MOUNT) -> None:
    """Remove the pods' common cgroup from every tree, once nothing runs in it."""
    for base in (mount, *(p for p in mount.glob("*") if p.is_dir() and not p.is_symlink())):
        directory = base / root.lstrip("/")
        if directory.is_dir():
            _remove(directory)


def cpu_weight(shares: int) -> int:
    """Shares of v1 as the weight of v2: 2…262144 spread over 1…10000, as runtimes do."""
    return 1 + (shares - 2) * 9999 // 262_142


def _enable(directory: Path) -> None:
    """Let children of `directory` use the controllers that it has (v2)."""
    available = (directory / "cgroup.controllers").read_text().split()
    control = directory / "cgroup.subtree_control"
    missing = [c for c in CONTROLLERS if c in available and c not in control.read_text().split()]
    if missing:
        control.write_text(" ".join(f"+{c}" for c in missing))


def _remove(directory: Path) -> None:
    """Remove a cgroup and those below it; one that still holds a process stays."""
    for path, _, _ in os.walk(directory, topdown=False):
        with contextlib.suppress(OSError):
            Path(path).rmdir()
