"""The API server in this process over a memory store, and how tests speak to it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import orjson

from skiff.aio.clock import rfc3339
from skiff.aio.entropy import Entropy
from skiff.aio.http.local import LocalStream
from skiff.aio.http.message import Peer, Request, Response
from skiff.server.app import ApiServer, Assemble, Config
from skiff.server.stamp import stamp
from skiff.store.memory import MemoryStore

START = 1_800_000_000.0
PODS = "/api/v1/namespaces/default/pods"
CONFIGMAPS = "/api/v1/namespaces/default/configmaps"
MERGE = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"


class SetClock:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.seconds = START

    def now(self) -> float:
        return self.seconds

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)


@dataclass
class Answer:
    status: int
    body: bytes
    headers: list[tuple[str, str]]

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def message(self) -> str:
        return self.json["message"]

    @property
    def warnings(self) -> list[str]:
        return [v for k, v in self.headers if k == "Warning"]

    def header(self, name: str) -> str:
        return next((v for k, v in self.headers if k.lower() == name.lower()), "")


class Watching:
    """A watch under way."""

    def __init__(self, response: Response) -> None:
        assert response.stream is not None
        self.stream = LocalStream(response.status, {})
        self._buffer = b""
        self.task = asyncio.get_running_loop().create_task(self._run(response))

    async def _run(self, response: Response) -> None:
        assert response.stream is not None
        try:
            await response.stream(self.stream)
        finally:
            self.stream.end()

    async def event(self) -> dict[str, Any]:
        """The next event."""
        async with asyncio.timeout(5):
            while b"\n" not in self._buffer:
                data = await self.stream.read()
                assert data, "the watch ended"
                self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return orjson.loads(line)

    async def take(self, count: int) -> bytes:
        """The next bytes, whatever they are."""
        async with asyncio.timeout(5):
            while len(self._buffer) < count:
                data = await self.stream.read()
                assert data, "the watch ended"
                self._buffer += data
        found, self._buffer = self._buffer[:count], self._buffer[count:]
        return found

    async def names(self, count: int) -> list[tuple[str, str]]:
        """Type and object name of the next events."""
        events = [await self.event() for _ in range(count)]
        return [(e["type"], e["object"]["metadata"].get("name", "")) for e in events]

    async def quiet(self) -> bool:
        """Whether nothing comes in the turns in which a change would."""
        for _ in range(20):
            await asyncio.sleep(0)
        return not self.stream.buffered and not self._buffer

    async def ended(self) -> bytes:
        """What comes until the end."""
        async with asyncio.timeout(5):
            while data := await self.stream.read():
                self._buffer += data
        return self._buffer

    async def close(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])


class World:
    def __init__(self, assemble: Assemble | None = None, config: Config | None = None) -> None:
        self.clock = SetClock()
        self.store = MemoryStore(stamp, self.clock)
        self.api = ApiServer(self.store, self.clock, Entropy(7), config, assemble)
        self.peer = Peer(("", 0), local=True, state={"user": ("tester", ("system:masters",))})

    @property
    def now(self) -> str:
        return rfc3339(self.clock.seconds)

    async def response(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        **query: str,
    ) -> Response:
        path, _, text = path.partition("?")
        text = "&".join(t for t in (text, urlencode(query)) if t)
        data = body if isinstance(body, bytes) else b"" if body is None else orjson.dumps(body)
        sent = {"content-type": "application/json", "user-agent": "tester/1", **(headers or {})}
        result = self.api.handle(Request(method, path, text, sent, data, self.peer))
        return result if isinstance(result, Response) else await result

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        **query: str,
    ) -> Answer:
        response = await self.response(method, path, body, headers, **query)
        assert response.stream is None
        data = response.body if isinstance(response.body, bytes) else b"".join(response.body)
        return Answer(response.status, data, list(response.headers))

    async def get(self, path: str, **query: str) -> Answer:
        return await self.call("GET", path, **query)

    async def ok(
        self, method: str, path: str, body: Any = None, kind: str = "", **query: str
    ) -> Any:
        """The object answered; the call must succeed."""
        answer = await self.call(
            method, path, body, {"content-type": kind} if kind else None, **query
        )
        assert answer.status in (200, 201, 202), answer.body
        return answer.json

    async def create(self, path: str, obj: Any, **query: str) -> Any:
        return await self.ok("POST", path, obj, **query)

    async def merge(self, path: str, patch: Any, **query: str) -> Any:
        return await self.ok("PATCH", path, patch, MERGE, **query)

    async def watch(self, path: str, accept: str = "", **query: str) -> Watching:
        headers = {"accept": accept} if accept else None
        return Watching(await self.response("GET", path, None, headers, watch="1", **query))


def pod(name: str = "", **metadata: Any) -> dict[str, Any]:
    """A pod that is valid."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**({"name": name} if name else {}), **metadata},
        "spec": {"containers": [{"name": "c", "image": "registry.example/app:1"}]},
    }


def configmap(name: str, data: Any = None, **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, **metadata}, "data": data or {}}


def play(
    test: Callable[[World], Awaitable[None]],
    assemble: Assemble | None = None,
    config: Config | None = None,
) -> None:
    """Run a test in a world of its own."""

    async def main() -> None:
        world = World(assemble, config)
        try:
            async with asyncio.timeout(20):
                await test(world)
        finally:
            world.api.close()
            await world.store.close()

    asyncio.run(main())
