"""A component that can be killed and started again, as a process can: the in-process cluster's parts.

To kill is to cut its connection first and to cancel it then: what it does on its way out reaches
nobody, as with SIGKILL. To stop is only to cancel it: it says good-bye, as with SIGTERM.
"""

import asyncio
from collections.abc import Callable

from skiff.aio.run import Component
from skiff.testing.faults import FaultyTransport

STOP_TIMEOUT_S = 60.0

Make = Callable[[], tuple[Component, list[FaultyTransport]]]
"""A fresh component, as after an exec, and its connections."""


class Process:
    """See the module's text. Runs in the task group that it was given; a component that fails takes
    the group, and so the test, with it."""

    def __init__(self, name: str, make: Make, group: asyncio.TaskGroup) -> None:
        self.name = name
        self.component: Component | None = None
        self._make = make
        self._group = group
        self.task: asyncio.Task[None] | None = None
        self._transports: list[FaultyTransport] = []

    @property
    def running(self) -> bool:
        """Whether it was started and not ended since."""
        return self.task is not None

    async def start(self) -> None:
        """Start it anew; returns when it is ready."""
        ready = self.begin()
        await ready.wait()

    def begin(self) -> asyncio.Event:
        """Start it anew; the event is set when it is ready."""
        assert self.task is None, f"{self.name} runs already"
        self.component, self._transports = self._make()
        ready = asyncio.Event()
        self.task = self._group.create_task(self._run(self.component, ready), name=self.name)
        return ready

    async def kill(self) -> None:
        """End it as SIGKILL does."""
        for transport in self._transports:
            transport.cut()
        await self.stop()

    async def stop(self) -> None:
        """End it as SIGTERM does."""
        task, self.task = self.task, None
        if task is not None:
            task.cancel()
            done, _ = await asyncio.wait([task], timeout=STOP_TIMEOUT_S)
            assert done, f"{self.name} does not end"

    async def _run(self, component: Component, ready: asyncio.Event) -> None:
        await component.run(ready.set)
        raise RuntimeError(f"{self.name} ended by itself")
