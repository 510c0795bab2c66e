"""`skiff up` and the commands around it, as a user meets them; nodes are simulated."""

import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from skiff.cli import up
from skiff.cli.exits import CommandError
from tests.clients.cluster import ROOT, ProcessCluster, free_port, wait_for


@pytest.fixture
def cluster() -> Iterator[ProcessCluster]:
    """A state directory (short: sockets are in it) with no cluster yet."""
    made = ProcessCluster(Path(tempfile.mkdtemp(prefix="skiff-cli-")))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def running() -> Iterator[ProcessCluster]:
    made = ProcessCluster(Path(tempfile.mkdtemp(prefix="skiff-cli-")))
    made.up()
    yield made
    made.stop()


def pids(cluster: ProcessCluster) -> dict[str, int]:
    found: dict[str, int] = json.loads((cluster.state_dir / "run/processes.json").read_text())[
        "processes"
    ]
    return found


def alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_no_cluster(cluster: ProcessCluster) -> None:
    for name, words in (
        ("status", "there is no cluster in"),
        ("down", "there is no cluster in"),
        ("logs", "there are no logs in"),
        ("kubeconfig", "start one with `skiff up`"),
        ("image", "start the cluster with `skiff up`"),
    ):
        done = cluster.skiff(name, *(["ls"] if name == "image" else []))
        assert (name, done.returncode) == (name, 4)
        assert done.stderr.startswith("skiff: "), done.stderr
        assert words in done.stderr


def test_up_says_how_far_it_is(running: ProcessCluster) -> None:
    done = running.skiff("up", "--detach", *running.up_flags())
    assert done.returncode == 3
    assert "a cluster is already running in" in done.stderr
    assert "`skiff down`" in done.stderr
    done = running.skiff("up", *running.up_flags())
    assert done.returncode == 3


def test_status(running: ProcessCluster) -> None:
    done = running.skiff("status")
    assert done.returncode == 0
    for word in ("supervisor", "server", "control", "node", f"127.0.0.1:{running.secure_port}"):
        assert word in done.stdout


def test_ports_in_use_name_the_program(running: ProcessCluster, cluster: ProcessCluster) -> None:
    server = pids(running)["server"]
    cluster.secure_port = running.secure_port
    done = cluster.skiff("up", "--detach", *cluster.up_flags())
    assert done.returncode == 5
    assert f"port {running.secure_port} is in use by python" in done.stderr
    assert f"(pid {server})" in done.stderr
    assert "--secure-port" in done.stderr
    cluster.secure_port, cluster.kubelet_port = free_port(), running.kubelet_port
    done = cluster.skiff("up", *cluster.up_flags())
    assert done.returncode == 5
    assert "choose another port with --kubelet-port" in done.stderr
    done = cluster.skiff("server", "--secure-port", str(running.secure_port))
    assert done.returncode == 5


def test_logs(running: ProcessCluster) -> None:
    done = running.skiff("logs", "nope")
    assert done.returncode == 1
    assert "there are: control, node, server" in done.stderr
    log = running.state_dir / "logs/server.log"
    with log.open("a") as file:
        file.write("first\nsecond\nhalf")
    assert running.skiff("logs", "server", "--tail", "1").stdout == "second\n"
    assert running.skiff("logs", "--tail", "1").stdout.splitlines()[-1] == "server     | second"
    following = subprocess.Popen(
        running.command("logs", "-f", "server", "--tail", "1"),
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert following.stdout is not None
    assert following.stdout.readline() == "second\n"
    with log.open("a") as file:
        file.write(" a line\nthird\n")
    assert following.stdout.readline() == "half a line\n"
    assert following.stdout.readline() == "third\n"
    following.send_signal(signal.SIGINT)
    assert following.wait(5) == 130
    following.stdout.close()


def test_down_twice_and_up_again(cluster: ProcessCluster) -> None:
    assert "ready in" in cluster.up()
    before = pids(cluster)
    done = cluster.skiff("down")
    assert done.returncode == 0
    assert "the cluster's state stays in" in done.stdout
    assert not any(alive(pid) for pid in before.values())
    done = cluster.skiff("down")
    assert done.returncode == 4
    assert "no cluster is running in" in done.stderr
    done = cluster.skiff("status")
    assert done.returncode == 4
    assert "start it with `skiff up`" in done.stderr
    # What was said the first time holds the second time.
    done = cluster.skiff("up", "--detach", "--no-kubeconfig")
    assert done.returncode == 0, done.stderr
    admin = cluster.state_dir / "kubeconfig/admin.kubeconfig"
    assert f"Try: kubectl --kubeconfig {admin} get nodes" in done.stdout
    assert f"https://127.0.0.1:{cluster.secure_port}" in cluster.skiff("status").stdout
    assert cluster.skiff("down", "--delete").returncode == 0
    assert not cluster.state_dir.exists()


def test_after_everything_was_killed(cluster: ProcessCluster) -> None:
    cluster.up()
    data = json.loads((cluster.state_dir / "run/processes.json").read_text())
    for pid in [data["supervisor"], *data["processes"].values()]:
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: cluster.skiff("status").returncode == 4, "the lock's release", 5)
    # A pid file that names processes of somebody else by now, and a socket that nobody serves.
    (cluster.state_dir / "run/processes.json").write_text(
        json.dumps({"supervisor": 1, "processes": {"server": 1}})
    )
    (cluster.state_dir / "run/skiff.lock").write_text("1\n")
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(cluster.state_dir / "run/containerd.sock"))
    assert cluster.skiff("status").returncode == 4
    assert "ready in" in cluster.up()
    assert alive(1)


def test_a_killed_component_comes_back(cluster: ProcessCluster) -> None:
    cluster.up()
    before = pids(cluster)
    for name in ("server", "control", "node"):
        os.kill(before[name], signal.SIGKILL)

    def back() -> bool:
        now = pids(cluster)
        return set(now) == set(before) and not set(now.values()) & set(before.values())

    wait_for(back, "new processes", 10)


def test_ctrl_c_stops_everything(cluster: ProcessCluster) -> None:
    process = subprocess.Popen(
        cluster.command("up", *cluster.up_flags()),
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        start_new_session=True,
    )
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if "ready in" in line:
            break
    assert "ready in" in said[-1]
    children = pids(cluster)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    assert process.wait(15) == 0
    assert process.stdout.read().strip() == "stopped"
    process.stdout.close()
    assert not any(alive(pid) for pid in children.values())


def test_a_torn_settings_file(cluster: ProcessCluster) -> None:
    cluster.state_dir.mkdir(exist_ok=True)
    (cluster.state_dir / "cluster.json").write_text('{"secure_port": 64')
    for name in ("up", "status", "server", "node"):
        done = cluster.skiff(name)
        assert (name, done.returncode) == (name, 8)
        assert "cluster.json is not valid JSON" in done.stderr
        assert "repair or remove it" in done.stderr
        assert "Traceback" not in done.stderr
    (cluster.state_dir / "cluster.json").unlink()


@pytest.mark.parametrize("detach", [True, False])
def test_a_damaged_store_ends_it(cluster: ProcessCluster, detach: bool) -> None:
    store = cluster.state_dir / "server/store.db"
    store.parent.mkdir(parents=True)
    store.write_bytes(b"this is no database" * 1000)
    done = cluster.skiff("up", *(["--detach"] if detach else []), *cluster.up_flags())
    assert done.returncode == 8
    assert "store.db is damaged" in done.stderr
    assert "Traceback" not in done.stderr
    assert store.read_bytes().startswith(b"this is no database")
    assert cluster.skiff("status").returncode == 4


def test_damaged_keys_end_it(cluster: ProcessCluster) -> None:
    pki = cluster.state_dir / "pki"
    pki.mkdir(parents=True)
    (pki / "ca.crt").write_text("no certificate")
    (pki / "ca.key").write_text("no key")
    done = cluster.skiff("up", "--detach", *cluster.up_flags())
    assert done.returncode == 8
    assert "ca." in done.stderr


def test_network_ranges_stay(cluster: ProcessCluster) -> None:
    cluster.up()
    cluster.skiff("down")
    done = cluster.skiff("up", "--detach", "--cluster-cidr", "10.9.0.0/16")
    assert done.returncode == 1
    assert "cannot change to 10.9.0.0/16" in done.stderr


def everybodys_python() -> tuple[str, str]:
    """A Python of this version that any user may run, and the PYTHONPATH it needs."""
    real = Path(os.path.realpath(sys.executable))
    if all(p.stat().st_mode & 0o001 for p in real.parents):
        return sys.executable, ""
    system = Path(f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}")
    if not system.exists():
        pytest.skip("no Python that another user may run")
    return str(system), sysconfig.get_path("purelib")


def nobody(cluster: ProcessCluster, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run `skiff` as another user than root."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("needs root and setpriv to become somebody else")
    become = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    python, path = everybodys_python()
    return subprocess.run(
        [*become, python, *cluster.command(*arguments)[1:]],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", "PYTHONPATH": path},
    )


def test_without_root_nodes_are_simulated(cluster: ProcessCluster) -> None:
    cluster.state_dir.mkdir(exist_ok=True)
    os.chown(cluster.state_dir, 65534, 65534)
    flags = [f for f in cluster.up_flags() if f not in ("--runtime", "simulated")]
    done = nobody(cluster, "up", "--detach", *flags)
    assert done.returncode == 0, done.stderr
    assert "no real containers here (not root" in done.stdout
    assert "nodes are simulated" in done.stdout
    assert nobody(cluster, "status").returncode == 0
    assert nobody(cluster, "down").returncode == 0


def test_the_state_of_another_user(cluster: ProcessCluster) -> None:
    cluster.state_dir.mkdir(mode=0o700, exist_ok=True)
    for name in ("up", "status"):
        done = nobody(cluster, name)
        assert (name, done.returncode) == (name, 7), done.stderr
        assert "--state-dir" in done.stderr
        assert "Traceback" not in done.stderr


def test_without_containerd_nodes_are_simulated(cluster: ProcessCluster, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("somebody else than root is told that first")
    flags = [f for f in cluster.up_flags() if f not in ("--runtime", "simulated")]
    script = (
        "import sys; from skiff.cli import checks, main; "
        "checks.NEEDED = {'containerd-is-not-here': 'containerd'}; "
        "sys.exit(main.main(sys.argv[1:]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, *cluster.command("up", *flags)[3:]],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert process.stdout is not None
    said = [process.stdout.readline() for _ in range(2)]
    assert "missing: containerd-is-not-here (containerd)" in said[1]
    assert "nodes are simulated" in said[1]
    assert any("ready in" in line for line in process.stdout)
    process.terminate()
    assert process.wait(20) == 0
    process.stdout.close()


def test_help_and_version() -> None:
    def said(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "skiff", *arguments],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
            cwd=ROOT,
        )
        return done.stdout

    top = said("--help")
    for name in (
        "up",
        "down",
        "status",
        "kubeconfig",
        "logs",
        "image",
        "server",
        "control",
        "node",
    ):
        assert f"\n    {name}" in top
        assert "usage: skiff" in said(name, "--help")
    assert "(Kubernetes v1.36.0)" in said("--version")


def test_ready_within_seconds(cluster: ProcessCluster) -> None:
    began = time.monotonic()
    cluster.up()
    assert time.monotonic() - began < 15


def test_who_waits_for_a_cluster_in_vain_is_told() -> None:
    read_end, write_end = os.pipe()
    os.write(write_end, "  ✓ server\n  ✓ con".encode())
    with io.FileIO(read_end) as progress:
        lines = up._lines(progress, 0.05)
        assert next(lines) == "  ✓ server\n"
        with pytest.raises(CommandError, match="not ready after 0 s, and still at it"):
            next(lines)
        os.write(write_end, b"ready\n")
        os.close(write_end)
        assert list(up._lines(progress, 5)) == ["ready\n"]
