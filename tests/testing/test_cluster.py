"""The in-process cluster itself: quick, the same for the same seed, killable in parts."""

import asyncio
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from skiff.api.resources import DEPLOYMENTS, NODES, PODS
from skiff.client.transport import Unreachable
from skiff.testing.cluster import Cluster, Faults, run_virtual
from skiff.testing.events import first_difference
from skiff.testing.loop import NothingLeft, Spinning, VirtualLoop
from tests.cluster.world import deployment, pod, rolled_out

START_BOUND_S = 1.5
HOUR_BOUND_S = 10.0
"""Ten times what was measured on an idle machine: this may be a busy one."""


async def story(seed: int, log: list[str], faults: Faults | None = None) -> str:
    """Something of everything; fills `log` with every write and gives their digest."""
    async with Cluster(nodes=2, seed=seed, faults=faults) as cluster:
        await cluster.client.create(DEPLOYMENTS, deployment("web", 3))
        await cluster.wait_until(lambda: rolled_out(cluster, "web"), 300)
        patch = {"spec": {"template": {"metadata": {"labels": {"v": "2"}}}}}
        await cluster.client.patch(DEPLOYMENTS, "web", "default", patch)
        await cluster.kill("node-1")
        await cluster.advance(100)
        await cluster.restart("controllers")
        await cluster.start("node-1")
        await cluster.wait_until(lambda: rolled_out(cluster, "web"), 600)
        await cluster.client.delete(DEPLOYMENTS, "web", "default")
        await cluster.wait_until(lambda: not cluster.list(PODS, "default"), 300)
        await cluster.advance(600)
        log += [str(w) for w in cluster.event_log]
        return cluster.event_log.digest()


@pytest.mark.parametrize("faults", [None, Faults(0.002, 0.02, 0.02, 30.0, 0.02)])
def test_the_same_seed_gives_the_same_log(faults: Faults | None) -> None:
    one: list[str] = []
    other: list[str] = []
    first = run_virtual(story(7, one, faults))
    again = run_virtual(story(7, other, faults))
    assert not first_difference(one, other)  # type: ignore[arg-type] # texts do as well
    assert first == again
    assert len(one) > 300
    different: list[str] = []
    run_virtual(story(8, different, faults))
    assert different != one


STORY = """
import sys
from tests.testing.test_cluster import story
from skiff.testing.cluster import Faults, run_virtual
log = []
run_virtual(story(3, log, Faults(0.002, 0.02, 0.02, 30.0, 0.02)))
sys.stdout.write("\\n".join(log))
"""


def test_nor_does_the_order_of_sets_matter() -> None:
    """Two processes whose strings hash differently tell the same story."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", STORY],
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path.cwd())},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in ("1", "2")
    ]
    one, other = (p.communicate(timeout=60)[0].splitlines() for p in processes)
    assert not first_difference(one, other)  # type: ignore[arg-type] # texts do as well
    assert len(one) > 300


def test_it_starts_in_milliseconds_and_an_hour_takes_a_second() -> None:
    async def main() -> tuple[float, float]:
        before = time.perf_counter()
        async with Cluster(nodes=2) as cluster:
            started = time.perf_counter()
            await cluster.client.create(DEPLOYMENTS, deployment("web", 10))
            await cluster.wait_until(lambda: rolled_out(cluster, "web"))
            now = cluster.clock.now()
            begin = time.perf_counter()
            await cluster.advance(3600)
            assert cluster.clock.now() == pytest.approx(now + 3600)
            return started - before, time.perf_counter() - begin

    run_virtual(main())  # what is imported and compiled once is not counted
    start_s, hour_s = run_virtual(main())
    assert start_s < START_BOUND_S
    assert hour_s < HOUR_BOUND_S


def test_a_killed_part_says_no_more_and_a_stopped_one_may() -> None:
    async def main() -> None:
        async with Cluster(nodes=1) as cluster:
            await cluster.kill("scheduler")
            await cluster.client.create(PODS, pod("p"))
            await cluster.advance(30)
            assert "nodeName" not in (cluster.get(PODS, "p", "default") or {})["spec"]
            await cluster.start("scheduler")
            await cluster.wait_until(
                lambda: (cluster.get(PODS, "p", "default") or {})["spec"].get("nodeName"), 5
            )

    run_virtual(main())


def test_a_killed_server_is_unreachable_and_comes_back_with_everything() -> None:
    async def main() -> None:
        async with Cluster(nodes=1) as cluster:
            await cluster.client.create(PODS, pod("before"))
            await cluster.advance(5)
            await cluster.kill("server")
            with pytest.raises(Unreachable):
                await cluster.client.get(NODES, "node-1")
            await cluster.advance(15)
            await cluster.start("server")
            await cluster.client.create(PODS, pod("after"))

            def running(name: str) -> bool:
                return (cluster.get(PODS, name, "default") or {})["status"]["phase"] == "Running"

            await cluster.wait_until(lambda: running("before") and running("after"), 60)

    run_virtual(main())


def test_a_scenario_s_own_failure_is_what_is_seen() -> None:
    async def main() -> None:
        async with Cluster(nodes=0):
            raise AssertionError("mine")

    with pytest.raises(AssertionError, match="mine"):
        run_virtual(main())


def test_a_condition_that_never_holds_names_the_seed() -> None:
    async def main() -> None:
        async with Cluster(nodes=0, seed=42) as cluster:
            await cluster.wait_until(lambda: False, 5)

    with pytest.raises(AssertionError, match="seed 42: not within 5 s"):
        run_virtual(main())


def test_a_part_that_crashes_fails_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with Cluster(nodes=0) as cluster:
            await cluster.kill("scheduler")
            monkeypatch.setattr("skiff.scheduler.run.SLICE_S", None)
            await cluster.start("scheduler")
            await cluster.client.create(PODS, pod("p"))
            await cluster.advance(100)

    with pytest.raises(BaseExceptionGroup) as raised:
        run_virtual(main())
    assert raised.group_contains(TypeError)


class TestLoop:
    def test_time_jumps(self) -> None:
        async def main() -> float:
            before = time.perf_counter()
            await asyncio.sleep(1e6)
            assert time.perf_counter() - before < 5
            return asyncio.get_running_loop().time()

        assert run_virtual(main()) == pytest.approx(1e6)

    def test_timers_run_in_order(self) -> None:
        async def main() -> list[int]:
            seen: list[int] = []

            async def at(delay: float, mark: int) -> None:
                await asyncio.sleep(delay)
                seen.append(mark)

            async with asyncio.TaskGroup() as group:
                for delay, mark in ((3, 3), (1, 1), (2, 2), (0, 0)):
                    group.create_task(at(delay, mark))
            return seen

        assert run_virtual(main()) == [0, 1, 2, 3]

    def test_a_wait_for_nothing_is_told(self) -> None:
        async def main() -> None:
            await asyncio.get_running_loop().create_future()

        with pytest.raises(NothingLeft):
            run_virtual(main())

    def test_an_endless_loop_at_one_moment_is_told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("skiff.testing.loop.TURNS_MAX", 100)

        async def main() -> None:
            while True:
                await asyncio.sleep(0)

        with pytest.raises(Spinning):
            run_virtual(main())

    def test_threads_are_refused(self) -> None:
        async def main() -> None:
            assert isinstance(asyncio.get_running_loop(), VirtualLoop)
            await asyncio.to_thread(time.time)

        with pytest.raises(RuntimeError, match="no threads"):
            run_virtual(main())


def test_a_server_that_is_started_again_gives_no_uid_twice() -> None:
    async def main() -> None:
        async with Cluster(nodes=0) as cluster:
            uids = set()
            for i in range(4):
                made = await cluster.client.create(PODS, pod(f"p{i}"))
                uids.add(made["metadata"]["uid"])
                await cluster.restart("server")
            assert len(uids) == 4

    run_virtual(main())
