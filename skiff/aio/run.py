"""Components: how they start, in order, and stop, in reverse.

A component is `async def run(started)`: it raises to fail, calls `started()` once it is ready, and
ends when it is cancelled. `run_all` starts a list of them one after another (each must be ready
before the next starts), and on the way out cancels them in reverse order, giving each a deadline.
One failure ends the whole.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

STOP_DEADLINE_S = 5.0

Started = Callable[[], None]


class Component(Protocol):
    """Something that runs until it is cancelled."""

    async def run(self, started: Started) -> None:
        """Run; call `started()` when ready; raise to fail."""


class Group:
    """A list of named components that is itself a component."""

    def __init__(
        self,
        components: Sequence[tuple[str, Component]],
        *,
        stop_deadline_s: float = STOP_DEADLINE_S,
    ) -> None:
        self._components = components
        self._stop_deadline_s = stop_deadline_s

    async def run(self, started: Started) -> None:
        """Start in order, run until one fails or this is cancelled, stop in reverse."""
        running: list[asyncio.Task[None]] = []
        try:
            for name, component in self._components:
                running.append(await _start(name, component, running))
            started()
            await _first_end(running)
        finally:
            await _stop(running, self._stop_deadline_s)


async def _start(
    name: str, component: Component, running: list[asyncio.Task[None]]
) -> asyncio.Task[None]:
    ready = asyncio.get_running_loop().create_future()

    def started() -> None:
        if not ready.done():
            ready.set_result(None)

    task = asyncio.create_task(component.run(started), name=name)
    try:
        await asyncio.wait([task, ready, *running], return_when=asyncio.FIRST_COMPLETED)
        for other in (task, *running):
            if other.done():
                other.result()
                raise RuntimeError(f"component {other.get_name()} ended while {name} was starting")
    except BaseException:
        await _stop([task], STOP_DEADLINE_S)
        raise
    return task


async def _first_end(running: list[asyncio.Task[None]]) -> None:
    if not running:
        await asyncio.get_running_loop().create_future()
    done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()
        raise RuntimeError(f"component {task.get_name()} ended")


async def _stop(running: list[asyncio.Task[None]], deadline_s: float) -> None:
    for task in reversed(running):
        task.cancel()
        if not task.done():
            await asyncio.wait([task], timeout=deadline_s)


async def first(*awaitables: Awaitable[object]) -> None:
    """Wait until one of `awaitables` is done, cancel the rest; an error in the first to end is raised."""
    tasks = [asyncio.ensure_future(a) for a in awaitables]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled():
                task.exception()  # only the first to end speaks; the others' errors count as seen
