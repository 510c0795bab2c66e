"""A whole cluster in one process: the API server on the memory store, the controllers, the scheduler
and nodes whose containers are simulated, joined by the in-process transport, on virtual time and a
seed.

    async def main() -> None:
        async with Cluster(nodes=2, seed=1) as cluster:
            await cluster.client.create(DEPLOYMENTS, deployment, "default")
            await cluster.wait_until(lambda: cluster.list(PODS, "default"))

    run_virtual(main())

Nothing in it reads the machine's time, draws randomness of its own, or uses threads, so the same
program with the same seed does the same, write by write (`event_log`). Each part is a process of its
own in that it has its own connection and its own copy of what it knows: it can be killed and started
again (`kill`, `start`). What does not end well ends the test.
"""

import asyncio
import inspect
import zlib
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from ipaddress import IPv4Address
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self, TypeVar, cast

import orjson

from skiff.aio.clock import LoopClock
from skiff.aio.entropy import Entropy
from skiff.aio.http.message import Handler, Request, Response
from skiff.aio.http.upstream import UpstreamError
from skiff.aio.run import Component, Group
from skiff.api.errors import NotFound
from skiff.api.resources import NODES, Resource
from skiff.client.client import Client
from skiff.client.events import EventRecorder
from skiff.client.informer import InformerFactory
from skiff.client.transport import LocalTransport
from skiff.controllers.context import Options
from skiff.controllers.manager import ControllerManager
from skiff.node.config import KubeletConfig
from skiff.node.run import Kubelet
from skiff.node.simulated import SimulatedRuntime
from skiff.scheduler.run import NAME as SCHEDULER_NAME
from skiff.scheduler.run import Scheduler
from skiff.server.stamp import stamp
from skiff.store.memory import MemoryStore
from skiff.testing.events import EventLog
from skiff.testing.faults import Faults, FaultyStore, FaultyTransport
from skiff.testing.loop import run_virtual
from skiff.testing.process import Process
from skiff.testing.server import HISTORY, LocalServer

__all__ = ["Cluster", "Faults", "run_virtual"]

EPOCH = 1_767_225_600.0
"""When a cluster's time begins: 2026-01-01T00:00:00Z."""
FIRST_NODE_IP = IPv4Address("192.0.2.10")
LATENCY_S = 0.0005
READY_TIMEOUT_S = 60.0
SETTLE_S = 0.1
LOOK_AGAIN_S = 1.0
"""How long `wait_until` goes without looking where nothing is written."""

SERVER, CONTROLLERS, SCHEDULER = "server", "controllers", "scheduler"
ADMIN = ("kubernetes-admin", ("system:masters",))

Object = dict[str, Any]
T = TypeVar("T")
Condition = Callable[[], T | Awaitable[T]]


class Cluster:
    """See the module's text. `nodes` is how many there are (`node-1`, …); `without` names controllers
    that are not to run; `faults` apply from when all is ready; `capacity` is what each node has."""

    def __init__(
        self,
        nodes: int = 1,
        seed: int = 1,
        *,
        faults: Faults | None = None,
        options: Options | None = None,
        without: Collection[str] = (),
        capacity: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.seed = seed
        self.clock = LoopClock(EPOCH)
        self._lives: dict[str, int] = {}
        self.event_log = EventLog()
        self.faults = Faults(latency_s=LATENCY_S)
        self.processes: dict[str, Process] = {}
        self.runtimes: dict[str, SimulatedRuntime] = {}
        self._kubelets: dict[str, Handler] = {}
        self._wanted_faults = faults
        self._options = options or Options(ca_pem="in-process")
        self._without = without
        self._capacity = dict(capacity)
        self._node_names = [f"node-{i + 1}" for i in range(nodes)]
        self._stores = MemoryStore(stamp, self.clock, HISTORY)
        self._store = FaultyStore(self._stores, self.faults, self.entropy("store"))
        self._written = asyncio.Event()
        self._group = asyncio.TaskGroup()
        self.client = self.client_as(*ADMIN, agent="kubectl")

    # Coming and going

    async def __aenter__(self) -> Self:
        self._stores.watch("", self._stores.revision, self._note)
        await self._group.__aenter__()
        try:
            async with asyncio.timeout(READY_TIMEOUT_S):
                await self._start_all()
        except BaseException as error:
            await self.__aexit__(type(error), error, error.__traceback__)
            raise
        if self._wanted_faults is not None:
            for name in Faults.__slots__:
                setattr(self.faults, name, getattr(self._wanted_faults, name))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            await self._stop_all()
            await self._group.__aexit__(kind, error, trace)
        except BaseExceptionGroup as group:
            if group.exceptions != (error,):
                raise  # else it is the body's own error, which goes on by itself
        finally:
            await self._stores.close()

    async def _start_all(self) -> None:
        self._add(SERVER, self._make_server)
        self._add(CONTROLLERS, self._make_controllers)
        self._add(SCHEDULER, self._make_scheduler)
        for name in self._node_names:
            self._add_node(name)
        await self.processes[SERVER].start()
        rest = [p.begin() for n, p in self.processes.items() if n != SERVER]
        for ready in rest:
            await ready.wait()
        await self._nodes_settle()

    async def _nodes_settle(self) -> None:
        """Wait until every node may be used, and who taints nodes has seen that they are ready."""
        await self.wait_until(self._nodes_usable, READY_TIMEOUT_S)
        await self.advance(SETTLE_S)
        await self.wait_until(self._nodes_usable, READY_TIMEOUT_S)

    def _nodes_usable(self) -> bool:
        """Every node is ready, and controllers have taken off what kept pods away until it was."""
        return all(_usable(self.get(NODES, name)) for name in self._node_names)

    async def _stop_all(self) -> None:
        for process in reversed(self.processes.values()):
            await process.stop()

    def _add(self, name: str, make: Callable[[], tuple[Component, list[FaultyTransport]]]) -> None:
        self.processes[name] = Process(name, make, self._group)

    # Parts

    def _make_server(self) -> tuple[Component, list[FaultyTransport]]:
        server = LocalServer(self._store, self.clock, self.entropy(SERVER))
        server.kubelets = self._kubelets
        return server, []

    def _make_controllers(self) -> tuple[Component, list[FaultyTransport]]:
        client, transport = self._component("system:kube-controller-manager", (), CONTROLLERS)
        manager = ControllerManager(
            client,
            self.clock,
            client.entropy,
            options=self._options,
            without=self._without,
        )
        return manager, [transport]

    def _make_scheduler(self) -> tuple[Component, list[FaultyTransport]]:
        client, transport = self._component("system:kube-scheduler", (), SCHEDULER)
        informers = InformerFactory(client)
        recorder = EventRecorder(client, SCHEDULER_NAME)
        scheduler = Scheduler(client, informers, recorder, self.clock, client.entropy)
        parts: list[tuple[str, Component]] = [
            ("informers", informers),
            ("events", recorder),
            ("scheduler", scheduler),
        ]
        return Group(parts), [transport]

    def _add_node(self, name: str) -> None:
        """A kubelet and its runtime; the runtime, as a real one, outlives the kubelet."""
        number = len(self.runtimes) + 1
        entropy = self.entropy(f"runtime {name}")
        self.runtimes[name] = SimulatedRuntime(self.clock, entropy, f"10.244.{number}.0/24")
        config = KubeletConfig(
            node_name=name,
            root_dir=Path("/simulated") / name,
            pod_logs_dir=Path("/simulated") / name / "logs",
            node_ip=str(FIRST_NODE_IP + number),
            capacity=self._capacity,
            manage_cgroups=False,
        )
        self._add(name, lambda: self._make_kubelet(config))
        self._kubelets[name] = lambda request: self._ask_kubelet(name, request)

    def _make_kubelet(self, config: KubeletConfig) -> tuple[Component, list[FaultyTransport]]:
        name = config.node_name
        client, transport = self._component(f"system:node:{name}", ("system:nodes",), name)
        kubelet = Kubelet(config, client, self.runtimes[name], self.clock, client.entropy)
        return kubelet, [transport]

    def _ask_kubelet(self, name: str, request: Request) -> Response | Awaitable[Response]:
        """What the server asks of a node: its kubelet's HTTP API, without a connection."""
        kubelet = self.processes[name].component
        if not self.processes[name].running or not isinstance(kubelet, Kubelet):
            raise UpstreamError(f"dial tcp {name}:10250: connect: connection refused")
        return kubelet.server.handle(request)

    def _component(
        self, user: str, groups: Sequence[str], name: str
    ) -> tuple[Client, FaultyTransport]:
        entropy = self.entropy(name)
        inner = LocalTransport(self._handle, user, groups)
        transport = FaultyTransport(inner, self.faults, self.clock, entropy)
        return Client(transport, self.clock, entropy, f"skiff-{name}/1"), transport

    def entropy(self, name: str) -> Entropy:
        """A source of randomness from the seed, the name, and how often that name has asked: one
        part's draws do not shift another's, and a part that is started again draws anew."""
        life = self._lives[name] = self._lives.get(name, 0) + 1
        return Entropy(zlib.crc32(f"{name} {life}".encode(), self.seed & 0xFFFFFFFF))

    def _handle(self, request: Request) -> Response | Awaitable[Response]:
        server = self.processes[SERVER].component
        if not self.processes[SERVER].running or not isinstance(server, LocalServer):
            raise ConnectionRefusedError("connection refused")
        return server.handle(request)

    # What tests do

    @property
    def server(self) -> LocalServer:
        """The API server that runs now."""
        component = self.processes[SERVER].component
        assert isinstance(component, LocalServer)
        return component

    def client_as(self, user: str, groups: Sequence[str] = (), agent: str = "") -> Client:
        """A client for tests, as any user: no faults, no delays."""
        transport = LocalTransport(self._handle, user, groups)
        return Client(transport, self.clock, self.entropy(f"client {user}"), f"{agent or user}/1")

    def get(self, resource: Resource, name: str, namespace: str = "") -> Object | None:
        """An object as the store has it now, without a request."""
        entry = self._stores.get(_prefix(resource, namespace) + name)
        return None if entry is None else cast("Object", orjson.loads(entry.value))

    def list(self, resource: Resource, namespace: str = "") -> list[Object]:
        """Objects as the store has them now, without a request; of one namespace, or all."""
        page = self._stores.list(_prefix(resource, namespace))
        return [orjson.loads(entry.value) for entry in page.entries]

    async def advance(self, seconds: float) -> None:
        """Let virtual time pass."""
        await self.clock.sleep(seconds)

    async def wait_until(self, condition: Condition[T], timeout_s: float = 120.0) -> T:
        """The first true result of `condition` (a function, or an async one), which is asked again
        after each write. NotFound counts as not yet. Raises AssertionError after `timeout_s`."""
        deadline = self.clock.monotonic() + timeout_s
        while True:
            self._written.clear()
            try:
                result = condition()
                found: T = await result if inspect.isawaitable(result) else result
                if found:
                    return found
            except NotFound:
                pass
            left = deadline - self.clock.monotonic()
            assert left > 0, f"seed {self.seed}: not within {timeout_s} s: {_name(condition)}"
            try:
                async with asyncio.timeout(min(left, LOOK_AGAIN_S)):
                    await self._written.wait()
            except TimeoutError:
                pass

    async def add_node(self, name: str) -> None:
        """One more node; returns when pods may be bound to it."""
        self._node_names.append(name)
        self._add_node(name)
        await self.start(name)
        await self._nodes_settle()

    async def kill(self, name: str) -> None:
        """End a process (`server`, `controllers`, `scheduler`, a node's name) as SIGKILL does."""
        await self.processes[name].kill()

    async def start(self, name: str) -> None:
        """Start a process that was killed; returns when it is ready."""
        await self.processes[name].start()

    async def restart(self, name: str) -> None:
        """Kill a process and start it anew."""
        await self.kill(name)
        await self.start(name)

    def _note(self, events: Sequence[Any]) -> None:
        self.event_log.note(self.clock.monotonic(), events)
        self._written.set()


def _prefix(resource: Resource, namespace: str) -> str:
    group, plural = resource.storage
    space = f"{namespace}/" if namespace and resource.namespaced else ""
    return f"/{group or 'core'}/{plural}/{space}"


def _usable(node: Object | None) -> bool:
    conditions = ((node or {}).get("status") or {}).get("conditions") or ()
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
    return ready and not (node or {})["spec"].get("taints")


def _name(condition: Callable[[], Any]) -> str:
    code = getattr(condition, "__code__", None)
    where = f" ({code.co_filename}:{code.co_firstlineno})" if code else ""
    return f"{getattr(condition, '__qualname__', condition)}{where}"
