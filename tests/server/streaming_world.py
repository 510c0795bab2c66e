"""An API server's streaming connectors over a kubelet with a simulated runtime, all in process."""

import asyncio
import contextlib
import json

import msgspec

from skiff.aio import websocket
from skiff.aio.channels import SpdyConnection, WebSocketConnection
from skiff.aio.clock import RealClock
from skiff.aio.entropy import Entropy
from skiff.aio.http.message import Peer, Request, Response
from skiff.aio.pipe import attached
from skiff.api.errors import ApiError
from skiff.api.views.core import Pod
from skiff.node.config import KubeletConfig
from skiff.node.runtime import (
    LABEL_CONTAINER_NAME,
    LABEL_POD_NAME,
    LABEL_POD_NAMESPACE,
    LABEL_POD_UID,
    ContainerConfig,
    SandboxConfig,
)
from skiff.node.server import KubeletServer
from skiff.node.simulated import SimulatedRuntime
from skiff.server.request import parse
from skiff.server.seams import Call, User
from skiff.server.streaming.kubelets import Kubelets
from skiff.server.streaming.table import connectors

PODS = "/api/v1/namespaces/ns/pods/"


class StoredObjects:
    """Objects by (plural, namespace, name)."""

    def __init__(self) -> None:
        self.stored: dict[tuple[str, str, str], dict] = {}

    def get(self, resource, name, namespace=""):
        found = self.stored.get((resource.plural, namespace, name))
        return None if found is None else json.loads(json.dumps(found))

    def get_bytes(self, resource, name, namespace=""):
        found = self.get(resource, name, namespace)
        return None if found is None else json.dumps(found).encode()


class World:
    """`call` sends a request as kubectl would; pods are added with `add_pod`."""

    def __init__(self, tmp_path) -> None:
        self.clock = RealClock()
        self.objects = StoredObjects()
        self.runtime = SimulatedRuntime(self.clock, Entropy(1))
        config = KubeletConfig("n1", tmp_path / "node", tmp_path / "logs")
        self.kubelet = KubeletServer(config, None, self.runtime, self, self.clock)
        self.kubelets = Kubelets(self.objects, local={"n1": self.kubelet.handle})
        self.table = connectors(self.objects, self.kubelets, entropy=Entropy(1))
        self.objects.stored["nodes", "", "n1"] = {"metadata": {"name": "n1"}}

    # what the kubelet asks for

    def pods(self):
        return [
            msgspec.convert(o, Pod)
            for (plural, _, _), o in self.objects.stored.items()
            if plural == "pods"
        ]

    def pod(self, namespace, name):
        found = self.objects.stored.get(("pods", namespace, name))
        return None if found is None else msgspec.convert(found, Pod)

    async def add_pod(self, name="p", containers=("c",), *, running=True, node="n1", **spec) -> str:
        """Returns the id of the first container, where the pod runs."""
        uid = f"uid-{name}"
        labels = {LABEL_POD_NAME: name, LABEL_POD_NAMESPACE: "ns", LABEL_POD_UID: uid}
        statuses, ids = [], [""]
        if running:
            sandbox = SandboxConfig(name, "ns", uid, labels=labels)
            sandbox_id = await self.runtime.run_sandbox(sandbox)
            image = await self.runtime.pull_image("busybox", None, None)
            ids = []
            for container in containers:
                container_config = ContainerConfig(
                    container, image, labels={**labels, LABEL_CONTAINER_NAME: container}
                )
                ids.append(
                    await self.runtime.create_container(sandbox_id, container_config, sandbox)
                )
                await self.runtime.start_container(ids[-1])
                state = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
                statuses.append(
                    {"name": container, "containerID": f"simulated://{ids[-1]}", "state": state}
                )
        self.objects.stored["pods", "ns", name] = {
            "metadata": {"name": name, "namespace": "ns", "uid": uid},
            "spec": {"containers": [{"name": c} for c in containers], "nodeName": node, **spec},
            "status": {"containerStatuses": statuses},
        }
        return ids[0]

    def status_of(self, name: str, state: dict, last: dict | None = None) -> None:
        status = {"name": "c", "state": state, "lastState": last or {}}
        self.objects.stored["pods", "ns", name]["status"] = {"containerStatuses": [status]}

    async def call(self, method, path, headers=None, body=b"") -> Response:
        """The response; an ApiError becomes one."""
        path, _, query = path.partition("?")
        request = Request(method, path, query, headers or {}, body, Peer(("10.1.1.1", 1)))
        info = parse(method, path, query)
        try:
            answer = self.table[info.group, info.resource, info.subresource](
                Call(request, info, User("admin"))
            )
            return await answer if not isinstance(answer, Response) else answer
        except ApiError as e:
            return Response(e.code, json.dumps(e.status()).encode())

    # clients

    @contextlib.asynccontextmanager
    async def websocket(self, path, *protocols):
        """A WebSocket client of a path: (connection, the protocol that was chosen)."""
        headers = websocket.client_headers(b"0123456789abcdef", protocols)
        answer = await self.call("GET", path, headers)
        assert answer.status == 101, (answer.status, answer.body)
        fields = {k.lower(): v for k, v in answer.headers}
        assert fields["sec-websocket-accept"] == websocket.accept_key(headers["sec-websocket-key"])
        async with attached(answer.upgrade) as raw:
            client = WebSocketConnection(raw, client=True, mask=b"abcd")
            yield client, fields.get("sec-websocket-protocol", "")
            client.close()

    @contextlib.asynccontextmanager
    async def spdy(self, path, *protocols):
        """A SPDY client of a path."""
        headers = {
            "connection": "Upgrade", "upgrade": "SPDY/3.1",
            "x-stream-protocol-version": ", ".join(protocols),
        }  # fmt: skip
        answer = await self.call("POST", path, headers)
        assert answer.status == 101, (answer.status, answer.body)
        async with attached(answer.upgrade) as raw, spdy_client(raw) as client:
            yield client


@contextlib.asynccontextmanager
async def spdy_client(raw):
    client = SpdyConnection(raw, client=True)
    task = asyncio.create_task(client.run())
    try:
        yield client
    finally:
        client.close()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


class TunnelRaw:
    """A raw connection inside WebSocket messages, as kubectl's port-forward makes it."""

    def __init__(self, client: WebSocketConnection) -> None:
        self._client = client

    def write(self, data):
        self._client.queue(data)

    @property
    def buffered(self):
        return 0

    async def drain(self):
        await self._client.drain()

    async def gone(self):
        await asyncio.Event().wait()

    async def read(self):
        message = await self._client.receive()
        return b"" if message is None else message.data

    def close(self):
        self._client.close()


async def messages(client: WebSocketConnection) -> dict[int, bytes]:
    """All data by channel until the connection ends."""
    found: dict[int, bytes] = {}
    while (message := await client.receive()) is not None:
        channel = message.data[0]
        found[channel] = found.get(channel, b"") + message.data[1:]
    return found


async def collect(response: Response) -> bytes:
    """A response's whole body, streamed or not."""

    class Sink:
        data = b""
        buffered = 0

        def write(self, data):
            self.data += data

        async def drain(self):
            await asyncio.sleep(0)

        async def gone(self):
            await asyncio.Event().wait()

    if response.stream is None:
        return response.body if isinstance(response.body, bytes) else b"".join(response.body)
    sink = Sink()
    await response.stream(sink)
    return sink.data


def run(scenario, tmp_path) -> None:
    """Play `scenario(world)`."""

    async def main() -> None:
        async with asyncio.timeout(20):
            await scenario(World(tmp_path))

    asyncio.run(main())
