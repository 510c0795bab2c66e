"""Reading and following a container's log file.

Only the container's current file is read, as Kubernetes does. A follower waits on inotify for the
directory, notices when the file was rotated (another inode under its name) and goes on with the new
one, and ends once the container no longer runs and all is read.

Reads are at most `CHUNK_BYTES` from the page cache at a time, with the writer's backpressure between.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from skiff.aio.clock import Clock
from skiff.aio.http.message import Writer
from skiff.aio.inotify import DirectoryWatcher
from skiff.node.log_format import LogFilter, LogOptions

CHUNK_BYTES = 64 * 1024
# How long a follower waits for a change before it asks whether the container still runs.
IDLE_CHECK_S = 0.5

Running = Callable[[], Awaitable[bool]]


@dataclass(slots=True)
class _Reader:
    """An open log file: bytes read but not yet ended by a newline wait in `rest`."""

    fd: int
    inode: int
    rest: bytes = b""

    @classmethod
    def open(cls, path: Path) -> "_Reader":
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        return cls(fd, os.fstat(fd).st_ino)

    def entries(self) -> bytes:
        """The next whole entries; empty at the end of what is there."""
        while data := os.read(self.fd, CHUNK_BYTES):
            data = self.rest + data
            end = data.rfind(b"\n") + 1
            self.rest = data[end:]
            if end:
                return data[:end]
        return b""

    def last_entries(self) -> bytes:
        """What is left at the final end, a torn entry included."""
        rest, self.rest = self.rest, b""
        return rest

    def close(self) -> None:
        os.close(self.fd)


def tail_offset(fd: int, lines: int) -> int:
    """Where the last `lines` lines of a file begin; found from its end."""
    size = os.fstat(fd).st_size
    if lines == 0:
        return size
    end = size
    found = 0
    while end > 0:
        start = max(0, end - CHUNK_BYTES)
        data = os.pread(fd, end - start, start)
        # The newline that ends the last line does not begin one.
        stop = len(data) - 1 if end == size else len(data)
        while (at := data.rfind(b"\n", 0, max(stop, 0))) >= 0:
            found += 1
            if found == lines:
                return start + at + 1
            stop = at
        end = start
    return 0


class LogReader:
    """Serves log files; holds the watcher that all followers share."""

    def __init__(self) -> None:
        self._watcher = DirectoryWatcher()

    def close(self) -> None:
        self._watcher.close()

    async def copy(self, path: Path, options: LogOptions, running: Running, writer: Writer) -> None:
        """Write what `options` ask for of the log at `path`. `running` says whether more may come.

        Raises FileNotFoundError where there is no such log, ConnectionError where the reader has gone.
        """
        reader = _Reader.open(path)
        try:
            if options.tail_lines >= 0:
                os.lseek(reader.fd, tail_offset(reader.fd, options.tail_lines), os.SEEK_SET)
            output = LogFilter(options)
            if not options.follow:
                await _drain(reader, output, writer)
                _put(writer, output.feed(reader.last_entries()))
                return
            with self._watcher.watch(path.parent) as changed:
                reader = await self._follow(reader, path, output, running, writer, changed)
        finally:
            reader.close()

    async def copy_memory(
        self,
        log: Callable[[], bytes],
        options: LogOptions,
        running: Running,
        writer: Writer,
        clock: Clock,
    ) -> None:
        """The same for a log that is kept in memory; `log` returns all of it so far."""
        output = LogFilter(options)
        entries = log()
        start = 0
        if options.tail_lines >= 0:
            lines = entries.splitlines(keepends=True)
            start = sum(map(len, lines[: max(0, len(lines) - options.tail_lines)]))
        ending = not options.follow
        while not output.done:
            _put(writer, output.feed(entries[start:]))
            await writer.drain()
            start = len(entries)
            if ending:
                return
            await clock.sleep(IDLE_CHECK_S)
            ending = not await running()
            entries = log()

    async def _follow(
        self,
        reader: _Reader,
        path: Path,
        output: LogFilter,
        running: Running,
        writer: Writer,
        changed: asyncio.Event,
    ) -> _Reader:
        ending = False
        while True:
            changed.clear()
            await _drain(reader, output, writer)
            if output.done:
                return reader
            if (inode := _inode(path)) and inode != reader.inode:
                # Rotated; what was written between the last read and the rename is still there.
                await _drain(reader, output, writer)
                old, reader = reader, _Reader.open(path)
                old.close()
                continue
            if ending:
                _put(writer, output.feed(reader.last_entries()))
                return reader
            try:
                async with asyncio.timeout(IDLE_CHECK_S):
                    await changed.wait()
            except TimeoutError:
                ending = not await running()


async def _drain(reader: _Reader, output: LogFilter, writer: Writer) -> None:
    while not output.done and (entries := reader.entries()):
        _put(writer, output.feed(entries))
        await writer.drain()


def _put(writer: Writer, data: bytes) -> None:
    if data:
        writer.write(data)


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return 0
