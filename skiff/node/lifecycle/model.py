"""What is known of one pod: its containers by kind, what the runtime has, what probes say.

All of it is data that the worker gathers and the pure core reads; nothing here changes it.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum

from skiff.api.views.container import Container, EphemeralContainer
from skiff.api.views.pod import Pod
from skiff.node.runtime import ContainerState, ContainerStatus

AnyContainer = Container | EphemeralContainer

ALWAYS = "Always"
ON_FAILURE = "OnFailure"
NEVER = "Never"
DEFAULT_GRACE_PERIOD_S = 30


class Kind(Enum):
    """A container's part in the pod's life. A SIDECAR is an init container with restartPolicy Always."""

    INIT = "init"
    SIDECAR = "sidecar"
    REGULAR = "regular"
    EPHEMERAL = "ephemeral"


def kind_of_init(container: AnyContainer) -> Kind:
    """INIT or SIDECAR."""
    return Kind.SIDECAR if container.restart_policy == ALWAYS else Kind.INIT


def each_container(pod: Pod) -> Iterator[tuple[Kind, AnyContainer]]:
    """All containers of the pod's spec: init containers and sidecars, regular ones, ephemeral ones."""
    for container in pod.spec.init_containers:
        yield kind_of_init(container), container
    for container in pod.spec.containers:
        yield Kind.REGULAR, container
    for ephemeral in pod.spec.ephemeral_containers:
        yield Kind.EPHEMERAL, ephemeral


def find_container(pod: Pod, name: str) -> tuple[Kind, AnyContainer] | None:
    """The container of that name, with its kind."""
    return next(((k, c) for k, c in each_container(pod) if c.name == name), None)


def field_path(pod: Pod, name: str) -> str:
    """The container's place in the pod, as events name it: `spec.containers{web}`."""
    found = find_container(pod, name)
    if found is None:
        return ""
    part = {
        Kind.INIT: "initContainers",
        Kind.SIDECAR: "initContainers",
        Kind.REGULAR: "containers",
        Kind.EPHEMERAL: "ephemeralContainers",
    }[found[0]]
    return f"spec.{part}{{{name}}}"


def definition_hash(container: AnyContainer) -> str:
    """Changes where a running container must be replaced: only its image can change in place."""
    return hashlib.sha256(f"{container.name}\0{container.image}".encode()).hexdigest()[:8]


def grace_period_s(pod: Pod) -> int:
    """Seconds that the pod's containers get to end: of its deletion, else of its spec."""
    if pod.metadata.deletion_timestamp and pod.metadata.deletion_grace_period_seconds is not None:
        return pod.metadata.deletion_grace_period_seconds
    if pod.spec.termination_grace_period_seconds is not None:
        return pod.spec.termination_grace_period_seconds
    return DEFAULT_GRACE_PERIOD_S


@dataclass(frozen=True, slots=True)
class SeenSandbox:
    """A sandbox of the pod. `ips` is empty with the host's network."""

    id: str
    attempt: int
    ready: bool
    created_at: float
    ips: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SeenContainer:
    """A container of the pod, with the termination message that was read when it ended."""

    sandbox_id: str
    status: ContainerStatus
    message: str = ""

    @property
    def running(self) -> bool:
        return self.status.state is ContainerState.RUNNING

    @property
    def exited(self) -> bool:
        return self.status.state is ContainerState.EXITED


@dataclass(frozen=True, slots=True)
class Observed:
    """What the runtime has of one pod, newest first."""

    sandboxes: tuple[SeenSandbox, ...] = ()
    containers: tuple[SeenContainer, ...] = ()

    @property
    def sandbox(self) -> SeenSandbox | None:
        """The newest sandbox."""
        return self.sandboxes[0] if self.sandboxes else None

    def latest(self, name: str) -> SeenContainer | None:
        """The newest container of that name."""
        return next((c for c in self.containers if c.status.name == name), None)

    def history(self, name: str) -> list[SeenContainer]:
        """The containers of that name, newest first."""
        return [c for c in self.containers if c.status.name == name]

    def running(self) -> list[SeenContainer]:
        """All that runs."""
        return [c for c in self.containers if c.running]


@dataclass(frozen=True, slots=True)
class ProbeFailure:
    """A liveness or startup probe that asks for its container's end."""

    probe: str
    grace_period_s: int | None = None


@dataclass(frozen=True, slots=True)
class Health:
    """What probes and hooks say of running containers, by container id.

    `starting`: a postStart hook runs or the startup probe has not succeeded; `unready`: the readiness
    probe has not succeeded (a container without one is never in it). `replaced`: was stopped to be
    started anew (its image or its resources changed), which happens whatever the restart policy says.
    """

    starting: frozenset[str] = frozenset()
    unready: frozenset[str] = frozenset()
    failed: Mapping[str, ProbeFailure] = field(default_factory=dict)
    replaced: frozenset[str] = frozenset()

    def started(self, container: SeenContainer | None) -> bool:
        return (
            container is not None and container.running and container.status.id not in self.starting
        )

    def ready(self, container: SeenContainer | None) -> bool:
        return (
            container is not None
            and self.started(container)
            and container.status.id not in self.unready
        )


@dataclass(frozen=True, slots=True)
class Waiting:
    """Why a container does not run: a reason of `state.waiting` and its message."""

    reason: str
    message: str = ""
