"""The kubelet under a runtime that fails at random, users that create and delete at random, and restarts:
when all is quiet again, what runs is exactly what is wanted. A failing seed is in the test's name."""

import random
from collections import Counter

import pytest

from skiff.api.errors import ApiError
from skiff.api.resources import PODS
from skiff.node.runtime import ContainerState, RuntimeRemoteError, RuntimeUnavailable
from skiff.node.simulated import PREFIX
from tests.node.world import World, container, is_ready, pod, run

FLAKY = (
    "run_sandbox", "stop_sandbox", "remove_sandbox", "sandbox_status", "list_sandboxes", "create_container",
    "start_container", "stop_container", "remove_container", "container_status", "list_containers",
    "pull_image", "image_status",
)  # fmt: skip


def make_flaky(w: World, chance: random.Random, faults: dict) -> None:
    """Calls fail before they do anything, or after they did it, with the given probability."""

    def wrap(call):
        async def flaky(*args, **kwargs):
            if chance.random() < faults["rate"]:
                raise RuntimeUnavailable("lost", "UNAVAILABLE")
            if chance.random() < 0.3:
                await w.clock.sleep(chance.random() * faults["delay_s"])
            answer = await call(*args, **kwargs)
            if chance.random() < faults["rate"]:
                raise RuntimeRemoteError("answered too late", "DEADLINE_EXCEEDED")
            return answer

        return flaky

    for name in FLAKY:
        setattr(w.runtime, name, wrap(getattr(w.runtime, name)))


async def act(w: World, chance: random.Random, number: int) -> None:
    """One thing that a user, or fate, does."""
    pods = [p["metadata"]["name"] for p in await w.objects(PODS)]
    what = chance.random()
    if what < 0.45 or not pods:
        init = [container("init")] if chance.random() < 0.3 else []
        init += [container("side", restartPolicy="Always")] if chance.random() < 0.3 else []
        marks = {PREFIX + "stop-seconds": str(chance.choice([0, 2, 50]))}
        if chance.random() < 0.2:
            marks[PREFIX + "exit-after-seconds.main"] = "2"
        grace = chance.choice([1, 5, 30])
        policy = chance.choice(["Always", "OnFailure"])
        await w.create(pod(f"p{number}", initContainers=init, annotations=marks, restartPolicy=policy,
                           terminationGracePeriodSeconds=grace))  # fmt: skip
    elif what < 0.65:
        await w.delete(chance.choice(pods), chance.choice([None, None, 1, 0]))
    elif what < 0.85:
        running = [c for c in w.simulated.containers() if c.state is ContainerState.RUNNING]
        if running:
            w.simulated.end(chance.choice(running).id, chance.choice([0, 1, 137]))
    elif what < 0.95:
        await w.clock.sleep(chance.random() * 20)
    else:
        await w.stop_kubelet()
        await w.clock.sleep(chance.random() * 30)
        await w.start_kubelet()


@pytest.mark.parametrize("seed", range(8))
def test_all_comes_right_in_the_end(seed: int):
    async def test(w: World) -> None:
        chance = random.Random(seed)
        faults = {"rate": 0.08, "delay_s": 0.5}
        make_flaky(w, chance, faults)
        for number in range(60):
            try:
                await act(w, chance, number)
            except ApiError as e:
                assert e.code in (404, 409), e
            await w.clock.sleep(chance.random() * 2)
            twice = Counter(
                (c.labels["io.kubernetes.pod.uid"], c.name)
                for c in w.simulated.containers()
                if c.state is ContainerState.RUNNING
            )
            assert all(count == 1 for count in twice.values()), twice
        faults["rate"] = 0.0
        await w.clock.sleep(700)
        wanted = {}
        for found in await w.objects(PODS):
            name = found["metadata"]["name"]
            assert "deletionTimestamp" not in found["metadata"], name
            done = found["status"]["phase"] == "Succeeded"
            crashing = PREFIX + "exit-after-seconds.main" in found["metadata"].get(
                "annotations", {}
            )
            assert done or crashing or is_ready(found), found["status"]
            wanted[found["metadata"]["uid"]] = name
        assert {s.uid for s in await w.runtime.list_sandboxes()} <= set(wanted)
        living = {s.uid for s in await w.runtime.list_sandboxes() if s.ready}
        running = {u for u, n in wanted.items() if is_ready(await w.pod(n))}
        assert running <= living

    run(test)
