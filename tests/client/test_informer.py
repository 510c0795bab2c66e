"""Informers: current through every kind of interruption, and telling each change once."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from skiff.api.views.core import ConfigMap
from skiff.client.informer import Informer, InformerFactory
from tests.client.fake import FakeApi, client_of, run

Change = tuple[str | None, str | None]


class Told:
    """What a subscriber heard: old and new values."""

    def __init__(self) -> None:
        self.changes: list[Change] = []

    def __call__(self, old: ConfigMap | None, new: ConfigMap | None) -> None:
        self.changes.append((old and old.data["v"], new and new.data["v"]))


@contextlib.asynccontextmanager
async def informing(api: FakeApi) -> AsyncIterator[tuple[Informer[ConfigMap], Told]]:
    informer = Informer(client_of(api.handle), ConfigMap)
    told = Told()
    informer.subscribe(told)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(informer.run(lambda: None))
        await informer.synced.wait()
        await asyncio.sleep(0.01)
        try:
            yield informer, told
        finally:
            task.cancel()


def test_lists_then_follows_changes() -> None:
    async def main() -> None:
        api = FakeApi()
        api.put("a", "1")
        async with informing(api) as (informer, told):
            api.put("a", "2")
            api.put("b", "1")
            api.remove("a")
            await asyncio.sleep(0.01)
            assert told.changes == [(None, "1"), ("1", "2"), (None, "1"), ("2", None)]
            assert informer.get("a", "default") is None
            assert [c.metadata.name for c in informer.list("default")] == ["b"]
            assert informer.list("other") == []

    run(main)


def test_lists_in_pages() -> None:
    async def main() -> None:
        api = FakeApi()
        for n in range(1234):
            api.put(f"c{n:04}")
        async with informing(api) as (informer, _):
            assert len(informer) == 1234
            assert api.lists == 3

    run(main)


def test_resumes_from_the_last_revision_after_the_watch_ends() -> None:
    async def main() -> None:
        api = FakeApi()
        async with informing(api) as (_, told):
            api.put("a", "1")
            await asyncio.sleep(2)
            api.cut()
            await asyncio.sleep(2)
            assert api.lists == 1
            assert f"resourceVersion={api.revision}" in api.requests[-1]
            api.put("a", "2")
            await asyncio.sleep(0.01)
            assert told.changes == [(None, "1"), ("1", "2")]

    run(main)


def test_bookmarks_move_the_revision() -> None:
    async def main() -> None:
        api = FakeApi()
        async with informing(api):
            api.send("BOOKMARK", {"metadata": {"resourceVersion": "77"}})
            await asyncio.sleep(2)
            api.cut()
            await asyncio.sleep(0.5)
            assert "resourceVersion=77" in api.requests[-1]

    run(main)


def test_lists_anew_when_the_revision_expired_and_tells_the_difference() -> None:
    async def main() -> None:
        api = FakeApi()
        api.put("kept", "1")
        api.put("changes", "1")
        api.put("goes", "1")
        async with informing(api) as (_, told):
            told.changes.clear()
            api.expire_watches = 1
            api.watchers, watchers = [], api.watchers
            api.put("changes", "2")
            api.put("comes", "1")
            api.remove("goes")
            for watcher in watchers:
                watcher.end()
            await asyncio.sleep(30)
            assert sorted(told.changes, key=str) == [("1", "2"), ("1", None), (None, "1")]
            assert api.lists == 2

    run(main)


def test_keeps_what_it_has_while_the_server_is_away_and_catches_up() -> None:
    async def main() -> None:
        api = FakeApi()
        api.put("a", "1")
        async with informing(api) as (informer, told):
            api.down = True
            api.cut()
            await asyncio.sleep(60)
            tries = len(api.requests)
            assert tries < 25, "backs off"
            assert informer.get("a", "default") is not None
            api.down = False
            await asyncio.sleep(25)
            api.put("a", "2")
            await asyncio.sleep(0.01)
            assert told.changes[-1] == ("1", "2")

    run(main)


def test_the_first_list_is_tried_until_it_works() -> None:
    async def main() -> None:
        api = FakeApi(down=True)
        api.put("a", "1")
        informer = Informer(client_of(api.handle), ConfigMap)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(informer.run(lambda: None))
            await asyncio.sleep(5)
            assert not informer.synced.is_set()
            api.down = False
            await informer.synced.wait()
            task.cancel()

    run(main)


def test_indexes_follow_changes_and_late_subscribers_hear_all() -> None:
    async def main() -> None:
        api = FakeApi()
        api.put("a", "x")
        async with informing(api) as (informer, _):
            informer.add_index("value", lambda c: (c.data["v"],))
            api.put("b", "x")
            api.put("a", "y")
            await asyncio.sleep(0.01)
            assert [c.metadata.name for c in informer.by_index("value", "x")] == ["b"]
            assert [c.metadata.name for c in informer.by_index("value", "y")] == ["a"]
            late = Told()
            informer.subscribe(late)
            assert sorted(late.changes, key=str) == [(None, "x"), (None, "y")]

    run(main)


def test_a_failing_subscriber_does_not_blind_the_others() -> None:
    async def main() -> None:
        api = FakeApi()
        async with informing(api) as (informer, told):

            def broken(old: object, new: object) -> None:
                raise ValueError("bug")

            informer.subscribe(broken)
            second = Told()
            informer.subscribe(second)
            api.put("a", "1")
            await asyncio.sleep(0.01)
            assert told.changes == second.changes == [(None, "1")]

    run(main)


def test_factories_share_informers_and_run_later_ones() -> None:
    async def main() -> None:
        api = FakeApi()
        factory = InformerFactory(client_of(api.handle))
        first = factory.of(ConfigMap)
        assert factory.of(ConfigMap) is first
        assert factory.of(ConfigMap, namespace="a") is not first
        async with asyncio.TaskGroup() as group:
            task = group.create_task(factory.run(lambda: None))
            await first.synced.wait()
            later = factory.of(ConfigMap, label_selector="x=y")
            await later.synced.wait()
            task.cancel()

    run(main)
