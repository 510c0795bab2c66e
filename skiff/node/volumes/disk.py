"""The real Disk: this machine's filesystem. Needs root for mounts and ownership."""

import os
import shutil
import stat
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import ParamSpec, TypeVar

from skiff.aio.clock import Clock
from skiff.node.volumes import atomic, mounts, subpath
from skiff.node.volumes.model import Payload, VolumeError

_READ_GROUP, _WRITE_GROUP, _ENTER_GROUP = 0o440, 0o660, 0o110

P = ParamSpec("P")
R = TypeVar("R")


def _translated(call: Callable[P, R]) -> Callable[P, R]:
    """Failures of the system as VolumeError."""

    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return call(*args, **kwargs)
        except OSError as e:
            where = f"{e.filename}: " if e.filename else ""
            raise VolumeError(f"{where}{(e.strerror or str(e)).lower()}") from e

    return wrapped


class RealDisk:
    """See the module's text."""

    blocks = True

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    @_translated
    def make_dir(self, path: Path, mode: int) -> None:
        path.mkdir(parents=True, exist_ok=True)
        if stat.S_IMODE(path.stat().st_mode) & 0o777 != mode:
            path.chmod(mode)

    @_translated
    def mount_tmpfs(self, path: Path, size_bytes: int) -> None:
        if not mounts.is_mount(path):
            # With the kernel's own mode: anybody's, and sticky.
            size = f"size={size_bytes}" if size_bytes else ""
            try:
                mounts.mount_filesystem("tmpfs", path, f"noswap,{size}".rstrip(","))
            except OSError:  # before Linux 6.4, or in a user namespace
                mounts.mount_filesystem("tmpfs", path, size)

    @_translated
    def mount_hugepages(self, path: Path, page_bytes: int) -> None:
        if not mounts.is_mount(path):
            size = f"pagesize={page_bytes}" if page_bytes else ""
            mounts.mount_filesystem("hugetlbfs", path, size)

    @_translated
    def write_payload(self, path: Path, payload: Payload, group: int | None) -> bool:
        now = datetime.fromtimestamp(self._clock.now(), UTC)

        def own(fresh: Path) -> None:
            if group is not None:
                _give(fresh, group, _READ_GROUP)

        if group is not None:
            _give_one(path, group, _READ_GROUP)
        return atomic.replace(path, payload, now.strftime("%Y_%m_%d_%H_%M_%S"), own)

    @_translated
    def give_to_group(self, path: Path, group: int, *, only_if_needed: bool) -> None:
        if only_if_needed:
            info = path.stat()
            wanted = _WRITE_GROUP | _ENTER_GROUP | stat.S_ISGID
            if info.st_gid == group and info.st_mode & wanted == wanted:
                return
        _give(path, group, _WRITE_GROUP)

    @_translated
    def check_host_path(self, path: Path, kind: str) -> None:
        if kind == "":
            return
        if kind == "DirectoryOrCreate" and not path.exists():
            path.mkdir(parents=True, mode=0o755)
        elif kind == "FileOrCreate" and not path.exists():
            path.touch(mode=0o644)
        checks: dict[str, tuple[Callable[[Path], bool], str]] = {
            "DirectoryOrCreate": (Path.is_dir, "a directory"),
            "Directory": (Path.is_dir, "a directory"),
            "FileOrCreate": (Path.is_file, "a file"),
            "File": (Path.is_file, "a file"),
            "Socket": (Path.is_socket, "a socket file"),
            "CharDevice": (Path.is_char_device, "a character device"),
            "BlockDevice": (Path.is_block_device, "a block device"),
        }
        if kind not in checks:
            raise VolumeError(f"{kind} is an invalid volume type")
        check, what = checks[kind]
        if not check(path):
            raise VolumeError(f"hostPath type check failed: {path} is not {what}")

    @_translated
    def exists(self, path: Path) -> bool:
        return path.exists()

    @_translated
    def bind_subpath(self, volume: Path, subpath_: str, target: Path) -> Path:
        return subpath.bind(volume, subpath_, target)

    @_translated
    def write_file(self, path: Path, data: bytes, mode: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        # In place, not renamed over: containers have this very file mounted.
        with open(path, "wb") as f:
            f.write(data)
        path.chmod(mode)

    def read_file(self, path: Path) -> bytes | None:
        try:
            return path.read_bytes()
        except OSError:
            return None

    @_translated
    def remove_tree(self, path: Path) -> None:
        for point in mounts.mounted_below(path):
            mounts.unmount(point)
        if left := mounts.mounted_below(path):
            raise VolumeError(f"{left[0]} is still mounted")
        if path.exists():
            shutil.rmtree(path)

    def children(self, path: Path) -> Sequence[str]:
        try:
            return sorted(p.name for p in path.iterdir())
        except OSError:
            return ()


def _give(root: Path, group: int, bits: int) -> None:
    """The tree's group, and what it may do; links themselves are left alone."""
    _give_one(root, group, bits)
    for directory, names, files in os.walk(root):
        for name in (*names, *files):
            _give_one(Path(directory, name), group, bits)


def _give_one(path: Path, group: int, bits: int) -> None:
    info = path.lstat()
    os.chown(path, -1, group, follow_symlinks=False)
    if stat.S_ISLNK(info.st_mode):
        return
    if stat.S_ISDIR(info.st_mode):
        bits |= _ENTER_GROUP | stat.S_ISGID
    # Changing the group may have cleared bits: the mode is set from what it was.
    path.chmod(stat.S_IMODE(info.st_mode) | bits)
