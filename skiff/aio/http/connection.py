"""The client's end of one HTTP/1.1 connection: one exchange at a time, then perhaps raw bytes.

A protocol on the loop's transport: bytes go into httptools' parser, whose callbacks fill the
exchange in hand. A response is collected whole, or streamed with flow control (reading pauses
while the consumer lags), or turns the connection into raw bytes after a 101.
"""

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httptools

# Reading pauses while more than this waits for a slow consumer, and resumes below half of it.
STREAM_BUFFER_BYTES = 256 * 1024
# A response that is collected whole and grows beyond this is refused: it should be streamed.
MAX_BODY_BYTES = 1 << 30


class Disconnected(ConnectionError):
    """The connection ended before the answer did. `answered` says that some of it had come."""

    def __init__(self, message: str, *, answered: bool) -> None:
        super().__init__(message)
        self.answered = answered


class ProtocolViolation(ConnectionError):
    """The peer does not speak HTTP/1.1 as it should."""


@dataclass(frozen=True, slots=True)
class ClientResponse:
    """A whole response; header names are lower case, repeated ones joined with ", "."""

    status: int
    headers: Mapping[str, str]
    body: bytes


_DELIMITING = frozenset(("content-length", "transfer-encoding"))
"""Headers that say where the body ends; without them it ends with the connection."""


class Connection(asyncio.Protocol):
    """See the module's text. Implements `message.RawConnection` once it is upgraded."""

    def __init__(self) -> None:
        self._transport: Any = None
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpResponseParser(self)
        # Lines may end without a CR (RFC 9112 section 2.2): scripts' answers do.
        self._parser.set_dangerous_leniencies(lenient_optional_cr_before_lf=True)
        self.closed = False
        self.busy = False
        self.idle_since = 0.0
        self._tls = False
        # The exchange in hand.
        self._headers: dict[str, str] = {}
        self._status = 0
        self._chunks: deque[bytes] = deque()
        self._buffered_bytes = 0
        self._streaming = False
        self._bodiless = False
        self._complete = False
        self._keep_alive = True
        self._headed: asyncio.Future[None] | None = None
        self._ended: asyncio.Future[None] | None = None
        self._readable: asyncio.Future[None] | None = None
        self._error: ConnectionError | None = None
        # Flow control and the raw phase.
        self._raw = False
        self._read_paused = False
        self._write_paused = False
        self._writable: deque[asyncio.Future[None]] = deque()
        self._lost: asyncio.Future[None] = self._loop.create_future()

    # Exchanges

    def send(self, data: bytes, *, streaming: bool, bodiless: bool) -> None:
        """Write a request's bytes; the response follows."""
        self.busy = True
        self._headers = {}
        self._status = 0
        self._chunks.clear()
        self._buffered_bytes = 0
        self._streaming = streaming
        self._bodiless = bodiless
        self._complete = False
        self._error = None
        self._headed = self._loop.create_future() if streaming else None
        self._ended = None if streaming else self._loop.create_future()
        if self.closed:
            raise Disconnected("the connection is closed", answered=False)
        self._transport.write(data)

    async def whole(self) -> ClientResponse:
        """The response to what was sent (not streaming)."""
        assert self._ended is not None
        await self._ended
        chunks = self._chunks
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        return ClientResponse(self._status, self._headers, body)

    async def head(self) -> tuple[int, Mapping[str, str]]:
        """Status and headers of a streamed response."""
        assert self._headed is not None
        await self._headed
        return self._status, self._headers

    async def read(self) -> bytes:
        """The next bytes of a streamed response, or of the raw connection; empty at the end."""
        while not self._chunks:
            if self._complete:
                return b""
            if self._error is not None:
                raise self._error
            if self.closed:
                if self._raw:
                    return b""
                raise Disconnected("the peer closed the connection mid-answer", answered=True)
            self._readable = self._loop.create_future()
            try:
                await self._readable
            finally:
                self._readable = None
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._buffered_bytes = 0
        if self._read_paused and not self.closed:
            self._read_paused = False
            self._transport.resume_reading()
        return data

    @property
    def reusable(self) -> bool:
        """The exchange is over and the connection may carry another."""
        return self._complete and self._keep_alive and not self.closed and not self._raw

    @property
    def upgraded(self) -> bool:
        """The connection has become raw bytes."""
        return self._raw

    # Raw connection (and Writer)

    def write(self, data: bytes) -> None:
        """Queue `data`. Raises Disconnected where the peer has gone."""
        if self.closed:
            raise Disconnected("the connection is closed", answered=True)
        self._transport.write(data)

    @property
    def buffered(self) -> int:
        return 0 if self.closed else int(self._transport.get_write_buffer_size())

    async def drain(self) -> None:
        """Return when little is queued. Raises Disconnected where the peer has gone."""
        while self._write_paused and not self.closed:
            waiter = self._loop.create_future()
            self._writable.append(waiter)
            await waiter
        if self.closed:
            raise Disconnected("the connection is closed", answered=True)

    async def gone(self) -> None:
        """Return when the connection has ended."""
        await asyncio.shield(self._lost)

    def close(self) -> None:
        """Send what is queued, then close."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self.closed = True
        if self._transport is not None:
            self._transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._tls = transport.get_extra_info("ssl_object") is not None

    def data_received(self, data: bytes) -> None:
        if self._raw:
            self._buffer(data)
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as e:
            self._raw = True
            self._complete = False
            rest = data[e.args[0] :]
            if rest:
                self._buffer(rest)
        except httptools.HttpParserError as e:
            self._fail(ProtocolViolation(f"the peer's answer is not HTTP/1.1: {e}"))
            self.abort()

    def eof_received(self) -> bool:
        if self._raw:
            self._complete = True
            self._wake_reader()
            return not self._tls  # plain TCP: the peer may still read
        if self._status and not self._complete and not self._headers.keys() & _DELIMITING:
            self._finish()  # the body is what came until the end (RFC 9112 section 6.3)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        if not self._complete and self.busy and not self._raw:
            reason = f": {exc}" if exc else ""
            self._fail(
                Disconnected(f"the peer closed the connection{reason}", answered=self._status != 0)
            )
        self._wake_reader()
        self._resume_writers()
        if not self._lost.done():
            self._lost.set_result(None)

    def pause_writing(self) -> None:
        self._write_paused = True

    def resume_writing(self) -> None:
        self._write_paused = False
        self._resume_writers()

    # httptools callbacks

    def on_header(self, name: bytes, value: bytes) -> None:
        key = name.decode("latin-1").lower()
        text = value.decode("latin-1")
        known = self._headers.get(key)
        self._headers[key] = f"{known}, {text}" if known is not None else text

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if 100 <= status < 200 and status != 101:
            self._headers = {}  # interim: the answer follows
            return
        self._status = status
        self._keep_alive = self._parser.should_keep_alive()
        if self._headed is not None and not self._headed.done():
            self._headed.set_result(None)
        if self._bodiless:  # HEAD: a length that no body follows; the parser cannot know
            self._keep_alive = False
            self._finish()

    def on_body(self, body: bytes) -> None:
        self._buffer(body)

    def on_message_complete(self) -> None:
        if self._status and self._status != 101:
            self._finish()

    # Inner workings

    def _buffer(self, data: bytes) -> None:
        self._chunks.append(data)
        self._buffered_bytes += len(data)
        if self._streaming or self._raw:
            self._wake_reader()
            if self._buffered_bytes > STREAM_BUFFER_BYTES and not self._read_paused:
                self._read_paused = True
                self._transport.pause_reading()
        elif self._buffered_bytes > MAX_BODY_BYTES:
            self._fail(ProtocolViolation(f"the answer is larger than {MAX_BODY_BYTES} bytes"))
            self.abort()

    def _finish(self) -> None:
        self._complete = True
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)
        self._wake_reader()

    def _fail(self, error: ConnectionError) -> None:
        self._error = error
        for future in (self._headed, self._ended):
            if future is not None and not future.done():
                future.set_exception(error)
        self._wake_reader()

    def _wake_reader(self) -> None:
        if self._readable is not None and not self._readable.done():
            self._readable.set_result(None)

    def _resume_writers(self) -> None:
        while self._writable:
            waiter = self._writable.popleft()
            if not waiter.done():
                waiter.set_result(None)
