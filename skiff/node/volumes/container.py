"""The mounts of one container, from its volumeMounts and the pod's volumes as they are set up."""

import posixpath
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from skiff.api.views.core import Pod, VolumeMount
from skiff.node.downward import AnyContainer
from skiff.node.environment import ConfigError
from skiff.node.runtime import Mount, Propagation
from skiff.node.volumes.model import Disk, Ready, VolumeError

_REFERENCE = re.compile(r"\$(?:(\$)|\(([^)]*)\))")

_PROPAGATION = {
    "": Propagation.PRIVATE,
    "None": Propagation.PRIVATE,
    "HostToContainer": Propagation.HOST_TO_CONTAINER,
    "Bidirectional": Propagation.BIDIRECTIONAL,
}


def container_mounts(
    pod: Pod,
    container: AnyContainer,
    volumes: Mapping[str, Ready],
    variables: Mapping[str, str],
    disk: Disk,
    pod_dir: Path,
) -> Iterator[Mount]:
    """The mounts, in the spec's order. Raises ConfigError."""
    del pod
    for index, wanted in enumerate(container.volume_mounts):
        volume = volumes.get(wanted.name)
        if volume is None:
            raise ConfigError(
                f'cannot find volume "{wanted.name}" to mount into container "{container.name}"'
            )
        if wanted.recursive_read_only == "Enabled":
            raise ConfigError(
                f'failed to resolve recursive read-only mode: volume "{wanted.name}" requested '
                "recursive read-only mode, but it is not supported by the runtime"
            )
        path = volume.path
        if subpath := _subpath(wanted, variables):
            target = pod_dir / "volume-subpaths" / wanted.name / container.name / str(index)
            try:
                path = disk.bind_subpath(path, subpath, target)
            except VolumeError as e:
                # What lies on the host is not for the pod's author to learn.
                raise ConfigError(
                    f'failed to prepare subPath for volumeMount "{wanted.name}" of container '
                    f'"{container.name}"'
                ) from e
        where = wanted.mount_path
        if not posixpath.isabs(where):
            where = posixpath.join("/", where)
        yield Mount(
            container_path=where,
            host_path=str(path),
            readonly=wanted.read_only or volume.readonly,
            propagation=_PROPAGATION[wanted.mount_propagation],
        )


def _subpath(wanted: VolumeMount, variables: Mapping[str, str]) -> str:
    path = wanted.sub_path
    if wanted.sub_path_expr:
        path = _expand_strictly(wanted.sub_path_expr, variables)
    if posixpath.isabs(path):
        raise ConfigError(f"error SubPath `{path}` must not be an absolute path")
    if ".." in path.split("/"):
        raise ConfigError(f"unable to provision SubPath `{path}`: must not contain '..'")
    return path


def _expand_strictly(text: str, variables: Mapping[str, str]) -> str:
    """Like `environment.expand`, but every variable must be there."""
    missing: list[str] = []

    def replace(match: re.Match[str]) -> str:
        if match[1]:
            return "$"
        if match[2] not in variables:
            missing.append(f'missing value for "{match[2]}"')
            return ""
        return variables[match[2]]

    result = _REFERENCE.sub(replace, text)
    if missing:
        raise ConfigError(missing[0] if len(missing) == 1 else f"[{', '.join(missing)}]")
    return result
