"""A control plane on virtual time: the real API server over a memory store, the controllers, and a
player that stands in for scheduler and kubelet where a test wants one."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from skiff.aio.clock import LoopClock, rfc3339
from skiff.aio.entropy import Entropy
from skiff.api.errors import ApiError
from skiff.api.resources import NODES, PODS, RESOURCES, Resource
from skiff.api.views.core import Pod
from skiff.client.client import Client
from skiff.client.informer import Informer
from skiff.client.transport import LocalTransport
from skiff.controllers.context import Options
from skiff.controllers.daemonset.plan import target_node
from skiff.controllers.manager import ControllerManager
from skiff.server.app import ApiServer, Parts
from skiff.server.assemble import Assembly, Settings
from skiff.server.bootstrap import Facts
from skiff.server.engine import Engine
from skiff.server.stamp import stamp
from skiff.store.memory import MemoryStore
from skiff.testing.loop import run_virtual

EPOCH = 1_700_000_000.0
DEADLINE_S = 900.0

Object = dict[str, Any]


@dataclass
class World:
    """What a test holds."""

    client: Client
    clock: LoopClock
    server: ApiServer
    calls: list[tuple[str, str]] = field(default_factory=list)

    async def until(
        self, check: Callable[[], Awaitable[Any]], timeout_s: float = 60.0, every_s: float = 0.02
    ) -> Any:
        """The first true result of `check` within `timeout_s` of virtual time."""
        deadline = self.clock.monotonic() + timeout_s
        while True:
            with contextlib.suppress(ApiError, LookupError, ValueError):
                if result := await check():
                    return result
            assert self.clock.monotonic() < deadline, f"not within {timeout_s} s"
            await self.clock.sleep(every_s)

    async def objects(self, resource: Resource, namespace: str = "default") -> list[Object]:
        path = resource.path(namespace if resource.namespaced else "")
        import orjson

        return orjson.loads((await self.client.raw_get(path)).body)["items"]

    async def events(self, reason: str, namespace: str = "default") -> list[str]:
        """The messages of the events with that reason."""
        await self.clock.sleep(0.1)
        found = await self.objects(RESOURCES["", "v1", "events"], namespace)
        return [e["message"] for e in found if e["reason"] == reason]


class Counting:
    """A transport that notes what goes through it."""

    def __init__(self, inner: LocalTransport, calls: list[tuple[str, str]]) -> None:
        self._inner = inner
        self._calls = calls

    async def request(
        self, method: str, path: str, body: bytes = b"", headers: Any = MappingProxyType({})
    ) -> Any:
        if method != "GET":
            self._calls.append((method, path))
        return await self._inner.request(method, path, body, headers)

    def stream(
        self, method: str, path: str, body: bytes = b"", headers: Any = MappingProxyType({})
    ) -> Any:
        return self._inner.stream(method, path, body, headers)

    def close(self) -> None:
        self._inner.close()


class Player:
    """Runs pods at once: assigned to a node, running, ready; gone when they are deleted."""

    def __init__(
        self, world: World, *, ready: Callable[[Pod], bool] = lambda _: True, step_s: float = 0.002
    ) -> None:
        self._world = world
        self._step_s = step_s
        self._ready = ready
        self._queue: asyncio.Queue[Pod] = asyncio.Queue()
        self._next_ip = 0
        self.informer: Informer[Pod] = Informer(world.client, Pod)
        self.informer.subscribe(lambda _, new: new and self._queue.put_nowait(new))

    async def run(self, node: str = "node-1") -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self.informer.run(lambda: None))
            while True:
                pod = await self._queue.get()
                await self._world.clock.sleep(self._step_s)
                with contextlib.suppress(ApiError):
                    await self._play(pod, node)

    async def _play(self, pod: Pod, node: str) -> None:
        client, meta = self._world.client, pod.metadata
        if meta.deletion_timestamp:
            if pod.spec.node_name:
                await client.delete(PODS, meta.name, meta.namespace, meta.uid, grace_period_s=0)
        elif not pod.spec.node_name:
            binding = {
                "apiVersion": "v1",
                "kind": "Binding",
                "metadata": {"name": meta.name, "namespace": meta.namespace},
                "target": {"kind": "Node", "name": target_node(pod) or node},
            }
            await client.create(PODS, binding, meta.namespace, "binding")
        elif not pod.status.pod_ip:
            self._next_ip += 1
            ready = "True" if self._ready(pod) else "False"
            now = rfc3339(self._world.clock.now())
            ip = f"10.244.{self._next_ip // 250}.{self._next_ip % 250 + 1}"
            status = {
                "phase": "Running",
                "podIP": ip,
                "podIPs": [{"ip": ip}],
                "conditions": [
                    {"type": t, "status": ready, "lastTransitionTime": now}
                    for t in ("Ready", "ContainersReady")
                ],
            }
            await client.patch(
                PODS, meta.name, meta.namespace, {"status": status}, "merge", "status"
            )

    async def set_ready(self, name: str, ready: bool, namespace: str = "default") -> None:
        now = rfc3339(self._world.clock.now())
        condition = {"type": "Ready", "status": str(ready), "lastTransitionTime": now}
        patch = {"status": {"conditions": [condition]}}
        await self._world.client.patch(PODS, name, namespace, patch, "strategic", "status")


@contextlib.asynccontextmanager
async def control_plane(
    seed: int = 1, without: tuple[str, ...] = (), options: Options | None = None
) -> AsyncIterator[World]:
    clock, entropy = LoopClock(EPOCH), Entropy(seed)
    store = MemoryStore(stamp, clock)
    assemblies: list[Assembly] = []

    def assemble(engine: Engine) -> Parts:
        assemblies.append(
            Assembly(engine, Settings(facts=Facts("192.168.1.10", 6443, "10.96.0.1")))
        )
        return assemblies[0].parts

    server = ApiServer(store, clock, entropy, assemble=assemble)
    await assemblies[0].start(server.handle)
    admin = Client(
        LocalTransport(server.handle, "admin", ["system:masters", "system:authenticated"]),
        clock,
        entropy,
        "test/1",
    )
    world = World(admin, clock, server)
    transport = Counting(
        LocalTransport(
            server.handle,
            "system:kube-controller-manager",
            ["system:authenticated"],
        ),
        world.calls,
    )
    manager = ControllerManager(
        Client(transport, clock, entropy, "kube-controller-manager/v1.36.0"),
        clock,
        entropy,
        without=without,
        options=options or Options(ca_pem="CA"),
    )
    async with asyncio.TaskGroup() as group:
        started = asyncio.Event()
        task = group.create_task(manager.run(started.set), name="manager")
        wait = group.create_task(started.wait())
        await asyncio.wait([task, wait], return_when=asyncio.FIRST_COMPLETED)
        wait.cancel()
        if task.done():
            task.result()
        try:
            yield world
        finally:
            task.cancel()
    server.close()
    await store.close()


def run(
    test: Callable[[World], Awaitable[None]],
    *,
    play: bool = False,
    ready: Callable[[Pod], bool] = lambda _: True,
    without: tuple[str, ...] = (),
    options: Options | None = None,
) -> None:
    """Run `test` on a control plane on virtual time; with `play`, pods run as if on `node-1`."""

    async def main() -> None:
        async with (
            asyncio.timeout(DEADLINE_S),
            control_plane(without=without, options=options) as world,
        ):
            if not play:
                await test(world)
                return
            await world.client.create(NODES, node("node-1"))
            player = Player(world, ready=ready)
            world.player = player  # type: ignore[attr-defined]
            async with asyncio.TaskGroup() as group:
                playing = group.create_task(player.run())
                try:
                    await test(world)
                finally:
                    playing.cancel()

    run_virtual(main())


def node(name: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "status": {
            "capacity": {"cpu": "8", "memory": "16Gi", "pods": "1000"},
            "conditions": [
                {"type": "Ready", "status": "True", "lastTransitionTime": "2023-11-14T00:00:00Z"}
            ],
        },
    }


def template(labels: dict[str, str], image: str = "web:1") -> Object:
    return {
        "metadata": {"labels": labels},
        "spec": {
            "containers": [
                {"name": "c", "image": image, "ports": [{"name": "http", "containerPort": 80}]}
            ]
        },
    }


def workload(kind: str, name: str, replicas: int, image: str = "web:1", **spec: Any) -> Object:
    labels = {"app": name}
    selector = labels if kind == "ReplicationController" else {"matchLabels": labels}
    return {
        "apiVersion": "v1" if kind == "ReplicationController" else "apps/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": selector,
            "template": template(labels, image),
            **spec,
        },
    }
