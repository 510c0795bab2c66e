"""Emptying a directory of this machine: what deleting a hostPath volume means."""

import asyncio
import shutil
from pathlib import Path


async def remove(path: str) -> None:
    """Remove the file or tree, if it is there. Raises OSError."""
    await asyncio.to_thread(_remove, Path(path))


def _remove(where: Path) -> None:
    if where.is_dir() and not where.is_symlink():
        shutil.rmtree(where)
    else:
        where.unlink(missing_ok=True)
