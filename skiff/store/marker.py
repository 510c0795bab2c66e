"""The file beside a database that says that it exists, who has it open, and whether it was left cleanly.

A database that is gone is not a new one: SQLite would create an empty file and nobody would know. The
marker remembers. It also carries the lock (flock: the kernel lets go of it when the process dies).
One record of fixed length, rewritten in place: a torn write cannot leave half a line.
"""

import fcntl
import os
from pathlib import Path

from skiff.store.protocol import Locked

NEW = "new"
"""No database was ever made here, as far as the marker knows."""
OPENING = "opening"
"""Its log is being taken over: it may be there or not."""
OPEN = "open"
"""In use, or left without goodbye: a log with a header must be beside it."""
CLOSED = "closed"
"""Left cleanly: no log is needed."""

_STATES = (OPENING, OPEN, CLOSED)


class Marker:
    """The marker of the database at `path`, locked for this store until `release`."""

    def __init__(self, path: Path) -> None:
        """Raises Locked, OSError."""
        self.path = path.with_name(path.name + ".state")
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        words = os.pread(self._fd, 100, 0).decode("ascii", "replace").split()
        self.state = words[1] if len(words) > 1 and words[1] in _STATES else NEW
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as e:
            os.close(self._fd)
            owner = f"process {words[3]}" if len(words) > 3 else "another process"
            raise Locked(f"{path} is in use by {owner}: stop that, or use another file") from e

    def set(self, state: str) -> None:
        """Write down `state`, durably."""
        record = f"skiff-store {state} pid {os.getpid()}".ljust(63) + "\n"
        os.pwrite(self._fd, record.encode(), 0)
        os.fsync(self._fd)
        self.state = state

    def release(self) -> None:
        os.close(self._fd)


def sync_directory(path: Path) -> None:
    """Make the names in the directory of `path` durable."""
    fd = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
