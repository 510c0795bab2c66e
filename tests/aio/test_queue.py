"""The work queue: each key once, one worker at a time, later or after failures."""

import asyncio

import pytest

from skiff.aio.backoff import Backoff
from skiff.aio.queue import ShutDown, WorkQueue


def test_a_key_waits_once_and_comes_back_if_added_while_worked_on() -> None:
    async def main() -> None:
        queue: WorkQueue[str] = WorkQueue()
        queue.add("a")
        queue.add("a")
        assert len(queue) == 1
        assert await queue.get() == "a"
        queue.add("a")
        assert len(queue) == 0
        queue.done("a")
        assert await queue.get() == "a"
        queue.done("a")
        assert queue.idle

    asyncio.run(main())


def test_delays_and_the_soonest_wins() -> None:
    async def main() -> None:
        queue: WorkQueue[str] = WorkQueue()
        queue.add_after("late", 5)
        queue.add_after("late", 0.01)
        queue.add_after("late", 3)
        queue.add("now")
        assert await queue.get() == "now"
        assert await asyncio.wait_for(queue.get(), 1) == "late"
        queue.shut_down()

    asyncio.run(main())


def test_failures_wait_longer_until_forgotten() -> None:
    async def main() -> None:
        queue: WorkQueue[str] = WorkQueue(Backoff(base_s=1, cap_s=3))
        assert [queue.add_failed("a") for _ in range(3)] == [1, 2, 3]
        queue.forget("a")
        assert queue.failures("a") == 0
        assert queue.add_failed("a") == 1
        queue.shut_down()

    asyncio.run(main())


def test_shut_down_ends_waiters() -> None:
    async def main() -> None:
        queue: WorkQueue[str] = WorkQueue()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(expect_shut_down(queue)) for _ in range(3)]
            await asyncio.sleep(0)
            queue.shut_down()
        assert all(t.result() for t in tasks)

    async def expect_shut_down(queue: WorkQueue[str]) -> bool:
        with pytest.raises(ShutDown):
            await queue.get()
        return True

    asyncio.run(main())


def test_a_cancelled_waiter_passes_its_wake_up_on() -> None:
    async def main() -> None:
        queue: WorkQueue[str] = WorkQueue()
        first = asyncio.create_task(queue.get())
        second = asyncio.create_task(queue.get())
        await asyncio.sleep(0)
        queue.add("a")
        first.cancel()
        assert await asyncio.wait_for(second, 1) == "a"

    asyncio.run(main())


@pytest.mark.parametrize(
    ("failures", "delay_s"), [(1, 0.005), (2, 0.01), (10, 2.56), (40, 120.0), (10_000, 120.0)]
)
def test_backoff(failures: int, delay_s: float) -> None:
    assert Backoff().delay_s(failures) == pytest.approx(delay_s)
