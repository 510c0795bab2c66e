"""An HTTP/1.1 server on asyncio protocols: the transport of the API server and of the kubelet.

How it works. One `Connection` per socket feeds httptools' parser from `data_received`; when a
message is complete its handler is called right there. A handler that answers at once costs no task;
one that returns an awaitable gets a task, and requests that arrive meanwhile on that connection
(pipelining) wait in order. A response is one write: head and body together where they are small.
A stream is chunked and its writer tells how much the peer has yet to take. After an upgrade the
connection carries raw bytes, beginning with those that came behind the request.

The handshake asks for a client certificate and does not insist; who the peer is, the handler
decides (`Peer.certificate`, read once per connection).

Not here: HTTP/2, compression, routing.
"""

import asyncio
import contextlib
import logging
import socket
import ssl
from collections import deque
from collections.abc import Awaitable, Coroutine, Sequence
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, cast

import httptools

from skiff.aio.clock import Clock, RealClock
from skiff.aio.http.message import Handler, Peer, Request, Response, Stream

log = logging.getLogger(__name__)

BACKLOG = 1024
SWEEP_S = 20.0
PIPELINE_LIMIT = 32
"""Requests that may wait behind one being answered; then reading pauses."""
JOIN_BYTES = 65_536
PARTS_MIN = 6
"""A body of more byte strings than this is written one by one as the peer takes them."""
"""A body up to this size is copied behind its head, so that both leave in one TLS record run."""
RAW_BUFFER_BYTES = 262_144
"""An upgraded connection stops reading while its user has more than this yet to take."""
LINGER_S = 1.0
"""How long a refused upload is read and thrown away, so that the peer gets to see the answer."""

_STATUS_LINES = {s.value: f"HTTP/1.1 {s.value} {s.phrase}\r\n".encode() for s in HTTPStatus}
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_PLAIN = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one connection may take."""

    body_bytes: int = 3 * 1024 * 1024
    header_bytes: int = 256 * 1024
    idle_s: float = 180.0
    header_s: float = 32.0
    too_large: Response = field(
        default_factory=lambda: Response(413, b"Request entity too large\n", _PLAIN)
    )


class Server:
    """Listens, and owns its connections and the tasks of handlers."""

    def __init__(
        self,
        handler: Handler,
        *,
        clock: Clock | None = None,
        limits: Limits | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.handler = handler
        self.limits = limits or Limits()
        self.connections: set[Connection] = set()
        self.closing = False
        self.requests = 0
        self.date = b""
        self._clock = clock or RealClock()
        self._date_s = 0
        self._tls = tls
        self._listeners: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._sweeper: asyncio.TimerHandle | None = None

    async def listen(self, host: str, port: int) -> tuple[str, int]:
        """Bind and accept; returns the address bound. Raises OSError where it is taken."""
        loop = asyncio.get_running_loop()
        sock = _bind(host, port)
        listener = await loop.create_server(
            lambda: Connection(self), sock=sock, ssl=self._tls, backlog=BACKLOG
        )
        self._listeners.append(listener)
        name = sock.getsockname()
        return name[0], name[1]

    async def listen_unix(self, path: str) -> None:
        """Bind a Unix socket and accept."""
        loop = asyncio.get_running_loop()
        listener = await loop.create_unix_server(lambda: Connection(self), path, ssl=self._tls)
        self._listeners.append(listener)

    async def close(self, grace_s: float = 5.0) -> None:
        """Stop accepting, let answers under way finish for up to `grace_s`, end streams at once."""
        self.closing = True
        for listener in self._listeners:
            listener.close()
        if self._sweeper:
            self._sweeper.cancel()
        for connection in list(self.connections):
            connection.shut()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace_s)
        left = list(self._tasks)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left, timeout=1.0)
        for connection in list(self.connections):
            connection.abort()
        self.connections.clear()
        for listener in self._listeners:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await listener.wait_closed()

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run one handler's task, owned by the server."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def stamp(self) -> bytes:
        """The Date header's line, made once a second."""
        now = int(self._clock.now())
        if now != self._date_s:
            self._date_s = now
            self.date = f"Date: {formatdate(now, usegmt=True)}\r\n".encode()
        return self.date

    def opened(self, connection: "Connection") -> None:
        self.connections.add(connection)
        if self._sweeper is None and not self.closing:
            self._sweeper = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)

    def _sweep(self) -> None:
        """Close connections that idle too long; one timer for all, none while there are none."""
        self._sweeper = None
        now = asyncio.get_running_loop().time()
        for connection in list(self.connections):
            connection.expire(now)
        if self.connections and not self.closing:
            self._sweeper = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6 and host == "::":
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind((host, port))
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


_HEADER_NAMES: dict[bytes, str] = {}
_HEADER_NAMES_MAX = 512


def _header_name(name: bytes) -> str:
    text = _HEADER_NAMES.get(name)
    if text is None:
        text = name.decode("latin-1").lower()
        if len(_HEADER_NAMES) < _HEADER_NAMES_MAX:
            _HEADER_NAMES[name] = text
    return text


class _Item:
    """A parsed message waiting for its turn: a request, or a ready refusal."""

    __slots__ = ("keep_alive", "refusal", "request", "upgrade", "version")

    def __init__(
        self,
        request: Request,
        *,
        keep_alive: bool,
        version: str,
        upgrade: bool = False,
        refusal: Response | None = None,
    ) -> None:
        self.request = request
        self.keep_alive = keep_alive
        self.version = version
        self.upgrade = upgrade
        self.refusal = refusal


class Connection(asyncio.Protocol):
    """One socket: parses requests, runs handlers one after another, writes responses in order."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._limits = server.limits
        self._transport: asyncio.Transport = cast(asyncio.Transport, None)
        self._parser = httptools.HttpRequestParser(self)
        self._peer = Peer(("", 0))
        self._loop = asyncio.get_running_loop()
        self._active_s = self._loop.time()
        # The message being parsed.
        self._url = b""
        self._headers: dict[str, str] = {}
        self._repeated: dict[str, list[str]] = {}
        self._header_bytes = 0
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._refused = False  # nothing more is parsed
        self._in_message = False
        # Answers. Invariant: `_waiting` is non-empty only while an answer is under way (`_busy`)
        # or the peer is slow to take the last (`_paused`).
        self._busy = False
        self._waiting: deque[_Item] = deque()
        self._reading = True
        self._task: asyncio.Task[None] | None = None
        self._streaming = False
        # Flow control and end.
        self._writable: asyncio.Future[None] | None = None
        self._paused = False
        self._lost: asyncio.Future[None] | None = None
        self._closed = False
        self._raw: _Raw | None = None
        self._tail: bytes | None = None  # bytes behind an upgrade request, not yet given away

    # --- the transport's calls -------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        tls = transport.get_extra_info("ssl_object")
        name = transport.get_extra_info("peername")
        address = (name[0], name[1]) if isinstance(name, tuple) and len(name) >= 2 else ("", 0)
        certificate = tls.getpeercert(True) if tls is not None else None
        self._peer = Peer(address, certificate, tls)
        self._transport.set_write_buffer_limits(high=262_144, low=65_536)
        if self._server.closing:
            self._transport.close()
            return
        self._server.opened(self)

    def data_received(self, data: bytes) -> None:
        if self._raw is not None:
            self._raw.feed(data)
            return
        if self._tail is not None:
            self._tail += data
            if len(self._tail) > RAW_BUFFER_BYTES:
                self._pause_reading()
            return
        if self._refused:
            return
        self._active_s = self._loop.time()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # The message is complete (on_message_complete ran); the rest belongs to whatever the
            # handler decides on, unless it decided already and refused the upgrade.
            self._after_upgrade_request(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self._refuse(Response(400, b"400 Bad Request", _PLAIN))

    def eof_received(self) -> bool | None:
        if self._raw is not None:
            self._raw.end()
            return False
        return None

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed = True
        self._server.connections.discard(self)
        self._waiting.clear()
        for future in (self._writable, self._lost):
            if future is not None and not future.done():
                future.set_result(None)
        if self._raw is not None:
            self._raw.end()
        if self._task is not None and self._streaming:
            self._task.cancel()
        self._parser = None

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None
        if not self._busy and self._waiting:
            self._next()
        elif not self._busy:
            self._resume_reading()

    # --- the parser's calls ----------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._url = b""
        self._headers = {}
        self._repeated = {}
        self._header_bytes = 0
        self._body = []
        self._body_bytes = 0
        self._in_message = True

    def on_url(self, url: bytes) -> None:
        self._url = self._url + url if self._url else url
        self._header_bytes += len(url)
        if self._header_bytes > self._limits.header_bytes:
            self._refuse(Response(431, b"431 Request Header Fields Too Large", _PLAIN))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > self._limits.header_bytes:
            self._refuse(Response(431, b"431 Request Header Fields Too Large", _PLAIN))
            return
        key = _HEADER_NAMES.get(name) or _header_name(name)
        headers = self._headers
        text = value.decode("latin-1")
        if key in headers:
            self._repeated.setdefault(key, [headers[key]]).append(text)
            headers[key] += ", " + text
        else:
            headers[key] = text

    def on_headers_complete(self) -> None:
        headers = self._headers
        length = headers.get("content-length")
        if length is not None and length.isdigit() and int(length) > self._limits.body_bytes:
            self._refuse(self._limits.too_large)
        elif (
            "expect" in headers
            and headers["expect"].lower() == "100-continue"
            and not (self._busy or self._closed or self._refused)
        ):
            self._transport.write(_CONTINUE)

    def on_body(self, body: bytes) -> None:
        if self._refused:
            return
        self._body_bytes += len(body)
        if self._body_bytes > self._limits.body_bytes:
            self._refuse(self._limits.too_large)
            return
        self._body.append(body)

    def on_message_complete(self) -> None:
        self._in_message = False
        if self._refused:
            return
        parser = self._parser
        item = _Item(
            self._message(),
            keep_alive=parser.should_keep_alive(),
            version=parser.get_http_version(),
            upgrade=parser.should_upgrade(),
        )
        if item.upgrade:
            self._tail = b""
        self._enqueue(item)

    def _message(self) -> Request:
        body = self._body
        url = self._url.decode("latin-1")
        if url and url[0] != "/":
            # Absolute form (RFC 9112 §3.2.2): a proxy's way of writing the target.
            _, _, after = url.partition("://")
            slash = after.find("/")
            url = after[slash:] if slash >= 0 else "/"
        path, _, query = url.partition("?")
        return Request(
            self._parser.get_method().decode("latin-1"),
            path,
            query,
            self._headers,
            body[0] if len(body) == 1 else b"".join(body),
            self._peer,
            self._repeated,
        )

    # --- requests in order -----------------------------------------------------------------

    def _enqueue(self, item: _Item) -> None:
        if self._busy or self._paused:
            self._waiting.append(item)
            if len(self._waiting) >= PIPELINE_LIMIT:
                self._pause_reading()
        else:
            self._start(item)

    def _refuse(self, response: Response) -> None:
        """Answer (in its turn) a message that is not read to its end, then close."""
        if self._refused:
            return
        self._refused = True
        request = Request("GET", "", peer=self._peer)
        self._enqueue(_Item(request, keep_alive=False, version="1.1", refusal=response))

    def _next(self) -> None:
        while self._waiting and not self._busy and not self._paused and not self._closed:
            self._start(self._waiting.popleft())
        if not self._waiting:
            self._resume_reading()

    def _start(self, item: _Item) -> None:
        server = self._server
        server.requests += 1
        if item.refusal is not None:
            self._answer(item, item.refusal)
            return
        try:
            result = server.handler(item.request)
        except Exception:
            log.exception("handler failed: %s %s", item.request.method, item.request.path)
            result = Response(500, b"Internal Server Error\n", _PLAIN)
        if (
            type(result) is Response
            and result.stream is None
            and result.upgrade is None
            and not _in_parts(result)
        ):
            self._answer(item, result)
            return
        self._busy = True
        self._task = server.spawn(self._run(item, result), item.request.path)

    async def _run(self, item: _Item, result: Response | Awaitable[Response]) -> None:
        try:
            response = result if isinstance(result, Response) else await result
        except Exception:
            log.exception("handler failed: %s %s", item.request.method, item.request.path)
            response = Response(500, b"Internal Server Error\n", _PLAIN)
        try:
            if response.stream is not None:
                await self._stream(item, response, response.stream)
            elif response.upgrade is not None:
                await self._upgrade(response)
                return
            elif _in_parts(response):
                await self._answer_in_parts(item, response)
            else:
                self._answer(item, response)
        except ConnectionError:
            self._transport.abort()
        except asyncio.CancelledError:
            self._transport.abort()
            raise
        except Exception:
            # The head is out, so the peer can only be told by a body that ends too early.
            log.exception("stream failed: %s %s", item.request.method, item.request.path)
            self._transport.abort()
        self._busy = False
        self._task = None
        if not self._closed:
            self._next()

    def _answer(self, item: _Item, response: Response) -> None:
        """Write a whole response."""
        if self._closed:
            return
        keep = item.keep_alive and not self._server.closing
        body = response.body
        size = len(body) if isinstance(body, bytes) else sum(map(len, body))
        head = self._head(response, keep, item.version, b"Content-Length: %d\r\n" % size)
        transport = self._transport
        if item.request.method == "HEAD" or response.status in (204, 304):
            transport.write(head)
        elif isinstance(body, bytes):
            if size <= JOIN_BYTES:
                transport.write(head + body)
            else:
                transport.writelines((head, body))
        elif size <= JOIN_BYTES:
            transport.write(head + b"".join(body))
        else:
            transport.writelines((head, *body))
        if not keep:
            self._end()
        elif item.upgrade:
            self._parse_on()

    async def _answer_in_parts(self, item: _Item, response: Response) -> None:
        """Write a large response block by block, each when the peer has taken the one before: TLS
        encrypts what is written at once into one growing buffer, which copied a list of 29 MB
        several times over."""
        if self._closed:
            return
        if item.request.method == "HEAD":
            self._answer(item, response)
            return
        keep = item.keep_alive and not self._server.closing
        blocks = response.body
        assert isinstance(blocks, list)
        size = sum(map(len, blocks))
        framing = b"Content-Length: %d\r\n" % size
        self._transport.write(self._head(response, keep, item.version, framing))
        self._streaming = True
        try:
            for block in blocks:
                self._transport.write(block)
                await self.drained()
        finally:
            self._streaming = False
        if not keep or self._server.closing:
            self._end()
        elif item.upgrade:
            self._parse_on()

    def _end(self) -> None:
        """Close behind the last byte; a refused upload is read to the ground first."""
        if self._refused and not self._closed:
            self._loop.call_later(LINGER_S, self._transport.close)
        else:
            self._refused = True
            self._transport.close()

    def _head(self, response: Response, keep: bool, version: str, framing: bytes) -> bytes:
        line = _STATUS_LINES.get(response.status) or b"HTTP/1.1 %d \r\n" % response.status
        parts = [line, self._server.stamp(), framing]
        if response.content_type:
            parts.append(b"Content-Type: %b\r\n" % response.content_type.encode())
        for name, value in response.headers:
            parts.append(f"{name}: {value}\r\n".encode("latin-1", "replace"))
        if not keep:
            parts.append(b"Connection: close\r\n")
        elif version == "1.0":
            parts.append(b"Connection: keep-alive\r\n")
        parts.append(b"\r\n")
        return b"".join(parts)

    # --- streams and upgrades --------------------------------------------------------------

    async def _stream(self, item: _Item, response: Response, stream: Stream) -> None:
        if self._closed:
            return
        chunked = item.version != "1.0"
        keep = item.keep_alive and chunked and not self._server.closing
        framing = b"Transfer-Encoding: chunked\r\n" if chunked else b""
        self._transport.write(self._head(response, keep, item.version, framing))
        self._streaming = True
        if item.request.method != "HEAD":
            try:
                await stream(_Chunks(self) if chunked else _Plain(self))
            finally:
                self._streaming = False
            if self._closed:
                return
            if chunked:
                self._transport.write(b"0\r\n\r\n")
        self._streaming = False
        if not keep or self._server.closing:
            self._end()
        elif item.upgrade:
            self._parse_on()

    async def _upgrade(self, response: Response) -> None:
        assert response.upgrade is not None
        if self._closed:
            return
        head = [_STATUS_LINES.get(response.status, b"HTTP/1.1 101 Switching Protocols\r\n")]
        head += [f"{n}: {v}\r\n".encode("latin-1", "replace") for n, v in response.headers]
        self._transport.write(b"".join([*head, b"\r\n"]))
        raw = self._raw = _Raw(self)
        if self._tail:
            raw.feed(self._tail)
        self._tail = None
        self._resume_reading()
        self._streaming = True
        try:
            await response.upgrade(raw)
        except ConnectionError:
            self._transport.abort()
        except asyncio.CancelledError:
            self._transport.abort()
            raise
        except Exception:
            log.exception("upgraded connection failed")
            self._transport.abort()
        finally:
            self._streaming = False
            if not self._closed:
                self._transport.close()

    def _after_upgrade_request(self, tail: bytes) -> None:
        if self._raw is not None:
            self._raw.feed(tail)
        elif self._tail is not None:
            self._tail += tail
        elif not self._refused and not self._closed:
            # Answered already, without an upgrade: what follows is the next request.
            self._parser = httptools.HttpRequestParser(self)
            if tail:
                self.data_received(tail)

    def _parse_on(self) -> None:
        """The handler did not take the upgrade that the client offered: HTTP goes on."""
        tail, self._tail = self._tail, None
        self._parser = httptools.HttpRequestParser(self)
        if tail:
            self.data_received(tail)

    # --- flow control, end -----------------------------------------------------------------

    def _pause_reading(self) -> None:
        if self._reading and not self._closed:
            self._reading = False
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        if not self._reading and not self._closed:
            self._reading = True
            self._transport.resume_reading()

    async def drained(self) -> None:
        """Return when the transport takes more. Raises ConnectionError where the peer has gone."""
        while self._paused and not self._closed:
            if self._writable is None:
                self._writable = self._loop.create_future()
            await asyncio.shield(self._writable)
        if self._closed:
            raise ConnectionResetError("the peer has gone")

    async def lost(self) -> None:
        """Return when the connection has ended."""
        if self._closed:
            return
        if self._lost is None:
            self._lost = self._loop.create_future()
        await asyncio.shield(self._lost)

    def send(self, data: bytes) -> None:
        """Queue bytes as they are."""
        if self._closed:
            raise ConnectionResetError("the peer has gone")
        self._transport.write(data)

    def send_all(self, data: Sequence[bytes]) -> None:
        """Queue byte strings as they are."""
        if self._closed:
            raise ConnectionResetError("the peer has gone")
        self._transport.writelines(data)

    @property
    def buffered(self) -> int:
        return 0 if self._closed else self._transport.get_write_buffer_size()

    def flow(self, reading: bool) -> None:
        """Take bytes from the peer, or stop."""
        if reading:
            self._resume_reading()
        else:
            self._pause_reading()

    def finish(self) -> None:
        """Close once what is queued is out."""
        if not self._closed:
            self._transport.close()

    def shut(self) -> None:
        """The server closes: end what is idle or streaming; an answer under way goes out first."""
        if self._streaming and self._task is not None:
            self._task.cancel()
        elif not self._busy:
            self._transport.close()

    def abort(self) -> None:
        """Drop the connection."""
        self._transport.abort()

    def expire(self, now: float) -> None:
        """Close if nothing has come for too long."""
        idle = now - self._active_s
        if self._busy or self._raw is not None or self._waiting:
            return
        if idle > self._limits.idle_s or (self._in_message and idle > self._limits.header_s):
            self._transport.close()


def _in_parts(response: Response) -> bool:
    """Whether a response is written block by block."""
    return len(response.body) > PARTS_MIN and isinstance(response.body, list)


class _Plain:
    """A stream's writer towards an HTTP/1.0 client: the end of the connection ends the body."""

    __slots__ = ("_connection",)

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def write(self, data: bytes) -> None:
        self._connection.send(data)

    @property
    def buffered(self) -> int:
        return self._connection.buffered

    async def drain(self) -> None:
        await self._connection.drained()

    async def gone(self) -> None:
        await self._connection.lost()


class _Chunks(_Plain):
    """A stream's writer: one chunk a write (RFC 9112 §7.1)."""

    __slots__ = ()

    def write(self, data: bytes) -> None:
        size = len(data)
        if size == 0:
            return
        if size <= JOIN_BYTES:
            self._connection.send(b"%x\r\n%b\r\n" % (size, data))
        else:
            self._connection.send_all((b"%x\r\n" % size, data, b"\r\n"))


class _Raw(_Plain):
    """An upgraded connection."""

    __slots__ = ("_chunks", "_ended", "_size", "_waiter")

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self._chunks: list[bytes] = []
        self._size = 0
        self._ended = False
        self._waiter: asyncio.Future[None] | None = None

    def feed(self, data: bytes) -> None:
        """Bytes from the peer."""
        if not data:
            return
        self._chunks.append(data)
        self._size += len(data)
        if self._size > RAW_BUFFER_BYTES:
            self._connection.flow(reading=False)
        self._wake()

    def end(self) -> None:
        """The peer will send no more."""
        self._ended = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def read(self) -> bytes:
        """The next bytes; empty at the end."""
        while not self._chunks and not self._ended:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        data = b"".join(self._chunks)
        self._chunks.clear()
        self._size = 0
        self._connection.flow(reading=True)
        return data

    def close(self) -> None:
        """Send what is queued, then close."""
        self._connection.finish()
