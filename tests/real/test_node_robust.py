"""The node under load and in trouble: many pods, pods that end while they start, killed kubelets."""

import os
import signal
import time
from collections.abc import Iterator

import pytest

from tests.real.harness import RealCluster, wait_for
from tests.real.pods import MERGE, Api, Object, Space, condition, container, pod, state

pytestmark = pytest.mark.real

SLEEP = "trap 'exit 0' TERM; while true; do sleep 1; done"
MANY = 50


@pytest.fixture(scope="module")
def api(cluster: RealCluster, images: dict[str, str]) -> Iterator[Api]:
    made = Api(cluster)
    yield made
    made.close()


@pytest.fixture
def space(cluster: RealCluster, api: Api) -> Iterator[Space]:
    made = Space(cluster, api, "robust")
    yield made
    if not made.gone("Namespace", made.name):
        made.delete("Namespace", made.name)


def test_many_pods_and_their_namespace(space: Space) -> None:
    for index in range(MANY):
        space.create(pod(f"many-{index}", SLEEP))
    wait_for(
        lambda: sum(condition(p, "Ready") == "True" for p in space.list("Pod")) == MANY,
        "all are ready",
        90,
        0.3,
    )
    assert len({p["status"]["podIP"] for p in space.list("Pod")}) == MANY
    began = time.monotonic()
    space.delete("Namespace", space.name)
    wait_for(lambda: space.gone("Namespace", space.name), "the namespace is gone", 60, 0.3)
    assert time.monotonic() - began < 30


def test_pods_deleted_while_they_start(space: Space) -> None:
    """Wherever in its start a pod is when it is deleted, it goes, and leaves nothing behind."""
    for index in range(20):
        space.create(pod(f"brief-{index}", SLEEP))
        time.sleep(0.03 * (index % 5))
        space.delete("Pod", f"brief-{index}", 0 if index % 2 else None)
    wait_for(lambda: not space.list("Pod"), "all are gone", 30)
    wait_for(lambda: not directories(space), "their logs are gone", 30)


def directories(space: Space) -> list[str]:
    """Of pods of the namespace whose containers the runtime has."""
    root = space.cluster.state_dir / "pod-logs"
    return [p.name for p in root.glob(f"{space.name}_*")]


def test_finalizers_and_graces(space: Space) -> None:
    one = pod("held", SLEEP)
    one["metadata"]["finalizers"] = ["example.com/hold"]
    space.create(one)
    deaf = "trap '' TERM; while true; do sleep 1; done"
    space.create(pod("deaf", deaf, terminationGracePeriodSeconds=30))
    space.create(pod("deaf-later", deaf, terminationGracePeriodSeconds=30))
    for name in ("held", "deaf", "deaf-later"):
        space.ready(name)
    space.delete("Pod", "held")
    seen = space.until("held", lambda p: "terminated" in state(p).get("state", {}), "ends", 20)
    assert seen["metadata"]["finalizers"] == ["example.com/hold"]
    space.ended("held", 20)
    space.patch("Pod", "held", {"metadata": {"finalizers": None}}, how=MERGE)
    wait_for(lambda: space.gone("Pod", "held"), "it is gone", 10)
    space.delete("Pod", "deaf", 0)
    assert space.gone("Pod", "deaf")
    # A deletion that is under way may be made quicker.
    space.delete("Pod", "deaf-later")
    time.sleep(1)
    assert "deletionTimestamp" in space.get("Pod", "deaf-later")["metadata"]
    began = time.monotonic()
    space.delete("Pod", "deaf-later", 1)
    wait_for(lambda: space.gone("Pod", "deaf-later"), "it is gone sooner", 15)
    assert time.monotonic() - began < 10


def test_a_killed_kubelet_loses_and_repeats_nothing(space: Space) -> None:
    space.create(pod("steady", SLEEP, restartPolicy="Always"))
    space.create(pod("crashed", container(script="exit 1"), restartPolicy="Always"))
    space.create(pod("done", "exit 0"))
    space.ready("steady")
    space.ended("done")
    crashed = space.until("crashed", lambda p: state(p).get("restartCount", 0) >= 1, "restarts")
    steady = space.get("Pod", "steady")
    for index in range(10):
        space.create(pod(f"meanwhile-{index}", SLEEP))
    kill_node(space.cluster)
    for index in range(10):
        seen = space.ready(f"meanwhile-{index}", 60)
        assert state(seen)["restartCount"] <= 1
    now = space.get("Pod", "steady")
    assert state(now)["containerID"] == state(steady)["containerID"]
    assert state(now)["restartCount"] == 0
    assert now["status"]["startTime"] == steady["status"]["startTime"]
    assert state(space.get("Pod", "crashed"))["restartCount"] >= state(crashed)["restartCount"]
    assert space.get("Pod", "done")["status"]["phase"] == "Succeeded"
    assert state(space.get("Pod", "done"))["restartCount"] == 0
    for one in space.list("Pod"):
        space.delete("Pod", one["metadata"]["name"])
    wait_for(lambda: not space.list("Pod"), "all are gone", 40)


def kill_node(cluster: RealCluster) -> None:
    pid = cluster.processes()["node"]
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: cluster.processes().get("node", pid) != pid, "a new kubelet", 30)


def test_a_crash_loop_waits(space: Space) -> None:
    space.create(pod("loop", "exit 3", restartPolicy="Always"))

    def held(seen: Object) -> bool:
        waiting = state(seen).get("state", {}).get("waiting", {})
        return bool(waiting.get("reason") == "CrashLoopBackOff")

    seen = space.until("loop", held, "backs off", 20)
    text = state(seen)["state"]["waiting"]["message"]
    where = f"loop_{space.name}({seen['metadata']['uid']})"
    assert text == f"back-off 10s restarting failed container=main pod={where}"
    end = state(seen)["lastState"]["terminated"]
    assert (end["exitCode"], end["reason"]) == (3, "Error")
    assert seen["status"]["phase"] == "Running"
