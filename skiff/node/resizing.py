"""Changing the limits of running containers in place, as their pod's resources change.

What a container was started with is remembered from its first sight; where the pod asks for
something else, the runtime is told, or the container is restarted where its resizePolicy says so.

Source: https://kubernetes.io/docs/tasks/configure-pod-container/resize-container-resources/
"""

import logging
from collections.abc import Callable, Coroutine
from typing import Any

from skiff.api.views.pod import Pod
from skiff.node.lifecycle.model import Kind, Observed, each_container, grace_period_s
from skiff.node.lifecycle.plan import Stop
from skiff.node.resources import container_resources
from skiff.node.runtime import LinuxResources, RuntimeRemoteError
from skiff.node.tools import WARNING, PodTools

RESTART = "RestartContainer"
LIFTED_QUOTA_US = -1

Spawn = Callable[[Coroutine[Any, Any, None], str], object]

log = logging.getLogger(__name__)


class Resizer:
    """Of one pod's containers."""

    def __init__(self, tools: PodTools) -> None:
        self._tools = tools
        self._applied: dict[str, LinuxResources] = {}

    def stops(self, pod: Pod, observed: Observed) -> list[Stop]:
        """Containers that a changed resource restarts."""
        found = []
        for container_id, name, _ in self._changed(pod, observed, restart=True):
            message = f"Container {name} resize requires restart, will be restarted"
            found.append(Stop(container_id, name, message, grace_period_s(pod)))
        return found

    def apply(self, pod: Pod, observed: Observed, spawn: Spawn) -> None:
        """Tell the runtime what changed."""
        for container_id, name, wanted in self._changed(pod, observed, restart=False):
            self._applied[container_id] = wanted
            spawn(self._update(pod, container_id, name, wanted), "resize")
        alive = {c.status.id for c in observed.running()}
        self._applied = {k: v for k, v in self._applied.items() if k in alive}

    def _changed(
        self, pod: Pod, observed: Observed, *, restart: bool
    ) -> list[tuple[str, str, LinuxResources]]:
        found = []
        memory = self._tools.facts().memory_bytes
        for kind, container in each_container(pod):
            seen = observed.latest(container.name)
            if kind is Kind.EPHEMERAL or seen is None or not seen.running:
                continue
            wanted = container_resources(pod, container, memory)
            before = self._applied.setdefault(seen.status.id, wanted)
            if before == wanted:
                continue
            policies = {p.resource_name: p.restart_policy for p in container.resize_policy}
            cpu = (before.cpu_shares, before.cpu_quota_us) != (
                wanted.cpu_shares,
                wanted.cpu_quota_us,
            )
            memory_changed = before.memory_limit_bytes != wanted.memory_limit_bytes
            restarts = (cpu and policies.get("cpu") == RESTART) or (
                memory_changed and policies.get("memory") == RESTART
            )
            if restarts == restart:
                found.append((seen.status.id, container.name, wanted))
        return found

    async def _update(self, pod: Pod, container_id: str, name: str, wanted: LinuxResources) -> None:
        tools = self._tools
        if tools.cgroups is not None:
            tools.cgroups.make_pod(pod)
        if not wanted.cpu_quota_us:
            wanted = LinuxResources(
                cpu_period_us=wanted.cpu_period_us,
                cpu_quota_us=LIFTED_QUOTA_US,
                cpu_shares=wanted.cpu_shares,
                memory_limit_bytes=wanted.memory_limit_bytes,
                oom_score_adj=wanted.oom_score_adj,
            )
        try:
            await tools.runtime.update_resources(container_id, wanted)
        except RuntimeRemoteError as e:
            log.debug("resizing container %s: %s", container_id, e)
            tools.events.container(
                pod, name, WARNING, "ResizeError", f"Error resizing container: {e.message}"
            )
