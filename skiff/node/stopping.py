"""Stopping containers: the preStop hook, then the stop signal, then KILL when the grace period is over.

One task for each container, so that they stop side by side and a shorter grace period can overtake a
longer one. A sidecar's waits between hook and signal until it is its turn.

Source: https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-termination
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from skiff.api.views.pod import Pod
from skiff.node.hooks import HookFailed, run_hook
from skiff.node.lifecycle.model import find_container
from skiff.node.lifecycle.plan import Stop
from skiff.node.lifecycle.termination import MINIMUM_GRACE_S
from skiff.node.probers import Target
from skiff.node.runtime import RuntimeRemoteError
from skiff.node.tools import NORMAL, WARNING, PodTools, described

RETRY_S = 1.0

Spawn = Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]]

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Stopping:
    """A container being stopped."""

    task: asyncio.Task[None]
    grace_period_s: int
    turn: asyncio.Event


class Stopper:
    """Of one pod. `done` is called whenever a container has been stopped, or could not be."""

    def __init__(self, tools: PodTools, spawn: Spawn, done: Callable[[], None]) -> None:
        self._tools = tools
        self._spawn = spawn
        self._done = done
        self._stops: dict[str, _Stopping] = {}

    @property
    def idle(self) -> bool:
        """Nothing is being stopped."""
        return not self._stops

    def stop(self, pod: Pod, stop: Stop) -> None:
        """Stop a container; where that is under way, only sooner."""
        running = self._stops.get(stop.container_id)
        turn = asyncio.Event() if running is None else running.turn
        if not stop.held:
            turn.set()
        if running is not None:
            if running.grace_period_s <= stop.grace_period_s:
                return
            running.task.cancel()
        else:
            self._tools.events.container(pod, stop.name, NORMAL, "Killing", stop.message)
        work = self._stop_container(pod, stop, turn, hook=running is None)
        task = self._spawn(work, f"stop {stop.name}")
        self._stops[stop.container_id] = _Stopping(task, stop.grace_period_s, turn)

    async def _stop_container(
        self, pod: Pod, stop: Stop, turn: asyncio.Event, *, hook: bool
    ) -> None:
        tools = self._tools
        me = asyncio.current_task()
        try:
            deadline = tools.clock.monotonic() + stop.grace_period_s
            if hook:
                await pre_stop(tools, pod, stop)
            if not turn.is_set():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(max(0.0, deadline - tools.clock.monotonic())):
                        await turn.wait()
            remaining = round(deadline - tools.clock.monotonic())
            await tools.runtime.stop_container(stop.container_id, max(MINIMUM_GRACE_S, remaining))
            await tools.observer.refresh()
        except RuntimeRemoteError as e:
            text = f'error killing pod: failed to "KillContainer" for "{stop.name}": {e.message}'
            tools.events.pod(pod, WARNING, "FailedKillPod", text)
            await tools.clock.sleep(RETRY_S)
        finally:
            running = self._stops.get(stop.container_id)
            if running is not None and running.task is me:
                del self._stops[stop.container_id]
            self._done()


async def pre_stop(tools: PodTools, pod: Pod, stop: Stop) -> None:
    """Run the container's preStop hook, if it has one, within the grace period."""
    found = find_container(pod, stop.name)
    lifecycle = found[1].lifecycle if found else None
    if found is None or lifecycle is None or lifecycle.pre_stop is None:
        return
    if stop.grace_period_s <= 0:
        return
    sandbox = tools.observer.pod(pod.metadata.uid).sandbox
    ips = sandbox.ips if sandbox and sandbox.ips else tools.facts().ips
    target = Target(found[1], stop.container_id, ips[0])
    try:
        async with asyncio.timeout(stop.grace_period_s):
            await run_hook(
                lifecycle.pre_stop, target, tools.runtime, tools.clock, stop.grace_period_s
            )
    except (HookFailed, TimeoutError) as e:
        log.debug("pod %s: preStop of %s: %s", described(pod), stop.name, e)
        tools.events.container(pod, stop.name, WARNING, "FailedPreStopHook", "PreStopHook failed")
