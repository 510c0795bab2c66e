"""The cluster that is measured when no other is named: a control plane of its own, no nodes."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class ControlPlane:
    """`skiff server` and `skiff control`, in a state directory on a real disk."""

    def __init__(self) -> None:
        self.state_dir = Path(tempfile.mkdtemp(prefix="skiff-bench-", dir="/var/tmp"))
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.port = free_port()

    def __enter__(self) -> "ControlPlane":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes.values():
            process.send_signal(signal.SIGTERM)
        for process in self.processes.values():
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
        shutil.rmtree(self.state_dir, ignore_errors=True)

    @property
    def kubeconfig(self) -> Path:
        return self.state_dir / "kubeconfig/admin.kubeconfig"

    def start(self, names: tuple[str, ...] = ("server", "control")) -> float:
        """Start both at once; seconds until both said that they are ready."""
        (self.state_dir / "run").mkdir(exist_ok=True)
        settings = {"secure_port": self.port, "bind_address": "127.0.0.1"}
        (self.state_dir / "cluster.json").write_text(json.dumps(settings))
        began = time.perf_counter()
        pipes = {}
        for name in names:
            read_end, write_end = os.pipe()
            with (self.state_dir / f"{name}.log").open("ab") as log:
                self.processes[name] = subprocess.Popen(
                    [sys.executable, "-m", "skiff", name, "--state-dir", str(self.state_dir)],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=(write_end,),
                    env={**os.environ, "SKIFF_READY_FD": str(write_end)},
                )  # fmt: skip
            os.close(write_end)
            pipes[name] = read_end
        for name, pipe in pipes.items():
            with os.fdopen(pipe, "rb") as file:
                if not file.readline():
                    log_text = (self.state_dir / f"{name}.log").read_text()[-2000:]
                    raise RuntimeError(f"{name} did not start:\n{log_text}")
        return time.perf_counter() - began

    def memory_mb(self) -> float:
        """Resident memory of the processes, added up (MB)."""
        page = os.sysconf("SC_PAGE_SIZE")
        return (
            sum(
                int(Path(f"/proc/{p.pid}/statm").read_text().split()[1]) * page
                for p in self.processes.values()
            )
            / 2**20
        )

    def cpu_s(self) -> float:
        """CPU seconds that the processes have used."""
        ticks = os.sysconf("SC_CLK_TCK")
        total = 0
        for process in self.processes.values():
            fields = Path(f"/proc/{process.pid}/stat").read_text().rsplit(") ", 1)[1].split()
            total += int(fields[11]) + int(fields[12])
        return total / ticks
