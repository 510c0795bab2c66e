"""The pods of a directory of manifests, and their mirrors in the API.

The directory is looked at every second: a new file is a new pod, a changed one another pod in the
old one's place, and when a file goes its pod ends. Each pod has a mirror in the API, so that it can
be seen there; who deletes the mirror deletes nothing else, and it is made again.

Source: https://kubernetes.io/docs/tasks/configure-pod-container/static-pod/
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable
from pathlib import Path

from skiff.aio.clock import Clock, rfc3339
from skiff.aio.run import Started
from skiff.api.errors import AlreadyExists, ApiError, Conflict, NotFound
from skiff.api.resources import PODS
from skiff.api.views.node import Node
from skiff.api.views.pod import Pod
from skiff.client.client import Client
from skiff.node.config import KubeletConfig
from skiff.node.static.manifest import (
    InvalidManifest,
    Object,
    as_view,
    mirror_of,
    read_pod,
    shows,
)

PERIOD_S = 1.0
RETRY_S = 2.0

Key = tuple[str, str]  # namespace and name

log = logging.getLogger(__name__)


class StaticPods:
    """See the module's text. A component. `changed` is called when the directory's pods are others
    (`wanted`), `mirrored` with the uid of a static pod whose mirror came, changed or went; `ending`
    says whether a pod of that name is still on its way out."""

    def __init__(
        self,
        config: KubeletConfig,
        client: Client,
        clock: Clock,
        node: Callable[[], Node],
        *,
        changed: Callable[[], None],
        mirrored: Callable[[str, Pod | None], None],
        ending: Callable[[Key], bool],
    ) -> None:
        self._config = config
        self._client = client
        self._clock = clock
        self._node = node
        self._changed = changed
        self._mirrored = mirrored
        self._ending = ending
        self._files: dict[Path, tuple[tuple[int, ...], Object | None]] = {}
        self._wanted: dict[Key, tuple[Pod, Object]] = {}
        self._mirrors: dict[Key, Pod] = {}
        self._wake = asyncio.Event()

    def wanted(self) -> list[Pod]:
        """The pods that the directory asks for now."""
        return [pod for pod, _ in self._wanted.values()]

    def has(self, pod: Pod) -> bool:
        """Whether the directory asks for this very pod."""
        entry = self._wanted.get(_key(pod))
        return entry is not None and entry[0].metadata.uid == pod.metadata.uid

    def mirror(self, static: Pod) -> Pod | None:
        """The pod's mirror, where there is one."""
        found = self._mirrors.get(_key(static))
        return found if found is not None and shows(found, static) else None

    def see(self, old: Pod | None, new: Pod | None) -> None:
        """A mirror came, changed or went in the API."""
        if new is not None:
            self._mirrors[_key(new)] = new
        elif old is not None:
            self._mirrors.pop(_key(old), None)
        about = new or old
        assert about is not None
        entry = self._wanted.get(_key(about))
        if entry is not None:
            self._mirrored(entry[0].metadata.uid, self.mirror(entry[0]))
        self._wake.set()

    def hurry(self) -> None:
        """A pod ended: its mirror may go."""
        self._wake.set()

    async def run(self, started: Started) -> None:
        """Follow the directory until cancelled."""
        self.load()
        started()
        while True:
            period = PERIOD_S
            try:
                await self._mirror_all()
            except ApiError as e:
                log.debug("mirror pods: %s", e)
                period = RETRY_S
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(period):
                    await self._wake.wait()
            if self.load():
                self._changed()

    # ---- the directory

    def load(self) -> bool:
        """Look at the directory; True where it asks for other pods than before. A few small local
        files: this does not block."""
        top = Path(self._config.static_pod_path)
        files: dict[Path, tuple[tuple[int, ...], Object | None]] = {}
        for path in _manifests(top):
            try:
                about = path.stat()
                mark = (about.st_mtime_ns, about.st_size, about.st_ino)
                known = self._files.get(path)
                files[path] = known if known and known[0] == mark else (mark, self._read(path))
            except OSError as e:
                log.debug("manifest %s: %s", path, e)
        if files == self._files:
            return False
        self._files = files
        wanted: dict[Key, tuple[Pod, Object]] = {}
        for path, (_, static) in files.items():
            if static is None:
                continue
            view = as_view(static)
            if _key(view) in wanted:
                log.warning("manifest %s: there is a pod %s already", path, view.metadata.name)
                continue
            before = self._wanted.get(_key(view))
            same = before is not None and before[0].metadata.uid == view.metadata.uid
            wanted[_key(view)] = before if before is not None and same else (view, static)
        changed = {p.metadata.uid for p, _ in wanted.values()} != {
            p.metadata.uid for p, _ in self._wanted.values()
        }
        self._wanted = wanted
        return changed

    def _read(self, path: Path) -> Object | None:
        seen_at = rfc3339(self._clock.now())
        try:
            return read_pod(path.read_bytes(), str(path), self._config.node_name, seen_at)
        except InvalidManifest as e:
            log.warning("manifest %s: %s", path, e)
            return None

    # ---- the mirrors

    async def _mirror_all(self) -> None:
        for key in {*self._wanted, *self._mirrors}:
            entry, mirror = self._wanted.get(key), self._mirrors.get(key)
            if mirror is None:
                if entry is not None:
                    await self._create(entry[1])
            elif entry is None:
                if not self._ending(key):
                    await self._delete(mirror)
            elif not shows(mirror, entry[0]):
                await self._delete(mirror)

    async def _create(self, static: Object) -> None:
        node = self._node()
        if not node.metadata.uid:
            return
        mirror = mirror_of(static, self._config.node_name, node.metadata.uid)
        with contextlib.suppress(AlreadyExists):
            await self._client.create(PODS, mirror, static["metadata"]["namespace"])

    async def _delete(self, mirror: Pod) -> None:
        meta = mirror.metadata
        with contextlib.suppress(NotFound, Conflict):
            await self._client.delete(
                PODS, meta.name, meta.namespace, uid=meta.uid, grace_period_s=0
            )


def _manifests(top: Path) -> list[Path]:
    """The files to read: all of the directory but hidden ones, or the file itself."""
    try:
        if not top.is_dir():
            return [top] if top.is_file() else []
        with os.scandir(top) as found:
            return sorted(Path(e.path) for e in found if not e.name.startswith(".") and e.is_file())
    except OSError as e:
        log.debug("manifests in %s: %s", top, e)
        return []


def _key(pod: Pod) -> Key:
    return pod.metadata.namespace, pod.metadata.name
