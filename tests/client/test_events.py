"""Recording events: what is written for many occurrences; the recorder against the real server."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skiff.aio.clock import LoopClock
from skiff.aio.entropy import Entropy
from skiff.api.resources import EVENTS, NAMESPACES
from skiff.api.views.core import ConfigMap, Event
from skiff.api.views.meta import ObjectMeta
from skiff.client.correlate import COMBINED_PREFIX, SPAM_BURST, Correlator, Occurrence
from skiff.client.events import EventRecorder
from skiff.server.app import ApiServer
from skiff.server.stamp import stamp
from skiff.store.memory import MemoryStore
from tests.client.fake import EPOCH, client_of, run


def occurrence(message: str, about: str = "a") -> Occurrence:
    return Occurrence(about, "Normal", "Reason", message)


def test_the_same_again_raises_the_count() -> None:
    correlator = Correlator()
    seen = [correlator.observe(occurrence("m"), float(t)) for t in range(3)]
    records = {id(s[1]) for s in seen if s}
    assert len(records) == 1
    assert seen[-1][1].count == 3
    assert seen[-1][1].first_at == 0.0


def test_many_messages_of_one_reason_become_one() -> None:
    correlator = Correlator()
    seen = [correlator.observe(occurrence(f"m{n}"), 0.0) for n in range(15)]
    texts = [s[0] for s in seen if s]
    assert texts[:9] == [f"m{n}" for n in range(9)]
    assert texts[9] == f"{COMBINED_PREFIX}m9"
    assert seen[-1][1].count == 6


def test_an_object_that_spams_is_silenced_and_another_is_heard() -> None:
    correlator = Correlator()
    admitted = [correlator.observe(occurrence("m"), 0.0) for _ in range(100)]
    assert sum(a is not None for a in admitted) == SPAM_BURST
    assert correlator.observe(occurrence("m", "b"), 0.0) is not None
    assert correlator.observe(occurrence("m"), 301.0) is not None
    assert correlator.observe(occurrence("m"), 301.0) is None


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(0, 30)), max_size=200))
def test_never_more_than_the_burst_and_refill(steps: list[tuple[float, int]]) -> None:
    correlator, now, admitted = Correlator(), 0.0, 0
    for wait, message in steps:
        now += wait
        admitted += correlator.observe(occurrence(str(message)), now) is not None
    assert admitted <= SPAM_BURST + now / 300.0 + 1


@pytest.mark.parametrize("component", ["", "other"])
def test_events_are_written_and_counted(component: str) -> None:
    async def main() -> None:
        clock = LoopClock(EPOCH)
        store = MemoryStore(stamp, clock)
        server = ApiServer(store, clock, Entropy(1))
        client = client_of(server.handle)
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}}
        await client.create(NAMESPACES, body)
        recorder = EventRecorder(client, "kubelet", "node-1")
        about = ConfigMap(metadata=ObjectMeta(name="c", namespace="default", uid="u"))
        async with asyncio.TaskGroup() as group:
            task = group.create_task(recorder.run(lambda: None))
            for _ in range(3):
                recorder.record(about, "Warning", "Broken", "it is", component=component)
            await asyncio.sleep(1)
            task.cancel()
        (event,) = (await client.list(Event, "default")).items
        assert event.count == 3
        assert (event.reason, event.message, event.type) == ("Broken", "it is", "Warning")
        assert event.involved_object.kind == "ConfigMap"
        assert event.source.component == (component or "kubelet")
        assert event.source.host == "node-1"
        assert event.metadata.name.startswith("c.")
        assert EVENTS.plural == "events"
        server.close()
        await store.close()

    run(main)


def test_two_components_may_speak_of_one_object_in_the_same_moment() -> None:
    async def main() -> None:
        clock = LoopClock(EPOCH)
        store = MemoryStore(stamp, clock)
        server = ApiServer(store, clock, Entropy(1))
        client = client_of(server.handle)
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}}
        await client.create(NAMESPACES, body)
        about = ConfigMap(metadata=ObjectMeta(name="c", namespace="default", uid="u"))
        recorders = [EventRecorder(client, name, "node-1") for name in ("kubelet", "scheduler")]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(r.run(lambda: None)) for r in recorders]
            for recorder in recorders:
                recorder.record(about, "Warning", "Broken", "it is")
            await asyncio.sleep(1)
            for task in tasks:
                task.cancel()
        found = (await client.list(Event, "default")).items
        assert {e.source.component for e in found} == {"kubelet", "scheduler"}
        server.close()
        await store.close()

    run(main)
