"""SPDY and WebSocket connections over a `RawConnection`: the asyncio shell around the framing.

`SpdyConnection` gives streams that are read and written; `WebSocketConnection` gives messages. Each
has a `run()` that reads the connection and ends with it; it runs beside what uses the streams.
Memory is bounded by backpressure on the whole connection: while a stream holds unread bytes beyond
`HIGH_WATER_BYTES`, nothing more is read (the peers keep no window, see `skiff.aio.spdy`).
"""

import asyncio
from collections.abc import Iterable

from skiff.aio import spdy, websocket
from skiff.aio.http.message import RawConnection

HIGH_WATER_BYTES = 256 * 1024
# Streams that the peer opened and nobody has accepted yet; more are refused.
MAX_UNACCEPTED = 256


class SpdyStream:
    """One stream of a connection. `read` and `write` have one user each at a time."""

    def __init__(
        self, connection: "SpdyConnection", number: int, headers: spdy.Headers, *, ended: bool
    ) -> None:
        self.number = number
        self.headers = dict(headers)
        self._connection = connection
        self._inbox: list[bytes] = []
        self._ended = ended
        self._readable = asyncio.Event()
        self._consumed = asyncio.Event()
        self.reset_by_peer = False
        self.replied = asyncio.Event()

    async def read(self) -> bytes:
        """The next bytes; empty at the end."""
        while not self._inbox:
            if self._ended:
                return b""
            self._readable.clear()
            await self._readable.wait()
        data = b"".join(self._inbox)
        self._inbox.clear()
        self._consumed.set()
        return data

    async def read_all(self, limit: int) -> bytes:
        """All bytes to the end; raises ValueError beyond `limit`."""
        parts: list[bytes] = []
        size = 0
        while data := await self.read():
            size += len(data)
            if size > limit:
                raise ValueError(f"more than {limit} bytes")
            parts.append(data)
        return b"".join(parts)

    async def write(self, data: bytes) -> None:
        """Send bytes. Raises ConnectionError where the connection has gone."""
        await self._connection.send(self.number, data)

    def accept(self) -> None:
        """Answer a stream that the peer opened."""
        self._connection.session.reply(self.number)
        self._connection.flush()

    def close(self) -> None:
        """End our half."""
        self._connection.session.send(self.number, b"", fin=True)
        self._connection.flush()

    def reset(self, status: int = spdy.CANCEL) -> None:
        """End both halves at once."""
        self._connection.session.reset(self.number, status)
        self._connection.flush()
        self.end()

    def feed(self, data: bytes) -> None:
        """The connection's side: bytes came."""
        if data:
            self._inbox.append(data)
            self._readable.set()

    def end(self) -> None:
        """The connection's side: nothing more comes."""
        self._ended = True
        self._readable.set()
        self.replied.set()

    async def room(self) -> None:
        """The connection's side: return when little is unread."""
        while sum(map(len, self._inbox)) > HIGH_WATER_BYTES and not self._ended:
            self._consumed.clear()
            await self._consumed.wait()


class SpdyConnection:
    """A SPDY/3.1 connection."""

    def __init__(self, raw: RawConnection, *, client: bool) -> None:
        self.session = spdy.Session(client=client)
        self._raw = raw
        self._streams: dict[int, SpdyStream] = {}
        self._opened: asyncio.Queue[SpdyStream | None] = asyncio.Queue()
        self.closed = False

    async def run(self) -> None:
        """Read until the connection ends. A peer that breaks the protocol ends it too."""
        try:
            while data := await self._raw.read():
                for event in self.session.feed(data):
                    await self._on(event)
                self.flush()
        except (spdy.ProtocolError, ConnectionError):
            pass
        finally:
            self.close()

    async def accept(self) -> SpdyStream | None:
        """The next stream that the peer opened (answer it with `.accept()` or `.reset()`); None at
        the connection's end."""
        return await self._opened.get()

    async def open(self, headers: Iterable[tuple[str, str]]) -> SpdyStream:
        """Open a stream and wait until the peer accepts it. Raises ConnectionError where it does not."""
        headers = tuple(headers)
        number = self.session.open(headers)
        stream = self._streams[number] = SpdyStream(self, number, headers, ended=False)
        self.flush()
        await stream.replied.wait()
        if stream.reset_by_peer or self.closed:
            raise ConnectionResetError("stream was not accepted")
        return stream

    async def send(self, number: int, data: bytes) -> None:
        """Send bytes on a stream, waiting while much is queued."""
        if self.closed:
            raise ConnectionResetError("the connection is closed")
        self.session.send(number, data)
        self.flush()
        await self._raw.drain()

    def flush(self) -> None:
        """Write out what the session has queued; the loss of the connection shows on reading."""
        data = self.session.take()
        if data and not self.closed:
            try:
                self._raw.write(data)
            except ConnectionError:
                self.closed = True

    def close(self) -> None:
        """Send what is queued and close the connection; all streams end."""
        self.flush()
        self.closed = True
        self._raw.close()
        for stream in self._streams.values():
            stream.end()
        self._opened.put_nowait(None)

    async def _on(self, event: spdy.Event) -> None:
        if isinstance(event, spdy.StreamOpened):
            if self._opened.qsize() >= MAX_UNACCEPTED:
                self.session.reset(event.stream, spdy.REFUSED_STREAM)
                return
            stream = SpdyStream(self, event.stream, event.headers, ended=event.fin)
            self._streams[event.stream] = stream
            self._opened.put_nowait(stream)
            return
        if isinstance(event, (spdy.WentAway, spdy.SettingsReceived, spdy.Pong)):
            return
        known = self._streams.get(event.stream)
        if known is None:
            return
        if isinstance(event, spdy.StreamReset):
            known.reset_by_peer = True
            known.end()
            del self._streams[event.stream]
            return
        if isinstance(event, spdy.StreamReplied):
            known.replied.set()
        elif isinstance(event, spdy.DataReceived):
            known.feed(event.data)
            self.flush()
            await known.room()
        if not isinstance(event, spdy.HeadersReceived) and event.fin:
            known.end()


class WebSocketConnection:
    """A WebSocket connection."""

    def __init__(self, raw: RawConnection, *, client: bool = False, mask: bytes = b"") -> None:
        self.socket = websocket.WebSocket(client=client, mask=mask)
        self._raw = raw
        self._events: list[websocket.Event] = []
        self.closed = False

    async def receive(self) -> websocket.Message | None:
        """The next message; None at the end (closed, lost, or a peer that broke the protocol)."""
        while True:
            while self._events:
                event = self._events.pop(0)
                if isinstance(event, websocket.Message):
                    return event
                if isinstance(event, websocket.Closed):
                    self.close()
                    return None
            try:
                data = await self._raw.read()
                if not data:
                    self.close()
                    return None
                self._events = self.socket.feed(data)
            except (websocket.ProtocolError, ConnectionError):
                self.close()
                return None
            self._flush()

    async def send(self, data: bytes, *, text: bool = False) -> None:
        """Send one message. Raises ConnectionError where the connection has gone."""
        self.queue(data, text=text)
        await self._raw.drain()

    def queue(self, data: bytes, *, text: bool = False) -> None:
        """Send one message without waiting. Raises ConnectionError where the connection has gone."""
        if self.closed:
            raise ConnectionResetError("the connection is closed")
        self.socket.send(data, text=text)
        self._flush()

    @property
    def buffered(self) -> int:
        """Bytes that the peer has yet to take."""
        return self._raw.buffered

    async def drain(self) -> None:
        """Return when little is queued."""
        await self._raw.drain()

    def ping(self) -> None:
        """Send a ping, to keep what lies between from closing an idle connection."""
        self.socket.ping()
        self._flush()

    def close(self, code: int = websocket.NORMAL, reason: str = "") -> None:
        """Send a close frame (once) and close the connection."""
        self.socket.close(code, reason)
        self._flush()
        self.closed = True
        self._raw.close()

    def _flush(self) -> None:
        data = self.socket.take()
        if data and not self.closed:
            try:
                self._raw.write(data)
            except ConnectionError:
                self.closed = True
