"""The application that a workshop builds: applied, reached, scaled, updated, rolled back, broken, removed."""

import contextlib
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.harness import WORKSHOP, RealCluster, fetch, free_port, wait_for

pytestmark = pytest.mark.real

URL = "http://127.0.0.1:31080/"


@pytest.fixture(scope="module")
def app(cluster: RealCluster, images: dict[str, str]) -> Iterator[RealCluster]:
    cluster.kubectl("apply", "-f", str(WORKSHOP / "app.yaml"))
    cluster.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    cluster.kubectl("rollout", "status", "deployment/client", "--timeout=60s")
    yield cluster
    cluster.kubectl(
        "delete", "-f", str(WORKSHOP / "app.yaml"), "--ignore-not-found", "--timeout=60s"
    )


def fields(page: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in page.strip().splitlines())


def hosts(tries: int = 60) -> Counter[str]:
    return Counter(fields(fetch(URL))["host"] for _ in range(tries))


class Polling:
    """Fetches the page over and over, and counts what fails."""

    def __init__(self) -> None:
        self.failures: list[str] = []
        self.versions: Counter[str] = Counter()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Polling":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.versions[fields(fetch(URL))["version"]] += 1
            except Exception as e:  # noqa: BLE001 - counted
                self.failures.append(repr(e))
            time.sleep(0.01)


def test_node_port_reaches_all_pods_with_their_configuration(app: RealCluster) -> None:
    page = fields(wait_for(lambda: fetch(URL), "the NodePort answers", 20))
    assert page["greeting"] == "hello"
    assert page["secret"] == page["file"] == "s3cret"
    assert page["motd"] == "be kind"
    names = {p["metadata"]["name"] for p in app.pods("app=web")}
    assert len(names) == 3
    assert set(hosts()) == names


def test_pods_find_each_other_by_name(app: RealCluster) -> None:
    def answered() -> bool:
        return "version=" in app.kubectl("logs", "deployment/client", "--tail=5")

    wait_for(answered, "the client reaches web by its DNS name", 30)


def test_scale_up_and_back(app: RealCluster) -> None:
    app.kubectl("scale", "deployment/web", "--replicas=10")
    app.kubectl("rollout", "status", "deployment/web", "--timeout=90s")
    wait_for(lambda: len(hosts(100)) == 10, "all ten answer", 20)
    app.kubectl("scale", "deployment/web", "--replicas=3")
    wait_for(lambda: len(app.get("pods", "-l", "app=web")["items"]) == 3, "three are left", 60)


def test_rolling_update_loses_no_request_and_can_be_undone(app: RealCluster) -> None:
    with Polling() as polling:
        app.kubectl("set", "image", "deployment/web", "web=web:2")
        app.kubectl("rollout", "status", "deployment/web", "--timeout=120s")
        wait_for(lambda: fields(fetch(URL))["version"] == "2", "the second version answers")
    assert polling.failures == []
    assert polling.versions["1"] > 0
    with Polling() as polling:
        app.kubectl("rollout", "undo", "deployment/web")
        app.kubectl("rollout", "status", "deployment/web", "--timeout=120s")
    assert polling.failures == []
    wait_for(
        lambda: {fields(fetch(URL))["version"] for _ in range(20)} == {"1"}, "the first is back"
    )


def test_deleted_pod_is_replaced(app: RealCluster) -> None:
    before = {p["metadata"]["name"] for p in app.pods("app=web")}
    victim = min(before)
    app.kubectl("delete", "pod", victim)
    app.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    after = {p["metadata"]["name"] for p in app.pods("app=web")}
    assert len(after) == 3
    assert victim not in after


def test_logs_exec_cp_describe_and_wide(app: RealCluster, tmp_path: Path) -> None:
    pod = app.pods("app=web")[0]["metadata"]["name"]
    assert "serving version 1" in app.kubectl("logs", pod)
    assert app.kubectl("exec", pod, "--", "cat", "/etc/app/motd").strip() == "be kind"
    assert (
        app.kubectl("exec", "-i", pod, "--", "tr", "a-z", "A-Z", stdin="shout\n").strip() == "SHOUT"
    )
    assert "exit code 3" in app.kubectl("exec", pod, "--", "sh", "-c", "exit 3", check=False)
    sent = tmp_path / "sent"
    sent.write_text("a file\n" * 1000)
    app.kubectl("cp", str(sent), f"{pod}:/tmp/received")
    app.kubectl("cp", f"{pod}:/tmp/received", str(tmp_path / "back"))
    assert (tmp_path / "back").read_text() == sent.read_text()
    told = app.kubectl("describe", "pod", pod)
    assert "Successfully assigned" in told
    assert "Started container web" in told or "Started" in told
    header, *rows = app.kubectl("get", "pods", "-o", "wide").splitlines()
    assert header.split()[:7] == ["NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP", "NODE"]
    assert any(row.split()[1:3] == ["1/1", "Running"] for row in rows)


def test_exec_with_a_terminal(app: RealCluster) -> None:
    pod = app.pods("app=web")[0]["metadata"]["name"]
    command = app.kubectl_command(
        "exec", "-it", pod, "--", "sh", "-c", "test -t 0 && echo terminal"
    )
    line = subprocess.list2cmdline(command)
    done = subprocess.run(
        ["script", "-qec", line, "/dev/null"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert "terminal" in done.stdout


def test_logs_follow(app: RealCluster) -> None:
    command = app.kubectl_command("logs", "-f", "deployment/client", "--tail=1")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as follower:
        try:
            assert follower.stdout is not None
            lines = [follower.stdout.readline() for _ in range(6)]
        finally:
            follower.kill()
    assert sum("version=" in line for line in lines) >= 2


def test_port_forward(app: RealCluster) -> None:
    port = free_port()
    with forwarded(app, "service/web", f"{port}:80"):
        page = wait_for(
            lambda: fetch(f"http://127.0.0.1:{port}/"), "the forwarded port answers", 15
        )
        assert fields(page)["version"] == "1"
        for _ in range(5):
            fetch(f"http://127.0.0.1:{port}/")


@contextlib.contextmanager
def forwarded(cluster: RealCluster, *arguments: str) -> Iterator[None]:
    command = cluster.kubectl_command("port-forward", *arguments)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(10)


@pytest.mark.parametrize(
    "names",
    [
        ("server",),
        ("control",),
        ("node",),
        ("containerd",),
        ("server", "control", "node", "containerd"),
    ],
)
def test_killed_processes_come_back_and_nothing_is_lost(
    app: RealCluster, names: tuple[str, ...]
) -> None:
    marker = f"marker-{len(names)}-{names[0]}"
    app.kubectl("apply", "-f", "-", stdin=config_map(marker))
    before = {p["metadata"]["name"]: restarts(p) for p in app.pods("app=web")}
    pids = app.processes()
    with Polling() as polling:
        app.kill(*names)
        wait_for(
            lambda: all(app.processes().get(n, pids[n]) != pids[n] for n in names),
            "new processes",
            30,
        )
        wait_for(
            lambda: app.kubectl("get", "--raw", "/readyz") == "ok", "the API server is ready", 30
        )
        wait_for(lambda: "True" in ready_condition(app), "the node is Ready", 60)
    assert polling.failures == []
    assert app.get("configmap", marker)["data"] == {"a": "b"}
    app.kubectl("delete", "configmap", marker)
    assert {p["metadata"]["name"]: restarts(p) for p in app.pods("app=web")} == before
    victim = min(before)
    app.kubectl("delete", "pod", victim, "--timeout=60s")
    app.kubectl("rollout", "status", "deployment/web", "--timeout=60s")


def config_map(name: str) -> str:
    return f"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\ndata:\n  a: b\n"


def restarts(pod: dict) -> int:  # type: ignore[type-arg] # JSON
    return sum(c["restartCount"] for c in pod["status"]["containerStatuses"])


def ready_condition(cluster: RealCluster) -> list[str]:
    node = cluster.get("nodes")["items"][0]
    return [c["status"] for c in node["status"]["conditions"] if c["type"] == "Ready"]


def test_delete_leaves_nothing_behind(app: RealCluster) -> None:
    app.kubectl("delete", "-f", str(WORKSHOP / "app.yaml"), "--timeout=90s")
    wait_for(lambda: app.get("pods")["items"] == [], "no pods are left", 60)
    wait_for(lambda: "31080" not in nft(), "no rule is left", 10)
    socket = f"/run/{app_name(app)}/containerd.sock"

    def containers() -> str:
        done = subprocess.run(
            ["ctr", "-a", socket, "-n", "k8s.io", "containers", "ls", "-q"],
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    wait_for(lambda: containers() == "", "no container is left", 30)
    assert pod_interfaces(app) == []


def nft() -> str:
    return subprocess.run(
        ["nft", "list", "ruleset"], capture_output=True, text=True, check=True
    ).stdout


def app_name(cluster: RealCluster) -> str:
    from skiff.cli.layout import Layout

    return Layout(cluster.state_dir).name


def pod_interfaces(cluster: RealCluster) -> list[str]:
    from skiff.cli.layout import Layout

    bridge = Layout(cluster.state_dir).bridge
    ports = Path(f"/sys/class/net/{bridge}/brif")
    return [p.name for p in ports.iterdir()] if ports.exists() else []
