"""The kubelet's HTTPS API: who may use it, and its streams on a real runtime."""

import asyncio
import json
import ssl

import msgspec
import pytest

from skiff.aio.channels import SpdyConnection, WebSocketConnection
from skiff.aio.clock import RealClock, rfc3339
from skiff.aio.entropy import Entropy
from skiff.aio.http.message import Peer, Request
from skiff.aio.http.upstream import Upstream, UpstreamError
from skiff.aio.pipe import attached
from skiff.aio.websocket import client_headers
from skiff.api.views.core import Pod
from skiff.client.client import Client
from skiff.client.transport import LocalTransport
from skiff.node.api_access import Access, Caller, subresource_of
from skiff.node.config import KubeletConfig
from skiff.node.runtime import (
    LABEL_CONTAINER_NAME,
    LABEL_POD_NAME,
    LABEL_POD_NAMESPACE,
    LABEL_POD_UID,
    ContainerConfig,
    ContainerSecurity,
    NamespaceMode,
    Namespaces,
    SandboxConfig,
)
from skiff.node.server import KubeletServer
from skiff.node.simulated import SimulatedRuntime
from skiff.server.pki.certificates import make_authority, make_certificate


class Table:
    """Pods by hand."""

    def __init__(self, *pods: Pod) -> None:
        self._pods = pods

    def pods(self):
        return self._pods

    def pod(self, namespace, name):
        return next((p for p in self._pods if p.metadata.name == name), None)


@pytest.mark.parametrize(
    ("path", "subresource"),
    [
        ("/stats/summary", "stats"), ("/metrics", "metrics"), ("/metrics/resource", "metrics"),
        ("/logs/x", "log"), ("/healthz", "healthz"), ("/pods", "pods"), ("/exec/a/b/c", "proxy"),
        ("/containerLogs/a/b/c", "proxy"), ("/podsx", "proxy"),
    ],
)  # fmt: skip
def test_paths_need_subresources(path, subresource):
    assert subresource_of(path) == subresource


class Reviews:
    """An API server that answers reviews: token `good` is `ann`, who may read stats."""

    def __init__(self) -> None:
        self.asked = 0

    async def handle(self, request: Request):
        from skiff.aio.http.message import Response

        self.asked += 1
        body = json.loads(request.body)
        if body["kind"] == "TokenReview":
            good = body["spec"]["token"] == "good"
            user = {"username": "ann", "groups": ["g"], "uid": "1"}
            body["status"] = {"authenticated": good, "user": user if good else {}}
        else:
            attributes = body["spec"]["resourceAttributes"]
            body["status"] = {
                "allowed": body["spec"]["user"] == "ann" and attributes["subresource"] == "stats"
            }
        return Response(201, json.dumps(body).encode())


def test_tokens_and_permissions_are_reviewed_and_remembered():
    async def scenario():
        reviews = Reviews()
        client = Client(
            LocalTransport(reviews.handle, "node"), RealClock(), Entropy(1), "skiff-node/1"
        )
        access = Access(client, "n1", RealClock())

        async def who(header: str) -> Caller | None:
            headers = {"authorization": header} if header else {}
            return await access.authenticate(
                Request("GET", "/", headers=headers, peer=Peer(("", 0)))
            )

        assert await who("") is None
        assert await who("Bearer bad") is None
        ann = await who("Bearer good")
        assert ann == Caller("ann", ("g",), "1")
        asked = reviews.asked
        assert await who("bearer good") == ann
        assert reviews.asked == asked
        assert await access.authorize(ann, "GET", "/stats/summary")
        assert not await access.authorize(ann, "GET", "/pods")
        assert not await access.authorize(ann, "POST", "/exec/a/b/c")
        assert await access.authorize(Caller("x", ("system:masters",)), "POST", "/exec/a/b/c")

    asyncio.run(scenario())


def test_only_known_clients_are_served_over_tls(tmp_path):
    now = RealClock().now()
    authority = make_authority("ca", now=now, lifetime_s=3600)
    serving = make_certificate(authority, "n1", sans=("127.0.0.1",), now=now, lifetime_s=3600)
    masters = make_certificate(authority, "server", ("system:masters",), now=now, lifetime_s=3600)
    files = {
        "ca.crt": authority.certificate, "tls.crt": serving.certificate, "tls.key": serving.key,
        "client.crt": masters.certificate, "client.key": masters.key,
    }  # fmt: skip
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)

    async def scenario():
        loop = asyncio.get_running_loop()
        import socket

        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        config = KubeletConfig(
            "n1", tmp_path, tmp_path, bind_address="127.0.0.1", port=port,
            tls_cert_file=str(tmp_path / "tls.crt"), tls_private_key_file=str(tmp_path / "tls.key"),
            client_ca_file=str(tmp_path / "ca.crt"),
        )  # fmt: skip
        clock = RealClock()
        kubelet = KubeletServer(config, None, SimulatedRuntime(clock, Entropy(1)), Table(), clock)
        started = asyncio.Event()
        task = loop.create_task(kubelet.run(started.set))
        await started.wait()

        def context(*, with_certificate: bool) -> ssl.SSLContext:
            tls = ssl.create_default_context(cafile=str(tmp_path / "ca.crt"))
            if with_certificate:
                tls.load_cert_chain(tmp_path / "client.crt", tmp_path / "client.key")
            return tls

        request = Request("GET", "/healthz")
        good = await Upstream("127.0.0.1", port, context(with_certificate=True))(request)
        assert (good.status, good.body) == (200, b"ok")
        bad = await Upstream("127.0.0.1", port, context(with_certificate=False))(request)
        assert bad.status == 401
        with pytest.raises(UpstreamError):
            await Upstream("127.0.0.1", port, ssl.create_default_context())(request)
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(scenario())


async def start(runtime, config: KubeletConfig, command: str, *, tty=False) -> Pod:
    """A pod in the host's network that runs a shell command."""
    labels = {LABEL_POD_NAME: "p", LABEL_POD_NAMESPACE: "ns", LABEL_POD_UID: "u"}
    namespaces = Namespaces(network=NamespaceMode.NODE)
    directory = config.pod_log_dir("ns", "p", "u")
    (directory / "c").mkdir(parents=True)
    sandbox = SandboxConfig(
        "p", "ns", "u", log_directory=str(directory), labels=labels, namespaces=namespaces
    )
    sandbox_id = await runtime.run_sandbox(sandbox)
    container = ContainerConfig(
        "c", "docker.io/library/busybox:1", command=("sh", "-c", command), tty=tty,
        labels={**labels, LABEL_CONTAINER_NAME: "c"}, log_path="c/0.log",
        security=ContainerSecurity(namespaces=namespaces),
    )  # fmt: skip
    container_id = await runtime.create_container(sandbox_id, container, sandbox)
    await runtime.start_container(container_id)
    running = {"startedAt": rfc3339(RealClock().now())}
    status = {
        "name": "c",
        "containerID": f"containerd://{container_id}",
        "state": {"running": running},
    }
    return msgspec.convert(
        {
            "metadata": {"name": "p", "namespace": "ns", "uid": "u"},
            "spec": {"containers": [{"name": "c", "tty": tty}]},
            "status": {"containerStatuses": [status]},
        },
        Pod,
    )


@pytest.mark.real
def test_streams_of_a_real_container(real_containerd, tmp_path):
    from skiff.node.cri import CriRuntime

    async def scenario():
        clock = RealClock()
        runtime = CriRuntime(real_containerd.endpoint, clock)
        config = KubeletConfig("n1", tmp_path / "node", tmp_path / "logs")
        web = "echo started; cd /tmp; echo page > index.html; httpd -f -p 127.0.0.1:28417"
        pod = await start(runtime, config, web)
        kubelet = KubeletServer(config, None, runtime, Table(pod), clock)
        peer = Peer(("", 0), local=True, state={"user": ("server", ("system:masters",))})

        async def call(method, path, headers=None):
            path, _, query = path.partition("?")
            return await kubelet.handle(Request(method, path, query, headers or {}, peer=peer))

        try:
            await _exec_over_spdy(call)
            await _exec_over_websocket(call)
            await _forward(call)
            answer = await call("POST", "/run/ns/p/c?cmd=echo+hi")
            assert (answer.status, answer.body) == (200, b"hi\n")
            answer = await call("GET", "/containerLogs/ns/p/none")
            assert answer.status == 404
            summary = json.loads((await call("GET", "/stats/summary")).body)
            assert [p["podRef"]["name"] for p in summary["pods"]] == ["p"]
            assert summary["pods"][0]["memory"]["workingSetBytes"] > 0
            assert b'pod="p"' in (await call("GET", "/metrics/resource")).body
        finally:
            for sandbox in await runtime.list_sandboxes():
                await runtime.stop_sandbox(sandbox.id)
                await runtime.remove_sandbox(sandbox.id)
            await runtime.close()

    asyncio.run(scenario())


async def _exec_over_spdy(call) -> None:
    headers = {
        "connection": "Upgrade", "upgrade": "SPDY/3.1",
        "x-stream-protocol-version": "v4.channel.k8s.io",
    }  # fmt: skip
    command = "command=sh&command=-c&command=cat;echo+err+>%262;exit+3"
    answer = await call("POST", f"/exec/ns/p/c?{command}&input=1&output=1&error=1", headers)
    assert answer.status == 101, answer.body
    async with attached(answer.upgrade) as raw:
        client = SpdyConnection(raw, client=True)
        reader = asyncio.create_task(client.run())
        streams = {
            k: await client.open([("streamtype", k)])
            for k in ("error", "stdin", "stdout", "stderr")
        }
        data = bytes(range(256)) * 2000
        await streams["stdin"].write(data)
        streams["stdin"].close()
        assert await streams["stdout"].read_all(1 << 20) == data
        assert await streams["stderr"].read_all(100) == b"err\n"
        status = json.loads(await streams["error"].read_all(10_000))
        assert status["details"]["causes"] == [{"reason": "ExitCode", "message": "3"}]
        reader.cancel()


async def _exec_over_websocket(call) -> None:
    headers = client_headers(b"0123456789abcdef", ("v4.channel.k8s.io",))
    answer = await call("GET", "/exec/ns/p/c?command=echo&command=hi&output=1&error=1", headers)
    assert answer.status == 101, answer.body
    found: dict[int, bytes] = {}
    async with attached(answer.upgrade) as raw:
        client = WebSocketConnection(raw, client=True, mask=b"abcd")
        while (message := await client.receive()) is not None:
            channel = message.data[0]
            found[channel] = found.get(channel, b"") + message.data[1:]
    assert found[1] == b"hi\n"
    assert json.loads(found[3])["status"] == "Success"


async def _forward(call) -> None:
    headers = {
        "connection": "Upgrade", "upgrade": "SPDY/3.1",
        "x-stream-protocol-version": "portforward.k8s.io",
    }  # fmt: skip
    answer = await call("POST", "/portForward/ns/p", headers)
    assert answer.status == 101, answer.body
    async with attached(answer.upgrade) as raw:
        client = SpdyConnection(raw, client=True)
        reader = asyncio.create_task(client.run())
        pair = (("port", "28417"), ("requestid", "0"))
        error = await client.open((("streamtype", "error"), *pair))
        error.close()
        stream = await client.open((("streamtype", "data"), *pair))
        await stream.write(b"GET /index.html HTTP/1.0\r\n\r\n")
        got = b""
        while not got.endswith(b"page\n"):
            got += await stream.read()
        reader.cancel()
