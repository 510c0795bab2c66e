"""Resource use on the node: /stats/summary, /metrics/resource and /metrics.

Containers' numbers come from the runtime, the machine's from /proc; a pod's are the sums over its
containers. `usageNanoCores` is the rate since the previous look.

Source: https://kubernetes.io/docs/reference/instrumentation/node-metrics/
"""

import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from skiff.aio.clock import Clock, rfc3339
from skiff.api.views.core import Pod
from skiff.node.config import KubeletConfig
from skiff.node.runtime import (
    LABEL_CONTAINER_NAME,
    LABEL_POD_UID,
    ContainerStats,
    Runtime,
    RuntimeRemoteError,
)

_PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")


class _Pods(Protocol):
    def pods(self) -> Sequence[Pod]: ...


@dataclass(frozen=True, slots=True)
class Machine:
    """The node's own use, read from /proc. CPU time is cumulative."""

    cpu_nano_seconds: int
    memory_total_bytes: int
    memory_available_bytes: int
    memory_used_bytes: int
    boot_time: float
    processes: int
    max_pid: int


def read_machine() -> Machine:
    """Read /proc now (a few small files)."""
    stat = (_PROC / "stat").read_text().splitlines()
    fields = [int(f) for f in stat[0].split()[1:9]]
    busy = sum(fields) - fields[3] - fields[4]
    boot = next((float(line.split()[1]) for line in stat if line.startswith("btime")), 0.0)
    memory = {
        line.split(":")[0]: int(line.split()[1]) * 1024
        for line in (_PROC / "meminfo").read_text().splitlines()
        if line.endswith("kB")
    }
    total = memory["MemTotal"]
    return Machine(
        cpu_nano_seconds=busy * 1_000_000_000 // _TICKS,
        memory_total_bytes=total,
        memory_available_bytes=memory["MemAvailable"],
        memory_used_bytes=total - memory["MemFree"],
        boot_time=boot,
        processes=int((_PROC / "loadavg").read_text().split()[3].split("/")[1]),
        max_pid=int((_PROC / "sys/kernel/pid_max").read_text()),
    )


class Stats:
    """Makes the documents; holds the previous CPU times for the rates."""

    def __init__(self, config: KubeletConfig, runtime: Runtime, pods: _Pods, clock: Clock) -> None:
        self._config = config
        self._runtime = runtime
        self._pods = pods
        self._clock = clock
        self._seen: dict[str, tuple[float, int, int]] = {}

    async def summary(self) -> dict[str, Any]:
        """The Summary of /stats/summary."""
        machine = read_machine()
        now = self._clock.now()
        containers = await self._containers()
        by_pod: dict[str, list[ContainerStats]] = {}
        for stats in containers:
            by_pod.setdefault(stats.labels.get(LABEL_POD_UID, ""), []).append(stats)
        rates = {s.id: self._rate(s.id, s.timestamp, s.cpu_nano_seconds) for s in containers}
        self._forget({"", *rates})
        pods = [
            self._pod(pod, by_pod[pod.metadata.uid], rates, now)
            for pod in self._pods.pods()
            if pod.metadata.uid in by_pod
        ]
        stamp = rfc3339(now)
        filesystem = _filesystem(self._config.root_dir, stamp)
        return {
            "node": {
                "nodeName": self._config.node_name,
                "startTime": rfc3339(machine.boot_time),
                "cpu": {
                    "time": stamp,
                    "usageNanoCores": self._rate("", now, machine.cpu_nano_seconds),
                    "usageCoreNanoSeconds": machine.cpu_nano_seconds,
                },
                "memory": {
                    "time": stamp,
                    "availableBytes": machine.memory_available_bytes,
                    "usageBytes": machine.memory_used_bytes,
                    "workingSetBytes": machine.memory_total_bytes - machine.memory_available_bytes,
                },
                "fs": filesystem,
                "runtime": {"imageFs": filesystem, "containerFs": filesystem},
                "rlimit": {
                    "time": stamp,
                    "maxpid": machine.max_pid,
                    "curproc": machine.processes,
                },
            },
            "pods": pods,
        }

    def _pod(
        self, pod: Pod, stats: Sequence[ContainerStats], rates: dict[str, int], now: float
    ) -> dict[str, Any]:
        stamp = rfc3339(now)
        running = {
            s.name: s.state.running.started_at
            for s in pod.status.container_statuses
            if s.state is not None and s.state.running is not None
        }
        return {
            "podRef": {
                "name": pod.metadata.name,
                "namespace": pod.metadata.namespace,
                "uid": pod.metadata.uid,
            },
            "startTime": pod.status.start_time,
            "containers": [
                {
                    "name": _name(s),
                    "startTime": running.get(_name(s)) or pod.status.start_time,
                    "cpu": _cpu((s,), rates),
                    "memory": _memory((s,)),
                    "rootfs": {
                        "time": rfc3339(s.timestamp),
                        "usedBytes": s.rootfs_used_bytes,
                        "inodesUsed": s.rootfs_inodes_used,
                    },
                }
                for s in stats
            ],
            "cpu": _cpu(stats, rates),
            "memory": _memory(stats),
            "ephemeral-storage": {
                "time": stamp,
                "usedBytes": sum(s.rootfs_used_bytes for s in stats),
                "inodesUsed": sum(s.rootfs_inodes_used for s in stats),
            },
        }

    async def resource_metrics(self) -> str:
        """/metrics/resource, in Prometheus' text format."""
        machine = read_machine()
        now_ms = int(self._clock.now() * 1000)
        error = 0
        try:
            containers = await self._runtime.container_stats()
        except RuntimeRemoteError:
            containers, error = [], 1
        pods = {p.metadata.uid: p for p in self._pods.pods()}
        cpu, memory = [], []
        sums: dict[str, list[int]] = {}
        for s in containers:
            uid = s.labels.get(LABEL_POD_UID, "")
            pod = pods.get(uid)
            if pod is None:
                continue
            stamp = int(s.timestamp * 1000)
            labels = (
                f'container="{_name(s)}",namespace="{pod.metadata.namespace}",'
                f'pod="{pod.metadata.name}"'
            )
            cpu.append((labels, s.cpu_nano_seconds / 1e9, stamp))
            memory.append((labels, s.memory_working_set_bytes, stamp))
            total = sums.setdefault(uid, [0, 0])
            total[0] += s.cpu_nano_seconds
            total[1] += s.memory_working_set_bytes
        pod_labels = {
            uid: f'namespace="{pods[uid].metadata.namespace}",pod="{pods[uid].metadata.name}"'
            for uid in sums
        }
        used = machine.memory_total_bytes - machine.memory_available_bytes
        families: list[tuple[str, str, str, Sequence[tuple[str, float, int]]]] = [
            ("container_cpu_usage_seconds_total", "counter",
             "Cumulative cpu time consumed by the container in core-seconds", cpu),
            ("container_memory_working_set_bytes", "gauge",
             "Current working set of the container in bytes", memory),
            ("node_cpu_usage_seconds_total", "counter",
             "Cumulative cpu time consumed by the node in core-seconds",
             [("", machine.cpu_nano_seconds / 1e9, now_ms)]),
            ("node_memory_working_set_bytes", "gauge",
             "Current working set of the node in bytes", [("", used, now_ms)]),
            ("pod_cpu_usage_seconds_total", "counter",
             "Cumulative cpu time consumed by the pod in core-seconds",
             [(pod_labels[u], v[0] / 1e9, now_ms) for u, v in sums.items()]),
            ("pod_memory_working_set_bytes", "gauge",
             "Current working set of the pod in bytes",
             [(pod_labels[u], v[1], now_ms) for u, v in sums.items()]),
            ("resource_scrape_error", "gauge",
             "1 if there was an error while getting container metrics, 0 otherwise",
             [("", error, 0)]),
        ]  # fmt: skip
        return "".join(_family(*f) for f in families)

    async def metrics(self) -> str:
        """/metrics: the kubelet's own."""
        containers = await self._containers()
        pods = {s.labels.get(LABEL_POD_UID, "") for s in containers}
        return "".join(
            (
                _family(
                    "kubelet_node_name", "gauge", "The node's name. The count is always 1.",
                    [(f'node="{self._config.node_name}"', 1, 0)],
                ),
                _family(
                    "kubelet_running_pods", "gauge",
                    "Number of pods that have a running pod sandbox", [("", len(pods), 0)],
                ),
                _family(
                    "kubelet_running_containers", "gauge",
                    "Number of containers currently running",
                    [('container_state="running"', len(containers), 0)],
                ),
            )
        )  # fmt: skip

    async def _containers(self) -> list[ContainerStats]:
        try:
            return await self._runtime.container_stats()
        except RuntimeRemoteError:
            return []

    def _rate(self, key: str, time: float, cpu: int) -> int:
        """Nano cores since the previous look; the last rate where the runtime has no newer numbers."""
        then, before, rate = self._seen.get(key, (0.0, 0, 0))
        if then and time > then:
            rate = max(0, int((cpu - before) / (time - then)))
        if time > then:
            self._seen[key] = (time, cpu, rate)
        return rate

    def _forget(self, keep: set[str]) -> None:
        for key in [k for k in self._seen if k not in keep]:
            del self._seen[key]


def _name(stats: ContainerStats) -> str:
    return stats.labels.get(LABEL_CONTAINER_NAME, stats.name)


def _cpu(stats: Sequence[ContainerStats], rates: dict[str, int]) -> dict[str, Any]:
    return {
        "time": rfc3339(max(s.timestamp for s in stats)),
        "usageNanoCores": sum(rates.get(s.id, 0) for s in stats),
        "usageCoreNanoSeconds": sum(s.cpu_nano_seconds for s in stats),
    }


def _memory(stats: Sequence[ContainerStats]) -> dict[str, Any]:
    return {
        "time": rfc3339(max(s.timestamp for s in stats)),
        "availableBytes": sum(s.memory_available_bytes for s in stats),
        "usageBytes": sum(s.memory_usage_bytes for s in stats),
        "workingSetBytes": sum(s.memory_working_set_bytes for s in stats),
        "rssBytes": sum(s.memory_rss_bytes for s in stats),
        "pageFaults": sum(s.memory_page_faults for s in stats),
        "majorPageFaults": sum(s.memory_major_page_faults for s in stats),
    }


def _filesystem(path: Path, stamp: str) -> dict[str, Any]:
    while not path.exists():
        path = path.parent
    usage = shutil.disk_usage(path)
    inodes = os.statvfs(path)
    return {
        "time": stamp,
        "availableBytes": usage.free,
        "capacityBytes": usage.total,
        "usedBytes": usage.used,
        "inodesFree": inodes.f_ffree,
        "inodes": inodes.f_files,
        "inodesUsed": inodes.f_files - inodes.f_ffree,
    }


def _family(name: str, kind: str, text: str, samples: Iterable[tuple[str, float, int]]) -> str:
    """One metric family. A time of 0 is left out."""
    lines = [f"# HELP {name} [STABLE] {text}\n# TYPE {name} {kind}\n"]
    for labels, value, stamp in samples:
        braces = f"{{{labels}}}" if labels else ""
        lines.append(f"{name}{braces} {value:.17g}{f' {stamp}' if stamp else ''}\n")
    return "".join(lines)
