"""Replacing a directory's visible files all at once.

The files lie in a directory named after the time; `..data` is a link to it; each visible name is a
link through `..data`. Renaming a new `..data` over the old switches all files in one step, and a
reader who holds the old directory open reads on undisturbed.

    visible.conf -> ..data/visible.conf
    ..data       -> ..2026_01_31_09_08_07.123456789
    ..2026_01_31_09_08_07.123456789/visible.conf
"""

import os
import shutil
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

from skiff.node.volumes.model import File, Payload

DATA = "..data"
DATA_NEW = "..data_tmp"


def replace(directory: Path, payload: Payload, stamp: str, own: Callable[[Path], None]) -> bool:
    """Make the visible files of `directory` exactly `payload`; returns whether that changed anything.

    `stamp` begins the new directory's name; `own` sets ownership in it before it becomes visible.
    """
    current = _current(directory)
    if current is not None and _same(current, payload):
        _link_visible(directory, payload)
        return False
    fresh = Path(tempfile.mkdtemp(prefix=f"..{stamp}.", dir=directory))
    try:
        fresh.chmod(0o755)
        for name, file in payload.items():
            _write(fresh, name, file)
        own(fresh)
        link = directory / DATA_NEW
        link.unlink(missing_ok=True)
        link.symlink_to(fresh.name)
        link.rename(directory / DATA)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    _link_visible(directory, payload)
    if current is not None:
        shutil.rmtree(current, ignore_errors=True)
    return True


def _current(directory: Path) -> Path | None:
    try:
        return directory / (directory / DATA).readlink()
    except OSError:
        return None


def _write(root: Path, name: str, file: File) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(file.data)
    path.chmod(file.mode)
    if file.uid is not None:
        os.chown(path, file.uid, -1)


def _same(current: Path, payload: Payload) -> bool:
    found = {p.relative_to(current).as_posix() for p in current.rglob("*") if not p.is_dir()}
    if found != set(payload):
        return False
    for name, file in payload.items():
        path = current / name
        # Group ownership adds bits for the group; the wanted bits must be among them.
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & file.mode != file.mode or path.read_bytes() != file.data:
            return False
    return True


def _link_visible(directory: Path, payload: Payload) -> None:
    wanted = {name.split("/", 1)[0] for name in payload}
    for path in directory.iterdir():
        if not path.name.startswith("..") and path.is_symlink() and path.name not in wanted:
            path.unlink()
    for name in wanted:
        link = directory / name
        if not link.is_symlink():
            link.symlink_to(f"{DATA}/{name}")
