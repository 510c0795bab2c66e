"""Bringing a pod up: volumes, cgroup, sandbox, and the containers that its plan names, in order.

One `Starter` belongs to one pod's worker and runs once at a time. What goes wrong becomes an event
and, for containers, the reason of their waiting state; the worker tries again later.

Source: https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#container-states
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from skiff.api.views.container import EphemeralContainer
from skiff.api.views.pod import Pod
from skiff.node.building import Built, container_config, sandbox_config
from skiff.node.cgroups import cgroup_parent
from skiff.node.hooks import HookFailed, run_hook
from skiff.node.inputs import InputsNotReady, InvalidConfig
from skiff.node.lifecycle.backoff import Backoffs
from skiff.node.lifecycle.model import (
    AnyContainer,
    Observed,
    Waiting,
    find_container,
    grace_period_s,
)
from skiff.node.lifecycle.plan import Plan, Start, Stop, container_backoff_key
from skiff.node.lifecycle.termination import MINIMUM_GRACE_S
from skiff.node.probers import Target
from skiff.node.pulling import ImageProblem
from skiff.node.runtime import ContainerConfig, ContainerState, RuntimeRemoteError, SandboxConfig
from skiff.node.security import SecurityRefused
from skiff.node.stopping import pre_stop
from skiff.node.tools import NORMAL, WARNING, PodTools, described

KEPT_DEAD_CONTAINERS = 1
HOOK_FAILED = "PostStartHookError"

log = logging.getLogger(__name__)


class StartFailed(Exception):
    """A container could not be started; the reason is noted. `retry_at` 0: as usual."""

    def __init__(self, reason: str, message: str, retry_at: float = 0.0) -> None:
        super().__init__(message)
        self.waiting = Waiting(reason, message)
        self.retry_at = retry_at


class Abandoned(Exception):
    """The pod ends: nothing more of it is brought up."""


@dataclass(slots=True)
class Starter:
    """See the module's text. `waiting` holds why containers do not run; `hooking` the ids of containers
    whose postStart hook runs; `retry_at` is set where something went wrong; `committed` while the
    runtime makes something that it would be left with half done."""

    tools: PodTools
    backoffs: Backoffs
    waiting: dict[str, Waiting] = field(default_factory=dict)
    hooking: set[str] = field(default_factory=set)
    retry_at: float = 0.0
    failures: int = 0
    handler: str = ""
    committed: bool = False
    abandoned: bool = False

    def abandon(self, task: asyncio.Task[None]) -> None:
        """End `task`, which brings up: at once, or when what the runtime is making is made. A container
        whose start is broken off stays behind as a task that containerd neither runs nor removes."""
        self.abandoned = True
        if not self.committed:
            task.cancel()

    @contextlib.contextmanager
    def _whole(self) -> Iterator[None]:
        """Around a call that is not broken off. Raises Abandoned after it, where the pod has ended."""
        self.committed = True
        try:
            yield
        finally:
            self.committed = False
        if self.abandoned:
            raise Abandoned

    async def bring_up(self, pod: Pod, plan: Plan, replan: Callable[[], Plan]) -> None:
        """Do what the plan says; `replan` gives the plan anew once there is a sandbox. Raises Abandoned."""
        tools = self.tools
        try:
            await tools.inputs.set_up(pod)
        except InputsNotReady as e:
            for message in e.messages:
                tools.events.pod(pod, WARNING, "FailedMount", message)
            self._failed()
            return
        if tools.cgroups is not None:
            tools.cgroups.make_pod(pod)
        if plan.create_sandbox:
            if not await self._make_sandbox(pod, plan):
                return
            plan = replan()
        failed = False
        for start in plan.starts:
            failed |= not await self._start_noting(pod, start)
        if failed:
            self._failed()
        else:
            self.failures = 0

    def _failed(self, retry_at: float = 0.0) -> None:
        """Try again after 1, 2, 4, 8, then each 10 seconds."""
        delay = min(10.0, 2.0**self.failures)
        self.failures = min(self.failures + 1, 10)
        self.retry_at = max(retry_at, self.tools.clock.now() + delay)

    # ---- the sandbox

    async def _make_sandbox(self, pod: Pod, plan: Plan) -> bool:
        tools = self.tools
        problem = "" if pod.spec.host_network else tools.network_problem()
        if problem:
            tools.events.pod(pod, WARNING, "NetworkNotReady", f"network is not ready: {problem}")
            self._failed()
            return False
        if plan.sandbox_changed:
            tools.events.pod(
                pod,
                NORMAL,
                "SandboxChanged",
                "Pod sandbox changed, it will be killed and re-created.",
            )
        for reason, text in tools.dns(pod).warnings:
            tools.events.pod(pod, WARNING, reason, text)
        try:
            await self._clear_old_sandboxes(pod, plan.sandbox_changed)
            self.handler = await tools.runtime_handler(pod)
            if pod.spec.host_users is False:
                raise ValueError(
                    f'RuntimeClass handler "{self.handler}" does not support user namespaces'
                )
            config = self._sandbox_config(pod, plan.sandbox_attempt)
            if tools.on_disk:
                _make_log_directories(config.log_directory, [])
            with self._whole():
                await tools.runtime.run_sandbox(config)
            await tools.observer.refresh()
        except (RuntimeRemoteError, ValueError, OSError) as e:
            text = e.wire() if isinstance(e, RuntimeRemoteError) else str(e)
            tools.events.pod(
                pod, WARNING, "FailedCreatePodSandBox", f"Failed to create pod sandbox: {text}"
            )
            self._failed()
            return False
        return True

    async def _clear_old_sandboxes(self, pod: Pod, stop: bool) -> None:
        """Stop the dead sandbox with all in it; remove those before it."""
        runtime, observed = self.tools.runtime, self.tools.observer.pod(pod.metadata.uid)
        for index, sandbox in enumerate(observed.sandboxes):
            if stop:
                await runtime.stop_sandbox(sandbox.id)
            if index and not any(c.sandbox_id == sandbox.id for c in observed.containers):
                await runtime.remove_sandbox(sandbox.id)

    def _sandbox_config(self, pod: Pod, attempt: int) -> SandboxConfig:
        config = self.tools.config
        cgroups = self.tools.cgroups
        parent = cgroup_parent(config.cgroup_root, pod) if cgroups and cgroups.usable else ""
        made = sandbox_config(pod, config, attempt, self.tools.dns(pod).config, parent)
        return replace(made, runtime_handler=self.handler)

    # ---- containers

    async def _start_noting(self, pod: Pod, start: Start) -> bool:
        """Start a container; on failure note why, and tell."""
        try:
            await self._start(pod, start)
        except StartFailed as e:
            self.waiting[start.name] = e.waiting
            reason, message = e.waiting.reason, e.waiting.message
            text = reason if "Image" in reason else message
            if reason != HOOK_FAILED:
                self.tools.events.container(pod, start.name, WARNING, "Failed", f"Error: {text}")
            if e.retry_at:
                self.retry_at = max(self.retry_at, e.retry_at)
            return False
        self.waiting.pop(start.name, None)
        return True

    async def _start(self, pod: Pod, start: Start) -> None:
        tools = self.tools
        found = find_container(pod, start.name)
        observed = tools.observer.pod(pod.metadata.uid)
        sandbox = observed.sandbox
        if found is None or sandbox is None or not sandbox.ready:
            return
        container = found[1]
        sandbox_config = self._sandbox_config(pod, sandbox.attempt)
        config = await self._build(pod, start, container, observed, sandbox_config)
        if tools.on_disk:
            _make_log_directories(sandbox_config.log_directory, [container.name])
        try:
            with self._whole():
                container_id = await tools.runtime.create_container(
                    sandbox.id, config, sandbox_config
                )
        except RuntimeRemoteError as e:
            raise StartFailed("CreateContainerError", e.message) from e
        tools.events.container(pod, start.name, NORMAL, "Created", "Container created")
        try:
            with self._whole():
                await tools.runtime.start_container(container_id)
        except RuntimeRemoteError as e:
            await self._refresh()
            raise StartFailed("RunContainerError", e.message) from e
        tools.events.container(pod, start.name, NORMAL, "Started", "Container started")
        await self._post_start(pod, container, container_id, sandbox.ips)
        await self._remove_dead(observed, start.name)

    async def _build(
        self,
        pod: Pod,
        start: Start,
        container: AnyContainer,
        observed: Observed,
        sandbox: SandboxConfig,
    ) -> ContainerConfig:
        """Image, inputs and security of one container, as the runtime takes them."""
        tools = self.tools
        try:
            image = await tools.puller.ensure(pod, container, sandbox)
        except ImageProblem as e:
            raise StartFailed(e.reason, e.message, e.retry_at) from e
        except RuntimeRemoteError as e:
            raise StartFailed("ImageInspectError", e.message) from e
        await self._mount_images(pod, container, sandbox)
        last = observed.latest(start.name)
        if last is not None and last.exited:
            key = container_backoff_key(container)
            self.backoffs.next(key, tools.clock.now(), last.status.finished_at)
        ips = observed.sandbox.ips if observed.sandbox else ()
        try:
            inputs = await tools.inputs.container(
                pod, container, tools.facts().ips if pod.spec.host_network else ips, start.attempt
            )
            built = Built(
                attempt=start.attempt,
                image=image,
                inputs=inputs,
                target_id=_target_id(container, observed),
                memory_capacity_bytes=tools.facts().memory_bytes,
            )
            config = container_config(pod, start.kind, container, built)
        except (InvalidConfig, SecurityRefused) as e:
            raise StartFailed("CreateContainerConfigError", str(e)) from e
        for text in inputs.warnings:
            tools.events.pod(pod, WARNING, "InvalidEnvironmentVariableNames", text)
        return config

    async def _mount_images(
        self, pod: Pod, container: AnyContainer, sandbox: SandboxConfig
    ) -> None:
        """Pull and mount the images that the container has as volumes."""
        tools = self.tools
        used = {m.name for m in container.volume_mounts}
        for volume in pod.spec.volumes:
            source = volume.image
            if source is None or volume.name not in used:
                continue
            try:
                image = await tools.puller.ensure_image(
                    pod, container.name, source.reference, source.pull_policy, sandbox
                )
                target = tools.inputs.image_directory(pod, volume.name, image.id)
                if target:
                    with self._whole():
                        await tools.runtime.mount_image(image.id, target)
            except ImageProblem as e:
                raise StartFailed(e.reason, e.message, e.retry_at) from e
            except InvalidConfig as e:
                raise StartFailed("CreateContainerConfigError", str(e)) from e
            except RuntimeRemoteError as e:
                raise StartFailed("CreateContainerError", e.message) from e

    async def _post_start(
        self, pod: Pod, container: AnyContainer, container_id: str, ips: tuple[str, ...]
    ) -> None:
        """Run the hook; a container whose hook fails is ended."""
        tools = self.tools
        hook = container.lifecycle.post_start if container.lifecycle else None
        if hook is None:
            return
        self.hooking.add(container_id)
        try:
            await self._refresh()
            target = Target(container, container_id, ips[0] if ips else tools.facts().ips[0])
            await run_hook(hook, target, tools.runtime, tools.clock)
        except HookFailed as e:
            # Its words stay out of the event, which more people may read.
            tools.events.container(
                pod, container.name, WARNING, "FailedPostStartHook", "PostStartHook failed"
            )
            message = e.told(f'Container "{container.name}" in Pod "{described(pod)}"')
            await self._kill(
                pod, Stop(container_id, container.name, "FailedPostStartHook", grace_period_s(pod))
            )
            raise StartFailed(HOOK_FAILED, message) from e
        finally:
            self.hooking.discard(container_id)

    async def _kill(self, pod: Pod, stop: Stop) -> None:
        tools = self.tools
        tools.events.container(pod, stop.name, NORMAL, "Killing", stop.message)
        deadline = tools.clock.monotonic() + stop.grace_period_s
        await pre_stop(tools, pod, stop)
        remaining = max(MINIMUM_GRACE_S, round(deadline - tools.clock.monotonic()))
        try:
            await tools.runtime.stop_container(stop.container_id, remaining)
        except RuntimeRemoteError as e:
            log.warning("stopping container %s: %s", stop.container_id, e)

    async def _refresh(self) -> None:
        try:
            await self.tools.observer.refresh()
        except RuntimeRemoteError as e:
            log.debug("runtime: %s", e)

    async def _remove_dead(self, observed: Observed, name: str) -> None:
        """Keep the last dead container of that name (for `logs --previous`), remove those before."""
        dead = [c for c in observed.history(name) if c.status.state is not ContainerState.RUNNING]
        for container in dead[KEPT_DEAD_CONTAINERS:]:
            try:
                await self.tools.runtime.remove_container(container.status.id)
            except RuntimeRemoteError as e:
                log.debug("removing container %s: %s", container.status.id, e)
                continue
            if self.tools.on_disk and container.status.log_path:
                remove_logs(container.status.log_path)


def _target_id(container: AnyContainer, observed: Observed) -> str:
    """The running container whose processes an ephemeral container asks to see."""
    if not isinstance(container, EphemeralContainer) or not container.target_container_name:
        return ""
    target = observed.latest(container.target_container_name)
    return target.status.id if target is not None and target.running else ""


def _make_log_directories(directory: str, names: Iterable[str]) -> None:
    for path in (Path(directory), *(Path(directory) / n for n in names)):
        path.mkdir(parents=True, exist_ok=True)


def remove_logs(path: str) -> None:
    """A container's log and what rotation made of it."""
    log_file = Path(path)
    for found in log_file.parent.glob(f"{log_file.name}*"):
        found.unlink(missing_ok=True)
