"""The real ring: a cluster with containers, driven from outside with kubectl, curl and signals.

One cluster for the whole run, in a state directory, ports and address ranges of its own, so that it
stands beside whatever else runs on the machine; it is stopped and deleted at the end.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
WORKSHOP = HERE / "workshop"
# Ranges of its own for each run, so that it can stand beside another cluster.
SERVICE_CIDR = f"10.{100 + os.getpid() % 40}.0.0/16"
CLUSTER_CIDR = f"10.{160 + os.getpid() % 40}.0.0/16"
COMMAND_TIMEOUT_S = 120
PATH = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"


def wait_for(
    check: Callable[[], Any], what: str, timeout_s: float = 60, every_s: float = 0.1
) -> Any:
    """`check()` until it gives something true; fails with the last thing that went wrong."""
    deadline = time.monotonic() + timeout_s
    last: object = None
    while time.monotonic() < deadline:
        try:
            last = check()
            if last:
                return last
        except Exception as e:  # noqa: BLE001 - told at the end
            last = e
        time.sleep(every_s)
    raise AssertionError(f"{what}: not within {timeout_s} s; last: {last!r}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class RealCluster:
    state_dir: Path
    secure_port: int
    kubelet_port: int

    @property
    def kubeconfig(self) -> Path:
        return self.state_dir / "kubeconfig/admin.kubeconfig"

    def skiff(self, *arguments: str, check: bool = True, timeout: float = COMMAND_TIMEOUT_S) -> str:
        command = [
            sys.executable,
            "-m",
            "skiff",
            *arguments[:1],
            "--state-dir",
            str(self.state_dir),
            *arguments[1:],
        ]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout, check=False,
            env={**os.environ, "PATH": PATH},
        )  # fmt: skip
        if check and done.returncode:
            raise AssertionError(
                f"skiff {arguments}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
            )
        return done.stdout

    def up(self) -> str:
        return self.skiff(
            "up", "--detach", "--no-kubeconfig",
            "--secure-port", str(self.secure_port), "--kubelet-port", str(self.kubelet_port),
            "--service-cluster-ip-range", SERVICE_CIDR, "--cluster-cidr", CLUSTER_CIDR,
            timeout=180,
        )  # fmt: skip

    def kubectl_command(self, *arguments: str) -> list[str]:
        return ["kubectl", "--kubeconfig", str(self.kubeconfig), *arguments]

    def kubectl(
        self,
        *arguments: str,
        stdin: str = "",
        check: bool = True,
        timeout: float = COMMAND_TIMEOUT_S,
    ) -> str:
        done = subprocess.run(
            self.kubectl_command(*arguments),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(
                f"kubectl {' '.join(arguments)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
            )
        return done.stdout if check else done.stdout + done.stderr

    def get(self, *arguments: str) -> Any:
        return json.loads(self.kubectl("get", "-o", "json", *arguments))

    def pods(self, selector: str, namespace: str = "default") -> list[dict[str, Any]]:
        """Pods that are not on their way out."""
        found = self.get("pods", "-n", namespace, "-l", selector)["items"]
        return [p for p in found if "deletionTimestamp" not in p["metadata"]]

    def processes(self) -> dict[str, int]:
        data = json.loads((self.state_dir / "run/processes.json").read_text())
        return dict(data["processes"])

    def kill(self, *names: str) -> None:
        """SIGKILL processes of the cluster by name."""
        pids = self.processes()
        for name in names:
            os.kill(pids[name], signal.SIGKILL)

    def logs_tail(self) -> str:
        return "\n".join(
            f"--- {p.name}\n" + "\n".join(p.read_text(errors="replace").splitlines()[-15:])
            for p in sorted((self.state_dir / "logs").glob("*.log"))
        )


def fetch(url: str, timeout_s: float = 3.0) -> str:
    with urllib.request.urlopen(url, timeout=timeout_s) as response:
        return str(response.read().decode())
