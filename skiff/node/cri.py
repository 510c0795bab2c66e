"""The container runtime over CRI: the driver for containerd and its like.

One gRPC channel over the runtime's Unix socket. gRPC's errors become `RuntimeRemoteError` and its
kinds here; nothing above sees `grpc`. A runtime that is away answers RuntimeUnavailable at once, and
the channel reconnects by itself within a second of its return.

Where the socket also serves containerd's own events, `watch` tells when a container's own process
ends; elsewhere it waits for ever, and listing has to find out. Import this module late: gRPC costs ~10 MB.
"""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

# gRPC's fork handlers are for programs that fork and go on; ours only start other programs.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

import grpc
import grpc.aio
from google.protobuf.message import Message

from skiff.aio.clock import Clock
from skiff.node import containerd_events_pb2 as events_pb
from skiff.node import cri_messages as wire
from skiff.node import cri_pb2 as pb
from skiff.node.image_mounts import ImageMountFailed, mount_image, snapshotter_at
from skiff.node.runtime import (
    Container,
    ContainerConfig,
    ContainerStats,
    ContainerStatus,
    ExecResult,
    FilesystemUsage,
    Image,
    LinuxResources,
    RegistryAuth,
    RuntimeCondition,
    RuntimeNotFound,
    RuntimeRemoteError,
    RuntimeUnavailable,
    RuntimeVersion,
    Sandbox,
    SandboxConfig,
    SandboxStatus,
)

DEFAULT_TIMEOUT_S = 120.0
SANDBOX_TIMEOUT_S = 240.0  # with the network plugins' own work
PULL_TIMEOUT_S = 1800.0
EXEC_GRACE_S = 2.0  # past the command's own timeout, before the call itself is given up
MAX_MESSAGE_BYTES = 16 * 1024 * 1024
EVENT_RETRY_S = 1.0

_CHANNEL_OPTIONS = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
]
_TASK_EXIT_FILTER = 'topic=="/tasks/exit",namespace==k8s.io'
# containerd's own services ask for the namespace that CRI's containers are in.
_NAMESPACE = (("containerd-namespace", "k8s.io"),)
_LEFT_TASK = "cannot delete running task"
_TASK_END_TRIES = 20
_TASK_END_RETRY_S = 0.1
_TASK_EXIT_TYPE = "containerd.events.TaskExit"

Req = TypeVar("Req", bound=Message)
Res = TypeVar("Res", bound=Message)


class _Call(Generic[Req, Res]):
    """One method of a gRPC service, with errors translated."""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        path: str,
        answer: type[Res],
        metadata: tuple[tuple[str, str], ...] = (),
    ) -> None:
        self._metadata = metadata
        self._call = channel.unary_unary(
            path,
            request_serializer=lambda m: m.SerializeToString(),
            response_deserializer=answer.FromString,
        )

    async def __call__(self, request: Req, timeout_s: float | None = DEFAULT_TIMEOUT_S) -> Res:
        try:
            answer: Res = await self._call(request, timeout=timeout_s, metadata=self._metadata)
        except grpc.aio.AioRpcError as e:
            raise _translate(e) from e
        return answer


def _translate(error: grpc.aio.AioRpcError) -> RuntimeRemoteError:
    code = error.code().name
    message = error.details() or code
    if code == "NOT_FOUND":
        return RuntimeNotFound(message, code)
    if code in ("UNAVAILABLE", "CANCELLED", "DEADLINE_EXCEEDED"):
        return RuntimeUnavailable(message, code)
    return RuntimeRemoteError(message, code)


class CriRuntime:
    """The Runtime Protocol over CRI. Make it inside the running loop; `endpoint` is the socket's path
    (`/run/…/containerd.sock`, with or without `unix://`)."""

    def __init__(self, endpoint: str, clock: Clock) -> None:
        self._path = path = endpoint.removeprefix("unix://")
        self._clock = clock
        self._channel = grpc.aio.insecure_channel(f"unix://{path}", options=_CHANNEL_OPTIONS)
        self._events_served = True
        self._watches = False

    def _runtime(self, name: str, answer: type[Res]) -> _Call[Any, Res]:
        return _Call(self._channel, f"/runtime.v1.RuntimeService/{name}", answer)

    def _images(self, name: str, answer: type[Res]) -> _Call[Any, Res]:
        return _Call(self._channel, f"/runtime.v1.ImageService/{name}", answer)

    # ---- the runtime itself

    async def version(self) -> RuntimeVersion:
        answer = await self._runtime("Version", pb.VersionResponse)(pb.VersionRequest())
        return RuntimeVersion(answer.runtime_name, answer.runtime_version.split("~")[0])

    async def status(self) -> tuple[RuntimeCondition, ...]:
        answer = await self._runtime("Status", pb.StatusResponse)(pb.StatusRequest(), 5.0)
        return tuple(
            RuntimeCondition(c.type, c.status, c.reason, c.message)
            for c in answer.status.conditions
        )

    async def update_pod_cidr(self, cidr: str) -> None:
        await self._runtime("UpdateRuntimeConfig", pb.UpdateRuntimeConfigResponse)(
            pb.UpdateRuntimeConfigRequest(
                runtime_config=pb.RuntimeConfig(network_config=pb.NetworkConfig(pod_cidr=cidr))
            )
        )

    # ---- sandboxes

    async def run_sandbox(self, config: SandboxConfig) -> str:
        answer = await self._runtime("RunPodSandbox", pb.RunPodSandboxResponse)(
            pb.RunPodSandboxRequest(
                config=wire.sandbox_config(config), runtime_handler=config.runtime_handler
            ),
            SANDBOX_TIMEOUT_S,
        )
        return answer.pod_sandbox_id

    async def stop_sandbox(self, sandbox_id: str) -> None:
        call = self._runtime("StopPodSandbox", pb.StopPodSandboxResponse)
        try:
            await call(pb.StopPodSandboxRequest(pod_sandbox_id=sandbox_id), SANDBOX_TIMEOUT_S)
        except RuntimeNotFound:
            return

    async def remove_sandbox(self, sandbox_id: str) -> None:
        call = self._runtime("RemovePodSandbox", pb.RemovePodSandboxResponse)
        try:
            await call(pb.RemovePodSandboxRequest(pod_sandbox_id=sandbox_id), SANDBOX_TIMEOUT_S)
        except RuntimeNotFound:
            return

    async def sandbox_status(self, sandbox_id: str) -> SandboxStatus:
        answer = await self._runtime("PodSandboxStatus", pb.PodSandboxStatusResponse)(
            pb.PodSandboxStatusRequest(pod_sandbox_id=sandbox_id)
        )
        return wire.sandbox_status(answer.status)

    async def list_sandboxes(self) -> list[Sandbox]:
        call = self._runtime("ListPodSandbox", pb.ListPodSandboxResponse)
        return [wire.sandbox(s) for s in (await call(pb.ListPodSandboxRequest())).items]

    # ---- containers

    async def create_container(
        self, sandbox_id: str, config: ContainerConfig, sandbox: SandboxConfig
    ) -> str:
        answer = await self._runtime("CreateContainer", pb.CreateContainerResponse)(
            pb.CreateContainerRequest(
                pod_sandbox_id=sandbox_id,
                config=wire.container_config(config),
                sandbox_config=wire.sandbox_config(sandbox),
            )
        )
        return answer.container_id

    async def start_container(self, container_id: str) -> None:
        await self._runtime("StartContainer", pb.StartContainerResponse)(
            pb.StartContainerRequest(container_id=container_id)
        )

    async def stop_container(self, container_id: str, timeout_s: int) -> None:
        call = self._runtime("StopContainer", pb.StopContainerResponse)
        try:
            await call(
                pb.StopContainerRequest(container_id=container_id, timeout=timeout_s),
                timeout_s + DEFAULT_TIMEOUT_S,
            )
        except RuntimeNotFound:
            return

    async def remove_container(self, container_id: str) -> None:
        call = self._runtime("RemoveContainer", pb.RemoveContainerResponse)
        try:
            await call(pb.RemoveContainerRequest(container_id=container_id))
        except RuntimeNotFound:
            return
        except RuntimeRemoteError as e:
            if _LEFT_TASK not in e.message:
                raise
            await self._end_task(container_id)
            await call(pb.RemoveContainerRequest(container_id=container_id))

    async def _end_task(self, container_id: str) -> None:
        """Remove a task that CRI holds for not running: its start was broken off, by a kubelet's end say."""
        tasks = "/containerd.services.tasks.v1.Tasks"
        kill = _Call[Any, Any](self._channel, f"{tasks}/Kill", events_pb.Ignored, _NAMESPACE)
        delete = _Call[Any, Any](self._channel, f"{tasks}/Delete", events_pb.Ignored, _NAMESPACE)
        request = events_pb.KillRequest(container_id=container_id, signal=signal.SIGKILL, all=True)
        with contextlib.suppress(RuntimeNotFound):
            await kill(request)
        for _ in range(_TASK_END_TRIES):
            try:
                await delete(events_pb.DeleteTaskRequest(container_id=container_id))
                return
            except RuntimeNotFound:
                return
            except RuntimeRemoteError:  # it has not ended yet
                await self._clock.sleep(_TASK_END_RETRY_S)

    async def container_status(self, container_id: str) -> ContainerStatus:
        answer = await self._runtime("ContainerStatus", pb.ContainerStatusResponse)(
            pb.ContainerStatusRequest(container_id=container_id)
        )
        return wire.container_status(answer.status)

    async def list_containers(self) -> list[Container]:
        call = self._runtime("ListContainers", pb.ListContainersResponse)
        return [wire.container(c) for c in (await call(pb.ListContainersRequest())).containers]

    async def update_resources(self, container_id: str, resources: LinuxResources) -> None:
        await self._runtime("UpdateContainerResources", pb.UpdateContainerResourcesResponse)(
            pb.UpdateContainerResourcesRequest(
                container_id=container_id, linux=wire.resources(resources)
            )
        )

    # ---- commands, streams, logs

    async def exec_sync(
        self, container_id: str, command: Sequence[str], timeout_s: float
    ) -> ExecResult:
        whole_s = max(1, round(timeout_s)) if timeout_s else 0
        try:
            answer = await self._runtime("ExecSync", pb.ExecSyncResponse)(
                pb.ExecSyncRequest(container_id=container_id, cmd=command, timeout=whole_s),
                whole_s + EXEC_GRACE_S if whole_s else None,
            )
        except RuntimeRemoteError as e:
            if "timeout" in e.message and "exceeded" in e.message:
                raise RuntimeUnavailable(e.message, "DEADLINE_EXCEEDED") from e
            raise
        return ExecResult(answer.stdout, answer.stderr, answer.exit_code)

    async def exec_url(
        self,
        container_id: str,
        command: Sequence[str],
        *,
        stdin: bool,
        stdout: bool,
        stderr: bool,
        tty: bool,
    ) -> str:
        answer = await self._runtime("Exec", pb.ExecResponse)(
            pb.ExecRequest(
                container_id=container_id,
                cmd=command,
                tty=tty,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
            )
        )
        return answer.url

    async def attach_url(
        self, container_id: str, *, stdin: bool, stdout: bool, stderr: bool, tty: bool
    ) -> str:
        answer = await self._runtime("Attach", pb.AttachResponse)(
            pb.AttachRequest(
                container_id=container_id, stdin=stdin, tty=tty, stdout=stdout, stderr=stderr
            )
        )
        return answer.url

    async def port_forward_url(self, sandbox_id: str, ports: Sequence[int]) -> str:
        answer = await self._runtime("PortForward", pb.PortForwardResponse)(
            pb.PortForwardRequest(pod_sandbox_id=sandbox_id, port=ports)
        )
        return answer.url

    async def reopen_log(self, container_id: str) -> None:
        await self._runtime("ReopenContainerLog", pb.ReopenContainerLogResponse)(
            pb.ReopenContainerLogRequest(container_id=container_id)
        )

    async def container_stats(self) -> list[ContainerStats]:
        call = self._runtime("ListContainerStats", pb.ListContainerStatsResponse)
        answer = await call(pb.ListContainerStatsRequest())
        return [wire.container_stats(s) for s in answer.stats]

    # ---- images

    async def pull_image(
        self, image: str, auth: RegistryAuth | None, sandbox: SandboxConfig | None
    ) -> str:
        answer = await self._images("PullImage", pb.PullImageResponse)(
            pb.PullImageRequest(
                image=pb.ImageSpec(image=image),
                auth=wire.auth_config(auth),
                sandbox_config=wire.sandbox_config(sandbox) if sandbox else None,
            ),
            PULL_TIMEOUT_S,
        )
        return answer.image_ref

    async def image_status(self, image: str) -> Image | None:
        answer = await self._images("ImageStatus", pb.ImageStatusResponse)(
            pb.ImageStatusRequest(image=pb.ImageSpec(image=image))
        )
        return wire.image(answer.image) if answer.HasField("image") else None

    async def list_images(self) -> list[Image]:
        call = self._images("ListImages", pb.ListImagesResponse)
        return [wire.image(i) for i in (await call(pb.ListImagesRequest())).images]

    async def remove_image(self, image: str) -> None:
        call = self._images("RemoveImage", pb.RemoveImageResponse)
        try:
            await call(pb.RemoveImageRequest(image=pb.ImageSpec(image=image)))
        except RuntimeNotFound:
            return

    async def mount_image(self, image: str, target: str) -> None:
        places = await self.image_fs()
        try:
            await mount_image(self._path, snapshotter_at(places[0].mountpoint), image, Path(target))
        except ImageMountFailed as e:
            raise RuntimeRemoteError(f'failed to mount image "{image}": {e}') from e

    async def image_fs(self) -> list[FilesystemUsage]:
        call = self._images("ImageFsInfo", pb.ImageFsInfoResponse)
        return wire.filesystems((await call(pb.ImageFsInfoRequest())).image_filesystems)

    # ---- events

    @property
    def watches(self) -> bool:
        return self._watches

    async def watch(self, changed: Callable[[str], None]) -> None:
        while self._events_served:
            try:
                await self._follow_exits(changed)
            except grpc.aio.AioRpcError as e:
                if e.code() is grpc.StatusCode.UNIMPLEMENTED:
                    self._events_served = False
            self._watches = False
            await self._clock.sleep(EVENT_RETRY_S)
        await asyncio.get_running_loop().create_future()

    async def _follow_exits(self, changed: Callable[[str], None]) -> None:
        """Tell of containers' ends until the stream ends or fails."""
        call = self._channel.unary_stream(
            "/containerd.services.events.v1.Events/Subscribe",
            request_serializer=lambda m: m.SerializeToString(),
            response_deserializer=events_pb.Envelope.FromString,
        )(events_pb.SubscribeRequest(filters=[_TASK_EXIT_FILTER]))
        self._watches = True
        try:
            async for envelope in call:
                ended = _ended_container(envelope)
                if ended:
                    changed(ended)
        finally:
            call.cancel()

    async def close(self) -> None:
        await self._channel.close()


def _ended_container(envelope: events_pb.Envelope) -> str:
    """The container whose own process ended; "" for the end of a command executed in one."""
    if not envelope.event.type_url.endswith(_TASK_EXIT_TYPE):
        return ""
    end = events_pb.TaskExit.FromString(envelope.event.value)
    return end.container_id if end.id in ("", end.container_id) else ""
