"""A node on virtual time: the real API server on a memory store, and a kubelet whose containers are
simulated. No controllers and no scheduler: tests bind pods by `spec.nodeName`."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from skiff.aio.clock import Clock, LoopClock
from skiff.aio.entropy import Entropy
from skiff.api.errors import ApiError
from skiff.api.resources import (
    CONFIGMAPS,
    EVENTS,
    NAMESPACES,
    NODES,
    PODS,
    SERVICEACCOUNTS,
    Resource,
)
from skiff.client.client import Client
from skiff.client.transport import LocalTransport
from skiff.node.config import KubeletConfig
from skiff.node.run import Kubelet
from skiff.node.runtime import Runtime
from skiff.node.simulated import SimulatedRuntime
from skiff.server.stamp import stamp
from skiff.store.memory import MemoryStore
from skiff.testing.loop import run_virtual
from skiff.testing.server import HISTORY, LocalServer

EPOCH = 1_767_225_600.0
NODE = "node-1"

Object = dict[str, Any]


def pod(name: str, *containers: Object, namespace: str = "default", **spec: Any) -> Object:
    """A pod bound to the node; one container `main` where none is given."""
    metadata = {"name": name, "namespace": namespace}
    for key in ("annotations", "labels"):
        if key in spec:
            metadata[key] = spec.pop(key)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"nodeName": NODE, "containers": list(containers) or [container()], **spec},
    }


def container(name: str = "main", **fields: Any) -> Object:
    return {"name": name, "image": "web:1", **fields}


@dataclass
class World:
    """What a test holds."""

    client: Client
    clock: Clock
    runtime: Runtime
    config: KubeletConfig
    group: asyncio.TaskGroup
    kubelet: Kubelet | None = None
    task: asyncio.Task | None = None

    @property
    def simulated(self) -> SimulatedRuntime:
        assert isinstance(self.runtime, SimulatedRuntime)
        return self.runtime

    async def create(self, obj: Object) -> Object:
        return await self.client.create(PODS, obj, obj["metadata"]["namespace"])

    async def pod(self, name: str, namespace: str = "default") -> Object:
        return await self.client.get(PODS, name, namespace)

    async def until(
        self, check: Callable[[], Awaitable[Any]], timeout_s: float = 60.0, every_s: float = 0.05
    ) -> Any:
        """The first true result of `check` within `timeout_s`."""
        deadline = self.clock.monotonic() + timeout_s
        last: object = None
        while True:
            with contextlib.suppress(ApiError, LookupError):
                last = await check()
                if last:
                    return last
            assert self.clock.monotonic() < deadline, f"not within {timeout_s} s: {last}"
            await self.clock.sleep(every_s)

    async def pod_until(
        self, name: str, check: Callable[[Object], Any], timeout_s: float = 60.0
    ) -> Object:
        """The pod, once `check(pod)` holds."""
        found: Object = {}

        async def look() -> bool:
            found.clear()
            found.update(await self.pod(name))
            return bool(check(found))

        try:
            await self.until(look, timeout_s)
        except AssertionError as e:
            raise AssertionError(
                f"{e}: {orjson.dumps(found.get('status'), option=2).decode()}"
            ) from e
        return found

    async def running(self, name: str, timeout_s: float = 60.0) -> Object:
        return await self.pod_until(name, is_ready, timeout_s)

    async def gone(self, name: str, timeout_s: float = 60.0) -> None:
        async def look() -> bool:
            try:
                await self.pod(name)
            except ApiError as e:
                return e.code == 404
            return False

        await self.until(look, timeout_s)

    async def delete(self, name: str, grace_period_s: int | None = None) -> None:
        await self.client.delete(PODS, name, "default", grace_period_s=grace_period_s)

    async def objects(self, resource: Resource, namespace: str = "default") -> list[Object]:
        path = resource.path(namespace if resource.namespaced else "")
        return orjson.loads((await self.client.raw_get(path)).body)["items"]

    async def events(self, name: str) -> list[tuple[str, str, str]]:
        """Of one object: (type, reason, message), oldest first."""
        found = [e for e in await self.objects(EVENTS) if e["involvedObject"]["name"] == name]
        return [(e["type"], e["reason"], e["message"]) for e in found]

    async def objects_of_events(self, name: str) -> list[Object]:
        """Events of one object, in the order in which they happened."""
        found = [e for e in await self.objects(EVENTS) if e["involvedObject"]["name"] == name]
        return sorted(found, key=lambda e: int(e["metadata"]["name"].rpartition(".")[2], 16))

    async def event(
        self, name: str, reason: str, message: str = "", timeout_s: float = 30.0
    ) -> Object:
        """The event of that reason whose message holds the text, once it is there."""

        async def look() -> Object | None:
            for e in await self.objects(EVENTS):
                if (e["involvedObject"]["name"], e["reason"]) == (name, reason) and message in e[
                    "message"
                ]:
                    return e
            return None

        try:
            return await self.until(look, timeout_s)
        except AssertionError as e:
            raise AssertionError(f"{await self.events(name)}") from e

    async def start_kubelet(self) -> None:
        ready = asyncio.Event()
        client = self.client_as(f"system:node:{NODE}", ("system:nodes",), "kubelet")
        self.kubelet = Kubelet(self.config, client, self.runtime, self.clock, Entropy(2))
        self.task = self.group.create_task(self.kubelet.run(ready.set), name="kubelet")
        await ready.wait()

    async def stop_kubelet(self) -> None:
        """As SIGKILL does: nothing is said good-bye to."""
        assert self.task is not None
        self.task.cancel()
        await asyncio.wait([self.task])
        self.task = self.kubelet = None

    def client_as(self, user: str, groups: tuple[str, ...], agent: str) -> Client:
        raise NotImplementedError


def is_ready(found: Object) -> bool:
    conditions = {c["type"]: c["status"] for c in found.get("status", {}).get("conditions", ())}
    return conditions.get("Ready") == "True"


def condition(found: Object, kind: str) -> Object:
    return next((c for c in found["status"].get("conditions", ()) if c["type"] == kind), {})


def state(found: Object, name: str = "main", key: str = "state") -> Object:
    """The state (or lastState) of a container."""
    return status_of(found, name).get(key) or {}


def status_of(found: Object, name: str = "main") -> Object:
    status = found.get("status", {})
    for group in ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"):
        for entry in status.get(group, ()):
            if entry["name"] == name:
                return entry
    return {}


@contextlib.asynccontextmanager
async def world(
    clock: Clock | None = None, runtime: Runtime | None = None, **config: Any
) -> AsyncIterator[World]:
    """A world with a running kubelet."""
    clock = clock or LoopClock(EPOCH)
    store = MemoryStore(stamp, clock, HISTORY)
    server = LocalServer(store, clock, Entropy(1))

    def client_as(user: str, groups: tuple[str, ...], agent: str) -> Client:
        return Client(LocalTransport(server.handle, user, groups), clock, Entropy(3), f"{agent}/1")

    settings = KubeletConfig(
        **{
            "node_name": NODE,
            "root_dir": Path("/nowhere"),
            "pod_logs_dir": Path("/nowhere/logs"),
            **config,
        }
    )
    async with asyncio.TaskGroup() as group:
        ready = asyncio.Event()
        serving = group.create_task(server.run(ready.set), name="server")
        await ready.wait()
        admin = client_as("kubernetes-admin", ("system:masters",), "kubectl")
        made = World(admin, clock, runtime or SimulatedRuntime(clock, Entropy(4)), settings, group)
        made.client_as = client_as  # type: ignore[method-assign]
        await _prepare(admin)
        await made.start_kubelet()
        try:
            yield made
        finally:
            if made.task is not None:
                await made.stop_kubelet()
            await made.runtime.close()
            serving.cancel()
    await store.close()


async def _prepare(client: Client) -> None:
    """What controllers would have made."""
    for namespace in ("default", "kube-node-lease"):
        with contextlib.suppress(ApiError):
            await client.create(
                NAMESPACES,
                {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}},
            )
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
    with contextlib.suppress(ApiError):
        await client.create(SERVICEACCOUNTS, account, "default")
    ca = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "kube-root-ca.crt"},
        "data": {"ca.crt": "x"},
    }
    with contextlib.suppress(ApiError):
        await client.create(CONFIGMAPS, ca, "default")


def run(test: Callable[[World], Awaitable[None]], **config: Any) -> None:
    """Run `test(world)` on virtual time."""

    async def main() -> None:
        async with world(**config) as made:
            await test(made)

    run_virtual(main())


__all__ = ["NODES", "World", "condition", "container", "pod", "run", "state", "status_of", "world"]
