"""A whole cluster with a simulated node, as processes: what outside clients are tried against."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 60.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(check: Callable[[], Any], what: str, timeout_s: float = 15.0) -> Any:
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
        time.sleep(0.03)
    raise AssertionError(f"{what}: not within {timeout_s} s; last: {last!r}")


@dataclass
class ProcessCluster:
    """A cluster of processes in `state_dir`, driven through the command line as a user does."""

    state_dir: Path
    secure_port: int = field(default_factory=free_port)
    kubelet_port: int = field(default_factory=free_port)

    @property
    def kubeconfig(self) -> Path:
        return self.state_dir / "kubeconfig/admin.kubeconfig"

    def command(self, name: str, *arguments: str) -> list[str]:
        state = ["--state-dir", str(self.state_dir)]
        return [sys.executable, "-m", "skiff", name, *state, *arguments]

    def skiff(
        self, name: str, *arguments: str, env: dict[str, str] | None = None
    ) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            self.command(name, *arguments),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
            cwd=ROOT,
            env={**os.environ, **(env or {})},
        )

    def up_flags(self) -> list[str]:
        return [
            "--runtime", "simulated", "--no-kubeconfig", "--node-name", "node-a",
            "--secure-port", str(self.secure_port), "--kubelet-port", str(self.kubelet_port),
        ]  # fmt: skip

    def up(self, *more: str) -> str:
        done = self.skiff("up", "--detach", *self.up_flags(), *more)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{self.logs()}"
        return done.stdout

    def logs(self) -> str:
        found = sorted((self.state_dir / "logs").glob("*.log"))
        return "\n".join(f"== {p.name}\n{p.read_text()[-3000:]}" for p in found)

    def stop(self) -> None:
        self.skiff("down", "--delete")
        shutil.rmtree(self.state_dir, ignore_errors=True)


@dataclass
class Kubectl:
    """One kubectl binary with a cluster's kubeconfig and a namespace of its own."""

    binary: str
    kubeconfig: Path
    namespace: str = "default"

    def command(self, *arguments: str) -> list[str]:
        where = [] if self.namespace == "default" else ["-n", self.namespace]
        return [self.binary, "--kubeconfig", str(self.kubeconfig), *where, *arguments]

    def run(
        self, *arguments: str, stdin: str = "", env: dict[str, str] | None = None
    ) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            self.command(*arguments),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
            env={**os.environ, **(env or {})},
        )

    def __call__(self, *arguments: str, stdin: str = "", env: dict[str, str] | None = None) -> str:
        """Its output, stripped; fails unless the exit code is 0."""
        done = self.run(*arguments, stdin=stdin, env=env)
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stdout}\n{done.stderr}"
        return done.stdout.strip()

    def fails(self, *arguments: str, stdin: str = "") -> str:
        """Its error output, stripped; fails if the exit code is 0."""
        done = self.run(*arguments, stdin=stdin)
        assert done.returncode != 0, f"kubectl {' '.join(arguments)}: {done.stdout}"
        return (done.stdout + done.stderr).strip()

    def json(self, *arguments: str) -> Any:
        return json.loads(self("get", "-o", "json", *arguments))

    def path(self, path: str, *what: str) -> str:
        """`kubectl get WHAT -o jsonpath=PATH`."""
        return self("get", *what, "-o", f"jsonpath={path}")
