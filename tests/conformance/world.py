"""How these tests speak to the cluster: as clients of the HTTP API, seeing what clients see.

A test is an async function of a `Kube`, run by `run`: a whole cluster on virtual time, with a namespace
of its own, `test`. `Kube.of` gives one resource's verbs. Nothing here looks behind the API.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import orjson

from skiff.aio.http.connection import ClientResponse
from skiff.api.resources import NAMESPACES, SERVICEACCOUNTS, Resource
from skiff.client.transport import LocalTransport, ResponseStream
from skiff.testing.cluster import ADMIN, Cluster, run_virtual

DEADLINE_S = 7200.0
EVENT_TIMEOUT_S = 60.0
NAMESPACE = "test"
CONTENT_TYPES = {
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}

Object = dict[str, Any]
Objects = list[Object]
Scenario = Callable[["Kube"], Awaitable[None]]


@dataclass
class Answer:
    """A response as a client sees it."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    def failed(self, status: int, reason: str, *words: str) -> Object:
        """The Status that it must be, of that code and reason, with `words` in its message."""
        assert self.status == status, (self.status, self.body[:2000])
        found: Object = self.json
        assert (found["kind"], found["apiVersion"]) == ("Status", "v1")
        assert (found["status"], found["code"]) == ("Failure", status)
        assert found.get("reason", "") == reason, found
        for word in words:
            assert word in found["message"], found["message"]
        return found


class Watch:
    """A watch under way; `expect` looks for an event as upstream's tests do: others may come before."""

    def __init__(self, stream: ResponseStream) -> None:
        self._chunks = stream.__aiter__()
        self._buffer = b""

    async def next(self) -> Object:
        """The next event."""
        async with asyncio.timeout(EVENT_TIMEOUT_S):
            while b"\n" not in self._buffer:
                self._buffer += await anext(self._chunks)
        line, _, self._buffer = self._buffer.partition(b"\n")
        event: Object = orjson.loads(line)
        return event

    async def expect(
        self, kind: str, that: Callable[[Object], Any] = lambda _: True, *, within: int = 50
    ) -> Object:
        """The object of the first event of that type for which `that` holds."""
        seen = []
        for _ in range(within):
            event = await self.next()
            if event["type"] == kind and that(event["object"]):
                found: Object = event["object"]
                return found
            seen.append((event["type"], event["object"].get("metadata", {}).get("name")))
        raise AssertionError(f"no {kind} among {seen}")

    async def quiet(self, seconds: float = 5.0) -> None:
        """Nothing may come for a while."""
        try:
            async with asyncio.timeout(seconds):
                while b"\n" not in self._buffer:
                    self._buffer += await anext(self._chunks)
        except TimeoutError:
            return
        raise AssertionError(self._buffer)


class Kube:
    """A user of the cluster."""

    def __init__(self, cluster: Cluster, user: str, groups: Sequence[str] = ()) -> None:
        self.cluster = cluster
        self._transport = LocalTransport(cluster._handle, user, groups)

    def as_user(self, user: str, *groups: str) -> "Kube":
        """The same cluster as another user sees it."""
        return Kube(self.cluster, user, groups)

    def of(self, resource: Resource, namespace: str | None = None) -> "Verbs":
        """The verbs of a resource (in the test's namespace, unless told)."""
        where = NAMESPACE if namespace is None else namespace
        return Verbs(self, resource, where if resource.namespaced else "")

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        **query: str,
    ) -> Answer:
        """One request, whatever comes of it."""
        if query:
            path += ("&" if "?" in path else "?") + urlencode(query)
        data = body if isinstance(body, bytes) else b"" if body is None else orjson.dumps(body)
        sent = {"user-agent": "e2e.test/v1.36.0", "accept": "application/json"}
        if data:
            sent["content-type"] = "application/json"
        answer: ClientResponse = await self._transport.request(
            method, path, data, {**sent, **(headers or {})}
        )
        return Answer(answer.status, answer.headers, answer.body)

    async def ok(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        **query: str,
    ) -> Any:
        """What is answered to a request that must succeed."""
        answer = await self.call(method, path, body, headers, **query)
        assert answer.status in (200, 201, 202), answer.body[:3000]
        return answer.json

    async def get(self, path: str, **query: str) -> Any:
        return await self.ok("GET", path, **query)

    @contextlib.asynccontextmanager
    async def watch(self, path: str, **query: str) -> AsyncIterator[Watch]:
        """A watch on a collection's path."""
        path += "?" + urlencode({"watch": "true", **query})
        async with self._transport.stream("GET", path, b"", {"accept": "application/json"}) as s:
            assert s.status == 200, [c async for c in s]
            yield Watch(s)

    async def until(self, condition: Callable[[], Awaitable[Any]], timeout_s: float = 120.0) -> Any:
        """The first true result of `condition`, asked again after each write."""
        return await self.cluster.wait_until(condition, timeout_s)


class Verbs:
    """One resource's verbs, as client-go's clients have them."""

    def __init__(self, kube: Kube, resource: Resource, namespace: str) -> None:
        self.kube, self.resource, self.namespace = kube, resource, namespace

    def path(self, name: str = "", subresource: str = "") -> str:
        return self.resource.path(self.namespace, name, subresource)

    def whole(self, obj: Mapping[str, Any]) -> Object:
        """`obj` with its kind."""
        return {"apiVersion": self.resource.api_version, "kind": self.resource.kind, **obj}

    async def create(self, obj: Mapping[str, Any], **query: str) -> Object:
        return await self.kube.ok("POST", self.path(), self.whole(obj), **query)

    async def refused(self, obj: Mapping[str, Any], **query: str) -> Answer:
        return await self.kube.call("POST", self.path(), self.whole(obj), **query)

    async def get(self, name: str, subresource: str = "") -> Object:
        return await self.kube.get(self.path(name, subresource))

    async def list(self, label: str = "", **query: str) -> Object:
        if label:
            query["labelSelector"] = label
        return await self.kube.get(self.path(), **query)

    async def items(self, label: str = "", **query: str) -> Objects:
        found: Objects = (await self.list(label, **query))["items"]
        return found

    async def everywhere(self, label: str = "") -> Objects:
        """Those of all namespaces."""
        query = {"labelSelector": label} if label else {}
        found: Objects = (await self.kube.get(self.resource.path(), **query))["items"]
        return found

    async def replace(self, obj: Object, subresource: str = "", **query: str) -> Object:
        path = self.path(obj["metadata"]["name"], subresource)
        return await self.kube.ok("PUT", path, self.whole(obj), **query)

    async def change(
        self, name: str, how: Callable[[Object], Any], subresource: str = ""
    ) -> Object:
        """Read, change, write; again after each conflict."""
        for _ in range(20):
            obj = await self.get(name, subresource)
            how(obj)
            answer = await self.kube.call("PUT", self.path(name, subresource), obj)
            if answer.status != 409:
                assert answer.status == 200, answer.body
                return answer.json
        raise AssertionError("always a conflict")

    async def patch(
        self, name: str, patch: Any, kind: str = "merge", subresource: str = "", **query: str
    ) -> Object:
        headers = {"content-type": CONTENT_TYPES[kind]}
        path = self.path(name, subresource)
        return await self.kube.ok("PATCH", path, patch, headers, **query)

    async def delete(self, name: str, **options: Any) -> Object:
        body = {"apiVersion": "v1", "kind": "DeleteOptions", **options} if options else None
        return await self.kube.ok("DELETE", self.path(name), body)

    async def delete_all(self, label: str = "", **options: Any) -> Object:
        body = {"apiVersion": "v1", "kind": "DeleteOptions", **options} if options else None
        query = {"labelSelector": label} if label else {}
        return await self.kube.ok("DELETE", self.path(), body, **query)

    async def absent(self, name: str) -> bool:
        """Whether it is gone (404, as a proper Status)."""
        answer = await self.kube.call("GET", self.path(name))
        if answer.status == 200:
            return False
        answer.failed(404, "NotFound", f'"{name}" not found')
        return True

    async def gone(self, name: str) -> None:
        """Wait until it is."""
        await self.kube.until(lambda: self.absent(name))

    async def count(self, number: int, label: str = "") -> Objects:
        """Wait until there are so many."""

        async def there() -> bool:
            return len(await self.items(label)) == number

        await self.kube.until(there)
        return await self.items(label)

    def watch(self, label: str = "", **query: str) -> contextlib.AbstractAsyncContextManager[Watch]:
        if label:
            query["labelSelector"] = label
        return self.kube.watch(self.path(), **query)


def run(scenario: Scenario, **options: Any) -> None:
    """Run `scenario` in a cluster made with `options` (no nodes unless they say otherwise)."""

    async def main() -> None:
        async with Cluster(**({"nodes": 0} | options)) as cluster, asyncio.timeout(DEADLINE_S):
            kube = Kube(cluster, *ADMIN)
            await kube.of(NAMESPACES).create({"metadata": {"name": NAMESPACE}})

            async def has_account() -> bool:
                return not await kube.of(SERVICEACCOUNTS).absent("default")

            await kube.until(has_account)
            await scenario(kube)

    run_virtual(main())


def meta(name: str, **more: Any) -> Object:
    return {"name": name, **more}


def template(labels: Mapping[str, str], image: str = "web:1", **spec: Any) -> Object:
    """A pod template."""
    return {
        "metadata": {"labels": dict(labels)},
        "spec": {"containers": [{"name": "c", "image": image}], **spec},
    }


def pod(name: str, labels: Mapping[str, str] | None = None, **spec: Any) -> Object:
    """A pod with one container, `c`."""
    containers = [{"name": "c", "image": "web:1"}]
    return {
        "metadata": meta(name, labels=dict(labels or {})),
        "spec": {"containers": containers} | spec,
    }


def condition(obj: Mapping[str, Any], kind: str) -> Object:
    """A condition of an object; empty where there is none."""
    found = (obj.get("status") or {}).get("conditions") or ()
    return next((c for c in found if c["type"] == kind), {})


def names(objects: Sequence[Mapping[str, Any]]) -> list[str]:
    return [o["metadata"]["name"] for o in objects]
