"""The container runtime, as the kubelet sees it: one Protocol and its data.

`skiff.node.cri` speaks it to containerd (or another CRI runtime) over gRPC; `skiff.node.simulated`
is its in-memory twin. Both pass `tests/node/test_runtime_contract.py`. The words are those of the
Container Runtime Interface (https://kubernetes.io/docs/concepts/architecture/cri/): a pod has a
*sandbox* (its namespaces and network), containers run in a sandbox, images are referenced by name
or by id.

Times are Unix seconds (float, 0.0 where unknown), sizes bytes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

# Labels that the kubelet puts on sandboxes and containers; state is rebuilt from them.
LABEL_POD_NAME = "io.kubernetes.pod.name"
LABEL_POD_NAMESPACE = "io.kubernetes.pod.namespace"
LABEL_POD_UID = "io.kubernetes.pod.uid"
LABEL_CONTAINER_NAME = "io.kubernetes.container.name"
# Annotations of containers: what the kubelet needs to know again after its own restart.
ANNOTATION_HASH = "io.kubernetes.container.hash"
ANNOTATION_RESTART_COUNT = "io.kubernetes.container.restartCount"
ANNOTATION_TERMINATION_PATH = "io.kubernetes.container.terminationMessagePath"
ANNOTATION_TERMINATION_POLICY = "io.kubernetes.container.terminationMessagePolicy"
ANNOTATION_GRACE_PERIOD = "io.kubernetes.pod.terminationGracePeriod"
ANNOTATION_CONTAINER_TYPE = "io.kubernetes.container.type"


class RuntimeRemoteError(Exception):
    """The runtime refused a call. `code` is gRPC's status name (`NOT_FOUND`, `UNKNOWN`…)."""

    def __init__(self, message: str, code: str = "UNKNOWN") -> None:
        super().__init__(message)
        self.message = message
        self.code = code

    def wire(self) -> str:
        """The error as Kubernetes' components print one that came over gRPC."""
        return f"rpc error: code = {_code_name(self.code)} desc = {self.message}"


class RuntimeUnavailable(RuntimeRemoteError):
    """The runtime does not answer (not running, restarting, or past the deadline)."""


class RuntimeNotFound(RuntimeRemoteError):
    """No such sandbox, container or image."""


def _code_name(code: str) -> str:
    """gRPC's `DEADLINE_EXCEEDED` as Go prints it: `DeadlineExceeded`."""
    return "".join(part.capitalize() for part in code.split("_"))


class ContainerState(Enum):
    """CRI's container states, by their wire numbers."""

    CREATED = 0
    RUNNING = 1
    EXITED = 2
    UNKNOWN = 3


class NamespaceMode(Enum):
    """Which namespace a container joins, by CRI's wire numbers."""

    POD = 0
    CONTAINER = 1
    NODE = 2
    TARGET = 3


class Propagation(Enum):
    """Mount propagation, by CRI's wire numbers."""

    PRIVATE = 0
    HOST_TO_CONTAINER = 1
    BIDIRECTIONAL = 2


class ProfileType(Enum):
    """Seccomp and AppArmor profile types, by CRI's wire numbers."""

    RUNTIME_DEFAULT = 0
    UNCONFINED = 1
    LOCALHOST = 2


@dataclass(frozen=True, slots=True)
class Profile:
    """A seccomp or AppArmor profile; `path` is for LOCALHOST ones."""

    type: ProfileType
    path: str = ""


@dataclass(frozen=True, slots=True)
class Namespaces:
    """Namespace modes of a sandbox or container; `target_id` is the container of a TARGET pid mode."""

    network: NamespaceMode = NamespaceMode.POD
    pid: NamespaceMode = NamespaceMode.CONTAINER
    ipc: NamespaceMode = NamespaceMode.POD
    target_id: str = ""


@dataclass(frozen=True, slots=True)
class PortMapping:
    """A host port of a pod. `protocol` is TCP, UDP or SCTP."""

    container_port: int
    host_port: int
    protocol: str = "TCP"
    host_ip: str = ""


@dataclass(frozen=True, slots=True)
class DnsConfig:
    """What goes into the pod's resolv.conf."""

    servers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LinuxResources:
    """cgroup limits; 0 means "not set". `cpu_quota` -1 lifts a limit (updates only)."""

    cpu_period_us: int = 0
    cpu_quota_us: int = 0
    cpu_shares: int = 0
    memory_limit_bytes: int = 0
    oom_score_adj: int = 0
    cpuset_cpus: str = ""
    hugepage_limits: tuple[tuple[str, int], ...] = ()
    unified: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class SandboxConfig:
    """What a pod's sandbox is made from. `attempt` counts the sandboxes of one pod."""

    name: str
    namespace: str
    uid: str
    attempt: int = 0
    hostname: str = ""
    log_directory: str = ""
    dns: DnsConfig | None = None
    port_mappings: tuple[PortMapping, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    cgroup_parent: str = ""
    namespaces: Namespaces = Namespaces()
    run_as_user: int | None = None
    run_as_group: int | None = None
    supplemental_groups: tuple[int, ...] = ()
    privileged: bool = False
    readonly_rootfs: bool = False
    seccomp: Profile | None = None
    sysctls: Mapping[str, str] = field(default_factory=dict)
    runtime_handler: str = ""


@dataclass(frozen=True, slots=True)
class Mount:
    """A file or directory of the host at `container_path`."""

    container_path: str
    host_path: str
    readonly: bool = False
    propagation: Propagation = Propagation.PRIVATE


@dataclass(frozen=True, slots=True)
class ContainerSecurity:
    """A container's security settings, resolved from pod and container."""

    privileged: bool = False
    run_as_user: int | None = None
    run_as_username: str = ""
    run_as_group: int | None = None
    supplemental_groups: tuple[int, ...] = ()
    readonly_rootfs: bool = False
    no_new_privs: bool = False
    add_capabilities: tuple[str, ...] = ()
    drop_capabilities: tuple[str, ...] = ()
    namespaces: Namespaces = Namespaces()
    masked_paths: tuple[str, ...] = ()
    readonly_paths: tuple[str, ...] = ()
    seccomp: Profile | None = None
    apparmor: Profile | None = None


@dataclass(frozen=True, slots=True)
class ContainerConfig:
    """What a container is made from. `image` is the image's id; `attempt` is its restart count.
    `log_path` is relative to the sandbox's log directory; `devices` are (host path, container path,
    permissions)."""

    name: str
    image: str
    attempt: int = 0
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    working_dir: str = ""
    env: tuple[tuple[str, str], ...] = ()
    mounts: tuple[Mount, ...] = ()
    devices: tuple[tuple[str, str, str], ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    log_path: str = ""
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False
    resources: LinuxResources = LinuxResources()
    security: ContainerSecurity = ContainerSecurity()


@dataclass(frozen=True, slots=True)
class Sandbox:
    """A sandbox as a listing shows it."""

    id: str
    name: str
    namespace: str
    uid: str
    attempt: int
    ready: bool
    created_at: float
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    runtime_handler: str = ""


@dataclass(frozen=True, slots=True)
class SandboxStatus:
    """A sandbox with its addresses (primary first; none with the host's network)."""

    id: str
    ready: bool
    created_at: float
    ips: tuple[str, ...] = ()
    host_network: bool = False


@dataclass(frozen=True, slots=True)
class Container:
    """A container as a listing shows it."""

    id: str
    sandbox_id: str
    name: str
    attempt: int
    image: str
    image_ref: str
    state: ContainerState
    created_at: float
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ContainerStatus:
    """A container in full. `reason` is the runtime's (`Completed`, `Error`, `OOMKilled`, `StartError`…);
    `log_path` is absolute."""

    id: str
    name: str
    attempt: int
    state: ContainerState
    image: str
    image_ref: str
    created_at: float = 0.0
    started_at: float = 0.0
    finished_at: float = 0.0
    exit_code: int = 0
    reason: str = ""
    message: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[Mount, ...] = ()
    log_path: str = ""


@dataclass(frozen=True, slots=True)
class ExecResult:
    """Of a command run in a container."""

    stdout: bytes
    stderr: bytes
    exit_code: int


@dataclass(frozen=True, slots=True)
class Image:
    """An image of the runtime. `uid`/`username` are of the image's configured user (uid None where it
    is given by name); `pinned` images are never removed."""

    id: str
    tags: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()
    size_bytes: int = 0
    uid: int | None = None
    username: str = ""
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class RegistryAuth:
    """Credentials for one registry."""

    username: str = ""
    password: str = ""
    auth: str = ""
    server_address: str = ""
    identity_token: str = ""
    registry_token: str = ""


@dataclass(frozen=True, slots=True)
class ContainerStats:
    """Resource use of one container. `cpu_nano_seconds` is cumulative; `timestamp` Unix seconds."""

    id: str
    name: str
    labels: Mapping[str, str]
    timestamp: float
    cpu_nano_seconds: int = 0
    memory_working_set_bytes: int = 0
    memory_usage_bytes: int = 0
    memory_rss_bytes: int = 0
    memory_available_bytes: int = 0
    memory_page_faults: int = 0
    memory_major_page_faults: int = 0
    rootfs_used_bytes: int = 0
    rootfs_inodes_used: int = 0


@dataclass(frozen=True, slots=True)
class FilesystemUsage:
    """Of the runtime's image store."""

    mountpoint: str
    used_bytes: int
    inodes_used: int
    timestamp: float


@dataclass(frozen=True, slots=True)
class RuntimeVersion:
    """`name` and `version` make nodeInfo's `containerd://1.6.20`."""

    name: str
    version: str


@dataclass(frozen=True, slots=True)
class RuntimeCondition:
    """`RuntimeReady` or `NetworkReady`."""

    type: str
    status: bool
    reason: str = ""
    message: str = ""


class Runtime(Protocol):
    """The CRI calls that the kubelet makes.

    Every call may raise RuntimeUnavailable (try again later) or RuntimeRemoteError; calls about one
    thing raise RuntimeNotFound where it is gone, but stopping and removing what is gone succeeds.
    """

    async def version(self) -> RuntimeVersion:
        """The runtime's name and version."""

    async def status(self) -> tuple[RuntimeCondition, ...]:
        """Whether runtime and network are ready."""

    async def update_pod_cidr(self, cidr: str) -> None:
        """Tell the runtime the node's pod CIDR."""

    async def run_sandbox(self, config: SandboxConfig) -> str:
        """Create and start a sandbox with its network; returns its id."""

    async def stop_sandbox(self, sandbox_id: str) -> None:
        """Kill what runs in it and take its network down; may be repeated."""

    async def remove_sandbox(self, sandbox_id: str) -> None:
        """Remove it and all its containers; may be repeated."""

    async def sandbox_status(self, sandbox_id: str) -> SandboxStatus:
        """Its state and addresses."""

    async def list_sandboxes(self) -> list[Sandbox]:
        """All sandboxes."""

    async def create_container(
        self, sandbox_id: str, config: ContainerConfig, sandbox: SandboxConfig
    ) -> str:
        """Create a container in a ready sandbox; returns its id."""

    async def start_container(self, container_id: str) -> None:
        """Start a created container."""

    async def stop_container(self, container_id: str, timeout_s: int) -> None:
        """Send the stop signal, then KILL after `timeout_s`; returns when it has ended; may be repeated."""

    async def remove_container(self, container_id: str) -> None:
        """Remove it (killing it where it runs); may be repeated."""

    async def container_status(self, container_id: str) -> ContainerStatus:
        """One container in full."""

    async def list_containers(self) -> list[Container]:
        """All containers."""

    async def update_resources(self, container_id: str, resources: LinuxResources) -> None:
        """Change a running container's limits."""

    async def exec_sync(
        self, container_id: str, command: Sequence[str], timeout_s: float
    ) -> ExecResult:
        """Run `command` to its end; raises RuntimeUnavailable with code DEADLINE_EXCEEDED past `timeout_s`
        (0: none)."""

    async def exec_url(
        self,
        container_id: str,
        command: Sequence[str],
        *,
        stdin: bool,
        stdout: bool,
        stderr: bool,
        tty: bool,
    ) -> str:
        """An address of the runtime's streaming server that runs `command` (used once, soon)."""

    async def attach_url(
        self, container_id: str, *, stdin: bool, stdout: bool, stderr: bool, tty: bool
    ) -> str:
        """An address of the runtime's streaming server that attaches to the main process."""

    async def port_forward_url(self, sandbox_id: str, ports: Sequence[int]) -> str:
        """An address of the runtime's streaming server that forwards to ports of the pod."""

    async def reopen_log(self, container_id: str) -> None:
        """Open the container's log file anew, after it was rotated."""

    async def container_stats(self) -> list[ContainerStats]:
        """Resource use of all running containers."""

    async def pull_image(
        self, image: str, auth: RegistryAuth | None, sandbox: SandboxConfig | None
    ) -> str:
        """Pull `image`; returns its id."""

    async def image_status(self, image: str) -> Image | None:
        """The image of that name or id, if it is there."""

    async def list_images(self) -> list[Image]:
        """All images."""

    async def remove_image(self, image: str) -> None:
        """Remove an image by name or id; may be repeated."""

    async def mount_image(self, image: str, target: str) -> None:
        """Show the files of an image, given by its id, read-only at the directory `target` of the host;
        may be repeated. Who removes the directory unmounts it."""

    async def image_fs(self) -> list[FilesystemUsage]:
        """Use of the image store's filesystems."""

    async def watch(self, changed: Callable[[str], None]) -> None:
        """Call `changed` with the container's id whenever a container ends, until cancelled. What ended
        while nobody watched is not told: list after it. Never returns."""

    @property
    def watches(self) -> bool:
        """Whether `watch` tells of every end, so that listing can be rare."""

    async def close(self) -> None:
        """Let go of connections."""
