"""The container runtime's in-memory twin: pods that cost a few hundred bytes and no process.

Images are pulled at once; containers run until they are stopped (init containers end at once with
0), obey SIGTERM at once, and get addresses from the node's pod CIDR. Time is the event loop's (virtual
where the loop is) and the clock's. Annotations on the pod say otherwise; each may be given for one
container by a dot and its name after the key:

    simulation.skiff.dev/exit-after-seconds: "5"     end by itself after 5 s (init containers: 0)
    simulation.skiff.dev/exit-code: "1"              with this code (0)
    simulation.skiff.dev/start-seconds: "2"          how long a start takes
    simulation.skiff.dev/stop-seconds: "3"           how long it takes to end after SIGTERM
    simulation.skiff.dev/pull-error: "not found"     the image cannot be pulled
    simulation.skiff.dev/readiness: "false"          also liveness, startup: what probes find
    simulation.skiff.dev/log: "hello"                what it writes when it starts

Tests may also reach in: `end`, `set_probe`, `write_log`, `available`, `exec_handler`,
`forward_handler`.
"""

import asyncio
import ipaddress
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from skiff.aio.clock import Clock, rfc3339
from skiff.aio.entropy import Entropy
from skiff.aio.http.message import Request, Response
from skiff.node import simulated_streams
from skiff.node.images import InvalidImageName, normalize
from skiff.node.local_streams import LocalStreams, Wanted
from skiff.node.runtime import (
    ANNOTATION_CONTAINER_TYPE,
    Container,
    ContainerConfig,
    ContainerState,
    ContainerStats,
    ContainerStatus,
    ExecResult,
    FilesystemUsage,
    Image,
    LinuxResources,
    NamespaceMode,
    RegistryAuth,
    RuntimeCondition,
    RuntimeNotFound,
    RuntimeRemoteError,
    RuntimeUnavailable,
    RuntimeVersion,
    Sandbox,
    SandboxConfig,
    SandboxStatus,
)
from skiff.node.simulated_streams import ForwardHandler

PREFIX = "simulation.skiff.dev/"
IMAGE_SIZE_BYTES = 10_000_000
MEMORY_BYTES = 20_000_000
SIGTERM_CODE = 128 + 15
SIGKILL_CODE = 128 + 9
DEFAULT_CIDR = "10.244.0.0/24"

ExecHandler = Callable[[str, Sequence[str]], ExecResult]


@dataclass(slots=True)
class _Sandbox:
    id: str
    config: SandboxConfig
    created_at: float
    ready: bool = True
    ip: str = ""


@dataclass(slots=True)
class _Container:
    id: str
    sandbox: _Sandbox
    config: ContainerConfig
    created_at: float
    state: ContainerState = ContainerState.CREATED
    started_at: float = 0.0
    finished_at: float = 0.0
    exit_code: int = 0
    reason: str = ""
    log: bytes = b""
    timer: asyncio.TimerHandle | None = None
    probes: dict[str, bool] = field(default_factory=dict)

    def setting(self, key: str) -> str | None:
        """An annotation for this container, else for its pod."""
        annotations = self.sandbox.config.annotations
        return annotations.get(f"{PREFIX}{key}.{self.config.name}", annotations.get(PREFIX + key))


class SimulatedRuntime:
    """See the module's text."""

    watches = True

    def __init__(self, clock: Clock, entropy: Entropy, cidr: str = DEFAULT_CIDR) -> None:
        self.available = True
        # What eviction reads of the machine, by signal: available and capacity.
        self.readings: dict[str, tuple[int, int]] = {}
        # And of a pod's emptyDirs, by the pod's name: bytes by volume.
        self.stored: dict[str, dict[str, int]] = {}
        self.exec_handler: ExecHandler | None = None
        self.forward_handler: ForwardHandler | None = None
        self._streams = LocalStreams()
        self._clock = clock
        self._entropy = entropy
        self._network = ipaddress.ip_network(cidr)
        self._next_ip = 2
        self._free_ips: list[str] = []
        self._sandboxes: dict[str, _Sandbox] = {}
        self._containers: dict[str, _Container] = {}
        self._images: dict[str, Image] = {}
        self._watchers: list[Callable[[str], None]] = []

    # ---- the runtime itself

    async def version(self) -> RuntimeVersion:
        self._check()
        return RuntimeVersion("simulated", "1.0")

    async def status(self) -> tuple[RuntimeCondition, ...]:
        self._check()
        return (RuntimeCondition("RuntimeReady", True), RuntimeCondition("NetworkReady", True))

    async def update_pod_cidr(self, cidr: str) -> None:
        network = ipaddress.ip_network(cidr)
        if network != self._network:
            self._network, self._next_ip, self._free_ips = network, 2, []

    # ---- sandboxes

    async def run_sandbox(self, config: SandboxConfig) -> str:
        self._check()
        sandbox = _Sandbox(self._id(), config, self._clock.now())
        if config.namespaces.network is not NamespaceMode.NODE:
            sandbox.ip = self._take_ip()
        self._sandboxes[sandbox.id] = sandbox
        return sandbox.id

    async def stop_sandbox(self, sandbox_id: str) -> None:
        self._check()
        sandbox = self._sandboxes.get(sandbox_id)
        if sandbox is None or not sandbox.ready:
            return
        for container in self._of(sandbox):
            self._end(container, SIGKILL_CODE)
        sandbox.ready = False
        if sandbox.ip:
            self._free_ips.append(sandbox.ip)

    async def remove_sandbox(self, sandbox_id: str) -> None:
        self._check()
        await self.stop_sandbox(sandbox_id)
        sandbox = self._sandboxes.pop(sandbox_id, None)
        if sandbox is not None:
            for container in self._of(sandbox):
                del self._containers[container.id]

    async def sandbox_status(self, sandbox_id: str) -> SandboxStatus:
        self._check()
        sandbox = self._sandbox(sandbox_id)
        return SandboxStatus(
            sandbox.id,
            sandbox.ready,
            sandbox.created_at,
            (sandbox.ip,) if sandbox.ip and sandbox.ready else (),
            sandbox.config.namespaces.network is NamespaceMode.NODE,
        )

    async def list_sandboxes(self) -> list[Sandbox]:
        self._check()
        return [
            Sandbox(
                id=s.id,
                name=s.config.name,
                namespace=s.config.namespace,
                uid=s.config.uid,
                attempt=s.config.attempt,
                ready=s.ready,
                created_at=s.created_at,
                labels=s.config.labels,
                annotations=s.config.annotations,
                runtime_handler=s.config.runtime_handler,
            )
            for s in self._sandboxes.values()
        ]

    # ---- containers

    async def create_container(
        self, sandbox_id: str, config: ContainerConfig, sandbox: SandboxConfig
    ) -> str:
        del sandbox
        self._check()
        found = self._sandbox(sandbox_id)
        if not found.ready:
            raise RuntimeRemoteError(f'sandbox container "{sandbox_id}" is not running')
        if await self.image_status(config.image) is None:
            raise RuntimeNotFound(f'image "{config.image}": not found', "NOT_FOUND")
        container = _Container(self._id(), found, config, self._clock.now())
        self._containers[container.id] = container
        return container.id

    async def start_container(self, container_id: str) -> None:
        self._check()
        container = self._container(container_id)
        if container.state is not ContainerState.CREATED:
            raise RuntimeRemoteError(
                f'failed to set starting state for container "{container_id}": '
                f"container is in {container.state.name} state"
            )
        delay = float(container.setting("start-seconds") or 0)
        if delay:
            await self._clock.sleep(delay)
        container.state = ContainerState.RUNNING
        container.started_at = self._clock.now()
        if text := container.setting("log"):
            self.write_log(container_id, text)
        life = container.setting("exit-after-seconds")
        kind = container.config.annotations.get(ANNOTATION_CONTAINER_TYPE, "")
        if life is None and kind == "init":
            life = "0"
        if life is not None:
            code = int(container.setting("exit-code") or 0)
            loop = asyncio.get_running_loop()
            container.timer = loop.call_later(float(life), self._end, container, code)

    async def stop_container(self, container_id: str, timeout_s: int) -> None:
        self._check()
        container = self._containers.get(container_id)
        if container is None or container.state is not ContainerState.RUNNING:
            return
        wanted = float(container.setting("stop-seconds") or 0)
        if wanted:
            await self._clock.sleep(min(wanted, timeout_s))
        self._end(container, SIGTERM_CODE if wanted <= timeout_s else SIGKILL_CODE)

    async def remove_container(self, container_id: str) -> None:
        self._check()
        container = self._containers.get(container_id)
        if container is not None:
            self._end(container, SIGKILL_CODE)
            del self._containers[container_id]

    async def container_status(self, container_id: str) -> ContainerStatus:
        self._check()
        c = self._container(container_id)
        return ContainerStatus(
            id=c.id,
            name=c.config.name,
            attempt=c.config.attempt,
            state=c.state,
            image=self._image_name(c.config.image),
            image_ref=self._image_ref(c.config.image),
            created_at=c.created_at,
            started_at=c.started_at,
            finished_at=c.finished_at,
            exit_code=c.exit_code,
            reason=c.reason,
            labels=c.config.labels,
            annotations=c.config.annotations,
            mounts=c.config.mounts,
            log_path=f"{c.sandbox.config.log_directory}/{c.config.log_path}",
        )

    async def list_containers(self) -> list[Container]:
        self._check()
        return self.containers()

    def containers(self) -> list[Container]:
        """All containers."""
        return [
            Container(
                id=c.id,
                sandbox_id=c.sandbox.id,
                name=c.config.name,
                attempt=c.config.attempt,
                image=self._image_name(c.config.image),
                image_ref=self._image_ref(c.config.image),
                state=c.state,
                created_at=c.created_at,
                labels=c.config.labels,
                annotations=c.config.annotations,
            )
            for c in self._containers.values()
        ]

    async def update_resources(self, container_id: str, resources: LinuxResources) -> None:
        self._check()
        container = self._container(container_id)
        container.config = replace(container.config, resources=resources)

    # ---- commands, streams, logs

    async def exec_sync(
        self, container_id: str, command: Sequence[str], timeout_s: float
    ) -> ExecResult:
        del timeout_s
        self._running(container_id)
        if self.exec_handler is not None:
            return self.exec_handler(container_id, command)
        return ExecResult(b"", b"", 0)

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
        self._running(container_id)
        scripted = self.exec_handler is not None
        return self._streams.command(
            Wanted(stdin, stdout, stderr, tty),
            simulated_streams.command(self, container_id, command, scripted=scripted, stdin=stdin),
        )

    async def attach_url(
        self, container_id: str, *, stdin: bool, stdout: bool, stderr: bool, tty: bool
    ) -> str:
        self._running(container_id)
        return self._streams.command(
            Wanted(stdin, stdout, stderr, tty),
            simulated_streams.attach(self, container_id, self.log_entries, self._clock),
        )

    async def port_forward_url(self, sandbox_id: str, ports: Sequence[int]) -> str:
        self._check()
        self._sandbox(sandbox_id)
        return self._streams.forward(
            ports, simulated_streams.forward(sandbox_id, lambda: self.forward_handler)
        )

    async def serve_stream(self, url: str, request: Request) -> Response:
        """Answer the upgrade request for an address that this runtime gave out."""
        return await self._streams.serve_stream(url, request)

    def _running(self, container_id: str) -> _Container:
        self._check()
        container = self._container(container_id)
        if container.state is not ContainerState.RUNNING:
            raise RuntimeRemoteError(f"container is in CONTAINER_{container.state.name} state")
        return container

    async def reopen_log(self, container_id: str) -> None:
        self._check()
        self._container(container_id)

    def log_entries(self, container_id: str) -> bytes:
        """The container's log so far, in CRI's format."""
        return self._container(container_id).log

    async def container_stats(self) -> list[ContainerStats]:
        self._check()
        now = self._clock.now()
        return [
            ContainerStats(
                id=c.id,
                name=c.config.name,
                labels=c.config.labels,
                timestamp=now,
                cpu_nano_seconds=int((now - c.started_at) * 1e6),
                memory_working_set_bytes=MEMORY_BYTES,
                memory_usage_bytes=MEMORY_BYTES,
                memory_rss_bytes=MEMORY_BYTES,
            )
            for c in self._containers.values()
            if c.state is ContainerState.RUNNING
        ]

    # ---- images

    async def pull_image(
        self, image: str, auth: RegistryAuth | None, sandbox: SandboxConfig | None
    ) -> str:
        del auth
        self._check()
        try:
            name = normalize(image)
        except InvalidImageName as e:
            raise RuntimeRemoteError(f'failed to pull and unpack image "{image}": {e}') from e
        error = sandbox.annotations.get(f"{PREFIX}pull-error") if sandbox else None
        if error:
            raise RuntimeRemoteError(f'failed to pull and unpack image "{name}": {error}')
        return self._add_image(name).id

    async def image_status(self, image: str) -> Image | None:
        self._check()
        by_id = next((i for i in self._images.values() if i.id == image), None)
        if by_id is not None:
            return by_id
        try:
            return self._images.get(normalize(image))
        except InvalidImageName:
            return None

    async def list_images(self) -> list[Image]:
        self._check()
        return list(self._images.values())

    async def remove_image(self, image: str) -> None:
        self._check()
        found = await self.image_status(image)
        if found is not None:
            self._images = {n: i for n, i in self._images.items() if i.id != found.id}

    async def mount_image(self, image: str, target: str) -> None:
        del target
        if await self.image_status(image) is None:
            raise RuntimeNotFound(f'image "{image}": not found')

    async def image_fs(self) -> list[FilesystemUsage]:
        self._check()
        used = IMAGE_SIZE_BYTES * len(self._images)
        return [FilesystemUsage("/simulated", used, len(self._images), self._clock.now())]

    async def watch(self, changed: Callable[[str], None]) -> None:
        self._watchers.append(changed)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self._watchers.remove(changed)

    async def close(self) -> None:
        for container in self._containers.values():
            if container.timer is not None:
                container.timer.cancel()

    # ---- what tests reach for

    def end(self, container_id: str, exit_code: int, reason: str = "") -> None:
        """The container's process ends, with this code."""
        self._end(self._container(container_id), exit_code, reason)

    def set_probe(self, container_id: str, probe: str, ok: bool) -> None:
        """What the container's probe (`readiness`, `liveness`, `startup`) finds from now on."""
        self._container(container_id).probes[probe] = ok

    def probe(self, container_id: str, probe: str) -> bool:
        """What a probe of the container finds."""
        container = self._container(container_id)
        if probe in container.probes:
            return container.probes[probe]
        return container.setting(probe) != "false"

    def write_log(self, container_id: str, line: str, stream: str = "stdout") -> None:
        """The container prints a line."""
        stamp = rfc3339(self._clock.now()).removesuffix("Z") + ".000000000Z"
        self._container(container_id).log += f"{stamp} {stream} F {line}\n".encode()

    def container_resources(self, container_id: str) -> LinuxResources:
        """The container's limits as they are now."""
        return self._container(container_id).config.resources

    def find(self, namespace: str, pod: str, container: str) -> str:
        """The id of the newest container of that name. Raises LookupError."""
        found = [
            c for c in self._containers.values()
            if (c.sandbox.config.namespace, c.sandbox.config.name, c.config.name) == (namespace, pod, container)
        ]  # fmt: skip
        if not found:
            raise LookupError(f"no container {container} in pod {namespace}/{pod}")
        return found[-1].id

    # ---- inner workings

    def _check(self) -> None:
        if not self.available:
            raise RuntimeUnavailable("the simulated runtime is switched off", "UNAVAILABLE")

    def _id(self) -> str:
        return f"{self._entropy.random.getrandbits(256):064x}"

    def _take_ip(self) -> str:
        """The next address never used, else the one that was free the longest."""
        if self._next_ip < self._network.num_addresses - 1:
            self._next_ip += 1
            return str(self._network[self._next_ip - 1])
        if not self._free_ips:
            raise RuntimeRemoteError(f"no IP addresses available in range set: {self._network}")
        return self._free_ips.pop(0)

    def _sandbox(self, sandbox_id: str) -> _Sandbox:
        found = self._sandboxes.get(sandbox_id)
        if found is None:
            raise RuntimeNotFound(f'sandbox "{sandbox_id}": not found', "NOT_FOUND")
        return found

    def _container(self, container_id: str) -> _Container:
        found = self._containers.get(container_id)
        if found is None:
            raise RuntimeNotFound(f'container "{container_id}": not found', "NOT_FOUND")
        return found

    def _of(self, sandbox: _Sandbox) -> list[_Container]:
        return [c for c in self._containers.values() if c.sandbox is sandbox]

    def _end(self, container: _Container, exit_code: int, reason: str = "") -> None:
        if container.state is not ContainerState.RUNNING:
            return
        if container.timer is not None:
            container.timer.cancel()
            container.timer = None
        container.state = ContainerState.EXITED
        container.finished_at = self._clock.now()
        container.exit_code = exit_code
        container.reason = reason or ("Completed" if exit_code == 0 else "Error")
        for changed in self._watchers:
            changed(container.id)

    def _add_image(self, name: str) -> Image:
        image = self._images.get(name)
        if image is None:
            digest = f"sha256:{self._entropy.random.getrandbits(256):064x}"
            repository = name.partition("@")[0].rpartition(":")[0] or name
            tags = () if "@" in name else (name,)
            image = Image(digest, tags, (f"{repository}@{digest}",), IMAGE_SIZE_BYTES)
            self._images[name] = image
        return image

    def _image_name(self, image: str) -> str:
        found = next((i for i in self._images.values() if i.id == image), None)
        return found.tags[0] if found and found.tags else image

    def _image_ref(self, image: str) -> str:
        found = next((i for i in self._images.values() if i.id == image), None)
        return found.digests[0] if found else image


def annotations(**settings: str | int | float) -> Mapping[str, str]:
    """Annotations for a pod: `annotations(exit_after_seconds=5, exit_code=1)`."""
    return {PREFIX + key.replace("_", "-"): str(value) for key, value in settings.items()}
