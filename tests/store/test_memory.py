"""The memory store: the contract, the model, and that it adds no time of its own."""

import asyncio
from pathlib import Path

from hypothesis import settings

from skiff.aio.clock import LoopClock, RealClock
from skiff.store.memory import MemoryStore
from skiff.store.mvcc import DEFAULT_LIMITS, Limits
from skiff.store.protocol import Store
from tests.store.contract import StoreContract, stamp
from tests.store.model import StoreModel


class TestMemoryStore(StoreContract):
    def open(self, directory: Path, limits: Limits = DEFAULT_LIMITS) -> Store:
        return MemoryStore(stamp, RealClock(), limits)


class MemoryModel(StoreModel):
    def open(self, directory: Path) -> Store:
        return MemoryStore(stamp, RealClock())


TestMemoryModel = MemoryModel.TestCase
TestMemoryModel.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


def test_writes_become_visible_on_the_next_turn_in_no_time():
    async def main():
        loop = asyncio.get_running_loop()
        store = MemoryStore(stamp, LoopClock(0.0))
        order = []
        loop.call_soon(order.append, "before")
        future = store.commit("/a", b"1")
        store.watch("/", store.revision, lambda events: order.append("visible"))
        loop.call_soon(order.append, "after")
        assert not future.done()
        await future
        assert order == ["before", "visible", "after"]
        assert store.statistics.writes == store.statistics.batches == 1
        await store.close()

    asyncio.run(main())
