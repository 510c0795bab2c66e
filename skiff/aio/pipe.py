"""Raw connections in memory: what one end writes, the other reads."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from skiff.aio.http.message import Upgrade

PIPE_HIGH_WATER_BYTES = 256 * 1024


class PipeEnd:
    """One end of `pipe()`; a `RawConnection`. Writers that `drain` wait while the reader lags."""

    def __init__(self) -> None:
        self._inbox: list[bytes] = []
        self._size = 0
        self._ended = False
        self._closed = asyncio.Event()
        self._readable = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self.other: PipeEnd = self

    @property
    def buffered(self) -> int:
        """Bytes written here and not yet read at the other end."""
        return self.other._size

    def write(self, data: bytes) -> None:
        """Queue bytes for the other end. Raises ConnectionError where either end is closed."""
        if self._closed.is_set() or self.other._closed.is_set():
            raise ConnectionResetError("the pipe is closed")
        if not data:
            return
        peer = self.other
        peer._inbox.append(data)
        peer._size += len(data)
        peer._readable.set()
        if peer._size > PIPE_HIGH_WATER_BYTES:
            peer._room.clear()

    async def drain(self) -> None:
        """Return when the reader has kept up."""
        await self.other._room.wait()
        if self.other._closed.is_set():
            raise ConnectionResetError("the pipe is closed")

    async def gone(self) -> None:
        """Return when the other end is closed."""
        await self.other._closed.wait()

    async def read(self) -> bytes:
        """The next bytes; empty at the end."""
        while not self._inbox:
            if self._ended or self._closed.is_set():
                return b""
            self._readable.clear()
            await self._readable.wait()
        data = b"".join(self._inbox)
        self._inbox.clear()
        self._size = 0
        self._room.set()
        return data

    def close(self) -> None:
        """End this end; the other reads what is queued, then the end."""
        self._closed.set()
        self._readable.set()
        self._room.set()
        self.other._ended = True
        self.other._readable.set()


def pipe() -> tuple[PipeEnd, PipeEnd]:
    """Two connected ends."""
    one, two = PipeEnd(), PipeEnd()
    one.other, two.other = two, one
    return one, two


@contextlib.asynccontextmanager
async def attached(upgrade: Upgrade) -> AsyncIterator[PipeEnd]:
    """Run what serves a raw connection on one end of a pipe, and hand out the other end. What it
    wrote before it ended can still be read; leaving cancels it."""
    near, far = pipe()

    async def serve() -> None:
        try:
            await upgrade(far)
        except ConnectionError:
            pass  # the other end shows it
        finally:
            far.close()

    task = asyncio.create_task(serve(), name="upgraded connection")
    try:
        yield near
    finally:
        near.close()
        task.cancel()
        await asyncio.wait([task])
