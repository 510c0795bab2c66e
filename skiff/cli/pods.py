"""Stops and removes every pod of a containerd: what `skiff down` and `skiff clean` do first."""

import asyncio
import contextlib
import logging
from pathlib import Path

from skiff.aio.clock import RealClock
from skiff.node.cri import CriRuntime
from skiff.node.runtime import RuntimeRemoteError

STOP_GRACE_S = 2
REMOVE_TIMEOUT_S = 30.0

log = logging.getLogger("skiff.cli")


async def remove_pods(containerd: Path) -> None:
    """Stop all containers (SIGTERM, SIGKILL after a short grace), then all sandboxes, networks included."""
    runtime = CriRuntime(f"unix://{containerd}", RealClock())
    try:
        async with asyncio.timeout(REMOVE_TIMEOUT_S):
            containers = await runtime.list_containers()
            async with asyncio.TaskGroup() as group:
                for container in containers:
                    group.create_task(_stop(runtime, container.id))
            sandboxes = await runtime.list_sandboxes()
            async with asyncio.TaskGroup() as group:
                for sandbox in sandboxes:
                    group.create_task(_remove(runtime, sandbox.id))
    except TimeoutError:
        log.warning("not all containers could be removed within %.0f s", REMOVE_TIMEOUT_S)
    finally:
        await runtime.close()


async def _stop(runtime: CriRuntime, container_id: str) -> None:
    with contextlib.suppress(RuntimeRemoteError):
        await runtime.stop_container(container_id, STOP_GRACE_S)


async def _remove(runtime: CriRuntime, sandbox_id: str) -> None:
    try:
        await runtime.stop_sandbox(sandbox_id)
        await runtime.remove_sandbox(sandbox_id)
    except RuntimeRemoteError as e:
        log.warning("sandbox %s could not be removed: %s", sandbox_id[:12], e)
