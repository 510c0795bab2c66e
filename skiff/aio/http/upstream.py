"""Another HTTP server, as a `Handler`: what a reverse proxy passes requests to.

`Upstream(...)(request)` sends the request over a connection of its own and returns the answer as a
`Response`: a short body whole, a longer or endless one (a followed log) as a stream, a 101 as an
`Upgrade` whose raw bytes are spliced through. Because a server elsewhere and a handler in this
process look the same, what stands before them (kubelet connections, service proxies) need not know.

Connections are not kept: what comes this way (logs, exec, proxied pages) is rare and long. Components'
own API calls go through `skiff.client`, which keeps its connections.

Source: RFC 9112 (messages), RFC 9110 section 7.6.1 (hop-by-hop fields).
"""

import asyncio
import ssl
from dataclasses import dataclass

from skiff.aio.http.connection import Connection
from skiff.aio.http.message import RawConnection, Request, Response, Writer
from skiff.aio.run import first

CONNECT_TIMEOUT_S = 10.0
# A body of known length up to this is read whole, a longer one is streamed.
WHOLE_BODY_BYTES = 64 * 1024

HOP_BY_HOP = frozenset(
    (
        "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection",
        "te", "trailer", "transfer-encoding", "upgrade", "content-length", "date",
    )
)  # fmt: skip


class UpstreamError(ConnectionError):
    """The server could not be reached, or did not speak HTTP. The text is worded as Go's net package
    words it, because users know those messages."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """Where to connect. `tls` None means plain HTTP; `server_name` is checked against the certificate
    (where the context checks names) in place of `host`."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    server_name: str = ""
    connect_timeout_s: float = CONNECT_TIMEOUT_S

    async def __call__(self, request: Request) -> Response:
        """Send `request` (its path, query, headers and body as they are, hop-by-hop fields left out).

        Raises UpstreamError before an answer's head is there; a stream that breaks later raises
        ConnectionError from within the stream.
        """
        connection = await self._connect()
        try:
            bodiless = request.method == "HEAD"
            connection.send(self._head(request) + request.body, streaming=True, bodiless=bodiless)
            status, headers = await connection.head()
            if connection.upgraded or status == 101:
                return _upgraded(connection)
            length = headers.get("content-length", "")
            if bodiless or (length.isdigit() and int(length) <= WHOLE_BODY_BYTES):
                parts = []
                while data := await connection.read():
                    parts.append(data)
                connection.close()
                return connection.response(status, b"".join(parts))
            return _streamed(connection, status)
        except OSError as e:
            connection.abort()
            raise UpstreamError(_text(e)) from e
        except BaseException:
            connection.abort()
            raise

    async def _connect(self) -> "_Exchange":
        where = f"dial tcp {_authority(self.host, self.port)}"
        try:
            async with asyncio.timeout(self.connect_timeout_s):
                _, connection = await asyncio.get_running_loop().create_connection(
                    _Exchange,
                    self.host,
                    self.port,
                    ssl=self.tls,
                    server_hostname=(self.server_name or self.host) if self.tls else None,
                )
        except TimeoutError as e:
            raise UpstreamError(f"{where}: i/o timeout") from e
        except ssl.SSLError as e:
            raise UpstreamError(f"tls: {e.reason or e}") from e
        except OSError as e:
            raise UpstreamError(f"{where}: {_text(e)}") from e
        return connection

    def _head(self, request: Request) -> bytes:
        target = request.path + (f"?{request.query}" if request.query else "")
        lines = [f"{request.method} {target} HTTP/1.1"]
        if "host" not in request.headers:
            lines.append(f"Host: {_authority(self.host, self.port)}")
        lines += [f"{k.title()}: {v}" for k, v in request.headers.items() if k not in HOP_BY_HOP]
        if "upgrade" in request.headers:
            lines.append(f"Upgrade: {request.headers['upgrade']}")
            lines.append("Connection: Upgrade")
        else:
            lines.append("Connection: close")
        if request.body or request.method in ("POST", "PUT", "PATCH"):
            lines.append(f"Content-Length: {len(request.body)}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


class _Exchange(Connection):
    """A connection that keeps repeated fields apart: cookies cannot be joined with commas."""

    def __init__(self) -> None:
        super().__init__()
        self._fields: list[tuple[str, str]] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._fields.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def connection_lost(self, exc: Exception | None) -> None:
        framed = "content-length" in self._headers or "transfer-encoding" in self._headers
        if exc is None and self._status and not framed and not self.upgraded:
            self._finish()  # the end of the connection is the end of the body
        super().connection_lost(exc)

    def passed_on(self) -> tuple[tuple[str, str], ...]:
        """The fields that a proxy passes on (the content type travels apart)."""
        return tuple((k, v) for k, v in self._fields if k not in HOP_BY_HOP and k != "content-type")

    def response(self, status: int, body: bytes) -> Response:
        return Response(status, body, self.field("content-type"), self.passed_on())

    def field(self, name: str) -> str:
        return next((v for k, v in self._fields if k == name), "")


def _streamed(connection: _Exchange, status: int) -> Response:
    async def copy(writer: Writer) -> None:
        while data := await connection.read():
            writer.write(data)
            await writer.drain()

    async def stream(writer: Writer) -> None:
        try:
            await first(copy(writer), writer.gone())
        finally:
            connection.abort()

    response = connection.response(status, b"")
    response.stream = stream
    return response


def _upgraded(connection: _Exchange) -> Response:
    headers = (
        *connection.passed_on(),
        ("connection", "Upgrade"),
        ("upgrade", connection.field("upgrade")),
    )
    return Response(101, headers=headers, upgrade=lambda raw: splice(raw, connection))


async def splice(one: RawConnection, two: RawConnection) -> None:
    """Pass bytes both ways until either end closes; then close both."""

    async def copy(source: RawConnection, sink: RawConnection) -> None:
        while data := await source.read():
            sink.write(data)
            await sink.drain()

    try:
        await first(copy(one, two), copy(two, one))
    except ConnectionError:
        pass  # either end is gone: so is the other
    finally:
        one.close()
        two.close()


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _text(e: OSError) -> str:
    if isinstance(e, ConnectionRefusedError):
        return "connect: connection refused"
    if isinstance(e, ConnectionResetError):
        return "read: connection reset by peer"
    if "Connect call failed" in str(e):  # several addresses were tried: asyncio joins the texts
        return "connect: connection refused"
    if e.strerror:
        return f"connect: {e.strerror.lower()}"
    return str(e)
