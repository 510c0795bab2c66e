"""The volumes of all pods on this node, and what else of a pod lies on disk.

`setup` brings a pod's volumes to what its spec and the objects say now; the kubelet calls it before
containers start, and it is called from here whenever an object that the pod refers to changed or a
token is due. A failed `setup` is repeated by the kubelet; `changed` tells it when that is worth while.

Not here: what a container's environment is (`skiff.node.environment`); containers themselves.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from skiff.aio.clock import Clock
from skiff.aio.entropy import Entropy
from skiff.aio.run import Started
from skiff.api.views.core import ConfigMap, Pod, Secret, Service
from skiff.client.client import Client
from skiff.node.config import KubeletConfig
from skiff.node.downward import AnyContainer, every_container
from skiff.node.environment import ConfigError, Environment, build_env
from skiff.node.resolver import hosts_file
from skiff.node.runtime import Mount
from skiff.node.volumes.container import container_mounts
from skiff.node.volumes.model import Disk, Ready, VolumeError
from skiff.node.volumes.objects import NotSynced, ObjectCache, references
from skiff.node.volumes.plugins import IMAGE_DIR_MODE, IMAGE_PLUGIN, PLUGINS, Context
from skiff.node.volumes.tokens import Tokens

log = logging.getLogger(__name__)

HOSTS_MODE = 0o644
TERMINATION_LOG_MODE = 0o666
DEFAULT_TERMINATION_PATH = "/dev/termination-log"
HOST_HOSTS = Path("/etc/hosts")
# A renewal that failed is tried again after this long.
RENEW_RETRY_S = 10.0


@dataclass(slots=True)
class _PodVolumes:
    """One pod's volumes. `images` are where images of image volumes were mounted last, which `ready`
    does not know; `lock` keeps setups of one pod apart; `gone` ends them."""

    pod: Pod
    ready: dict[str, Ready] = field(default_factory=dict)
    images: dict[str, Ready] = field(default_factory=dict)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    gone: bool = False


@dataclass(frozen=True, slots=True)
class _Sources:
    """What an environment refers to, fetched beforehand."""

    config_maps: Mapping[tuple[str, str], ConfigMap | None]
    secrets: Mapping[tuple[str, str], Secret | None]
    service_list: Iterable[Service]
    allocatable_resources: Mapping[str, str]
    files: Callable[[Pod, str, str], str | None]

    def config_map(self, namespace: str, name: str) -> ConfigMap | None:
        return self.config_maps.get((namespace, name))

    def secret(self, namespace: str, name: str) -> Secret | None:
        return self.secrets.get((namespace, name))

    def services(self) -> Iterable[Service]:
        return self.service_list

    def allocatable(self) -> Mapping[str, str]:
        return self.allocatable_resources

    def env_file(self, pod: Pod, volume: str, path: str) -> str | None:
        return self.files(pod, volume, path)


class SetupFailed(Exception):
    """Some volumes could not be set up: `failures` are (volume, what is wrong)."""

    def __init__(self, failures: Collection[tuple[str, VolumeError]]) -> None:
        self.failures = tuple(failures)
        super().__init__("; ".join(self.events()))

    def events(self) -> list[str]:
        """The texts of FailedMount events: persistent volumes are told of by their own names."""
        return [f'{e.step} for volume "{e.volume or v}" : {e}' for v, e in self.failures]


class VolumeManager:
    """See the module's text.

    `services` lists the cluster's services, `allocatable` the node's resources; `changed(uid)` is
    called when a pod's references changed.
    """

    def __init__(
        self,
        config: KubeletConfig,
        client: Client,
        disk: Disk,
        clock: Clock,
        entropy: Entropy,
        *,
        services: Callable[[], Iterable[Service]],
        allocatable: Callable[[], Mapping[str, str]],
        changed: Callable[[str], None],
    ) -> None:
        self._config = config
        self._disk = disk
        self._clock = clock
        self._services = services
        self._allocatable = allocatable
        self._changed = changed
        self._pods: dict[str, _PodVolumes] = {}
        self._dirty: dict[str, bool] = {}
        self._wake = asyncio.Event()
        self._sleeps_until = 0.0
        self._objects = ObjectCache(client, self._on_objects)
        self._tokens = Tokens(client, clock, entropy)
        self._context = Context(disk, client, self._objects, self._tokens, allocatable)

    async def run(self, started: Started) -> None:
        """Keep volumes current until cancelled."""
        async with asyncio.TaskGroup() as group:
            ready = asyncio.Event()
            group.create_task(self._objects.run(ready.set), name="referenced objects")
            await ready.wait()
            started()
            while True:
                await self._refresh()

    # ---- one pod

    def adopt(self, pod: Pod) -> None:
        """Take up a pod that ran before the kubelet did: its volumes are kept current again."""
        uid = pod.metadata.uid
        if uid not in self._pods:
            self._pods[uid] = _PodVolumes(pod)
            self._objects.use(uid, references(pod))
            self._mark(uid, tell=False)

    def follow(self, pod: Pod) -> None:
        """The pod changed: what its files say of it may have."""
        entry = self._pods.get(pod.metadata.uid)
        if entry is None:
            return
        old, entry.pod = entry.pod.metadata, pod
        new = pod.metadata
        if (old.labels, old.annotations) != (new.labels, new.annotations):
            self._mark(new.uid, tell=False)

    async def setup(self, pod: Pod) -> None:
        """Bring the pod's volumes up to date. Raises SetupFailed with all that could not be made."""
        uid = pod.metadata.uid
        entry = self._pods.get(uid)
        if entry is None:
            entry = self._pods[uid] = _PodVolumes(pod)
        entry.pod = pod
        self._objects.use(uid, references(pod))
        async with entry.lock:
            await self._setup(entry)
        if self._tokens.next_renewal()[0] < self._sleeps_until:
            self._wake.set()

    async def _setup(self, entry: _PodVolumes) -> None:
        failures: list[tuple[str, VolumeError]] = []
        pod = entry.pod
        used = _used(pod)
        for volume in pod.spec.volumes:
            if volume.name not in used or entry.gone:
                continue
            plugin = next(p for p in PLUGINS if p.owns(volume))
            path = self._volumes_dir(pod) / plugin.name / volume.name
            try:
                entry.ready[volume.name] = await plugin.setup(self._context, pod, volume, path)
            except VolumeError as e:
                failures.append((volume.name, e))
        if failures:
            raise SetupFailed(failures)

    async def environment(
        self, pod: Pod, container: AnyContainer, pod_ips: Iterable[str] = ()
    ) -> Environment:
        """The container's environment. Raises ConfigError."""
        config_maps: dict[tuple[str, str], ConfigMap | None] = {}
        secrets: dict[tuple[str, str], Secret | None] = {}
        self._objects.use(pod.metadata.uid, references(pod))
        try:
            for reference in references(_only(pod, container)):
                key = (reference.namespace, reference.name)
                if reference.view is ConfigMap:
                    config_maps[key] = await self._objects.get(ConfigMap, *key)
                elif reference.view is Secret:
                    secrets[key] = await self._objects.get(Secret, *key)
        except NotSynced as e:
            raise ConfigError(str(e)) from e
        sources = _Sources(
            config_maps, secrets, self._services(), self._allocatable(), self._env_file
        )
        return build_env(pod, container, sources, tuple(pod_ips))

    def mounts(
        self,
        pod: Pod,
        container: AnyContainer,
        variables: Iterable[tuple[str, str]],
        pod_ips: Iterable[str],
        attempt: int,
    ) -> tuple[Mount, ...]:
        """All mounts of a container: its volumes, /etc/hosts, and its termination log (made anew for
        each `attempt`). Raises ConfigError."""
        entry = self._pods[pod.metadata.uid]
        directory = self._config.pod_dir(pod.metadata.uid)
        try:
            result = list(
                container_mounts(
                    pod,
                    container,
                    entry.ready | entry.images,
                    dict(variables),
                    self._disk,
                    directory,
                )
            )
            paths = {m.container_path for m in result}
            ips = tuple(pod_ips)
            if "/etc/hosts" not in paths and (ips or pod.spec.host_network):
                result.append(Mount("/etc/hosts", str(self._write_hosts(pod, ips))))
            target = container.termination_message_path or DEFAULT_TERMINATION_PATH
            if target not in paths:
                log_file = directory / "containers" / container.name / f"{attempt:08x}"
                self._disk.write_file(log_file, b"", TERMINATION_LOG_MODE)
                result.append(Mount(target, str(log_file)))
        except VolumeError as e:
            raise ConfigError(str(e)) from e
        return tuple(result)

    def image_directory(self, pod: Pod, volume: str, image_id: str) -> Path:
        """Where an image is to be mounted for a volume: each image of a volume has a directory of its
        own, since containers that run keep what they started with. Raises VolumeError."""
        name = image_id.rpartition(":")[2]
        path = self._volumes_dir(pod) / IMAGE_PLUGIN / volume / name
        if path.name not in self._disk.children(path.parent):  # else it may be mounted already
            self._disk.make_dir(path, IMAGE_DIR_MODE)
        self._pods[pod.metadata.uid].images[volume] = Ready(path, readonly=True)
        return path

    def devices(self, pod: Pod, container: AnyContainer) -> tuple[tuple[str, str, str], ...]:
        """A container's block volumes, as (host path, container path, permissions)."""
        ready = self._pods[pod.metadata.uid].ready
        return tuple(
            (str(volume.path), d.device_path, "mr" if volume.readonly else "mrw")
            for d in container.volume_devices
            if (volume := ready.get(d.name)) is not None and volume.block
        )

    async def teardown(self, uid: str) -> None:
        """Unmount and remove all that a pod has on disk. Raises VolumeError where something resists."""
        self._objects.use(uid, ())
        self._tokens.forget(uid)
        entry = self._pods.get(uid)
        if entry is not None:
            entry.gone = True
            async with entry.lock:
                await self._remove_tree(self._config.pod_dir(uid))
            self._pods.pop(uid, None)
        else:
            await self._remove_tree(self._config.pod_dir(uid))

    async def _remove_tree(self, path: Path) -> None:
        if self._disk.blocks:
            await asyncio.to_thread(self._disk.remove_tree, path)
        else:
            self._disk.remove_tree(path)

    async def cleanup(self, keep: Collection[str]) -> None:
        """Remove what pods that are not in `keep` (uids) left behind, as after a restart."""
        for uid in self._disk.children(self._config.root_dir / "pods"):
            if uid in keep or uid in self._pods:
                continue
            try:
                await self.teardown(uid)
            except VolumeError as e:
                log.warning("orphaned pod %s: %s", uid, e)

    # ---- staying current

    def _on_objects(self, uids: Iterable[str]) -> None:
        for uid in uids:
            self._mark(uid, tell=True)

    def _mark(self, uid: str, *, tell: bool) -> None:
        """Look at the pod's volumes again, and `tell` the kubelet then."""
        self._dirty[uid] = self._dirty.get(uid, False) or tell
        self._wake.set()

    async def _refresh(self) -> None:
        """Wait for the next change or renewal, and act on it."""
        due_at, due = self._tokens.next_renewal()
        if not due and not self._dirty:
            self._sleeps_until = due_at
            await self._sleep(due_at - self._clock.now())
            self._sleeps_until = 0.0
            return
        dirty, self._dirty = self._dirty, {}
        for uid in sorted(due | dirty.keys()):
            entry = self._pods.get(uid)
            if entry is None:
                continue
            try:
                async with entry.lock:
                    await self._setup(entry)
            except SetupFailed as e:
                log.debug("pod %s: %s", uid, e)
            if dirty.get(uid):
                self._changed(uid)
        if due and self._tokens.next_renewal()[1] >= due:
            await self._clock.sleep(RENEW_RETRY_S)

    async def _sleep(self, seconds: float) -> None:
        self._wake.clear()
        async with asyncio.TaskGroup() as group:
            timer = group.create_task(self._clock.sleep(max(seconds, 0.0)), name="renewal timer")
            waker = group.create_task(self._wake.wait(), name="changes")
            await asyncio.wait((timer, waker), return_when=asyncio.FIRST_COMPLETED)
            timer.cancel()
            waker.cancel()

    # ---- paths and files

    def volume_path(self, uid: str, volume: str) -> Path | None:
        """Where a volume lies, once it is set up."""
        entry = self._pods.get(uid)
        ready = entry.ready.get(volume) if entry else None
        return ready.path if ready else None

    def _volumes_dir(self, pod: Pod) -> Path:
        return self._config.pod_dir(pod.metadata.uid) / "volumes"

    def _write_hosts(self, pod: Pod, pod_ips: tuple[str, ...]) -> Path:
        path = self._config.pod_dir(pod.metadata.uid) / "etc-hosts"
        host = b""
        if pod.spec.host_network:
            host = self._disk.read_file(HOST_HOSTS) or b""
        text = hosts_file(pod, pod_ips, self._config.cluster_domain, host.decode(errors="replace"))
        self._disk.write_file(path, text.encode(), HOSTS_MODE)
        return path

    def _env_file(self, pod: Pod, volume: str, path: str) -> str | None:
        where = self.volume_path(pod.metadata.uid, volume)
        data = None if where is None else self._disk.read_file(where / path)
        return None if data is None else data.decode(errors="surrogateescape")


def _used(pod: Pod) -> set[str]:
    """Volumes that some container mounts; others are not set up."""
    names: set[str] = set()
    for container in every_container(pod):
        names.update(m.name for m in container.volume_mounts)
        names.update(d.name for d in container.volume_devices)
        names.update(
            e.value_from.file_key_ref.volume_name
            for e in container.env
            if e.value_from is not None and e.value_from.file_key_ref is not None
        )
    return names


def _only(pod: Pod, container: AnyContainer) -> Pod:
    """The pod as if it had this container and nothing else, for its references."""
    spec = msgspec.structs.replace(
        pod.spec,
        volumes=(),
        init_containers=(),
        containers=(container,),
        ephemeral_containers=(),
    )
    return msgspec.structs.replace(pod, spec=spec)
