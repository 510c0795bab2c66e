"""The volume plugins, in one ordered table: what kind of volume each makes, and how.

A plugin's `setup` may be repeated: it makes what is missing and brings content up to date.

Source: https://kubernetes.io/docs/concepts/storage/volumes/
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from skiff.api import quantity
from skiff.api.errors import ApiError, NotFound
from skiff.api.views.core import (
    ConfigMap,
    PersistentVolume,
    PersistentVolumeClaim,
    Pod,
    Secret,
    Volume,
    VolumeProjection,
)
from skiff.api.views.storage import CSIDriver
from skiff.client.client import Client
from skiff.node.volumes import payload as content
from skiff.node.volumes.model import Disk, File, NoMounter, Ready, VolumeError
from skiff.node.volumes.objects import NotSynced, ObjectCache, V, claim_name
from skiff.node.volumes.tokens import Tokens

EMPTY_DIR_MODE = 0o777
CONTENT_DIR_MODE = 0o777
IMAGE_DIR_MODE = 0o755
IMAGE_PLUGIN = "kubernetes.io~image"
INLINE_MODE = "Ephemeral"


@dataclass(frozen=True, slots=True)
class Context:
    """What plugins work with."""

    disk: Disk
    client: Client
    objects: ObjectCache
    tokens: Tokens
    allocatable: Callable[[], Mapping[str, str]]

    async def object(self, view: type[V], pod: Pod, name: str) -> V | None:
        """An object of the pod's namespace. Raises VolumeError where it is not known yet."""
        try:
            return await self.objects.get(view, pod.metadata.namespace, name)
        except NotSynced as e:
            raise VolumeError(str(e)) from e


Storage = TypeVar("Storage", PersistentVolume, PersistentVolumeClaim)
Setup = Callable[[Context, Pod, Volume, Path], Awaitable[Ready]]


@dataclass(frozen=True, slots=True)
class Plugin:
    """`name` is the directory's, `owns` says whether a volume is of this kind."""

    name: str
    owns: Callable[[Volume], bool]
    setup: Setup


async def _empty_dir(context: Context, pod: Pod, volume: Volume, path: Path) -> Ready:
    source = volume.empty_dir
    assert source is not None
    disk = context.disk
    disk.make_dir(path, EMPTY_DIR_MODE)
    if source.medium == "Memory":
        disk.mount_tmpfs(path, _memory_size(pod, source.size_limit, context.allocatable()))
    elif source.medium.startswith("HugePages"):
        size = source.medium.removeprefix("HugePages").removeprefix("-")
        disk.mount_hugepages(path, quantity.parse(size).whole() if size else 0)
    elif source.medium:
        raise VolumeError(f'unknown storage medium "{source.medium}"')
    group = content.group_of(pod)
    if group is not None:
        disk.give_to_group(path, group, only_if_needed=True)
    return Ready(path)


def _memory_size(pod: Pod, limit: str, allocatable: Mapping[str, str]) -> int:
    """The least of the volume's limit, the containers' memory limits together (where all have one)
    and the node's memory; 0 where nothing is known."""
    sizes = []
    if limit and (size := quantity.parse(limit).whole()):
        sizes.append(size)
    limits = [
        c.resources.limits.get("memory") if c.resources is not None else None
        for c in pod.spec.containers
    ]
    if limits and all(limits):
        sizes.append(sum(quantity.parse(text).whole() for text in limits if text))
    if node := quantity.parse(allocatable.get("memory", "0")).whole():
        sizes.append(node)
    return min(sizes, default=0)


async def _host_path(context: Context, pod: Pod, volume: Volume, path: Path) -> Ready:
    del pod, path
    source = volume.host_path
    assert source is not None
    where = Path(source.path)
    context.disk.check_host_path(where, source.type)
    return Ready(where)


async def _content(
    context: Context, pod: Pod, path: Path, files: Mapping[str, File], *, in_memory: bool
) -> Ready:
    content.check_paths(files)
    disk = context.disk
    disk.make_dir(path, CONTENT_DIR_MODE)
    if in_memory:
        disk.mount_tmpfs(path, _memory_size(pod, "", context.allocatable()))
    disk.write_payload(path, files, content.group_of(pod))
    return Ready(path, readonly=True)


async def _config_map(context: Context, pod: Pod, volume: Volume, path: Path) -> Ready:
    source = volume.config_map
    assert source is not None
    found = await context.object(ConfigMap, pod, source.name)
    mode = content.DEFAULT_MODE if source.default_mode is None else source.default_mode
    files = content.config_map_files(
        found, source.name, source.items, mode, optional=bool(source.optional)
    )
    return await _content(context, pod, path, files, in_memory=False)


async def _secret(context: Context, pod: Pod, volume: Volume, path: Path) -> Ready:
    source = volume.secret
    assert source is not None
    found = await context.object(Secret, pod, source.secret_name)
    mode = content.DEFAULT_MODE if source.default_mode is None else source.default_mode
    files = content.secret_files(
        found, source.secret_name, source.items, mode, optional=bool(source.optional)
    )
    return await _content(context, pod, path, files, in_memory=True)


async def _downward_api(context: Context, pod: Pod, volume: Volume, path: Path) -> Ready:
    source = volume.downward_api
    assert source is not None
    mode = content.DEFAULT_MODE if source.default_mode is None else source.default_mode
    files = content.downward_files(pod, source.items, mode, context.allocatable())
    return await _content(context, pod, path, files, in_memory=True)


async def _projected(context: Context, pod: Pod, volume: Volume, path: Path) -> Ready:
    projected = volume.projected
    assert projected is not None
    mode = content.DEFAULT_MODE if projected.default_mode is None else projected.default_mode
    parts: list[dict[str, File]] = []
    errors: list[str] = []
    for source in projected.sources:
        try:
            parts.append(await _projection(context, pod, source, mode))
        except VolumeError as e:
            errors.append(str(e))
    if errors:
        raise VolumeError(errors[0] if len(errors) == 1 else f"[{', '.join(errors)}]")
    return await _content(context, pod, path, content.combine(parts), in_memory=True)


async def _projection(
    context: Context, pod: Pod, source: VolumeProjection, mode: int
) -> dict[str, File]:
    if source.config_map is not None:
        reference = source.config_map
        found = await context.object(ConfigMap, pod, reference.name)
        return content.config_map_files(
            found, reference.name, reference.items, mode, optional=bool(reference.optional)
        )
    if source.secret is not None:
        wanted = source.secret
        secret = await context.object(Secret, pod, wanted.name)
        return content.secret_files(
            secret, wanted.name, wanted.items, mode, optional=bool(wanted.optional)
        )
    if source.downward_api is not None:
        return content.downward_files(pod, source.downward_api.items, mode, context.allocatable())
    if source.service_account_token is not None:
        token = await context.tokens.get(pod, source.service_account_token)
        user, group = content.user_of(pod), content.group_of(pod)
        owned = user is not None or group is not None
        file = File(token.token.encode(), content.OWNED_TOKEN_MODE if owned else mode, user)
        return {source.service_account_token.path: file}
    if source.cluster_trust_bundle is not None:
        if source.cluster_trust_bundle.optional:
            return {source.cluster_trust_bundle.path: File(b"", mode)}
        raise VolumeError("ClusterTrustBundle projection is not available on this node")
    raise VolumeError("projected volume source is not supported on this node")


async def _claim(context: Context, pod: Pod, volume: Volume, path: Path) -> Ready:
    """A PersistentVolumeClaim, bound to a volume that lies on this machine."""
    del path
    name = claim_name(pod, volume)
    claim = await _read(context, PersistentVolumeClaim, name, pod.metadata.namespace)
    if claim.status.phase != "Bound" or not claim.spec.volume_name:
        raise VolumeError(f"error processing PVC {pod.metadata.namespace}/{name}: PVC is not bound")
    bound = await _read(context, PersistentVolume, claim.spec.volume_name)
    source = volume.persistent_volume_claim
    try:
        return _persistent(context, pod, bound, readonly=source is not None and source.read_only)
    except VolumeError as e:
        e.volume = bound.metadata.name
        raise


def _persistent(context: Context, pod: Pod, bound: PersistentVolume, *, readonly: bool) -> Ready:
    block = bound.spec.volume_mode == "Block"
    if bound.spec.host_path is not None:
        where = Path(bound.spec.host_path.path)
        context.disk.check_host_path(where, bound.spec.host_path.type)
        return Ready(where, readonly, block)
    if bound.spec.local is not None:
        where = Path(bound.spec.local.path)
        if not context.disk.exists(where):
            raise NoMounter(f'path "{where}" does not exist')
        context.disk.check_host_path(where, "BlockDevice" if block else "Directory")
        group = content.group_of(pod)
        if group is not None and not block:
            context.disk.give_to_group(where, group, only_if_needed=True)
        return Ready(where, readonly, block)
    if bound.spec.csi is not None:
        raise VolumeError(_no_driver(bound.spec.csi.driver))
    raise VolumeError(f'no volume plugin matched for persistent volume "{bound.metadata.name}"')


async def _read(context: Context, view: type[Storage], name: str, namespace: str = "") -> Storage:
    """A claim or volume: nodes may read, not watch them, and only what is bound is set up."""
    kind = view.__name__.lower()
    try:
        return await context.client.read(view, name, namespace)
    except NotFound as e:
        text = f'{kind} "{name}" not found'
        raise VolumeError(f'error getting PVC "{name}": {text}' if namespace else text) from e
    except (ApiError, ConnectionError, TimeoutError) as e:
        raise VolumeError(f'failed to get {kind} "{name}": {e}') from e


async def _image(context: Context, pod: Pod, volume: Volume, path: Path) -> Ready:
    """The image is pulled and mounted when a container that wants it starts."""
    del pod, volume
    context.disk.make_dir(path, IMAGE_DIR_MODE)
    return Ready(path, readonly=True)


async def _csi(context: Context, pod: Pod, volume: Volume, path: Path) -> Ready:
    """A volume that lives as long as its pod, which its driver must say that it can make."""
    del pod, path
    assert volume.csi is not None
    name = volume.csi.driver
    refused = f'volume mode "{INLINE_MODE}" not supported by driver {name}'
    try:
        driver = await context.client.read(CSIDriver, name)
    except NotFound as e:
        raise NoMounter(f"{refused} (no CSIDriver object)") from e
    except (ApiError, ConnectionError, TimeoutError) as e:
        raise NoMounter(str(e)) from e
    modes = driver.spec.volume_lifecycle_modes
    if INLINE_MODE not in modes:
        only = " ".join(f'"{mode}"' for mode in modes)
        raise NoMounter(f"{refused} (only supports [{only}])")
    raise VolumeError(_no_driver(name))


def _no_driver(name: str) -> str:
    """No driver registers with this node."""
    return (
        "kubernetes.io/csi: mounter.SetUpAt failed to get CSI client: driver name "
        f"{name} not found in the list of registered CSI drivers"
    )


async def _unsupported(context: Context, pod: Pod, volume: Volume, path: Path) -> Ready:
    del context, pod, path
    raise VolumeError(
        f'failed to get Plugin from volumeSpec for volume "{volume.name}" err=no volume plugin matched'
    )


# A volume has one source, so the order matters only for the last row, which takes what is left.
PLUGINS = (
    Plugin("kubernetes.io~projected", lambda v: v.projected is not None, _projected),
    Plugin("kubernetes.io~configmap", lambda v: v.config_map is not None, _config_map),
    Plugin("kubernetes.io~secret", lambda v: v.secret is not None, _secret),
    Plugin("kubernetes.io~empty-dir", lambda v: v.empty_dir is not None, _empty_dir),
    Plugin("kubernetes.io~downward-api", lambda v: v.downward_api is not None, _downward_api),
    Plugin("kubernetes.io~host-path", lambda v: v.host_path is not None, _host_path),
    Plugin(
        "kubernetes.io~local-volume",
        lambda v: v.persistent_volume_claim is not None or v.ephemeral is not None,
        _claim,
    ),
    Plugin(IMAGE_PLUGIN, lambda v: v.image is not None, _image),
    Plugin("kubernetes.io~csi", lambda v: v.csi is not None, _csi),
    Plugin("unsupported", lambda _: True, _unsupported),
)
