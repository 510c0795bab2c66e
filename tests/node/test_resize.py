"""In-place resize: what is desired, allocated and actual."""

import pytest

from skiff.api.resources import PODS
from skiff.node.simulated import MEMORY_BYTES
from tests.node.world import World, condition, container, pod, run, status_of


def amounts(cpu: str, memory: str = "100Mi") -> dict:
    return {"requests": {"cpu": cpu, "memory": memory}, "limits": {"cpu": cpu, "memory": memory}}


async def resize(w: World, name: str, **resources: dict) -> None:
    patch = {"spec": {"containers": [{"name": n, "resources": r} for n, r in resources.items()]}}
    await w.client.patch(PODS, name, "default", patch, kind="strategic", subresource="resize")


@pytest.mark.conformance(
    "[sig-node] Pod InPlace Resize Container guaranteed pods with multiple containers 3 containers - "
    "increase: CPU (c1,c3), memory (c2, c3) ; decrease: CPU (c2) [MinimumKubeletVersion:1.34] [Conformance]"
)
def test_running_containers_are_resized_in_place():
    async def test(w: World) -> None:
        made = [container(n, resources=amounts("200m")) for n in ("c1", "c2", "c3")]
        await w.create(pod("web", *made))
        before = await w.running("web")
        wanted = {
            "c1": amounts("300m"),
            "c2": amounts("100m", "150Mi"),
            "c3": amounts("300m", "200Mi"),
        }
        await resize(w, "web", **wanted)
        found = await w.pod_until(
            "web", lambda p: all(status_of(p, n)["resources"] == r for n, r in wanted.items())
        )
        for name, resources in wanted.items():
            status = status_of(found, name)
            assert status["allocatedResources"] == resources["requests"]
            assert status["restartCount"] == 0
            assert status["containerID"] == status_of(before, name)["containerID"]
        await w.clock.sleep(1)
        found = await w.pod("web")
        assert not condition(found, "PodResizeInProgress") and not condition(
            found, "PodResizePending"
        )
        limits = w.simulated.container_resources(
            status_of(found, "c3")["containerID"].split("//")[1]
        )
        assert (limits.cpu_quota_us, limits.memory_limit_bytes) == (30_000, 200 << 20)

    run(test)


def test_a_resize_policy_may_restart_the_container():
    async def test(w: World) -> None:
        policy = [{"resourceName": "memory", "restartPolicy": "RestartContainer"}]
        await w.create(pod("web", container(resources=amounts("200m"), resizePolicy=policy)))
        await w.running("web")
        await resize(w, "web", main=amounts("300m"))
        await w.pod_until("web", lambda p: status_of(p)["resources"] == amounts("300m"))
        assert status_of(await w.pod("web"))["restartCount"] == 0
        await resize(w, "web", main=amounts("300m", "200Mi"))
        found = await w.pod_until(
            "web", lambda p: status_of(p)["restartCount"] == 1 and status_of(p)["ready"]
        )
        assert status_of(found)["resources"] == amounts("300m", "200Mi")
        await w.event("web", "Killing", "Container main resize requires restart, will be restarted")

    run(test)


def test_a_memory_limit_below_what_is_used_is_not_set():
    async def test(w: World) -> None:
        await w.create(pod("web", container(resources=amounts("1"))))
        await w.running("web")
        await resize(w, "web", main=amounts("1", "10Ki"))
        found = await w.pod_until(
            "web", lambda p: condition(p, "PodResizeInProgress").get("reason")
        )
        told = condition(found, "PodResizeInProgress")
        assert (told["status"], told["reason"]) == ("True", "Error")
        assert told["message"] == (
            'cannot decrease memory limits: attempting to set container "main" memory limit (10240) '
            f"below current usage ({MEMORY_BYTES})"
        )
        assert not condition(found, "PodResizePending")
        assert status_of(found)["resources"] == amounts("1")
        assert status_of(found)["allocatedResources"] == amounts("1", "10Ki")["requests"]
        await resize(w, "web", main=amounts("2"))
        found = await w.pod_until("web", lambda p: status_of(p)["resources"] == amounts("2"))
        assert not condition(found, "PodResizeInProgress")
        assert status_of(found)["restartCount"] == 0

    run(test)


def test_what_does_not_fit_waits_and_what_never_could_is_said_to():
    async def test(w: World) -> None:
        await w.create(pod("web", container(resources=amounts("1"))))
        await w.create(pod("other", container(resources=amounts("2"))))
        await w.running("web")
        await w.running("other")
        await resize(w, "web", main=amounts("3"))
        found = await w.pod_until("web", lambda p: condition(p, "PodResizePending"))
        pending = condition(found, "PodResizePending")
        assert (pending["status"], pending["reason"]) == ("True", "Deferred")
        assert pending["message"] == (
            "Node didn't have enough resource: cpu, requested: 3000, used: 2000, capacity: 4000"
        )
        assert status_of(found)["resources"] == amounts("1")
        assert status_of(found)["allocatedResources"] == amounts("1")["requests"]
        await resize(w, "web", main=amounts("9"))
        found = await w.pod_until(
            "web", lambda p: condition(p, "PodResizePending").get("reason") == "Infeasible"
        )
        assert condition(found, "PodResizePending")["message"] == (
            "Node didn't have enough capacity: cpu, requested: 9000, capacity: 4000"
        )
        await resize(w, "web", main=amounts("3"))
        await w.pod_until(
            "web", lambda p: condition(p, "PodResizePending").get("reason") == "Deferred"
        )
        await w.delete("other")
        await w.gone("other")
        found = await w.pod_until("web", lambda p: status_of(p)["resources"] == amounts("3"))
        found = await w.pod_until("web", lambda p: not condition(p, "PodResizePending"))

    run(test, capacity={"cpu": "4"})
