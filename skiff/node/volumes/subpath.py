"""Subpaths of volumes, safely: a link inside the volume may not lead out of it.

The path is resolved, checked to lie inside the volume, and then opened one component at a time
without following links; what was opened is bound to a path of the kubelet's own. A container that
swaps a directory for a link meanwhile makes the opening fail, and cannot redirect it.
"""

import os
import stat
from pathlib import Path

from skiff.node.volumes import mounts
from skiff.node.volumes.model import VolumeError


def bind(volume: Path, subpath: str, target: Path) -> Path:
    """See `Disk.bind_subpath`."""
    root = Path(os.path.realpath(volume))
    wanted = Path(os.path.realpath(root / subpath))
    if not wanted.is_relative_to(root):
        raise VolumeError(f"subpath {subpath!r} is outside of the volume")
    relative = wanted.relative_to(root)
    fd = _open(root, relative, mode=stat.S_IMODE(root.stat().st_mode))
    try:
        _clear(target)
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            target.mkdir(exist_ok=True, mode=0o750)
        else:
            target.touch(mode=0o640)
        mounts.bind(f"/proc/self/fd/{fd}", target)
    finally:
        os.close(fd)
    return target


def _open(root: Path, relative: Path, mode: int) -> int:
    """A descriptor of `root/relative`; directories that are missing are made with `mode`."""
    flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(root, os.O_PATH | os.O_CLOEXEC)
    try:
        for part in relative.parts:
            try:
                step = os.open(part, flags, dir_fd=fd)
            except FileNotFoundError:
                os.mkdir(part, mode, dir_fd=fd)
                step = os.open(part, flags | os.O_DIRECTORY, dir_fd=fd)
                Path(f"/proc/self/fd/{step}").chmod(mode)  # past the umask
                group = os.fstat(fd).st_gid
                os.chown(f"/proc/self/fd/{step}", -1, group)
            os.close(fd)
            fd = step
            if stat.S_ISLNK(os.fstat(fd).st_mode):
                raise VolumeError(f"{part!r} became a link while the subpath was opened")
    except BaseException:
        os.close(fd)
        raise
    return fd


def _clear(target: Path) -> None:
    """Take an earlier binding away (a container that starts again may find another file)."""
    while mounts.is_mount(target):
        mounts.unmount(target)
    if target.is_dir() and not target.is_symlink():
        target.rmdir()
    else:
        target.unlink(missing_ok=True)
