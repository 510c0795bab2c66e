"""What a container gets beside its spec: files and environment. The seam to volumes and environment.

The worker calls `set_up` before it starts anything of a pod (again and again until it succeeds),
`container` right before a container is made, and `tear_down` when nothing of the pod runs any more.
`VolumeInputs` is the real one; `NoInputs` serves simulated nodes that need neither.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from skiff.api.views.pod import Pod
from skiff.node.environment import ConfigError, expand_command
from skiff.node.lifecycle.model import AnyContainer
from skiff.node.runtime import Mount
from skiff.node.volumes.manager import SetupFailed, VolumeManager
from skiff.node.volumes.model import VolumeError


class InputsNotReady(Exception):
    """Volumes cannot be set up (yet): `messages` are those of FailedMount events. Tried again."""

    def __init__(self, messages: Collection[str]) -> None:
        super().__init__("; ".join(messages))
        self.messages = tuple(messages)


class InvalidConfig(Exception):
    """A container cannot be made from what its spec refers to (a missing ConfigMap, key, field…): the
    message is that of CreateContainerConfigError. Tried again."""


@dataclass(frozen=True, slots=True)
class ContainerInputs:
    """Of one container. `command` and `args` have their `$(NAME)` references expanded; `mounts` holds
    everything: volumes, /etc/hosts, the termination message's file. `devices` are (host path, container
    path, permissions); `warnings` are texts of InvalidEnvironmentVariableNames events."""

    env: tuple[tuple[str, str], ...] = ()
    mounts: tuple[Mount, ...] = ()
    devices: tuple[tuple[str, str, str], ...] = ()
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class PodInputs(Protocol):
    """See the module's text."""

    async def set_up(self, pod: Pod) -> None:
        """Make the pod's volumes ready. Raises InputsNotReady."""

    def image_directory(self, pod: Pod, volume: str, image_id: str) -> str:
        """Where the files of an image are to be mounted, so that `container` finds them as the volume
        `volume`; the directory is made. Empty where nothing is. Raises InvalidConfig."""

    async def container(
        self, pod: Pod, container: AnyContainer, ips: tuple[str, ...], attempt: int
    ) -> ContainerInputs:
        """Environment and mounts of one container; `ips` are the pod's. Raises InvalidConfig."""

    async def tear_down(self, uid: str) -> None:
        """Take the pod's volumes down and remove its directory; may be repeated. Raises InputsNotReady."""

    async def tear_down_orphans(self, alive: frozenset[str]) -> None:
        """Take down what is on the disk of pods whose uid is not in `alive`."""


class NoInputs:
    """No volumes, and the literal environment only."""

    async def set_up(self, pod: Pod) -> None:
        return

    def image_directory(self, pod: Pod, volume: str, image_id: str) -> str:
        del pod, volume, image_id
        return ""

    async def container(
        self, pod: Pod, container: AnyContainer, ips: tuple[str, ...], attempt: int
    ) -> ContainerInputs:
        del pod, ips, attempt
        env = tuple((v.name, v.value) for v in container.env if v.value_from is None)
        return ContainerInputs(env=env, command=container.command, args=container.args)

    async def tear_down(self, uid: str) -> None:
        return

    async def tear_down_orphans(self, alive: frozenset[str]) -> None:
        return


class VolumeInputs:
    """What the volume manager and the environment make of a pod."""

    def __init__(self, volumes: VolumeManager) -> None:
        self._volumes = volumes

    async def set_up(self, pod: Pod) -> None:
        try:
            await self._volumes.setup(pod)
        except SetupFailed as e:
            raise InputsNotReady(e.events()) from e

    def image_directory(self, pod: Pod, volume: str, image_id: str) -> str:
        try:
            return str(self._volumes.image_directory(pod, volume, image_id))
        except VolumeError as e:
            raise InvalidConfig(str(e)) from e

    async def container(
        self, pod: Pod, container: AnyContainer, ips: tuple[str, ...], attempt: int
    ) -> ContainerInputs:
        try:
            environment = await self._volumes.environment(pod, container, ips)
            variables = environment.variables
            mounts = self._volumes.mounts(pod, container, variables, ips, attempt)
        except ConfigError as e:
            raise InvalidConfig(str(e)) from e
        command, args = expand_command(container, variables)
        devices = self._volumes.devices(pod, container)
        return ContainerInputs(variables, mounts, devices, command, args, environment.warnings)

    async def tear_down(self, uid: str) -> None:
        try:
            await self._volumes.teardown(uid)
        except VolumeError as e:
            raise InputsNotReady([str(e)]) from e

    async def tear_down_orphans(self, alive: frozenset[str]) -> None:
        await self._volumes.cleanup(alive)
