"""The client against scripted answers and the real API server."""

import asyncio
import contextlib
from typing import Any

import orjson
import pytest

from skiff.aio.clock import LoopClock
from skiff.aio.entropy import Entropy
from skiff.aio.http.message import Request, Response
from skiff.api.errors import Conflict, Expired, Invalid, NotFound, TooManyRequests
from skiff.api.resources import CONFIGMAPS, NAMESPACES, PODS
from skiff.api.views.core import ConfigMap, Pod
from skiff.client.request import target, without_nulls
from skiff.server.app import ApiServer
from skiff.server.stamp import stamp
from skiff.store.memory import MemoryStore
from tests.client.fake import EPOCH, client_of, config_map, run


def answering(*answers: tuple[int, Any]) -> tuple[Any, list[Request]]:
    seen: list[Request] = []
    left = list(answers)

    def handle(request: Request) -> Response:
        seen.append(request)
        status, body = left.pop(0) if len(left) > 1 else left[0]
        headers = body.pop("headers", ()) if isinstance(body, dict) else ()
        return Response(status, orjson.dumps(body), headers=tuple(headers))

    return handle, seen


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        ((PODS,), "/api/v1/pods"),
        ((PODS, "a"), "/api/v1/namespaces/a/pods"),
        ((PODS, "a", "b", "status"), "/api/v1/namespaces/a/pods/b/status"),
        ((PODS, "a", "b c/d"), "/api/v1/namespaces/a/pods/b%20c%2Fd"),
        (
            (PODS, "", "", "", {"labelSelector": "a in (b,c)"}),
            "/api/v1/pods?labelSelector=a+in+%28b%2Cc%29",
        ),
    ],
)
def test_paths(arguments: tuple[Any, ...], path: str) -> None:
    assert target(*arguments) == path


def test_nulls_are_absent() -> None:
    assert without_nulls({"a": None, "b": [{"c": None}]}) == {"b": [{}]}

    async def main() -> None:
        handle, _ = answering((200, {"metadata": {"name": "p", "creationTimestamp": None}}))
        pod = await client_of(handle).read(Pod, "p", "default")
        assert pod.metadata.creation_timestamp == ""

    run(main)


@pytest.mark.parametrize(
    ("code", "reason", "error"),
    [
        (404, "NotFound", NotFound),
        (409, "Conflict", Conflict),
        (422, "Invalid", Invalid),
        (410, "Expired", Expired),
    ],
)
def test_failures_are_errors_with_their_reason(code: int, reason: str, error: type) -> None:
    async def main() -> None:
        handle, _ = answering((code, {"kind": "Status", "reason": reason, "message": "why"}))
        with pytest.raises(error, match="why"):
            await client_of(handle).get(PODS, "p", "default")

    run(main)


def test_retry_after_is_obeyed() -> None:
    async def main() -> None:
        busy = {"kind": "Status", "headers": [("Retry-After", "2")]}
        handle, seen = answering((429, dict(busy)), (429, dict(busy)), (200, {"metadata": {}}))
        client = client_of(handle)
        started = client.clock.monotonic()
        await client.get(PODS, "p", "default")
        assert len(seen) == 3
        assert client.clock.monotonic() - started == 4
        handle, seen = answering((429, {"kind": "Status", "reason": "TooManyRequests"}))
        with pytest.raises(TooManyRequests):
            await client_of(handle).get(PODS, "p", "default")
        assert len(seen) == 1

    run(main)


def test_update_reads_anew_after_a_conflict() -> None:
    async def main() -> None:
        conflict = {"kind": "Status", "reason": "Conflict", "message": "changed"}
        handle, seen = answering(
            (200, config_map("a", 1, "x")),
            (409, conflict),
            (200, config_map("a", 2, "y")),
            (200, config_map("a", 3, "z")),
        )

        def change(obj: dict[str, Any]) -> dict[str, Any]:
            obj["data"]["v"] += "!"
            return obj

        await client_of(handle).update(CONFIGMAPS, "a", "default", change)
        assert [r.method for r in seen] == ["GET", "PUT", "GET", "PUT"]
        assert orjson.loads(seen[-1].body)["data"]["v"] == "y!"
        assert orjson.loads(seen[-1].body)["metadata"]["resourceVersion"] == "2"
        handle, seen = answering((200, config_map("a", 1)))
        await client_of(handle).update(CONFIGMAPS, "a", "default", lambda _: None)
        assert [r.method for r in seen] == ["GET"]

    run(main)


def test_whole_life_on_the_real_server() -> None:
    async def main() -> None:
        clock = LoopClock(EPOCH)
        store = MemoryStore(stamp, clock)
        server = ApiServer(store, clock, Entropy(1))
        client = client_of(server.handle)
        with contextlib.suppress(Exception):
            body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}}
            await client.create(NAMESPACES, body)
        for name in "abc":
            made = {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": name, "labels": {"l": name}},
            }
            await client.create(CONFIGMAPS, made, "default")
        listing = await client.list(ConfigMap, "default")
        assert [c.metadata.name for c in listing.items] == ["a", "b", "c"]
        chosen = await client.list(ConfigMap, "default", label_selector="l in (a,c)")
        assert [c.metadata.name for c in chosen.items] == ["a", "c"]
        seen: list[tuple[str, str]] = []

        async def watch() -> None:
            async with contextlib.aclosing(
                client.watch(ConfigMap, "default", listing.revision)
            ) as events:
                async for event in events:
                    seen.append((event.type, event.object.metadata.name))
                    if len(seen) == 3:
                        return

        async with asyncio.TaskGroup() as group:
            group.create_task(watch())
            await client.patch(CONFIGMAPS, "a", "default", {"data": {"k": "v"}})
            await client.patch(CONFIGMAPS, "d", "default", {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "d"}, "data": {"k": "v"}},
                               "apply", field_manager="me")  # fmt: skip
            await client.delete(CONFIGMAPS, "b", "default")
        assert seen == [("MODIFIED", "a"), ("ADDED", "d"), ("DELETED", "b")]
        with pytest.raises(Conflict):
            await client.delete(CONFIGMAPS, "a", "default", uid="other")
        await client.delete_collection(CONFIGMAPS, "default", label_selector="l")
        assert [c.metadata.name for c in (await client.list(ConfigMap)).items] == ["d"]
        server.close()
        await store.close()

    run(main)
