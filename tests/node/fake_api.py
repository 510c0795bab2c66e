"""A tiny API server for the node's tests: objects by path, list and watch by name, token requests."""

import asyncio
import json
from urllib.parse import parse_qs

from skiff.aio.clock import RealClock, rfc3339
from skiff.aio.entropy import Entropy
from skiff.aio.http.message import Request, Response, Writer
from skiff.api.errors import NotFound
from skiff.client.client import Client
from skiff.client.transport import LocalTransport


class FakeApi:
    """`put` and `remove` objects; `tokens` are those given out; `token_life_s` their life."""

    def __init__(self, clock=None) -> None:
        self.clock = clock or RealClock()
        self.objects: dict[str, dict] = {}
        self.watchers: list[tuple[str, str, asyncio.Queue]] = []
        self.revision = 1
        self.tokens: list[dict] = []
        self.token_life_s = 3600.0
        self.created: list[tuple[str, dict]] = []

    def client(self) -> Client:
        return Client(
            LocalTransport(self.handle, "node"), self.clock, Entropy(1), "skiff-node/test"
        )

    def put(self, path: str, obj: dict) -> None:
        """`path` like `/api/v1/namespaces/a/configmaps/x`."""
        self.revision += 1
        kind = "MODIFIED" if path in self.objects else "ADDED"
        parts = path.split("/")
        meta = {"name": parts[-1], "resourceVersion": str(self.revision), "uid": f"uid-{parts[-1]}"}
        if "namespaces" in parts[:-2]:
            meta["namespace"] = parts[parts.index("namespaces") + 1]
        self.objects[path] = {**obj, "metadata": {**meta, **obj.get("metadata", {})}}
        self._tell(path, kind, self.objects[path])

    def remove(self, path: str) -> None:
        self.revision += 1
        self._tell(path, "DELETED", self.objects.pop(path))

    def _tell(self, path: str, kind: str, obj: dict) -> None:
        for collection, name, queue in self.watchers:
            if path.rsplit("/", 1)[0] == collection and name in ("", obj["metadata"]["name"]):
                queue.put_nowait({"type": kind, "object": obj})

    async def handle(self, request: Request) -> Response:
        path = request.path
        query = {k: v[0] for k, v in parse_qs(request.query).items()}
        if request.method == "POST":
            return self._post(path, json.loads(request.body))
        name = query.get("fieldSelector", "").removeprefix("metadata.name=")
        if query.get("watch") in ("true", "1"):
            queue: asyncio.Queue = asyncio.Queue()
            entry = (path, name, queue)
            self.watchers.append(entry)

            async def stream(writer: Writer) -> None:
                try:
                    while True:
                        writer.write(json.dumps(await queue.get()).encode() + b"\n")
                        await writer.drain()
                finally:
                    self.watchers.remove(entry)

            return Response(200, stream=stream)
        if path in self.objects:
            return _json(self.objects[path])
        last = path.rsplit("/", 1)[-1]
        if last in ("configmaps", "secrets", "persistentvolumeclaims", "services"):
            items = [
                o
                for p, o in self.objects.items()
                if p.rsplit("/", 1)[0] == path and name in ("", o["metadata"]["name"])
            ]
            meta = {"resourceVersion": str(self.revision)}
            return _json({"kind": "List", "apiVersion": "v1", "metadata": meta, "items": items})
        error = NotFound(f'"{last}" not found')
        return Response(404, json.dumps(error.status()).encode())

    def _post(self, path: str, body: dict) -> Response:
        self.created.append((path, body))
        if path.endswith("/token"):
            self.tokens.append(body["spec"])
            expires = rfc3339(self.clock.now() + self.token_life_s)
            number = len(self.tokens)
            return _json(
                {**body, "status": {"token": f"token-{number}", "expirationTimestamp": expires}}
            )
        return _json(body)


def _json(value: object) -> Response:
    return Response(200, json.dumps(value).encode())
