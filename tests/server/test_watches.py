"""Watches: no gap, no duplicate, whatever one starts from and selects."""

import asyncio

import orjson
import pytest

from skiff.server import watch as module
from tests.server.engine_world import CONFIGMAPS, PODS, World, configmap, play, pod

ALL = "/api/v1/configmaps"
LABELLED = {"metadata": {"labels": {"app": "x"}}}


@pytest.mark.conformance(
    "[sig-api-machinery] Watchers should observe add, update, and delete watch notifications on "
    "configmaps [Conformance]"
)
def test_a_watch_starts_with_what_is_there() -> None:
    async def test(w: World) -> None:
        await w.create(CONFIGMAPS, configmap("a"))
        watching = await w.watch(CONFIGMAPS)
        assert await watching.names(1) == [("ADDED", "a")]
        await w.create(CONFIGMAPS, configmap("b"))
        changed = await w.merge(f"{CONFIGMAPS}/a", {"data": {"x": "1"}})
        await w.ok("DELETE", f"{CONFIGMAPS}/a")
        assert await watching.names(1) == [("ADDED", "b")]
        assert await watching.event() == {"type": "MODIFIED", "object": changed}
        deleted = await watching.event()
        assert deleted["type"] == "DELETED"
        assert deleted["object"]["data"] == {"x": "1"}
        assert deleted["object"]["metadata"]["resourceVersion"] == str(w.store.revision)
        await watching.close()

    play(test)


@pytest.mark.conformance(
    "[sig-api-machinery] Watchers should be able to start watching from a specific resource version "
    "[Conformance]"
)
def test_a_watch_resumes_without_gap_or_duplicate() -> None:
    async def test(w: World) -> None:
        start = (await w.create(CONFIGMAPS, configmap("a")))["metadata"]["resourceVersion"]
        await w.create(CONFIGMAPS, configmap("b"))
        await w.ok("DELETE", f"{CONFIGMAPS}/a")
        writes = [w.create(CONFIGMAPS, configmap(f"c{i}")) for i in range(20)]
        running = asyncio.gather(*writes)
        watching = await w.watch(ALL, resourceVersion=start)
        await running
        await w.create(CONFIGMAPS, configmap("last"))
        expected = [("ADDED", "b"), ("DELETED", "a"), *(("ADDED", f"c{i}") for i in range(20))]
        assert await watching.names(23) == [*expected, ("ADDED", "last")]
        assert await watching.quiet()
        await watching.close()

    play(test)


@pytest.mark.conformance(
    "[sig-api-machinery] Watchers should observe an object deletion if it stops meeting the "
    "requirements of the selector [Conformance]"
)
def test_selectors_turn_changes_into_comings_and_goings() -> None:
    async def test(w: World) -> None:
        await w.create(CONFIGMAPS, configmap("a"))
        start = str(w.store.revision)
        live = await w.watch(ALL, labelSelector="app=x")
        await w.merge(f"{CONFIGMAPS}/a", LABELLED)
        await w.merge(f"{CONFIGMAPS}/a", {"data": {"k": "1"}})
        gone = await w.merge(f"{CONFIGMAPS}/a", {"metadata": {"labels": {"app": "y"}}})
        await w.merge(f"{CONFIGMAPS}/a", {"data": {"k": "2"}})
        await w.ok("DELETE", f"{CONFIGMAPS}/a")
        replayed = await w.watch(ALL, labelSelector="app=x", resourceVersion=start)
        for watching in (live, replayed):
            assert await watching.names(2) == [("ADDED", "a"), ("MODIFIED", "a")]
            last = await watching.event()
            assert last["type"] == "DELETED"
            assert last["object"]["metadata"]["labels"] == {"app": "x"}
            revision = gone["metadata"]["resourceVersion"]
            assert last["object"]["metadata"]["resourceVersion"] == revision
            assert await watching.quiet()
            await watching.close()

    play(test)


def test_fields_namespaces_and_names() -> None:
    async def test(w: World) -> None:
        node = await w.watch("/api/v1/pods", fieldSelector="spec.nodeName=n1")
        named = await w.watch(PODS, fieldSelector="metadata.name=a")
        old_path = await w.watch("/api/v1/watch/namespaces/default/pods/a")
        elsewhere = await w.watch("/api/v1/namespaces/other/pods")
        await w.create(PODS, pod("a"))
        await w.create(PODS, pod("b"))
        binding = {"target": {"kind": "Node", "name": "n1"}}
        await w.create(f"{PODS}/a/binding", binding)
        assert await node.names(1) == [("ADDED", "a")]
        assert await named.names(2) == [("ADDED", "a"), ("MODIFIED", "a")]
        assert await old_path.names(2) == [("ADDED", "a"), ("MODIFIED", "a")]
        await w.create("/api/v1/namespaces/other/pods", pod("a"))
        assert await elsewhere.names(1) == [("ADDED", "a")]
        for watching in (node, named, old_path, elsewhere):
            assert await watching.quiet()
            await watching.close()

    play(test)


def test_watchers_with_one_wish_share_the_bytes() -> None:
    async def test(w: World) -> None:
        watching = [await w.watch(ALL) for _ in range(5)]
        other = await w.watch(ALL, labelSelector="app=x")
        await asyncio.sleep(0)
        feed = next(iter(w.api.engine.watches._feeds.values()))
        assert len(feed._channels) == 2
        await w.create(CONFIGMAPS, configmap("a"))
        for one in watching:
            assert await one.names(1) == [("ADDED", "a")]
            await one.close()
        await other.close()
        assert not feed._channels
        assert not feed._index.sinks

    play(test)


def test_a_lost_history_is_said_in_an_event() -> None:
    async def test(w: World) -> None:
        for i in range(5):
            await w.create(CONFIGMAPS, configmap(f"c{i}"))
        w.store.compact(w.store.revision)
        watching = await w.watch(ALL, resourceVersion="2")
        event = await watching.event()
        assert event["type"] == "ERROR"
        assert event["object"]["code"] == 410
        assert event["object"]["reason"] == "Expired"
        assert event["object"]["message"] == f"too old resource version: 2 ({w.store.revision})"
        assert await watching.ended() == b""

    play(test)


def test_initial_events_end_with_a_bookmark() -> None:
    async def test(w: World) -> None:
        await w.create(CONFIGMAPS, configmap("a"))
        watching = await w.watch(
            ALL,
            sendInitialEvents="true",
            resourceVersionMatch="NotOlderThan",
            allowWatchBookmarks="true",
        )
        assert await watching.names(1) == [("ADDED", "a")]
        mark = await watching.event()
        assert mark["type"] == "BOOKMARK"
        assert mark["object"]["kind"] == "ConfigMap"
        assert mark["object"]["metadata"]["resourceVersion"] == str(w.store.revision)
        assert mark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
        await w.create(CONFIGMAPS, configmap("b"))
        assert await watching.names(1) == [("ADDED", "b")]
        await watching.close()
        # Tables of one row each are no list: refused, or left for the next that the client takes.
        table = "application/json;as=Table;v=v1;g=meta.k8s.io"
        streaming = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
        answer = await w.call("GET", ALL, None, {"accept": table}, watch="1", **streaming)
        assert answer.status == 406
        watching = await w.watch(ALL, f"{table},application/json", **streaming)
        assert await watching.names(2) == [("ADDED", "a"), ("ADDED", "b")]
        await watching.close()
        answer = await w.get(ALL, watch="1", sendInitialEvents="true")
        assert answer.status == 422
        assert "sendInitialEvents requires setting resourceVersionMatch" in answer.message
        answer = await w.get(
            ALL, watch="1", resourceVersionMatch="NotOlderThan", resourceVersion="1"
        )
        assert "forbidden for watch unless sendInitialEvents is provided" in answer.message

    play(test)


def test_bookmarks_come_from_time_to_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BOOKMARK_S", 0.02)

    async def test(w: World) -> None:
        start = str(w.store.revision)
        watching = await w.watch(ALL, resourceVersion=start, allowWatchBookmarks="true")
        await w.create(PODS, pod("unrelated"))
        for _ in range(2):
            mark = await watching.event()
            assert mark["type"] == "BOOKMARK"
        assert mark["object"]["metadata"]["resourceVersion"] == str(w.store.revision)
        await watching.close()

    play(test)


def test_a_watch_ends_with_its_time() -> None:
    async def test(w: World) -> None:
        watching = await w.watch(ALL, timeoutSeconds="1")
        await w.create(CONFIGMAPS, configmap("a"))
        assert orjson.loads(await watching.ended())["type"] == "ADDED"
        assert not w.api.engine.watches.count

    play(test)


def test_a_watcher_that_does_not_read_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WATCH_BUFFER_BYTES", 20_000)

    async def test(w: World) -> None:
        watching = await w.watch(ALL)
        for i in range(30):
            await w.create(CONFIGMAPS, configmap(f"c{i}", {"big": "x" * 1000}))
        events = (await watching.ended()).splitlines()
        assert 10 < len(events) < 30
        assert orjson.loads(events[-1])["type"] == "ADDED"

    play(test)


def test_an_answer_comes_before_its_event_and_those_of_one_turn_leave_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pushed: list[bytes] = []
    push = module.Subscriber.push

    def note(self: module.Subscriber, data: bytes) -> None:
        pushed.append(data)
        push(self, data)

    monkeypatch.setattr(module.Subscriber, "push", note)

    async def test(w: World) -> None:
        watching = await w.watch(ALL)
        await w.create(CONFIGMAPS, configmap("first"))
        assert not pushed, "the answer comes before the event"
        await watching.event()
        async with asyncio.TaskGroup() as group:
            for i in range(5):
                group.create_task(w.create(CONFIGMAPS, configmap(f"c{i}")))
        assert len(await watching.names(5)) == 5
        assert [data.count(b"\n") for data in pushed] == [1, 5]

    play(test)


def test_tables_and_metadata() -> None:
    async def test(w: World) -> None:
        table = await w.watch(PODS, "application/json;as=Table;v=v1;g=meta.k8s.io")
        partial = await w.watch(
            PODS, "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
        )
        await w.create(PODS, pod("a"))
        event = await table.event()
        assert event["object"]["kind"] == "Table"
        assert event["object"]["rows"][0]["cells"][0] == "a"
        assert event["object"]["metadata"]["resourceVersion"] == str(w.store.revision)
        event = await partial.event()
        assert event["object"]["kind"] == "PartialObjectMetadata"
        assert "spec" not in event["object"]
        for watching in (table, partial):
            await watching.close()
        answer = await w.call("GET", PODS, None, {"accept": "application/yaml"}, watch="1")
        assert answer.status == 406

    play(test)


def test_a_revision_to_come_is_waited_for() -> None:
    async def test(w: World) -> None:
        watching = await w.watch(ALL, resourceVersion=str(w.store.revision + 2))
        for name in ("a", "b", "c"):
            await w.create(CONFIGMAPS, configmap(name))
        assert await watching.names(1) == [("ADDED", "c")]
        await watching.close()

    play(test)


def test_closing_the_server_ends_watches() -> None:
    async def test(w: World) -> None:
        watching = await w.watch(ALL)
        await asyncio.sleep(0)
        w.api.engine.watches.close()
        assert await watching.ended() == b""

    play(test)
