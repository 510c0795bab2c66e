"""Changing the resources of running containers in place, as their pod asks.

Three things are told apart, as in Kubernetes: what the spec *desires*, what the node has *allocated*
(admitted: a resize that does not fit is deferred, one that never could is infeasible, and until then
the old amounts stay in force), and what is *actual* in the runtime. Containers whose resizePolicy
says so are restarted instead.

Source: https://kubernetes.io/docs/tasks/configure-pod-container/resize-container-resources/
"""

import logging
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from skiff.api.views.container import ResourceRequirements
from skiff.api.views.pod import Pod
from skiff.node.lifecycle.admission import Shortage, shortage
from skiff.node.lifecycle.model import (
    AnyContainer,
    Kind,
    Observed,
    SeenContainer,
    each_container,
    grace_period_s,
)
from skiff.node.lifecycle.plan import Stop
from skiff.node.resources import container_resources
from skiff.node.runtime import RuntimeRemoteError
from skiff.node.tools import PodTools

RESTART = "RestartContainer"
LIFTED_QUOTA_US = -1
PENDING = "PodResizePending"
IN_PROGRESS = "PodResizeInProgress"

Spawn = Callable[[Coroutine[Any, Any, None], str], object]
Condition = dict[str, Any]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Change:
    """A running container whose resources shall be others than they are."""

    seen: SeenContainer
    container: AnyContainer
    actual: ResourceRequirements


class Resizer:
    """Of one pod's containers. `others` and `allocatable` say what else the node has and could take."""

    def __init__(
        self,
        tools: PodTools,
        others: Callable[[], list[Pod]],
        allocatable: Callable[[], Mapping[str, str]],
    ) -> None:
        self._tools = tools
        self._others = others
        self._allocatable = allocatable
        self._actual: dict[str, tuple[str, ResourceRequirements]] = {}
        self._updating: set[str] = set()
        self._pending: Condition | None = None
        self._error = ""

    @property
    def pending(self) -> bool:
        """Whether a resize waits for room."""
        return self._pending is not None

    # ---- what is in force

    def allocated(self, pod: Pod) -> Pod:
        """The pod with the amounts that the node has admitted: the spec's, unless a resize pends."""
        if self._pending is None:
            return pod
        spec = pod.spec
        return msgspec.structs.replace(
            pod,
            spec=msgspec.structs.replace(
                spec,
                containers=tuple(self._with_actual(c) for c in spec.containers),
                init_containers=tuple(self._with_actual(c) for c in spec.init_containers),
            ),
        )

    def actual(self) -> dict[str, ResourceRequirements]:
        """What runs with, by container name."""
        return {name: resources for name, (_, resources) in self._actual.items()}

    def conditions(self) -> list[Condition]:
        """The pod's conditions about resizes."""
        found = [self._pending] if self._pending is not None else []
        if self._error:
            found.append(
                {"type": IN_PROGRESS, "status": "True", "reason": "Error", "message": self._error}
            )
        elif self._updating:
            found.append({"type": IN_PROGRESS, "status": "True"})
        return found

    def _with_actual(self, container: Any) -> Any:
        known = self._actual.get(container.name)
        return (
            container if known is None else msgspec.structs.replace(container, resources=known[1])
        )

    # ---- one step

    def step(self, pod: Pod, observed: Observed, spawn: Spawn) -> list[Stop]:
        """Bring what runs to what is desired; the containers that must be restarted for it."""
        changes = self._changes(pod, observed)
        self._pending = None
        if not changes:
            if not self._updating:
                self._error = ""
            return []
        self._admit(pod)
        if self._pending is not None:
            return []
        stops = []
        for change in changes:
            name = change.container.name
            if _restarts(change):
                message = f"Container {name} resize requires restart, will be restarted"
                stops.append(
                    Stop(change.seen.status.id, name, message, grace_period_s(pod), replaces=True)
                )
            elif change.seen.status.id not in self._updating:
                self._updating.add(change.seen.status.id)
                spawn(self._update(pod, change), "resize")
        return stops

    def _changes(self, pod: Pod, observed: Observed) -> list[_Change]:
        found = []
        alive: dict[str, tuple[str, ResourceRequirements]] = {}
        for kind, container in each_container(pod):
            seen = observed.latest(container.name)
            if kind in (Kind.EPHEMERAL, Kind.INIT) or seen is None or not seen.running:
                continue
            desired = container.resources or ResourceRequirements()
            known = self._actual.get(container.name)
            if known is None or known[0] != seen.status.id:
                known = (seen.status.id, _written(pod, seen.status.id) or desired)
            alive[container.name] = known
            if known[1] != desired:
                found.append(_Change(seen, container, known[1]))
        self._actual = alive
        return found

    def _admit(self, pod: Pod) -> None:
        """Whether the node has room for what is desired."""
        allocatable = self._allocatable()
        never = shortage(pod, [], allocatable)
        if never is not None:
            self._refuse(
                "Infeasible", f"Node didn't have enough capacity: {_words(never, used=False)}"
            )
            return
        now = shortage(pod, self._others(), allocatable)
        if now is not None:
            self._refuse("Deferred", f"Node didn't have enough resource: {_words(now, used=True)}")

    def _refuse(self, reason: str, message: str) -> None:
        self._pending = {"type": PENDING, "status": "True", "reason": reason, "message": message}

    async def _update(self, pod: Pod, change: _Change) -> None:
        """Tell the runtime; the pod's own cgroup is opened wide while its parts change."""
        tools, container, container_id = self._tools, change.container, change.seen.status.id
        memory = tools.facts().memory_bytes
        before = container_resources(pod, _with(container, change.actual), memory)
        wanted = container_resources(pod, container, memory)
        try:
            if before != wanted:
                await self._check_usage(
                    change, before.memory_limit_bytes, wanted.memory_limit_bytes
                )
                if tools.cgroups is not None:
                    tools.cgroups.lift_pod(pod)
                if before.cpu_quota_us and not wanted.cpu_quota_us:
                    wanted = replace(wanted, cpu_quota_us=LIFTED_QUOTA_US)
                await tools.runtime.update_resources(container_id, wanted)
            desired = container.resources or ResourceRequirements()
            self._actual[container.name] = (container_id, desired)
            self._error = ""
        except RuntimeRemoteError as e:
            log.debug("resizing container %s: %s", container_id, e)
            self._error = e.message
            await tools.clock.sleep(1.0)
        finally:
            self._updating.discard(container_id)
            if tools.cgroups is not None and not self._updating:
                tools.cgroups.make_pod(pod)
            tools.woken(pod.metadata.uid)

    async def _check_usage(self, change: _Change, before: int, wanted: int) -> None:
        """Refuse a memory limit that the container exceeds already: the kernel would kill it. Limits are
        bytes, 0 none. Raises RuntimeRemoteError."""
        if not wanted or (before and wanted >= before):
            return
        used = [
            s.memory_usage_bytes
            for s in await self._tools.runtime.container_stats()
            if s.id == change.seen.status.id
        ]
        if used and used[0] >= wanted:
            raise RuntimeRemoteError(
                "cannot decrease memory limits: attempting to set container "
                f'"{change.container.name}" memory limit ({wanted}) below current usage ({used[0]})'
            )


def _with(container: AnyContainer, resources: ResourceRequirements) -> AnyContainer:
    return msgspec.structs.replace(container, resources=resources)


def _restarts(change: _Change) -> bool:
    """Whether a resource that changes is one whose change restarts the container."""
    desired = change.container.resources or ResourceRequirements()
    for policy in change.container.resize_policy:
        name = policy.resource_name
        changed = any(
            getattr(desired, part).get(name) != getattr(change.actual, part).get(name)
            for part in ("requests", "limits")
        )
        if changed and policy.restart_policy == RESTART:
            return True
    return False


def _words(short: Shortage, *, used: bool) -> str:
    middle = f"used: {short.used}, " if used else ""
    return f"{short.resource}, requested: {short.requested}, {middle}capacity: {short.capacity}"


def _written(pod: Pod, container_id: str) -> ResourceRequirements | None:
    """What the pod's status says of this very container: it was so before a restart of the kubelet."""
    for status in (*pod.status.container_statuses, *pod.status.init_container_statuses):
        if status.container_id.endswith(f"://{container_id}") and status.resources is not None:
            return status.resources
    return None
