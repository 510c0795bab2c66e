"""Drivers of probes and hooks: run a command, ask over HTTP, open a port, ask gRPC's health service.

Each check is one short exchange on a connection of its own, as a client from outside would do it.
The outputs are Kubernetes' own words, which end up in events.

Source: https://kubernetes.io/docs/tasks/configure-pod-container/configure-liveness-readiness-startup-probes/
"""

import asyncio
import json
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol
from urllib.parse import urljoin, urlsplit

from skiff.api.views.container import Container, EphemeralContainer, HTTPGetAction, Probe
from skiff.node.lifecycle.backoff import go_duration
from skiff.node.runtime import Runtime, RuntimeRemoteError
from skiff.node.simulated import SimulatedRuntime

MAX_OUTPUT_BYTES = 10 * 1024
MAX_REDIRECTS = 10
USER_AGENT = "kube-probe/1.36"
HOOK_USER_AGENT = "kube-lifecycle/1.36"
# What OpenSSL calls an answer that is no TLS record.
NOT_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "UNKNOWN_PROTOCOL")
HEALTH_METHOD = "/grpc.health.v1.Health/Check"
SERVING = 1
_SERVING_NAMES = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}

AnyContainer = Container | EphemeralContainer


class Outcome(Enum):
    """Of one check. UNKNOWN: it could not be made, which counts neither way."""

    SUCCESS = "success"
    WARNING = "warning"
    FAILURE = "failure"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Result:
    """Outcome and what to say of it; `plain`: a server was greeted with TLS that does not speak it."""

    outcome: Outcome
    output: str = ""
    plain: bool = False

    @property
    def ok(self) -> bool:
        return self.outcome in (Outcome.SUCCESS, Outcome.WARNING)


@dataclass(frozen=True, slots=True)
class Target:
    """What is probed: a running container and the pod's address."""

    container: AnyContainer
    container_id: str
    ip: str


class Prober(Protocol):
    """Makes one check."""

    async def check(self, target: Target, kind: str, probe: Probe) -> Result:
        """Check once. `kind` is liveness, readiness or startup. Never raises but when cancelled."""


class InvalidPort(ValueError):
    """A named port that the container does not have."""


def resolve_port(container: AnyContainer, port: int | str | None) -> int:
    """A port by number or by name. Raises InvalidPort."""
    if isinstance(port, int):
        return port
    for candidate in container.ports:
        if candidate.name and candidate.name == port:
            return candidate.container_port
    if port is not None and port.isdecimal():
        return int(port)
    raise InvalidPort(f"couldn't find port: {json.dumps(port)} in container {container.name}")


class SimulatedProber:
    """Asks the simulated runtime what the probe finds."""

    def __init__(self, runtime: SimulatedRuntime) -> None:
        self._runtime = runtime

    async def check(self, target: Target, kind: str, probe: Probe) -> Result:
        del probe
        try:
            ok = self._runtime.probe(target.container_id, kind)
        except RuntimeRemoteError as e:
            return Result(Outcome.UNKNOWN, e.message)
        if ok:
            return Result(Outcome.SUCCESS)
        return Result(Outcome.FAILURE, "HTTP probe failed with statuscode: 503")


class NetworkProber:
    """The real checks."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def check(self, target: Target, kind: str, probe: Probe) -> Result:
        del kind
        timeout_s = float(probe.timeout_seconds or 1)
        try:
            if probe.exec is not None:
                return await self._exec(target, probe.exec.command, timeout_s)
            if probe.http_get is not None:
                port = resolve_port(target.container, probe.http_get.port)
                return await http_get(probe.http_get, port, target.ip, timeout_s)
            if probe.tcp_socket is not None:
                port = resolve_port(target.container, probe.tcp_socket.port)
                return await tcp_connect(probe.tcp_socket.host or target.ip, port, timeout_s)
            if probe.grpc is not None:
                return await grpc_health(target.ip, probe.grpc.port, probe.grpc.service, timeout_s)
        except InvalidPort as e:
            return Result(Outcome.UNKNOWN, str(e))
        return Result(Outcome.UNKNOWN, "missing probe handler")

    async def _exec(self, target: Target, command: Sequence[str], timeout_s: float) -> Result:
        try:
            done = await self._runtime.exec_sync(target.container_id, command, timeout_s)
        except RuntimeRemoteError as e:
            if e.code == "DEADLINE_EXCEEDED":
                shown = json.dumps(" ".join(command))
                return Result(
                    Outcome.FAILURE,
                    f"command timed out: {shown} timed out after {go_duration(timeout_s)}",
                )
            return Result(Outcome.UNKNOWN, e.wire())
        output = (done.stdout + done.stderr)[:MAX_OUTPUT_BYTES].decode(errors="replace")
        return Result(Outcome.SUCCESS if done.exit_code == 0 else Outcome.FAILURE, output)


async def tcp_connect(host: str, port: int, timeout_s: float) -> Result:
    """Whether the port takes connections."""
    address = _joined(host, port)
    try:
        async with asyncio.timeout(timeout_s):
            _, writer = await asyncio.open_connection(host, port)
    except TimeoutError:
        return Result(Outcome.FAILURE, f"dial tcp {address}: i/o timeout")
    except OSError as e:
        return Result(Outcome.FAILURE, f"dial tcp {address}: connect: {_why(e)}")
    writer.transport.abort()
    return Result(Outcome.SUCCESS)


async def http_get(action: HTTPGetAction, port: int, ip: str, timeout_s: float) -> Result:
    """An HTTP GET: 2xx and 3xx are success. Redirects are followed on the same host."""
    url = _url(action, action.scheme or "HTTP", port, ip)
    headers = [(h.name, h.value) for h in action.http_headers]
    try:
        async with asyncio.timeout(timeout_s):
            return await _follow(url, headers)
    except TimeoutError:
        return Result(Outcome.FAILURE, _timed_out(url))


async def http_answer(
    action: HTTPGetAction, port: int, ip: str, timeout_s: float | None, user_agent: str
) -> str:
    """An HTTP GET that any answer satisfies; else why there was none. A server that answers a TLS
    greeting in plain text is asked again without TLS."""
    headers = [(h.name, h.value) for h in action.http_headers]
    url = _url(action, action.scheme or "HTTP", port, ip)
    try:
        async with asyncio.timeout(timeout_s):
            answer = await _exchange(url, headers, user_agent)
            if isinstance(answer, Result) and answer.plain:
                url = _url(action, "HTTP", port, ip)
                answer = await _exchange(url, headers, user_agent)
    except TimeoutError:
        return _timed_out(url)
    return answer.output if isinstance(answer, Result) else ""


def _url(action: HTTPGetAction, scheme: str, port: int, ip: str) -> str:
    path = action.path if action.path.startswith("/") else f"/{action.path}"
    return f"{scheme.lower()}://{_joined(action.host or ip, port)}{path}"


def _timed_out(url: str) -> str:
    why = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
    return f'Get "{url}": {why}'


async def _follow(url: str, headers: list[tuple[str, str]]) -> Result:
    first_host = urlsplit(url).hostname
    for _ in range(MAX_REDIRECTS):
        answer = await _exchange(url, headers)
        if isinstance(answer, Result):
            return answer
        status, location, body = answer
        if 300 <= status < 400 and location:
            target = urljoin(url, location)
            if urlsplit(target).hostname != first_host:
                return Result(Outcome.WARNING, f"Probe terminated redirects, Response body: {body}")
            url = target
            continue
        if 200 <= status < 400:
            return Result(Outcome.SUCCESS, body)
        return Result(Outcome.FAILURE, f"HTTP probe failed with statuscode: {status}")
    return Result(Outcome.FAILURE, f'Get "{url}": stopped after {MAX_REDIRECTS} redirects')


async def _exchange(
    url: str, headers: list[tuple[str, str]], user_agent: str = USER_AGENT
) -> Result | tuple[int, str, str]:
    """Status, Location header and the start of the body; a Result where there was no answer."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    context = _insecure_context() if parts.scheme == "https" else None
    try:
        reader, writer = await asyncio.open_connection(host, port, ssl=context)
    except OSError as e:
        where = (
            f"dial tcp {_joined(host, port)}: connect: " if not isinstance(e, ssl.SSLError) else ""
        )
        plain = isinstance(e, ssl.SSLError) and e.reason in NOT_TLS
        why = "http: server gave HTTP response to HTTPS client" if plain else where + _why(e)
        return Result(Outcome.FAILURE, f'Get "{url}": {why}', plain)
    try:
        request = _request(parts.netloc, parts.path or "/", parts.query, headers, user_agent)
        writer.write(request)
        status_line = await reader.readline()
        fields = status_line.split(None, 2)
        if len(fields) < 2 or not fields[0].startswith(b"HTTP/") or not fields[1].isdigit():
            why = "EOF" if not status_line else "malformed HTTP response"
            return Result(Outcome.FAILURE, f'Get "{url}": {why}')
        location, length = "", MAX_OUTPUT_BYTES
        while (line := await reader.readline()) not in (b"\r\n", b"\n", b""):
            name, _, value = line.partition(b":")
            if name.strip().lower() == b"location":
                location = value.strip().decode(errors="replace")
            elif name.strip().lower() == b"content-length" and value.strip().isdigit():
                length = min(length, int(value))
        # A server may leave the connection open after an answer that has no body.
        bodiless = not length or int(fields[1]) in (204, 304)
        body = b"" if bodiless else await reader.read(length)
    except (OSError, ValueError, asyncio.IncompleteReadError) as e:
        return Result(Outcome.FAILURE, f'Get "{url}": {_why(e)}')
    finally:
        writer.transport.abort()
    return int(fields[1]), location, body.decode(errors="replace")


def _request(
    host: str, path: str, query: str, headers: list[tuple[str, str]], user_agent: str
) -> bytes:
    given = {name.lower() for name, _ in headers}
    lines = [f"GET {path}{'?' + query if query else ''} HTTP/1.1"]
    defaults = (("Host", host), ("User-Agent", user_agent), ("Accept", "*/*"))
    lines += [f"{n}: {v}" for n, v in defaults if n.lower() not in given]
    # A header that is given empty is left out, as Go does with User-Agent and Accept.
    lines += [f"{n}: {v}" for n, v in headers if v or n.lower() not in ("user-agent", "accept")]
    return ("\r\n".join([*lines, "Connection: close", "", ""])).encode()


async def grpc_health(host: str, port: int, service: str, timeout_s: float) -> Result:
    """gRPC's health protocol (grpc.health.v1). The two messages are small enough to be written here."""
    import grpc
    import grpc.aio

    name = service.encode()
    request = b"\x0a" + bytes([len(name)]) + name if name else b""
    channel = grpc.aio.insecure_channel(
        _joined(host, port),
        options=[("grpc.primary_user_agent", USER_AGENT), ("grpc.enable_http_proxy", 0)],
    )
    try:
        call = channel.unary_unary(HEALTH_METHOD)
        answer: bytes = await call(request, timeout=timeout_s)
    except grpc.aio.AioRpcError as e:
        return Result(Outcome.FAILURE, _grpc_error(e, _joined(host, port), timeout_s))
    finally:
        await channel.close()
    status = answer[1] if len(answer) >= 2 and answer[0] == 0x08 else 0
    if status == SERVING:
        return Result(Outcome.SUCCESS, "service healthy")
    shown = _SERVING_NAMES.get(status, str(status))
    return Result(Outcome.FAILURE, f'service unhealthy (responded with "{shown}")')


def _grpc_error(error: "grpc.aio.AioRpcError", address: str, timeout_s: float) -> str:  # type: ignore[name-defined]  # noqa: F821 - imported where gRPC is used
    code = error.code().name
    if code == "UNIMPLEMENTED":
        return (
            "error: this server does not implement the grpc health protocol (grpc.health.v1.Health)"
        )
    if code == "DEADLINE_EXCEEDED":
        return f"timeout: health rpc did not complete within {go_duration(timeout_s)}"
    if code == "UNAVAILABLE":
        return f'timeout: failed to connect service "{address}" within {go_duration(timeout_s)}'
    return f"error: health rpc failed: rpc error: code = {code} desc = {error.details()}"


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _why(error: Exception) -> str:
    """An error as Go prints it."""
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, ConnectionResetError):
        return "connection reset by peer"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__


def _insecure_context() -> ssl.SSLContext:
    """Probes do not verify certificates."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
