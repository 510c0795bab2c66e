"""After a reboot: processes, shims, mounts and /run are gone; the disk is as it was."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from skiff.cli.layout import Layout
from tests.real.harness import RealCluster, free_port, wait_for
from tests.real.rootfs import busybox_root

pytestmark = pytest.mark.real

POD = """
apiVersion: v1
kind: Pod
metadata: {name: again}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: main, image: "again:1", imagePullPolicy: Never, command: [/bin/busybox, sleep, "3600"]}
"""


@pytest.fixture
def cluster() -> Iterator[RealCluster]:
    if os.geteuid() != 0:
        pytest.skip("real containers need root")
    state = Path(tempfile.mkdtemp(prefix="skiff-reboot-", dir="/var/tmp"))
    made = RealCluster(state, free_port(), free_port())
    try:
        made.up()
        yield made
    finally:
        made.skiff("down", "--delete", check=False)
        shutil.rmtree(state, ignore_errors=True)


def image(cluster: RealCluster) -> None:
    with tempfile.TemporaryDirectory() as directory:
        context = Path(directory)
        busybox_root(context / "rootfs")
        (context / "Dockerfile").write_text("FROM scratch\nCOPY rootfs /\n")
        cluster.skiff("image", "build", "-t", "again:1", str(context))


def power_off(layout: Layout) -> None:
    """What a power cut does to this cluster: SIGKILL for all that is its, volatile state gone."""
    words = (str(layout.root), str(layout.volatile))
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
            groups = (process / "cgroup").read_text()
        except OSError:
            continue
        ours = any(word.startswith(words) for word in command)
        if int(process.name) != os.getpid() and (ours or f"kubepods-{layout.tag}" in groups):
            os.kill(int(process.name), signal.SIGKILL)
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for mount in sorted((m for m in mounts if m.startswith(words)), key=len, reverse=True):
        subprocess.run(["umount", "-l", mount], check=False, capture_output=True)
    subprocess.run(["ip", "link", "delete", layout.bridge], check=False, capture_output=True)
    for family in ("ip", "ip6"):
        table = ["nft", "delete", "table", family, layout.name]
        subprocess.run(table, check=False, capture_output=True)
    shutil.rmtree(layout.volatile, ignore_errors=True)


def test_containers_come_back(cluster: RealCluster) -> None:
    layout = Layout(cluster.state_dir)
    image(cluster)
    cluster.kubectl("apply", "-f", "-", stdin=POD)
    done = cluster.kubectl(
        "wait", "pod/again", "--for=condition=Ready", "--timeout=20s", check=False
    )
    assert "condition met" in done, (
        cluster.kubectl("describe", "pod", "again") + cluster.logs_tail()
    )
    before = cluster.get("pod", "again")
    power_off(layout)
    assert not layout.volatile.exists()
    cluster.up()

    def back() -> bool:
        pod = cluster.get("pod", "again")
        status = pod["status"]["containerStatuses"][0]
        old = before["status"]["containerStatuses"][0]["containerID"]
        return bool(status["ready"] and status["containerID"] != old)

    wait_for(back, "the container's return", 60)
    after = cluster.get("pod", "again")
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["status"]["containerStatuses"][0]["restartCount"] >= 1
    assert cluster.kubectl("exec", "again", "--", "/bin/busybox", "echo", "hi").strip() == "hi"
