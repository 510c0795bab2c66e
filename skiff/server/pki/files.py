"""Writing a file so that a reader sees the old text or the new one, never half of one."""

import contextlib
import os
from pathlib import Path


def write_atomically(path: Path, data: bytes, *, mode: int, durable: bool = False) -> None:
    """Replace `path` by `data` with permission bits `mode`; `durable` waits for the disk."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    try:
        with open(descriptor, "wb") as file:
            os.fchmod(file.fileno(), mode)  # the umask, or an old file, may have narrowed it
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()
        raise
