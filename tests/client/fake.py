"""A small API, scripted: what the client's tests need the server to do on cue."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import orjson

from skiff.aio.clock import LoopClock
from skiff.aio.entropy import Entropy
from skiff.aio.http.message import Request, Response, Writer
from skiff.client.client import Client
from skiff.client.transport import LocalTransport, Unreachable
from skiff.testing.loop import run_virtual

Object = dict[str, Any]
EPOCH = 1_700_000_000.0


def config_map(name: str, revision: int, value: str = "", namespace: str = "default") -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": f"uid-{name}",
            "resourceVersion": str(revision),
        },
        "data": {"v": value},
    }


@dataclass
class FakeApi:
    """ConfigMaps in a dict; a watch sends what `send` is given."""

    objects: dict[str, Object] = field(default_factory=dict)
    revision: int = 1
    requests: list[str] = field(default_factory=list)
    down: bool = False
    watchers: list[Writer] = field(default_factory=list)
    expire_watches: int = 0
    lists: int = 0

    def put(self, name: str, value: str = "") -> None:
        self.revision += 1
        kind = "MODIFIED" if name in self.objects else "ADDED"
        self.objects[name] = config_map(name, self.revision, value)
        self.send(kind, self.objects[name])

    def remove(self, name: str) -> None:
        self.revision += 1
        gone = self.objects.pop(name)
        gone["metadata"]["resourceVersion"] = str(self.revision)
        self.send("DELETED", gone)

    def send(self, kind: str, obj: Object) -> None:
        for watcher in list(self.watchers):
            watcher.write(orjson.dumps({"type": kind, "object": obj}) + b"\n")

    def cut(self) -> None:
        """End every watch."""
        for watcher in self.watchers:
            watcher.end()  # type: ignore[attr-defined] # the in-process stream
        self.watchers.clear()

    def handle(self, request: Request) -> Response | Awaitable[Response]:
        self.requests.append(f"{request.method} {request.path}?{request.query}")
        if self.down:
            raise Unreachable("down")
        if "watch=true" in request.query:
            if self.expire_watches:
                self.expire_watches -= 1
                status = {"kind": "Status", "reason": "Expired", "code": 410, "message": "too old"}
                return Response(stream=self._expire(status))
            return Response(stream=self._watch)
        self.lists += 1
        return self._list(dict(p.split("=") for p in request.query.split("&") if p))

    def _list(self, query: dict[str, str]) -> Response:
        limit = int(query.get("limit", "500"))
        start = int(query.get("continue", "0"))
        names = sorted(self.objects)
        metadata = {"resourceVersion": str(self.revision)}
        if start + limit < len(names):
            metadata["continue"] = str(start + limit)
        items = [self.objects[n] for n in names[start : start + limit]]
        return Response(body=orjson.dumps({"metadata": metadata, "items": items}))

    async def _watch(self, writer: Writer) -> None:
        self.watchers.append(writer)
        await writer.gone()

    def _expire(self, status: Object) -> Callable[[Writer], Awaitable[None]]:
        async def stream(writer: Writer) -> None:
            writer.write(orjson.dumps({"type": "ERROR", "object": status}) + b"\n")

        return stream


def client_of(handler: Any, seed: int = 1) -> Client:
    transport = LocalTransport(handler, "admin", ["system:masters"])
    return Client(transport, LoopClock(EPOCH), Entropy(seed), "test/1")


def run(main: Callable[[], Awaitable[None]], timeout_s: float = 10_000) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(timeout_s):
            await main()

    run_virtual(bounded())
