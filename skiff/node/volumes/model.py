"""What volumes are made of, and the Disk that they are made on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class VolumeError(Exception):
    """A volume cannot be made as things stand now. The text is Kubernetes'."""

    step = "MountVolume.SetUp failed"
    """What failed, in Kubernetes' words."""
    volume = ""
    """The persistent volume that it is about, if it is about one."""


class NoMounter(VolumeError):
    """The volume is not there to be mounted."""

    step = "MountVolume.NewMounter initialization failed"


@dataclass(frozen=True, slots=True)
class File:
    """One file of a content volume. `uid` None: root."""

    data: bytes
    mode: int
    uid: int | None = None


Payload = Mapping[str, File]
"""Files by their paths relative to the volume."""


@dataclass(frozen=True, slots=True)
class Ready:
    """A volume that is set up: where it lies on the host, and whether containers may write."""

    path: Path
    readonly: bool = False
    block: bool = False


class Disk(Protocol):
    """The host's filesystem, as volumes use it. Every call may be repeated; failures are VolumeError."""

    @property
    def blocks(self) -> bool:
        """Whether large work on it takes time, so that it belongs into a thread."""

    def make_dir(self, path: Path, mode: int) -> None:
        """Make a directory with exactly that mode, and its parents."""

    def mount_tmpfs(self, path: Path, size_bytes: int) -> None:
        """Make `path` a tmpfs; a size of 0 means the kernel's default."""

    def mount_hugepages(self, path: Path, page_bytes: int) -> None:
        """Make `path` a hugetlbfs; 0 means the default page size."""

    def write_payload(self, path: Path, payload: Payload, group: int | None) -> bool:
        """Make the volume's visible files exactly `payload`, all at once. Returns whether anything
        changed. `group` owns the files and may read them."""

    def give_to_group(self, path: Path, group: int, *, only_if_needed: bool) -> None:
        """Make the tree writable for a group (fsGroup)."""

    def check_host_path(self, path: Path, kind: str) -> None:
        """Check a hostPath of a type, and make it where the type says so."""

    def exists(self, path: Path) -> bool:
        """Whether there is anything at a path of the host."""

    def bind_subpath(self, volume: Path, subpath: str, target: Path) -> Path:
        """Make what lies at `subpath` inside `volume` available at a path that nothing in the volume
        can redirect; returns that path. What is missing is made as a directory. Raises VolumeError
        where the path leads out of the volume."""

    def write_file(self, path: Path, data: bytes, mode: int) -> None:
        """Write a small file of the kubelet's own, in place."""

    def read_file(self, path: Path) -> bytes | None:
        """A small file, or None."""

    def remove_tree(self, path: Path) -> None:
        """Unmount everything below `path` and remove it. Never removes what is mounted."""

    def children(self, path: Path) -> Sequence[str]:
        """Names in a directory; none where it does not exist."""
