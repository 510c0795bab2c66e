"""The kubelet's HTTPS API: logs, exec, attach, port-forward, pods, stats and metrics.

`KubeletServer.handle` is the whole API without sockets; `run` listens. Routes stand in one table.

Source: https://kubernetes.io/docs/reference/command-line-tools-reference/kubelet/ (--port) and
https://kubernetes.io/docs/reference/access-authn-authz/kubelet-authn-authz/
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Protocol
from urllib.parse import parse_qs, unquote

import msgspec

from skiff.aio.clock import Clock
from skiff.aio.http.message import Request, Response, Writer
from skiff.aio.http.server import Server
from skiff.aio.run import Started
from skiff.api.views.core import Container, ContainerStatus, EphemeralContainer, Pod
from skiff.client.client import Client
from skiff.node.api_access import Access, server_context
from skiff.node.config import KubeletConfig
from skiff.node.configz import configuration
from skiff.node.health import NodeHealth
from skiff.node.log_format import parse_options
from skiff.node.logs import LogReader
from skiff.node.runtime import ContainerState, Runtime, RuntimeRemoteError
from skiff.node.stats import Stats
from skiff.node.streaming import Streaming, error_response, plain

log = logging.getLogger(__name__)

Route = Callable[[Request, list[str]], Awaitable[Response]]
_EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"
_IMAGE_WAITS = {
    "ErrImagePull": "image can't be pulled",
    "ImagePullBackOff": "trying and failing to pull image",
}


class PodTable(Protocol):
    """The pods of this node with their latest status, as the kubelet knows them."""

    def pods(self) -> Sequence[Pod]:
        """All pods that were given to this node and have not ended for good."""

    def pod(self, namespace: str, name: str) -> Pod | None:
        """One of them."""


class KubeletServer:
    """See the module's text."""

    def __init__(
        self,
        config: KubeletConfig,
        client: Client | None,
        runtime: Runtime,
        pods: PodTable,
        clock: Clock,
    ) -> None:
        self._config = config
        self._runtime = runtime
        self._pods = pods
        self._clock = clock
        self._access = Access(client, config.node_name, clock, anonymous=config.anonymous_auth)
        self._streaming = Streaming(runtime)
        self._logs = LogReader()
        self._stats = Stats(config, runtime, pods, clock)
        self._health = NodeHealth(pods.pods)
        self._routes: dict[str, Route] = {
            "healthz": self._healthz,
            "pods": self._list_pods,
            "runningpods": self._running_pods,
            "containerLogs": self._container_logs,
            "logs": self._node_logs,
            "exec": self._exec,
            "attach": self._attach,
            "portForward": self._port_forward,
            "run": self._run,
            "stats": self._stats_summary,
            "metrics": self._metrics,
            "configz": self._configz,
        }

    async def run(self, started: Started) -> None:
        """Listen on the configured address until cancelled."""
        config = self._config
        tls = server_context(
            config.tls_cert_file, config.tls_private_key_file, config.client_ca_file
        )
        server = Server(self.handle, clock=self._clock, tls=tls)
        await server.listen(config.bind_address, config.port)
        started()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await server.close(grace_s=0.0)
            self._logs.close()

    async def handle(self, request: Request) -> Response:
        """Answer one request."""
        caller = await self._access.authenticate(request)
        if caller is None:
            return plain(401, "Unauthorized")
        if not await self._access.authorize(caller, request.method, request.path):
            verb = request.method.lower()
            return plain(
                403,
                f"Forbidden (user={caller.name}, verb={verb}, resource=nodes, "
                f"subresource={request.path})",
            )
        parts = [unquote(p) for p in request.path.split("/") if p]
        route = self._routes.get(parts[0]) if parts else None
        if route is None:
            return plain(404, "404 page not found\n")
        try:
            return await route(request, parts[1:])
        except RuntimeRemoteError as e:
            return error_response(e)

    # ---- pods and health

    async def _healthz(self, request: Request, rest: list[str]) -> Response:
        return self._health.answer(request.query, "/".join(rest))

    async def _list_pods(self, request: Request, rest: list[str]) -> Response:
        del request, rest
        return _pod_list(self._pods.pods())

    async def _running_pods(self, request: Request, rest: list[str]) -> Response:
        del request, rest
        running = {
            c.labels.get("io.kubernetes.pod.uid", "")
            for c in await self._runtime.list_containers()
            if c.state is ContainerState.RUNNING
        }
        return _pod_list([p for p in self._pods.pods() if p.metadata.uid in running])

    # ---- logs

    async def _container_logs(self, request: Request, rest: list[str]) -> Response:
        if len(rest) != 3:
            return plain(400, '{"message": "Missing container name."}')
        namespace, name, container = rest
        try:
            options = parse_options(request.query, self._clock.now())
        except ValueError:
            return plain(400, '{"message": "Unable to decode query."}')
        pod = self._pods.pod(namespace, name)
        if pod is None:
            return plain(404, f'pod "{name}" does not exist')
        if find_container(pod, container) is None:
            return plain(404, f'container "{container}" not found in pod "{name}"')
        try:
            container_id = log_container(pod, container, previous=options.previous)
            status = await self._runtime.container_status(container_id)
        except LookupError as e:
            return plain(400, str(e.args[0]))
        except RuntimeRemoteError as e:
            return plain(400, f"failed to get container status {container_id!r}: {e.wire()}")
        path = Path(status.log_path)
        in_memory = getattr(self._runtime, "log_entries", None)
        if in_memory is None and not path.is_file():  # noqa: ASYNC240 - a stat does not wait
            return plain(
                500,
                f'failed to try resolving symlinks in path "{path}": lstat {path}: no such file or directory',
            )

        async def running() -> bool:
            try:
                now = await self._runtime.container_status(container_id)
            except RuntimeRemoteError:
                return False
            return now.state is ContainerState.RUNNING

        async def stream(writer: Writer) -> None:
            if in_memory is not None:
                await self._logs.copy_memory(
                    lambda: in_memory(container_id), options, running, writer, self._clock
                )
            else:
                await self._logs.copy(path, options, running, writer)

        return Response(200, content_type="text/plain", stream=stream)

    async def _node_logs(self, request: Request, rest: list[str]) -> Response:
        """Files of the host's log directory, as `kubectl get --raw .../proxy/logs/` shows them."""
        root = Path("/var/log").resolve()  # noqa: ASYNC240 - stats do not wait
        path = root.joinpath(*rest).resolve()
        if not path.is_relative_to(root) or not path.exists():
            return plain(404, "404 page not found\n")
        if not path.is_dir():
            return Response(
                200, await asyncio.to_thread(path.read_bytes), "text/plain; charset=utf-8"
            )
        if not request.path.endswith("/"):
            return Response(301, headers=(("Location", rest[-1] + "/" if rest else "logs/"),))
        names = sorted(p.name + ("/" if p.is_dir() else "") for p in path.iterdir())
        lines = "".join(f'<a href="{n}">{n}</a>\n' for n in names)
        return Response(200, f"<pre>\n{lines}</pre>\n".encode(), "text/html; charset=utf-8")

    # ---- streams

    async def _exec(self, request: Request, rest: list[str]) -> Response:
        target = self._target(rest)
        if isinstance(target, Response):
            return target
        pod, container = target
        return await self._streaming.exec(request, pod.metadata.uid, container)

    async def _attach(self, request: Request, rest: list[str]) -> Response:
        target = self._target(rest)
        if isinstance(target, Response):
            return target
        pod, container = target
        spec = find_container(pod, container)
        tty = spec is not None and spec.tty
        return await self._streaming.attach(request, pod.metadata.uid, container, tty=tty)

    async def _port_forward(self, request: Request, rest: list[str]) -> Response:
        if len(rest) not in (2, 3):
            return plain(404, "404 page not found\n")
        pod = self._pods.pod(rest[0], rest[1])
        if pod is None:
            return plain(404, "pod does not exist")
        return await self._streaming.port_forward(
            request, pod.metadata.uid, f"{pod.metadata.name}_{pod.metadata.namespace}"
        )

    async def _run(self, request: Request, rest: list[str]) -> Response:
        target = self._target(rest)
        if isinstance(target, Response):
            return target
        pod, container = target
        command = parse_qs(request.query).get("cmd", [""])[0]
        return await self._streaming.run(pod.metadata.uid, container, command)

    def _target(self, rest: list[str]) -> tuple[Pod, str] | Response:
        """Pod and container of a path `{namespace}/{pod}[/{uid}]/{container}`."""
        if len(rest) not in (3, 4):
            return plain(404, "404 page not found\n")
        pod = self._pods.pod(rest[0], rest[1])
        if pod is None or (len(rest) == 4 and rest[2] != pod.metadata.uid):
            return plain(404, "pod does not exist")
        return pod, rest[-1]

    # ---- stats, metrics, configuration

    async def _stats_summary(self, request: Request, rest: list[str]) -> Response:
        del request
        if rest != ["summary"]:
            return plain(404, "404 page not found\n")
        return _json(await self._stats.summary())

    async def _metrics(self, request: Request, rest: list[str]) -> Response:
        del request
        if rest == ["slis"]:
            return Response(200, self._health.metrics().encode(), _EXPOSITION)
        pages = {"": self._stats.metrics, "resource": self._stats.resource_metrics}
        page = pages.get("/".join(rest))
        if page is None:
            return Response(200, b"", _EXPOSITION)
        return Response(200, (await page()).encode(), _EXPOSITION)

    async def _configz(self, request: Request, rest: list[str]) -> Response:
        del request, rest
        return _json({"kubeletconfig": configuration(self._config)})


def find_container(pod: Pod, name: str) -> Container | EphemeralContainer | None:
    """The container's spec, of any kind."""
    spec = pod.spec
    every: list[Container | EphemeralContainer] = [
        *spec.containers, *spec.init_containers, *spec.ephemeral_containers,
    ]  # fmt: skip
    return next((c for c in every if c.name == name), None)


def log_container(pod: Pod, name: str, *, previous: bool) -> str:
    """The id of the container whose log is meant. Raises LookupError with Kubernetes' words."""
    statuses: tuple[ContainerStatus, ...] = (
        *pod.status.container_statuses,
        *pod.status.init_container_statuses,
        *pod.status.ephemeral_container_statuses,
    )
    status = next((s for s in statuses if s.name == name), None)
    where = f'container "{name}" in pod "{pod.metadata.name}"'
    if status is None:
        raise LookupError(f"{where} is not available")
    last = status.last_state.terminated if status.last_state else None
    last_id = last.container_id if last else ""
    state = status.state
    if previous:
        if not last_id:
            raise LookupError(f"previous terminated {where} not found")
        return _bare(last_id)
    if state is not None and state.running is not None:
        return _bare(status.container_id)
    if state is not None and state.terminated is not None:
        found = state.terminated.container_id or last_id
        if not found:
            raise LookupError(f"{where} is terminated")
        return _bare(found)
    if last is not None:
        if not last_id:
            raise LookupError(f"{where} is terminated")
        return _bare(last_id)
    if state is not None and state.waiting is not None:
        reason = state.waiting.reason
        raise LookupError(f"{where} is waiting to start: {_IMAGE_WAITS.get(reason, reason)}")
    raise LookupError(f"{where} is waiting to start - no logs yet")


def _bare(container_id: str) -> str:
    """`containerd://abc` without the runtime's name."""
    return container_id.partition("://")[2] or container_id


def _json(value: object) -> Response:
    return Response(200, json.dumps(value, default=dict).encode())


def _pod_list(pods: Sequence[Pod]) -> Response:
    items = b",".join(msgspec.json.encode(p) for p in pods)
    return Response(
        200, b'{"kind":"PodList","apiVersion":"v1","metadata":{},"items":[%b]}\n' % items
    )
