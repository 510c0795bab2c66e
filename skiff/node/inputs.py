"""What a container gets beside its spec: files and environment. The seam to volumes and environment.

The worker calls `set_up` before it starts anything of a pod (again and again until it succeeds, and
once more after each change of the pod), `container` right before a container is made, and `tear_down`
when nothing of the pod runs any more. The real one is made of `volumes/` and `environment.py`; the
simulated node uses `NoInputs`, which touches no disk.
"""

from dataclasses import dataclass
from typing import Protocol

from skiff.api.views.pod import Pod
from skiff.node.lifecycle.model import AnyContainer
from skiff.node.runtime import Mount


class InputsNotReady(Exception):
    """Volumes cannot be set up (yet): the message is the FailedMount event's. Tried again."""


class InvalidConfig(Exception):
    """A container cannot be made from what its spec refers to (a missing ConfigMap, key, field…): the
    message is that of CreateContainerConfigError. Tried again."""


@dataclass(frozen=True, slots=True)
class ContainerInputs:
    """Of one container. `command` and `args` have their `$(NAME)` references expanded; `mounts` holds
    everything that is mounted, the managed /etc/hosts too, but not the termination message's file."""

    env: tuple[tuple[str, str], ...] = ()
    mounts: tuple[Mount, ...] = ()
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()


class PodInputs(Protocol):
    """See the module's text."""

    async def set_up(self, pod: Pod) -> None:
        """Make the pod's volumes ready. Raises InputsNotReady."""

    async def container(
        self, pod: Pod, container: AnyContainer, ips: tuple[str, ...]
    ) -> ContainerInputs:
        """Environment and mounts of one container; `ips` are the pod's. Raises InvalidConfig."""

    async def tear_down(self, pod: Pod) -> None:
        """Take the pod's volumes down and remove its directory; may be repeated. Raises InputsNotReady."""

    async def tear_down_orphans(self, alive: frozenset[str]) -> None:
        """Take down what is on the disk of pods whose uid is not in `alive`."""


class NoInputs:
    """No volumes, and the literal environment only."""

    async def set_up(self, pod: Pod) -> None:
        return

    async def container(
        self, pod: Pod, container: AnyContainer, ips: tuple[str, ...]
    ) -> ContainerInputs:
        del pod, ips
        env = tuple((v.name, v.value) for v in container.env if v.value_from is None)
        return ContainerInputs(env=env, command=container.command, args=container.args)

    async def tear_down(self, pod: Pod) -> None:
        return

    async def tear_down_orphans(self, alive: frozenset[str]) -> None:
        return
