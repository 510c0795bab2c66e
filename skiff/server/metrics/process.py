"""What a process uses, read from /proc when somebody scrapes.

Source: https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics.
"""

import os
import resource
from pathlib import Path

from skiff.server.metrics.exposition import Gauge, Labels, Metric

_STATM = Path("/proc/self/statm")
_FDS = Path("/proc/self/fd")


def process_metrics(start_time: float) -> list[Metric]:
    """The process_… metrics; `start_time` in Unix seconds."""
    page = os.sysconf("SC_PAGE_SIZE")

    def cpu() -> dict[Labels, float]:
        used = os.times()
        return {(): round(used.user + used.system, 2)}

    def pages(field: int) -> dict[Labels, float]:
        try:
            return {(): int(_STATM.read_text().split()[field]) * page}
        except OSError:
            return {}

    def descriptors() -> dict[Labels, float]:
        try:
            return {(): len(list(_FDS.iterdir()))}
        except OSError:
            return {}

    return [
        Gauge("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.", (), cpu, "counter"),
        Gauge("process_resident_memory_bytes", "Resident memory size in bytes.", (), lambda: pages(1)),
        Gauge("process_virtual_memory_bytes", "Virtual memory size in bytes.", (), lambda: pages(0)),
        Gauge("process_open_fds", "Number of open file descriptors.", (), descriptors),
        Gauge(
            "process_max_fds", "Maximum number of open file descriptors.", (),
            lambda: {(): resource.getrlimit(resource.RLIMIT_NOFILE)[0]},
        ),
        Gauge(
            "process_start_time_seconds",
            "Start time of the process since unix epoch in seconds.", (),
            lambda: {(): start_time},
        ),
    ]  # fmt: skip
