"""Waiting for changes in directories, by Linux's inotify (inotify(7)) through the C library.

One descriptor serves all waiters. Watching starts with the first waiter of a directory and ends with
its last.
"""

import asyncio
import contextlib
import ctypes
import os
import struct
from collections.abc import Iterator
from pathlib import Path

_MODIFY, _MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x2, 0x40, 0x80, 0x100, 0x200
_MASK = _MODIFY | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE
_READ_BYTES = 64 * 1024
_EVENT = struct.Struct("iIII")


class DirectoryWatcher:
    """See the module's text. Belongs to one event loop."""

    def __init__(self) -> None:
        self._libc: ctypes.CDLL | None = None
        self._fd = -1
        self._waiters: dict[int, set[asyncio.Event]] = {}

    @contextlib.contextmanager
    def watch(self, directory: Path) -> Iterator[asyncio.Event]:
        """An event that is set on each change in `directory` (the user clears it). Raises OSError
        where it cannot be watched."""
        libc = self._open()
        number = libc.inotify_add_watch(self._fd, os.fsencode(directory), _MASK)
        if number < 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error), str(directory))
        event = asyncio.Event()
        self._waiters.setdefault(number, set()).add(event)
        try:
            yield event
        finally:
            waiters = self._waiters.get(number, set())
            waiters.discard(event)
            if not waiters and self._waiters.pop(number, None) is not None:
                libc.inotify_rm_watch(self._fd, number)

    def close(self) -> None:
        """Let go of the descriptor."""
        if self._fd >= 0:
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _open(self) -> ctypes.CDLL:
        if self._libc is None:
            self._libc = ctypes.CDLL(None, use_errno=True)
        if self._fd < 0:
            fd = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
            if fd < 0:
                error = ctypes.get_errno()
                raise OSError(error, os.strerror(error))
            self._fd = fd
            asyncio.get_running_loop().add_reader(fd, self._readable)
        return self._libc

    def _readable(self) -> None:
        try:
            data = os.read(self._fd, _READ_BYTES)
        except BlockingIOError:
            return
        offset = 0
        while offset < len(data):
            number, _, _, length = _EVENT.unpack_from(data, offset)
            offset += _EVENT.size + length
            # -1 says that events were lost: everybody looks again.
            waiters = self._waiters.get(number, ())
            for event in waiters if number >= 0 else [e for s in self._waiters.values() for e in s]:
                event.set()
