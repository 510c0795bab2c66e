"""What the node's tests share: a containerd of their own, started once where the machine has one."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from skiff.node import containerd
from skiff.node.images import ScratchImage, pause_image

BRIDGE = "sktest0"
SUBNET = "10.213.0.0/24"
START_TIMEOUT_S = 15.0
APPLETS = ("sh", "sleep", "echo", "cat", "true", "false", "ls", "env", "id", "httpd", "nc", "wget",
           "touch", "rm", "mkdir", "kill", "hostname", "mount", "head", "dd", "stat", "test", "vi")  # fmt: skip


@dataclass
class RealContainerd:
    """A running containerd with the images `busybox:1` (docker.io/library) and the pause image."""

    places: containerd.ContainerdLayout
    directory: Path
    process: subprocess.Popen

    def kill(self) -> None:
        """End containerd at once; what runs in containers goes on."""
        self.process.kill()
        self.process.wait()

    def start(self) -> None:
        """Start it again, and wait until it answers."""
        self.process = _start(self.places, self.directory)
        _wait_for(self.places, self.process, self.directory)

    @property
    def endpoint(self) -> str:
        return str(self.places.socket)


def busybox_image(name: str = "busybox:1") -> ScratchImage:
    """A one-file image of Debian's static busybox, with links for its applets."""
    return ScratchImage(
        name,
        {"bin/busybox": (Path("/usr/bin/busybox").read_bytes(), 0o755), "tmp/.keep": (b"", 0o644),
         "etc/passwd": (b"root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1000::/:/bin/sh\n", 0o644)},
        {f"bin/{applet}": "busybox" for applet in APPLETS},
        command=["sh"],
    )  # fmt: skip


def _ctr_import(places: containerd.ContainerdLayout, image: ScratchImage, directory: Path) -> None:
    archive = directory / "image.tar"
    archive.write_bytes(image.archive())
    subprocess.run(
        ["ctr", "-a", str(places.socket), "-n", "k8s.io", "images", "import", str(archive)],
        check=True, capture_output=True, timeout=30,
    )  # fmt: skip


def _write_cni(places: containerd.ContainerdLayout) -> None:
    conflist = {
        "cniVersion": "1.0.0",
        "name": "skiff-test",
        "plugins": [
            {
                "type": "bridge", "bridge": BRIDGE, "isGateway": True, "ipMasq": False,
                "ipam": {"type": "host-local", "dataDir": str(places.root.parent / "ipam"),
                         "ranges": [[{"subnet": SUBNET}]], "routes": [{"dst": "0.0.0.0/0"}]},
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }  # fmt: skip
    (places.cni_conf_dir / "10-test.conflist").write_text(json.dumps(conflist))


@pytest.fixture(scope="session")
def real_containerd() -> Iterator[RealContainerd]:
    """A containerd with root, state, sockets and network of its own; torn down with all it ran."""
    missing = [
        b for b in ("containerd", "runc", "ctr", "catatonit", "busybox") if not shutil.which(b)
    ]
    if missing or os.geteuid() != 0:
        pytest.skip(f"needs root and {', '.join(missing) or 'nothing more'}")
    directory = Path(tempfile.mkdtemp(prefix="skiff-node-"))
    places = containerd.layout(directory)
    containerd.write_config(places)
    _write_cni(places)
    process = _start(places, directory)
    running = RealContainerd(places, directory, process)
    try:
        _wait_for(places, process, directory)
        _ctr_import(places, pause_image(Path("/usr/bin/catatonit").read_bytes()), directory)
        _ctr_import(places, busybox_image(), directory)
        yield running
    finally:
        _tear_down(places, running.process, directory)


def _start(places: containerd.ContainerdLayout, directory: Path) -> subprocess.Popen:
    with (directory / "containerd.log").open("ab") as log:
        return subprocess.Popen(
            containerd.command(places), env=containerd.environment(), stdout=log, stderr=log
        )


def _wait_for(
    places: containerd.ContainerdLayout, process: subprocess.Popen, directory: Path
) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        if places.socket.exists():
            version = subprocess.run(
                ["ctr", "-a", str(places.socket), "version"], capture_output=True, timeout=10
            )
            if version.returncode == 0:
                return
        time.sleep(0.05)
    raise RuntimeError((directory / "containerd.log").read_text())


def _tear_down(
    places: containerd.ContainerdLayout, process: subprocess.Popen, directory: Path
) -> None:
    base = ["ctr", "-a", str(places.socket), "-n", "k8s.io"]
    with contextlib.suppress(subprocess.SubprocessError):
        tasks = subprocess.run([*base, "tasks", "ls", "-q"], capture_output=True, timeout=10)
        for task in tasks.stdout.decode().split():
            subprocess.run([*base, "tasks", "rm", "-f", task], capture_output=True, timeout=10)
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    _unmount(directory)
    _unmount(places.state)
    shutil.rmtree(directory, ignore_errors=True)
    shutil.rmtree(places.state, ignore_errors=True)
    subprocess.run(["ip", "link", "del", BRIDGE], capture_output=True)


def _unmount(directory: Path) -> None:
    """Unmount all below `directory`, deepest first."""
    with open("/proc/self/mounts") as f:
        points = [line.split()[1] for line in f if line.split()[1].startswith(str(directory))]
    for point in sorted(points, key=len, reverse=True):
        subprocess.run(["umount", "-l", point], capture_output=True)
