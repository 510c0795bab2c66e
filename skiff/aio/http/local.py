"""Calling a handler in this process, as a connection would: no sockets, no bytes on a wire.

A streamed response runs as a task whose writer hands its bytes to the consumer directly; the task
ends when the consumer leaves. What is queued is visible to the writer (`buffered`), so that a
handler treats a slow consumer here as it treats one on a connection.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Mapping

from skiff.aio.http.connection import ClientResponse
from skiff.aio.http.message import Handler, Request, Response, Stream

DRAINED_BYTES = 64 * 1024


class LocalStream:
    """Both ends of a streamed response: the handler's `Writer`, and the consumer's `read`."""

    def __init__(self, status: int, headers: Mapping[str, str]) -> None:
        self.status = status
        self.headers = headers
        self._loop = asyncio.get_running_loop()
        self._chunks: deque[bytes] = deque()
        self._queued_bytes = 0
        self._ended = False
        self._left = False
        self._readable: asyncio.Future[None] | None = None
        self._drained: deque[asyncio.Future[None]] = deque()
        self._gone: asyncio.Future[None] = self._loop.create_future()

    # The handler's side

    def write(self, data: bytes) -> None:
        if self._left:
            raise ConnectionError("the consumer has gone")
        if data:
            self._chunks.append(data)
            self._queued_bytes += len(data)
            self._wake()

    @property
    def buffered(self) -> int:
        return self._queued_bytes

    async def drain(self) -> None:
        while self._queued_bytes > DRAINED_BYTES and not self._left:
            waiter = self._loop.create_future()
            self._drained.append(waiter)
            await waiter
        if self._left:
            raise ConnectionError("the consumer has gone")

    async def gone(self) -> None:
        await asyncio.shield(self._gone)

    def end(self) -> None:
        """The handler has written all."""
        self._ended = True
        self._wake()

    # The consumer's side

    async def read(self) -> bytes:
        """The next bytes; empty at the end."""
        while not self._chunks:
            if self._ended:
                return b""
            self._readable = self._loop.create_future()
            try:
                await self._readable
            finally:
                self._readable = None
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._queued_bytes = 0
        self._wake_writers()
        return data

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while data := await self.read():
            yield data

    def leave(self) -> None:
        """The consumer has gone."""
        self._left = True
        if not self._gone.done():
            self._gone.set_result(None)
        self._wake_writers()

    def _wake(self) -> None:
        if self._readable is not None and not self._readable.done():
            self._readable.set_result(None)

    def _wake_writers(self) -> None:
        while self._drained:
            waiter = self._drained.popleft()
            if not waiter.done():
                waiter.set_result(None)


async def respond(handler: Handler, request: Request) -> Response:
    """The handler's response to `request`."""
    response = handler(request)
    if isinstance(response, Response):
        return response
    return await response


async def call(handler: Handler, request: Request) -> ClientResponse:
    """The handler's whole response; a stream is read to its end."""
    response = await respond(handler, request)
    headers = _headers(response)
    if response.stream is not None:
        async with _running(response.stream, LocalStream(response.status, headers)) as stream:
            body = b"".join([chunk async for chunk in stream])
    elif isinstance(response.body, bytes):
        body = response.body
    else:
        body = b"".join(response.body)
    return ClientResponse(response.status, headers, body)


@contextlib.asynccontextmanager
async def open_stream(handler: Handler, request: Request) -> AsyncIterator[LocalStream]:
    """The handler's response as a stream (one that is not streamed is one chunk)."""
    response = await respond(handler, request)
    stream = LocalStream(response.status, _headers(response))
    if response.stream is not None:
        async with _running(response.stream, stream):
            yield stream
        return
    body = response.body if isinstance(response.body, bytes) else b"".join(response.body)
    stream.write(body)
    stream.end()
    yield stream


@contextlib.asynccontextmanager
async def _running(write: Stream, stream: LocalStream) -> AsyncIterator[LocalStream]:
    async def produce() -> None:
        try:
            await write(stream)
        except ConnectionError:
            if not stream.buffered and not stream._left:
                raise
        finally:
            stream.end()

    task = asyncio.create_task(produce(), name="local stream")
    try:
        yield stream
    finally:
        stream.leave()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait([task])
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error


def _headers(response: Response) -> dict[str, str]:
    headers = {"content-type": response.content_type}
    for name, value in response.headers:
        key = name.lower()
        headers[key] = f"{headers[key]}, {value}" if key in headers else value
    return headers
