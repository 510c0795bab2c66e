"""The Disk's twin in memory, for simulated nodes and tests: remembers what was made where."""

from collections.abc import Sequence
from pathlib import Path

from skiff.node.volumes.model import Payload


class MemoryDisk:
    """A Disk on which every hostPath exists."""

    blocks = False

    def __init__(self) -> None:
        self.dirs: dict[Path, int] = {}
        self.payloads: dict[Path, Payload] = {}
        self.groups: dict[Path, int] = {}
        self.files: dict[Path, bytes] = {}

    def make_dir(self, path: Path, mode: int) -> None:
        self.dirs[path] = mode

    def mount_tmpfs(self, path: Path, size_bytes: int) -> None:
        del path, size_bytes

    def mount_hugepages(self, path: Path, page_bytes: int) -> None:
        del path, page_bytes

    def write_payload(self, path: Path, payload: Payload, group: int | None) -> bool:
        del group
        changed = self.payloads.get(path) != payload
        self.payloads[path] = payload
        return changed

    def give_to_group(self, path: Path, group: int, *, only_if_needed: bool) -> None:
        del only_if_needed
        self.groups[path] = group

    def check_host_path(self, path: Path, kind: str) -> None:
        del path, kind

    def exists(self, path: Path) -> bool:
        del path
        return True

    def bind_subpath(self, volume: Path, subpath: str, target: Path) -> Path:
        del target
        return volume / subpath

    def write_file(self, path: Path, data: bytes, mode: int) -> None:
        del mode
        self.files[path] = data

    def read_file(self, path: Path) -> bytes | None:
        for directory, payload in self.payloads.items():
            if path.is_relative_to(directory):
                file = payload.get(path.relative_to(directory).as_posix())
                return None if file is None else file.data
        return self.files.get(path)

    def remove_tree(self, path: Path) -> None:
        stores: tuple[dict[Path, object], ...] = (
            self.dirs, self.payloads, self.groups, self.files,  # type: ignore[assignment] # keys are paths
        )  # fmt: skip
        for store in stores:
            for known in [p for p in store if p.is_relative_to(path)]:
                del store[known]

    def children(self, path: Path) -> Sequence[str]:
        found = (*self.dirs, *self.files)
        return sorted(
            {p.relative_to(path).parts[0] for p in found if p.is_relative_to(path) and p != path}
        )
