"""Events in both groups, which share their storage."""

from typing import Any

import pytest

from skiff.api import resources as r
from tests.conformance.world import Kube, Object, meta, names, run

CORE = r.EVENTS
NEW = r.RESOURCES["events.k8s.io", "v1", "events"]
MICRO = "2026-01-01T12:00:00.000001Z"


def core_event(name: str, **more: Any) -> Object:
    return {
        "metadata": meta(name, labels={"testevent-constant": "true"}),
        "message": "This is a test event",
        "reason": "Test",
        "type": "Normal",
        "count": 1,
        "involvedObject": {"namespace": "test"},
        **more,
    }


def new_event(name: str, **more: Any) -> Object:
    return {
        "metadata": meta(name, labels={"testevent-set": "true"}),
        "eventTime": MICRO,
        "note": "This is " + name,
        "action": "Do",
        "reason": "Test",
        "type": "Normal",
        "reportingController": "test-controller",
        "reportingInstance": "test-node",
        "regarding": {"namespace": "test"},
        **more,
    }


@pytest.mark.conformance(
    "[sig-instrumentation] Events should manage the lifecycle of an event [Conformance]"
)
def test_the_life_of_a_core_event() -> None:
    async def scenario(kube: Kube) -> None:
        api = kube.of(CORE)
        await api.create(core_event("event-test"))
        found = await api.everywhere("testevent-constant=true")
        assert [e["message"] for e in found] == ["This is a test event"]
        patch = {"message": "This is a test event - patched"}
        await api.patch("event-test", patch, "strategic")
        assert (await api.get("event-test"))["message"] == patch["message"]
        series = {"count": 100, "lastObservedTime": "2026-01-01T13:00:00.000002Z"}
        await api.change("event-test", lambda o: o.update(series=series))
        got = await api.get("event-test")
        assert got["series"] == series
        await api.delete("event-test")
        assert await api.everywhere("testevent-constant=true") == []

    run(scenario)


@pytest.mark.conformance(
    "[sig-instrumentation] Events should delete a collection of events [Conformance]"
)
@pytest.mark.conformance(
    "[sig-instrumentation] Events API should delete a collection of events [Conformance]"
)
@pytest.mark.parametrize("group", ["core", "events.k8s.io"])
def test_events_by_collection(group: str) -> None:
    resource, make = (CORE, core_event) if group == "core" else (NEW, new_event)
    label = "testevent-constant=true" if group == "core" else "testevent-set=true"

    async def scenario(kube: Kube) -> None:
        api = kube.of(resource)
        for i in range(3):
            await api.create(make(f"test-event-{i}"))
        assert len(await api.items(label)) == 3
        assert len(await kube.of(CORE if resource is NEW else NEW).items(label)) == 3
        await api.delete_all(label)
        assert await api.items(label) == []

    run(scenario)


@pytest.mark.conformance(
    "[sig-instrumentation] Events API should ensure that an event can be fetched, patched, deleted, and"
    " listed [Conformance]"
)
def test_the_life_of_a_new_event() -> None:
    async def scenario(kube: Kube) -> None:
        api = kube.of(NEW)
        made = await api.create(new_event("event-test"))
        field = "reportingController=test-controller"
        assert names(await api.items(fieldSelector=field)) == ["event-test"]
        assert names(await kube.of(CORE).items(fieldSelector="reason=Test")) == ["event-test"]
        assert await api.get("event-test") == made
        assert made["eventTime"] == MICRO
        series = {"count": 2, "lastObservedTime": "2026-01-01T13:00:00.000002Z"}
        await api.patch("event-test", {"series": series}, "strategic")
        got = await api.get("event-test")
        assert got["series"] == series
        more = {"count": 100, "lastObservedTime": "2026-01-01T14:00:00.000003Z"}
        await api.change("event-test", lambda o: o.update(series=more))
        assert (await api.get("event-test"))["series"] == more
        old = await kube.of(CORE).get("event-test")
        assert (old["message"], old["involvedObject"]) == (
            "This is event-test",
            {"namespace": "test"},
        )
        await api.delete("event-test")
        assert await api.absent("event-test")

    run(scenario)
