"""An HTTP/1.1 client for one origin: a bounded pool of kept-alive connections, streams, upgrades.

Requests share the pool: the most recently used connection is taken first, so that connections a
burst needed fall idle and are closed. When all are taken, requests wait in line. Streamed
responses (watches, logs) and upgrades live long and have connections of their own, outside the
bound. A request that a kept-alive connection lost before any answer is sent again, once, on a new
connection, if it is safe to repeat (RFC 9110, 9.2.2) or was never written.
"""

import asyncio
import contextlib
import socket
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass

from skiff.aio.http.connection import ClientResponse, Connection, Disconnected

__all__ = ["ClientResponse", "Disconnected", "HttpClient", "Origin", "Streamed", "Unreachable"]

MAX_CONNECTIONS = 64
IDLE_CLOSE_S = 30.0
CONNECT_TIMEOUT_S = 10.0
# A peer that vanished without a word is noticed after about a minute.
KEEPALIVE_IDLE_S = 30
KEEPALIVE_INTERVAL_S = 10
KEEPALIVE_PROBES = 3

REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS"})
HAS_BODY = frozenset({"POST", "PUT", "PATCH"})


class Unreachable(ConnectionError):
    """No connection could be made: refused, timed out, or the TLS handshake failed."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where requests go: `host` and `port`, or the unix socket at `unix`; TLS if `tls` is given.

    `server_name` is checked against the server's certificate (default: `host`).
    """

    host: str
    port: int = 0
    tls: ssl.SSLContext | None = None
    server_name: str = ""
    unix: str = ""

    @property
    def authority(self) -> str:
        """The Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = 443 if self.tls else 80
        return host if self.unix or self.port in (0, default) else f"{host}:{self.port}"


class Streamed:
    """A streamed response: `status`, `headers`, and its bytes as they come."""

    def __init__(self, status: int, headers: Mapping[str, str], connection: Connection) -> None:
        self.status = status
        self.headers = headers
        self._connection = connection

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while data := await self._connection.read():
            yield data

    async def read(self) -> bytes:
        """The next bytes; empty at the end. Raises Disconnected where it ends too soon."""
        return await self._connection.read()


class HttpClient:
    """See the module's text. `headers()` is asked at each request: a token may change."""

    def __init__(
        self,
        origin: Origin,
        *,
        headers: Callable[[], Mapping[str, str]] | None = None,
        max_connections: int = MAX_CONNECTIONS,
    ) -> None:
        self._origin = origin
        self._own_headers = headers
        self._host_line = f"host: {origin.authority}\r\n"
        self._max = max_connections
        self._open = 0  # pooled connections, idle or lent; never above _max
        self._idle: list[Connection] = []  # by idle_since, oldest first
        self._line: deque[asyncio.Future[None]] = deque()
        self._streams: set[Connection] = set()
        self._reaper: asyncio.TimerHandle | None = None

    async def request(
        self,
        method: str,
        target: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        timeout_s: float | None = None,
    ) -> ClientResponse:
        """Send and collect the whole response. Raises Unreachable, Disconnected, TimeoutError."""
        data = self._encode(method, target, headers, body)
        async with asyncio.timeout(timeout_s):
            connection, reused = await self._acquire()
            try:
                try:
                    return await self._exchange(connection, data, method)
                except Disconnected as e:
                    if not reused or e.answered or method not in REPEATABLE:
                        raise
                finally:
                    self._release(connection)
                return await self._once(data, method)
            except OSError as e:
                raise _translated(e, self._origin) from e

    @contextlib.asynccontextmanager
    async def stream(
        self,
        method: str,
        target: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        timeout_s: float | None = None,
    ) -> AsyncIterator[Streamed]:
        """Send and yield the response once its headers are there (within `timeout_s`)."""
        data = self._encode(method, target, headers, body)
        reused = self._take_idle() if method in REPEATABLE else None
        connection = reused or await self._own(timeout_s)
        try:
            try:
                status, received = await self._begin(connection, data, timeout_s)
            except Disconnected as e:
                if reused is None or e.answered:
                    raise
                self._drop_stream(connection)  # it was stale
                connection = await self._own(timeout_s)
                status, received = await self._begin(connection, data, timeout_s)
            yield Streamed(status, received, connection)
        finally:
            self._drop_stream(connection)

    async def upgrade(
        self,
        method: str,
        target: str,
        *,
        headers: Mapping[str, str],
        body: bytes = b"",
        timeout_s: float | None = None,
    ) -> tuple[ClientResponse, Connection | None]:
        """Ask for an upgrade (the caller gives the Upgrade and Connection headers).

        Returns the 101 with the raw connection, which is then the caller's to close, or the whole
        refusal and None.
        """
        connection = await self._own(timeout_s)
        try:
            connection.send(
                self._encode(method, target, headers, body), streaming=True, bodiless=False
            )
            async with asyncio.timeout(timeout_s):
                status, received = await connection.head()
                if status == 101:
                    self._streams.discard(connection)
                    return ClientResponse(status, received, b""), connection
                chunks = []
                while data := await connection.read():
                    chunks.append(data)
        except BaseException:
            self._drop_stream(connection)
            raise
        self._drop_stream(connection)
        return ClientResponse(status, received, b"".join(chunks)), None

    def close(self) -> None:
        """Close every connection, lent and streaming ones too."""
        if self._reaper is not None:
            self._reaper.cancel()
            self._reaper = None
        for connection in (*self._idle, *self._streams):
            connection.abort()
        self._open -= len(self._idle)
        self._idle.clear()
        self._streams.clear()

    # Inner workings

    def _encode(
        self, method: str, target: str, headers: Mapping[str, str] | None, body: bytes
    ) -> bytes:
        lines = [f"{method} {target} HTTP/1.1\r\n{self._host_line}"]
        if self._own_headers is not None:
            lines += [f"{name}: {value}\r\n" for name, value in self._own_headers().items()]
        if headers:
            lines += [f"{name}: {value}\r\n" for name, value in headers.items()]
        if body or method in HAS_BODY:
            lines.append(f"content-length: {len(body)}\r\n")
        lines.append("\r\n")
        return "".join(lines).encode("latin-1") + body

    async def _exchange(self, connection: Connection, data: bytes, method: str) -> ClientResponse:
        connection.send(data, streaming=False, bodiless=method == "HEAD")
        return await connection.whole()

    async def _once(self, data: bytes, method: str) -> ClientResponse:
        """On a new connection of its own: the kept-alive one was stale."""
        connection = await self._connect()
        try:
            return await self._exchange(connection, data, method)
        finally:
            connection.close()

    async def _own(self, timeout_s: float | None) -> Connection:
        async with asyncio.timeout(timeout_s):
            connection = await self._connect()
        self._streams.add(connection)
        return connection

    def _take_idle(self) -> Connection | None:
        """An idle connection out of the pool, for a stream to keep: a watch follows a list, and a
        handshake costs both sides more than the list did."""
        while self._idle:
            connection = self._idle.pop()
            self._open -= 1
            if not connection.closed:
                self._streams.add(connection)
                return connection
        return None

    async def _begin(
        self, connection: Connection, data: bytes, timeout_s: float | None
    ) -> tuple[int, Mapping[str, str]]:
        connection.send(data, streaming=True, bodiless=False)
        async with asyncio.timeout(timeout_s):
            return await connection.head()

    def _drop_stream(self, connection: Connection) -> None:
        self._streams.discard(connection)
        connection.abort()

    async def _acquire(self) -> tuple[Connection, bool]:
        """A connection and whether it was used before."""
        while True:
            while self._idle:
                connection = self._idle.pop()
                if not connection.closed:
                    return connection, True
                self._open -= 1
            if self._open < self._max:
                break
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._line.append(turn)
            try:
                await turn
            except BaseException:
                if turn.done() and not turn.cancelled():
                    self._next()
                raise
        self._open += 1
        try:
            return await self._connect(), False
        except BaseException:
            self._open -= 1
            self._next()
            raise

    def _release(self, connection: Connection) -> None:
        connection.busy = False
        if connection.reusable:
            connection.idle_since = asyncio.get_running_loop().time()
            self._idle.append(connection)
            if self._reaper is None:
                self._schedule_reaper(IDLE_CLOSE_S)
        else:
            self._open -= 1
            connection.abort()
        self._next()

    def _next(self) -> None:
        while self._line:
            turn = self._line.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    def _schedule_reaper(self, delay_s: float) -> None:
        self._reaper = asyncio.get_running_loop().call_later(delay_s, self._reap)

    def _reap(self) -> None:
        self._reaper = None
        oldest_kept = asyncio.get_running_loop().time() - IDLE_CLOSE_S
        keep = []
        for connection in self._idle:
            if connection.closed or connection.idle_since <= oldest_kept:
                self._open -= 1
                connection.close()
            else:
                keep.append(connection)
        self._idle = keep
        if keep:
            self._schedule_reaper(keep[0].idle_since - oldest_kept)

    async def _connect(self) -> Connection:
        origin = self._origin
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                if origin.unix:
                    _, connection = await loop.create_unix_connection(
                        Connection,
                        origin.unix,
                        ssl=origin.tls,
                        server_hostname=(origin.server_name or origin.host) if origin.tls else None,
                    )
                else:
                    transport, connection = await loop.create_connection(
                        Connection,
                        origin.host,
                        origin.port,
                        ssl=origin.tls,
                        server_hostname=(origin.server_name or origin.host) if origin.tls else None,
                    )
                    _tune(transport.get_extra_info("socket"))
        except TimeoutError as e:
            raise Unreachable(
                f"{_where(origin)}: no connection within {CONNECT_TIMEOUT_S:g} s"
            ) from e
        except (OSError, ssl.SSLError, ssl.CertificateError) as e:
            raise Unreachable(f"{_where(origin)}: {e}") from e
        return connection


def _tune(sock: socket.socket | None) -> None:
    if sock is None:
        return
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_PROBES)


def _where(origin: Origin) -> str:
    if origin.unix:
        return f"unix:{origin.unix}"
    return f"{'https' if origin.tls else 'http'}://{origin.authority}"


def _translated(error: OSError, origin: Origin) -> ConnectionError | TimeoutError:
    if isinstance(error, (ConnectionError, TimeoutError)):
        return error
    return Unreachable(f"{_where(origin)}: {error}")
