"""Content volumes as files: configMap, secret, downwardAPI and their projections. Pure.

Source: https://kubernetes.io/docs/concepts/storage/volumes/ and
https://kubernetes.io/docs/concepts/storage/projected-volumes/
"""

import base64
from collections.abc import Iterable, Mapping

from skiff.api.views.core import (
    ConfigMap,
    DownwardAPIVolumeFile,
    KeyToPath,
    Pod,
    Secret,
)
from skiff.node.downward import FieldError, field_value, resource_value
from skiff.node.volumes.model import File, VolumeError

DEFAULT_MODE = 0o644
# A token's file, where a user or a group owns it.
OWNED_TOKEN_MODE = 0o600


def config_map_files(
    found: ConfigMap | None, name: str, items: Iterable[KeyToPath], mode: int, *, optional: bool
) -> dict[str, File]:
    """The files of a ConfigMap. Raises VolumeError."""
    if found is None:
        if optional:
            return {}
        raise VolumeError(f'configmap "{name}" not found')
    data = {k: v.encode("utf-8", "surrogateescape") for k, v in found.data.items()}
    data |= {k: base64.b64decode(v) for k, v in found.binary_data.items()}
    return _select(
        data,
        items,
        mode,
        optional=optional,
        missing="configmap references non-existent config key: ",
    )


def secret_files(
    found: Secret | None, name: str, items: Iterable[KeyToPath], mode: int, *, optional: bool
) -> dict[str, File]:
    """The files of a Secret. Raises VolumeError."""
    if found is None:
        if optional:
            return {}
        raise VolumeError(f'secret "{name}" not found')
    data = {k: base64.b64decode(v) for k, v in found.data.items()}
    return _select(
        data, items, mode, optional=optional, missing="references non-existent secret key: "
    )


def _select(
    data: Mapping[str, bytes],
    items: Iterable[KeyToPath],
    mode: int,
    *,
    optional: bool,
    missing: str,
) -> dict[str, File]:
    items = tuple(items)
    if not items:
        return {key: File(value, mode) for key, value in data.items()}
    files: dict[str, File] = {}
    for item in items:
        if item.key in data:
            files[item.path] = File(data[item.key], mode if item.mode is None else item.mode)
        elif not optional:
            raise VolumeError(missing + item.key)
    return files


def downward_files(
    pod: Pod,
    items: Iterable[DownwardAPIVolumeFile],
    mode: int,
    allocatable: Mapping[str, str],
) -> dict[str, File]:
    """The files of the downward API. Raises VolumeError."""
    files: dict[str, File] = {}
    for item in items:
        try:
            if item.field_ref is not None:
                text = field_value(pod, item.field_ref)
            elif item.resource_field_ref is not None:
                text = resource_value(item.resource_field_ref, pod, None, allocatable)
            else:
                continue
        except FieldError as e:
            raise VolumeError(str(e)) from e
        files[item.path] = File(text.encode(), mode if item.mode is None else item.mode)
    return files


def group_of(pod: Pod) -> int | None:
    """The pod's fsGroup."""
    context = pod.spec.security_context
    return None if context is None else context.fs_group


def user_of(pod: Pod) -> int | None:
    """The one user that all containers run as, ephemeral ones aside, which come later; None where they
    differ or it is not said."""
    context = pod.spec.security_context
    default = None if context is None else context.run_as_user
    users = {
        default
        if c.security_context is None or c.security_context.run_as_user is None
        else c.security_context.run_as_user
        for c in (*pod.spec.init_containers, *pod.spec.containers)
    }
    return users.pop() if len(users) == 1 else None


def combine(parts: Iterable[dict[str, File]]) -> dict[str, File]:
    """Several sources in one volume; of two files at one path the later wins."""
    result: dict[str, File] = {}
    for part in parts:
        result |= part
    return result


def check_paths(files: Mapping[str, File]) -> None:
    """Refuse paths that would lie outside the volume or be taken for its own. Raises VolumeError."""
    for path in files:
        parts = path.split("/")
        if not path or path.startswith("/"):
            raise VolumeError(f"invalid path: {path!r} must be relative and not empty")
        if ".." in parts:
            raise VolumeError(f"invalid path: {path!r} must not contain '..'")
        if parts[0].startswith(".."):
            raise VolumeError(f"invalid path: {path!r} must not start with '..'")
