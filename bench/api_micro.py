"""A quick look at the API server's speed: its own process, TLS, fsync on, the whole chain.

Usage: python bench/api_micro.py [seconds per row] [--profile FILE]. For orientation while working on
the request path; the figures of record come from `make bench`.
"""

import asyncio
import multiprocessing
import os
import resource
import ssl
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import orjson
import uvloop

from skiff.aio.clock import RealClock
from skiff.aio.entropy import Entropy
from skiff.server.pki import Request, ensure
from skiff.server.run import ServerComponent, ServerConfig

PODS = "/api/v1/namespaces/default/pods"


def serve(directory: str, pipe: Connection) -> None:
    """The server's process."""

    async def main() -> None:
        pki = ensure(Path(directory) / "pki", Request("bench"), now=time.time())
        component = ServerComponent(
            ServerConfig(
                database=Path(directory) / "store.db",
                tls_cert_file=pki.certificate("server"),
                tls_private_key_file=pki.key("server"),
                client_ca_file=pki.certificate("ca"),
                bind_address="127.0.0.1",
                advertise_address="192.0.2.1",
                secure_port=0,
                service_account_signing_key_file=pki.key("sa"),
            ),
            RealClock(),
            Entropy(),
        )
        begun = time.perf_counter()

        def started() -> None:
            pipe.send((component.address[1], time.perf_counter() - begun, os.getpid()))

        await component.run(started)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


class Caller(asyncio.Protocol):
    """One connection that sends requests one after another."""

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.future: asyncio.Future[int] | None = None
        self.need = -1
        self.status = 0
        self.size = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self.future and not self.future.done():
            self.future.set_exception(exc or ConnectionError("closed"))

    def data_received(self, data: bytes) -> None:
        if self.need >= 0:
            self.need -= len(data)
        else:
            self.buffer += data
            end = self.buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self.buffer[:end]).lower()
            self.status = int(head[9:12])
            at = head.index(b"content-length: ") + 16
            stop = head.find(b"\r\n", at)
            self.size = int(head[at : stop if stop > 0 else len(head)])
            self.need = self.size - (len(self.buffer) - end - 4)
        if self.need <= 0:
            self.buffer.clear()
            self.need = -1
            self.future.set_result(self.status)

    def call(self, data: bytes) -> "asyncio.Future[int]":
        self.future = asyncio.get_running_loop().create_future()
        self.transport.write(data)
        return self.future


def request(method: str, path: str, body: bytes = b"", kind: str = "application/json") -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nUser-Agent: bench/1\r\nAccept: application/json\r\n"
    if body:
        head += f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


def pod(name: str, group: int) -> bytes:
    return orjson.dumps(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": {"app": f"app-{group}", "tier": "web"}},
            "spec": {
                "containers": [
                    {
                        "name": "web",
                        "image": "registry.example/web:1.2.3",
                        "ports": [{"containerPort": 8080, "name": "http"}],
                        "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
                        "resources": {
                            "requests": {"cpu": "100m", "memory": "64Mi"},
                            "limits": {"cpu": "200m", "memory": "128Mi"},
                        },
                        "readinessProbe": {"httpGet": {"path": "/", "port": "http"}},
                    }
                ]
            },
        }
    )


class Bench:
    def __init__(self, port: int, tls: ssl.SSLContext, seconds: float, pid: int) -> None:
        self.port, self.tls, self.seconds, self.pid = port, tls, seconds, pid
        self.created = 0

    async def connect(self, count: int) -> list[Caller]:
        loop = asyncio.get_running_loop()
        return [
            (await loop.create_connection(Caller, "127.0.0.1", self.port, ssl=self.tls))[1]
            for _ in range(count)
        ]

    async def row(
        self, name: str, connections: int, make: Callable[[], bytes], *, total: int = 0
    ) -> None:
        callers = await self.connect(connections)
        times: list[float] = []
        codes: dict[int, int] = {}
        end = time.perf_counter() + (60 if total else self.seconds)
        left = total or 1 << 60
        cpu = self.cpu()

        async def run(caller: Caller) -> None:
            nonlocal left
            while left > 0 and (now := time.perf_counter()) < end:
                left -= 1
                code = await caller.call(make())
                codes[code] = codes.get(code, 0) + 1
                times.append(time.perf_counter() - now)

        begun = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for caller in callers:
                group.create_task(run(caller))
        took = time.perf_counter() - begun
        times.sort()
        n = len(times)
        print(
            f"{name:34} {n / took:9.0f}/s  p50 {times[n // 2] * 1e3:7.2f} ms  "
            f"p99 {times[n * 99 // 100] * 1e3:7.2f} ms  server {(self.cpu() - cpu) / n * 1e6:6.0f} us  "
            f"{codes} size {callers[0].size} rss {self.rss():.0f} MB",
            flush=True,
        )
        for caller in callers:
            caller.transport.close()

    def cpu(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss(self) -> float:
        fields = Path(f"/proc/{self.pid}/statm").read_text().split()
        return int(fields[1]) * resource.getpagesize() / 1e6

    def make_pod(self) -> bytes:
        self.created += 1
        return request("POST", PODS, pod(f"pod-{self.created:06}", self.created % 100))

    async def run(self) -> None:
        caller = (await self.connect(1))[0]
        account = {"metadata": {"name": "default"}}
        await caller.call(
            request("POST", "/api/v1/namespaces/default/serviceaccounts", orjson.dumps(account))
        )
        for i in range(100):
            config = orjson.dumps({"metadata": {"name": f"c{i}"}, "data": {"a": "1"}})
            await caller.call(request("POST", "/api/v1/namespaces/default/configmaps", config))
        await self.row("create pod, 1 connection", 1, self.make_pod)
        await self.row("create pod, 32 connections", 32, self.make_pod)
        if self.created < 11_760:
            await self.row("(fill up)", 32, self.make_pod, total=11_760 - self.created)
        count = 0

        def get() -> bytes:
            nonlocal count
            count += 1
            return request("GET", f"{PODS}/pod-{count % 5000 + 1:06}")

        def patch() -> bytes:
            nonlocal count
            count += 1
            body = orjson.dumps({"data": {"a": str(count)}})
            path = f"/api/v1/namespaces/default/configmaps/c{count % 100}"
            return request("PATCH", path, body, "application/merge-patch+json")

        label = request("GET", "/api/v1/pods?labelSelector=app%3Dapp-7")
        await self.row("get pod, 32 connections", 32, get)
        await self.row("merge-patch configmap, 32", 32, patch)
        await self.row(
            "list 500, 4 connections", 4, lambda: request("GET", "/api/v1/pods?limit=500")
        )
        await self.row("list by label, 4", 4, lambda: label)
        await self.row("list all, 2", 2, lambda: request("GET", "/api/v1/pods"))


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 3.0
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        ours, theirs = multiprocessing.Pipe()
        server = multiprocessing.Process(target=serve, args=(directory, theirs), daemon=True)
        server.start()
        port, took, pid = ours.recv()
        print(f"ready in {took * 1e3:.0f} ms, pid {pid}", flush=True)
        pki = Path(directory) / "pki"
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        tls.load_verify_locations(pki / "ca.crt")
        tls.load_cert_chain(pki / "admin.crt", pki / "admin.key")
        tls.check_hostname = False
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(Bench(port, tls, seconds, pid).run())
        server.terminate()
        server.join(5)


if __name__ == "__main__":
    main()
