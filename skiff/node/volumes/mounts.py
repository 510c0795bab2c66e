"""Mounting, by the C library's mount(2) and umount2(2); what is mounted, from /proc/self/mountinfo."""

import ctypes
import functools
import os
from pathlib import Path

_MS_BIND, _MS_REC = 0x1000, 0x4000
_MNT_DETACH = 2
_UMOUNT_NOFOLLOW = 8
_MOUNT_INFO = Path("/proc/self/mountinfo")


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _call(result: int, path: Path) -> None:
    if result != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), str(path))


def mount(source: str, target: Path, kind: str, flags: int, options: str) -> None:
    """mount(2). Raises OSError."""
    _call(
        _libc().mount(
            source.encode(),
            os.fsencode(target),
            kind.encode(),
            ctypes.c_ulong(flags),
            options.encode(),
        ),
        target,
    )


def mount_filesystem(kind: str, target: Path, options: str) -> None:
    """Mount a kernel filesystem (tmpfs, hugetlbfs)."""
    mount(kind, target, kind, 0, options)


def bind(source: str, target: Path) -> None:
    """Mount what is at `source` at `target` too."""
    mount(source, target, "", _MS_BIND | _MS_REC, "")


def unmount(target: Path) -> None:
    """Unmount, at once where nothing uses it, else as soon as nothing does."""
    libc = _libc()
    path = os.fsencode(target)
    if libc.umount2(path, _UMOUNT_NOFOLLOW) != 0:
        _call(libc.umount2(path, _MNT_DETACH | _UMOUNT_NOFOLLOW), target)


def mounted_below(path: Path) -> list[Path]:
    """The mount points at and below `path`, innermost first."""
    prefix = str(path)
    found = []
    for line in _MOUNT_INFO.read_text(errors="surrogateescape").splitlines():
        point = _unescape(line.split(" ", 5)[4])
        if point == prefix or point.startswith(prefix + "/"):
            found.append(Path(point))
    return sorted(found, key=lambda p: len(p.parts), reverse=True)


def is_mount(path: Path) -> bool:
    """Whether exactly `path` is a mount point."""
    return any(p == path for p in mounted_below(path))


def _unescape(text: str) -> str:
    r"""mountinfo writes space, tab, newline and backslash as \040 and so on."""
    if "\\" not in text:
        return text
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, char)
    return text
