"""A streaming server in this process: exec, attach and port-forward for runtimes without one.

Speaks what a CRI runtime's streaming server speaks: SPDY/3.1 with `v4.channel.k8s.io` and older
stream protocols, and WebSocket with the channel protocols (plain and base64). What runs behind the
streams is a coroutine that gets a `Terminal` or, for a forwarded port, a `PortStream`.

Used by the simulated runtime, and by tests as a stand-in for a real one.
"""

import asyncio
import base64
import itertools
import json
import struct
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from skiff.aio import websocket
from skiff.aio.channels import SpdyConnection, SpdyStream, WebSocketConnection
from skiff.aio.http.message import RawConnection, Request, Response, Upgrade

SPDY_PROTOCOLS = ("v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io")
PORT_FORWARD = "portforward.k8s.io"
WEBSOCKET_PROTOCOLS = (
    "v4.channel.k8s.io", "v4.base64.channel.k8s.io", "channel.k8s.io", "base64.channel.k8s.io",
)  # fmt: skip
STREAMS_TIMEOUT_S = 30.0
MAX_URLS = 1024
STDIN, STDOUT, STDERR, ERROR = range(4)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which streams a command has."""

    stdin: bool = False
    stdout: bool = True
    stderr: bool = True
    tty: bool = False

    def kinds(self) -> set[str]:
        """The streams that a client opens."""
        chosen = {"error"}
        for kind, on in (
            ("stdin", self.stdin),
            ("stdout", self.stdout),
            ("stderr", self.stderr and not self.tty),
            ("resize", self.tty),
        ):
            if on:
                chosen.add(kind)
        return chosen


class Terminal(Protocol):
    """The client's side of a running command. Writes raise ConnectionError once it has gone."""

    async def read(self) -> bytes:
        """Input; empty at its end."""

    async def write(self, data: bytes, *, error: bool = False) -> None:
        """Output."""


class PortStream(Protocol):
    """One forwarded connection."""

    async def read(self) -> bytes:
        """Bytes from the client; empty at the end."""

    async def write(self, data: bytes) -> None:
        """Bytes to the client."""


Process = Callable[[Terminal], Awaitable[int]]
Forward = Callable[[int, PortStream], Awaitable[None]]
"""Serve one connection to a port; raises ConnectionError with a text where nothing listens."""


class LocalStreams:
    """Gives out addresses, each good for one connection."""

    def __init__(self) -> None:
        self._number = itertools.count(1)
        self._waiting: dict[str, Callable[[Request], Response]] = {}

    def command(self, wanted: Wanted, process: Process) -> str:
        """An address that runs `process` once."""
        return self._add(lambda request: _serve_command(request, wanted, process))

    def forward(self, ports: Sequence[int], forward: Forward) -> str:
        """An address that forwards to ports."""
        return self._add(lambda request: _serve_forward(request, ports, forward))

    async def serve_stream(self, url: str, request: Request) -> Response:
        """Answer the upgrade request for an address that was given out."""
        serve = self._waiting.pop(url, None)
        if serve is None:
            return Response(404, b"404 page not found\n", "text/plain; charset=utf-8")
        return serve(request)

    def _add(self, serve: Callable[[Request], Response]) -> str:
        url = f"local://streams/{next(self._number)}"
        self._waiting[url] = serve
        while len(self._waiting) > MAX_URLS:
            del self._waiting[next(iter(self._waiting))]
        return url


# ---- the two upgrades


def _upgrade(
    request: Request,
    spdy_protocols: Sequence[str],
    spdy: Upgrade,
    serve_websocket: Callable[[RawConnection, bool], Awaitable[None]],
) -> Response:
    headers = request.headers
    kind = headers.get("upgrade", "").lower()
    if kind == "websocket":
        offered = [p.strip() for p in headers.get("sec-websocket-protocol", "").split(",") if p]
        chosen = next((p for p in offered if p in WEBSOCKET_PROTOCOLS), "")
        if offered and not chosen:
            return _refuse(f"unable to negotiate protocol: client supports {offered}")
        answer = [
            ("Upgrade", "websocket"),
            ("Connection", "Upgrade"),
            ("Sec-WebSocket-Accept", websocket.accept_key(headers.get("sec-websocket-key", ""))),
        ]
        if chosen:
            answer.append(("Sec-WebSocket-Protocol", chosen))
        text = "base64" in chosen
        return Response(101, headers=tuple(answer), upgrade=lambda raw: serve_websocket(raw, text))
    if kind == "spdy/3.1":
        offered = [p.strip() for p in headers.get("x-stream-protocol-version", "").split(",") if p]
        protocol = next((p for p in spdy_protocols if p in offered), "")
        if offered and not protocol:
            return _refuse(f"unable to negotiate protocol: client supports {offered}")
        answer = [("Upgrade", "SPDY/3.1"), ("Connection", "Upgrade")]
        if protocol:
            answer.append(("X-Stream-Protocol-Version", protocol))
        return Response(101, headers=tuple(answer), upgrade=spdy)
    return _refuse("unable to upgrade: missing upgrade headers in request")


def _refuse(text: str) -> Response:
    return Response(400, text.encode(), "text/plain; charset=utf-8")


def exit_status(code: int) -> bytes:
    """The Status that tells a client how its command ended (remotecommand v4)."""
    if code == 0:
        return b'{"metadata":{},"status":"Success"}'
    return json.dumps(
        {
            "metadata": {},
            "status": "Failure",
            "message": f"command terminated with non-zero exit code: exit status {code}",
            "reason": "NonZeroExitCode",
            "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
        },
        separators=(",", ":"),
    ).encode()


# ---- commands


def _serve_command(request: Request, wanted: Wanted, process: Process) -> Response:
    async def spdy(raw: RawConnection) -> None:
        await _command_over_spdy(raw, wanted, process)

    async def over_websocket(raw: RawConnection, text: bool) -> None:
        await _command_over_websocket(raw, process, text)

    return _upgrade(request, SPDY_PROTOCOLS, spdy, over_websocket)


class _SpdyTerminal:
    def __init__(self, streams: dict[str, SpdyStream]) -> None:
        self._streams = streams

    async def read(self) -> bytes:
        stdin = self._streams.get("stdin")
        return b"" if stdin is None else await stdin.read()

    async def write(self, data: bytes, *, error: bool = False) -> None:
        stream = self._streams.get("stderr" if error else "stdout") or self._streams.get("stdout")
        if stream is not None and data:
            await stream.write(data)


async def _command_over_spdy(raw: RawConnection, wanted: Wanted, process: Process) -> None:
    connection = SpdyConnection(raw, client=False)
    async with asyncio.TaskGroup() as group:
        reader = group.create_task(connection.run(), name="client connection")
        try:
            async with asyncio.timeout(STREAMS_TIMEOUT_S):
                streams = await _accept_streams(connection, wanted.kinds())
            code = await _until_gone(process(_SpdyTerminal(streams)), reader)
            if code is not None:
                await streams["error"].write(exit_status(code))
                for stream in streams.values():
                    stream.close()
        except (ConnectionError, TimeoutError):
            pass  # the client has gone, or never asked for what it announced
        finally:
            connection.close()
            reader.cancel()


async def _accept_streams(connection: SpdyConnection, kinds: set[str]) -> dict[str, SpdyStream]:
    streams: dict[str, SpdyStream] = {}
    while kinds - set(streams):
        stream = await connection.accept()
        if stream is None:
            raise ConnectionResetError("the client has gone")
        stream.accept()
        streams[stream.headers.get("streamtype", "")] = stream
    return streams


async def _until_gone(work: Awaitable[int], reader: "asyncio.Task[None]") -> int | None:
    """The command's exit code; None where the client left before."""

    async def run() -> int:
        return await work

    async with asyncio.TaskGroup() as group:
        task = group.create_task(run(), name="command")
        await asyncio.wait((task, reader), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            task.cancel()
            return None
    return task.result()


class _WebSocketTerminal:
    def __init__(self, connection: WebSocketConnection, text: bool) -> None:
        self._connection = connection
        self._text = text
        self._input: asyncio.Queue[bytes] = asyncio.Queue(maxsize=64)
        self._ended = False

    async def read(self) -> bytes:
        if self._ended and self._input.empty():
            return b""
        data = await self._input.get()
        self._ended = self._ended or not data
        return data

    async def write(self, data: bytes, *, error: bool = False) -> None:
        await self.send(STDERR if error else STDOUT, data)

    async def send(self, channel: int, data: bytes) -> None:
        if self._text:
            message = str(channel).encode() + base64.b64encode(data)
            await self._connection.send(message, text=True)
        else:
            await self._connection.send(bytes((channel,)) + data)

    async def pump(self) -> None:
        """Take input until the client leaves."""
        while (message := await self._connection.receive()) is not None:
            data = message.data
            if not data:
                continue
            channel, rest = data[0], data[1:]
            if self._text:
                channel, rest = channel - ord("0"), base64.b64decode(rest)
            if channel == STDIN and rest:
                await self._input.put(rest)
        await self._input.put(b"")


async def _command_over_websocket(raw: RawConnection, process: Process, text: bool) -> None:
    connection = WebSocketConnection(raw)
    terminal = _WebSocketTerminal(connection, text)
    async with asyncio.TaskGroup() as group:
        reader = group.create_task(terminal.pump(), name="client connection")
        try:
            await terminal.send(STDOUT, b"")
            code = await _until_gone(process(terminal), reader)
            if code is not None:
                await terminal.send(ERROR, exit_status(code))
        except ConnectionError:
            pass  # the client has gone
        finally:
            connection.close()
            reader.cancel()


# ---- ports


def _serve_forward(request: Request, ports: Sequence[int], forward: Forward) -> Response:
    async def spdy(raw: RawConnection) -> None:
        await _forward_over_spdy(raw, forward)

    async def over_websocket(raw: RawConnection, text: bool) -> None:
        await _forward_over_websocket(raw, ports, forward, text)

    return _upgrade(request, (PORT_FORWARD,), spdy, over_websocket)


async def _forward_over_spdy(raw: RawConnection, forward: Forward) -> None:
    """Streams come in pairs of one request id: one for errors, one for data."""
    connection = SpdyConnection(raw, client=False)
    errors: dict[str, SpdyStream] = {}
    async with asyncio.TaskGroup() as group:
        reader = group.create_task(connection.run(), name="client connection")
        running: set[asyncio.Task[None]] = set()
        while (stream := await connection.accept()) is not None:
            stream.accept()
            request = stream.headers.get("requestid", str(stream.number))
            if stream.headers.get("streamtype") == "error":
                errors[request] = stream
                continue
            port = int(stream.headers.get("port", "0"))
            work = _one_port(port, stream, errors.pop(request, None), forward)
            task = group.create_task(work, name=f"port {port}")
            running.add(task)
            task.add_done_callback(running.discard)
        for task in running:
            task.cancel()
        reader.cancel()


async def _one_port(
    port: int, data: SpdyStream, error: SpdyStream | None, forward: Forward
) -> None:
    try:
        await forward(port, data)
    except ConnectionError as e:
        if error is not None:
            try:
                await error.write(f"failed to forward port {port}: {e}".encode())
            except ConnectionError:
                return
    finally:
        data.close()
        if error is not None:
            error.close()


class _WebSocketPort:
    """Channels 2n (data) and 2n+1 (errors) of the n-th port."""

    def __init__(self, terminal: _WebSocketTerminal, index: int) -> None:
        self._terminal = terminal
        self._index = index
        self.input: asyncio.Queue[bytes] = asyncio.Queue(maxsize=64)

    async def read(self) -> bytes:
        return await self.input.get()

    async def write(self, data: bytes) -> None:
        await self._terminal.send(2 * self._index, data)

    async def fail(self, text: str) -> None:
        await self._terminal.send(2 * self._index + 1, text.encode())


async def _forward_over_websocket(
    raw: RawConnection, ports: Sequence[int], forward: Forward, text: bool
) -> None:
    connection = WebSocketConnection(raw)
    terminal = _WebSocketTerminal(connection, text)
    streams = [_WebSocketPort(terminal, index) for index in range(len(ports))]

    async def serve(port: int, stream: _WebSocketPort) -> None:
        try:
            await forward(port, stream)
        except ConnectionError as e:
            try:
                await stream.fail(f"failed to forward port {port}: {e}")
            except ConnectionError:
                return

    async with asyncio.TaskGroup() as group:
        tasks = []
        try:
            for index, port in enumerate(ports):
                number = struct.pack("<H", port)
                await terminal.send(2 * index, number)
                await terminal.send(2 * index + 1, number)
                tasks.append(group.create_task(serve(port, streams[index]), name=f"port {port}"))
            while (message := await connection.receive()) is not None:
                data = message.data
                channel, rest = data[:1], data[1:]
                if text and channel:
                    channel, rest = bytes((channel[0] - ord("0"),)), base64.b64decode(rest)
                if rest and channel[0] % 2 == 0 and channel[0] // 2 < len(streams):
                    await streams[channel[0] // 2].input.put(rest)
        except ConnectionError:
            pass  # the client has gone
        finally:
            for task in tasks:
                task.cancel()
            connection.close()
