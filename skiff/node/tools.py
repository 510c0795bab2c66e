"""What every pod's worker works with: the node's drivers and facts, and events about pods."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from skiff.aio.clock import Clock
from skiff.api.views.container import ObjectReference
from skiff.api.views.pod import Pod
from skiff.client.client import Client
from skiff.client.events import EventRecorder
from skiff.node.cgroups import Cgroups
from skiff.node.config import KubeletConfig
from skiff.node.inputs import PodInputs
from skiff.node.lifecycle.model import field_path
from skiff.node.observer import Observer
from skiff.node.probes import Probes
from skiff.node.pulling import Puller
from skiff.node.resolver import PodDns
from skiff.node.runtime import Runtime

NORMAL = "Normal"
WARNING = "Warning"


class PodEvents:
    """Events about pods and their containers."""

    def __init__(self, recorder: EventRecorder) -> None:
        self._recorder = recorder

    def pod(self, pod: Pod, kind: str, reason: str, message: str) -> None:
        """About the pod as a whole."""
        self._recorder.record(pod, kind, reason, message)

    def container(self, pod: Pod, container: str, kind: str, reason: str, message: str) -> None:
        """About one of its containers."""
        about = ObjectReference(
            api_version="v1",
            kind="Pod",
            name=pod.metadata.name,
            namespace=pod.metadata.namespace,
            uid=pod.metadata.uid,
            resource_version=pod.metadata.resource_version,
            field_path=field_path(pod, container),
        )
        self._recorder.record(about, kind, reason, message)


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """Of this machine and its runtime, as far as pods depend on them."""

    ips: tuple[str, ...]
    runtime_name: str
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class PodTools:
    """See the module's text.

    `facts`, `dns`, `network_problem` and `allocatable` are asked each time: they may change.
    `runtime_handler` raises ValueError where the pod's RuntimeClass is not there. `woken(uid)` makes a
    pod's worker look again; `neighbours(uid)` are the node's other pods. `on_disk` is false for
    simulated nodes, which make no directories for logs."""

    config: KubeletConfig
    client: Client
    runtime: Runtime
    clock: Clock
    observer: Observer
    inputs: PodInputs
    probes: Probes
    puller: Puller
    events: PodEvents
    facts: Callable[[], NodeFacts]
    dns: Callable[[Pod], PodDns]
    runtime_handler: Callable[[Pod], Awaitable[str]]
    network_problem: Callable[[], str]
    woken: Callable[[str], None]
    neighbours: Callable[[str], list[Pod]]
    allocatable: Callable[[], Mapping[str, str]]
    cgroups: Cgroups | None
    on_disk: bool


def described(pod: Pod) -> str:
    """The pod as messages name it: `web-0_default(uid)`."""
    return f"{pod.metadata.name}_{pod.metadata.namespace}({pod.metadata.uid})"
