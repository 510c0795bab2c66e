"""What the kubelet does of its own accord, with real containers: static pods, limits of the disk,
containers that are replaced, sidecars that end in turn."""

import json
from collections.abc import Iterator

import pytest

from tests.real.harness import RealCluster, wait_for
from tests.real.pods import Api, Object, Space, condition, container, pod, state

pytestmark = pytest.mark.real

SLEEP = "trap 'exit 0' TERM; while true; do sleep 0.1; done"


@pytest.fixture(scope="module")
def space(cluster: RealCluster, images: dict[str, str]) -> Iterator[Space]:
    api = Api(cluster)
    made = Space(cluster, api, "kubelet")
    yield made
    made.delete("Namespace", made.name)
    api.close()


def test_a_file_is_a_pod_with_a_mirror(space: Space) -> None:
    made = pod("static", container(script=f"echo static; {SLEEP}"), restartPolicy="Always")
    made["metadata"]["namespace"] = space.name
    directory = space.cluster.state_dir / "manifests"
    directory.mkdir(exist_ok=True)
    file = directory / "static.json"
    file.write_text(json.dumps(made))
    node = space.list("Node")[0]["metadata"]["name"]
    name = f"static-{node}"
    try:
        wait_for(lambda: not space.gone("Pod", name), "the mirror is there", 20)
        mirror = space.ready(name)
        assert mirror["metadata"]["annotations"]["kubernetes.io/config.source"] == "file"
        assert space.log(name) == "static\n"
        running = state(mirror)["containerID"]
        space.delete("Pod", name)
        wait_for(
            lambda: space.get("Pod", name)["metadata"]["uid"] != mirror["metadata"]["uid"],
            "the mirror is made again",
            20,
        )
        assert state(space.ready(name))["containerID"] == running
    finally:
        file.unlink()
    wait_for(lambda: space.gone("Pod", name), "the pod ends with its file", 30)


def test_another_image_restarts_a_container_that_is_never_restarted(
    space: Space, images: dict[str, str]
) -> None:
    space.create(pod("replaced", container(script=SLEEP)))
    before = space.ready("replaced")
    change = {"spec": {"containers": [{"name": "main", "image": images["web2"]}]}}
    space.patch("Pod", "replaced", change)
    seen = space.until(
        "replaced", lambda p: state(p)["restartCount"] == 1 and "running" in state(p)["state"], "runs anew"
    )  # fmt: skip
    assert seen["status"]["phase"] == "Running"
    assert state(seen)["imageID"] != state(before)["imageID"]
    space.has_event("replaced", "Killing", "Container main definition changed, will be restarted")


def test_a_pod_that_fills_its_volume_is_evicted(space: Space) -> None:
    mount = {"name": "scratch", "mountPath": "/scratch"}
    fills = container(
        script=f"dd if=/dev/zero of=/scratch/x bs=1M count=3; {SLEEP}", volumeMounts=[mount]
    )
    volumes = [{"name": "scratch", "emptyDir": {"sizeLimit": "1Mi"}}]
    space.create(pod("fills", fills, volumes=volumes, restartPolicy="Always"))
    seen = space.ended("fills")
    assert (seen["status"]["phase"], seen["status"]["reason"]) == ("Failed", "Evicted")
    text = 'Usage of EmptyDir volume "scratch" exceeds the limit "1Mi". '
    assert seen["status"]["message"] == text
    space.has_event("fills", "Evicted", text)


def test_a_pod_past_its_deadline_fails_once_nothing_runs(space: Space) -> None:
    slow = container(script="trap 'sleep 2; exit 0' TERM; while true; do sleep 0.1; done")
    space.create(
        pod("late", slow, activeDeadlineSeconds=2, terminationGracePeriodSeconds=20,
            restartPolicy="Always")
    )  # fmt: skip
    space.ready("late")
    seen = space.until("late", lambda p: condition(p, "Ready") == "False", "is not ready")
    while seen["status"]["phase"] != "Failed":
        assert seen["status"]["phase"] == "Running"
        assert "reason" not in seen["status"]
        seen = space.get("Pod", "late")
    assert seen["status"]["reason"] == "DeadlineExceeded"
    assert "terminated" in state(seen)["state"]


def test_sidecars_hooks_run_at_once_and_their_ends_in_turn(space: Space) -> None:
    mount = {"name": "shared", "mountPath": "/shared"}

    def member(name: str, **fields: object) -> Object:
        note = f"echo >> /shared/order {name}"
        script = f"trap '{note}-end; exit 0' TERM; while true; do sleep 0.1; done"
        hook = {"preStop": {"exec": {"command": ["sh", "-c", f"{note}-hook"]}}}
        return container(name, script, volumeMounts=[mount], lifecycle=hook, **fields)

    slow = member("main")
    slow["command"][-1] = slow["command"][-1].replace("trap '", "trap 'sleep 2; ")
    made = pod(
        "turns",
        slow,
        initContainers=[member(n, restartPolicy="Always") for n in ("a", "b")],
        volumes=[{"name": "shared", "hostPath": {"path": str(space.cluster.state_dir / "turns"), "type": "DirectoryOrCreate"}}],
        terminationGracePeriodSeconds=20,
        restartPolicy="Always",
    )  # fmt: skip
    reads = container(script=SLEEP, volumeMounts=[mount])
    space.create(pod("reads", reads, volumes=made["spec"]["volumes"]))
    space.create(made)
    space.ready("turns")
    space.ready("reads")
    space.delete("Pod", "turns")
    wait_for(lambda: space.gone("Pod", "turns"), "the pod is gone", 30)
    order = space.exec("reads", "cat /shared/order").split()
    assert set(order[:3]) == {"a-hook", "b-hook", "main-hook"}
    assert order[3:] == ["main-end", "b-end", "a-end"]
