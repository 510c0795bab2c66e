"""Exec, attach and port-forward on the node: connections are led to the runtime's streaming server.

The runtime (CRI) is asked for an address, and the client's upgraded connection is passed there as
raw bytes: SPDY/3.1 and the WebSocket channel protocols are the runtime's to speak. A runtime that
lives in this process serves the connection itself (`LocalStreaming`).

Source: https://kubernetes.io/docs/concepts/architecture/cri/
"""

from collections.abc import Iterable
from typing import Protocol, runtime_checkable
from urllib.parse import parse_qs, urlsplit

from skiff.aio.http.message import Request, Response
from skiff.aio.http.upstream import Upstream, UpstreamError
from skiff.node.runtime import (
    LABEL_POD_UID,
    Container,
    ContainerState,
    Runtime,
    RuntimeRemoteError,
)

LOCAL_SCHEME = "local"
PLAIN = "text/plain; charset=utf-8"
_HTTP_STATUS = {"NOT_FOUND": 404, "RESOURCE_EXHAUSTED": 429}


@runtime_checkable
class LocalStreaming(Protocol):
    """A runtime that serves its streams itself, at addresses `local://…`."""

    async def serve_stream(self, url: str, request: Request) -> Response:
        """Answer an upgrade request for an address that the runtime gave out."""


def error_response(error: RuntimeRemoteError) -> Response:
    """The runtime's refusal as the kubelet's answer."""
    return Response(_HTTP_STATUS.get(error.code, 500), error.wire().encode(), PLAIN)


def plain(status: int, text: str) -> Response:
    """An answer in words."""
    return Response(status, text.encode(), PLAIN)


def choose(containers: Iterable[Container], pod_uid: str, name: str) -> Container | None:
    """The container of a pod with that name: the running one, else the latest."""
    found = [c for c in containers if c.name == name and c.labels.get(LABEL_POD_UID) == pod_uid]
    return max(
        found,
        key=lambda c: (c.state is ContainerState.RUNNING, c.attempt, c.created_at),
        default=None,
    )


class Streaming:
    """Leads connections to the runtime."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def exec(self, request: Request, pod_uid: str, container: str) -> Response:
        """/exec and (with `cmd` for the command) its older spellings."""
        query = parse_qs(request.query, keep_blank_values=True)
        streams = _streams(query)
        if not any(streams.values()):
            return plain(400, "you must specify at least 1 of stdin, stdout, stderr")
        try:
            found = choose(await self._runtime.list_containers(), pod_uid, container)
            if found is None:
                return plain(500, f'container not found ("{container}")')
            url = await self._runtime.exec_url(
                found.id, query.get("command", []), tty=_on(query, "tty"), **streams
            )
        except RuntimeRemoteError as e:
            return error_response(e)
        return await self._forward(url, request)

    async def attach(
        self, request: Request, pod_uid: str, container: str, *, tty: bool
    ) -> Response:
        """/attach; `tty` is the container's own setting, which the runtime must be told."""
        query = parse_qs(request.query, keep_blank_values=True)
        streams = _streams(query)
        if not any(streams.values()):
            return plain(400, "you must specify at least 1 of stdin, stdout, stderr")
        if tty:
            streams["stderr"] = False
        try:
            found = choose(await self._runtime.list_containers(), pod_uid, container)
            if found is None:
                return plain(500, f'container not found ("{container}")')
            url = await self._runtime.attach_url(found.id, tty=tty, **streams)
        except RuntimeRemoteError as e:
            return error_response(e)
        return await self._forward(url, request)

    async def port_forward(self, request: Request, pod_uid: str, pod_name: str) -> Response:
        """/portForward; ports in the query are for WebSocket clients."""
        query = parse_qs(request.query)
        ports = [int(p) for value in query.get("port", ()) for p in value.split(",") if p.isdigit()]
        if request.headers.get("upgrade", "").lower() == "websocket" and not ports:
            return plain(400, 'query parameter "port" is required')
        try:
            sandboxes = [s for s in await self._runtime.list_sandboxes() if s.uid == pod_uid]
            sandbox = max(sandboxes, key=lambda s: (s.ready, s.attempt), default=None)
            if sandbox is None:
                return plain(500, f'pod not found ("{pod_name}")')
            url = await self._runtime.port_forward_url(sandbox.id, ports)
        except RuntimeRemoteError as e:
            return error_response(e)
        return await self._forward(url, request)

    async def run(self, pod_uid: str, container: str, command: str) -> Response:
        """/run: run a command to its end and answer with its output."""
        try:
            found = choose(await self._runtime.list_containers(), pod_uid, container)
            if found is None:
                return plain(500, f'container not found ("{container}")')
            result = await self._runtime.exec_sync(found.id, command.split(" "), 0)
        except RuntimeRemoteError as e:
            return error_response(e)
        output = result.stdout + result.stderr
        if result.exit_code:
            output += f"command '{command}' exited with {result.exit_code}: ".encode()
            return Response(500, output, PLAIN)
        return Response(200, output, PLAIN)

    async def _forward(self, url: str, request: Request) -> Response:
        parts = urlsplit(url)
        if parts.scheme == LOCAL_SCHEME and isinstance(self._runtime, LocalStreaming):
            return await self._runtime.serve_stream(url, request)
        headers = {k: v for k, v in request.headers.items() if k not in ("authorization", "host")}
        passed = Request(request.method, parts.path, parts.query, headers, request.body)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        try:
            return await Upstream(parts.hostname or "127.0.0.1", port)(passed)
        except UpstreamError as e:
            return plain(500, f"error dialing backend: {e}")


def _on(query: dict[str, list[str]], name: str) -> bool:
    return query.get(name, [""])[0] in ("1", "true")


def _streams(query: dict[str, list[str]]) -> dict[str, bool]:
    """Which streams are asked for. A terminal has no stream of errors of its own."""
    return {
        "stdin": _on(query, "input"),
        "stdout": _on(query, "output"),
        "stderr": _on(query, "error") and not _on(query, "tty"),
    }
