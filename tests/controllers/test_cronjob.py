"""CronJobs: schedules (pure), and against the real API server on virtual time."""

import asyncio
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skiff.api.cron import ScheduleError, parse
from skiff.api.resources import JOBS, RESOURCES
from skiff.api.views.batch import CronJob, Job
from skiff.client.events import EventRecorder
from skiff.client.informer import InformerFactory
from skiff.client.reconciler import Key
from skiff.controllers.context import Context
from skiff.controllers.cronjob.run import CronJobReconciler
from tests.controllers.world import Object, World, run

CRONJOBS = RESOURCES["batch", "v1", "cronjobs"]


def at(text: str, zone: str = "UTC") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


@pytest.mark.parametrize(
    ("schedule", "after", "expected"),
    [
        ("* * * * *", "2024-01-01T00:00:00", "2024-01-01T00:01:00"),
        ("*/15 * * * *", "2024-01-01T00:01:30", "2024-01-01T00:15:00"),
        ("30 4 1,15 * *", "2024-01-02T00:00:00", "2024-01-15T04:30:00"),
        ("0 0 29 2 *", "2024-03-01T00:00:00", "2028-02-29T00:00:00"),
        ("0 12 * * mon-fri", "2024-01-05T12:00:00", "2024-01-08T12:00:00"),
        ("0 0 13 * 5", "2024-09-01T00:00:00", "2024-09-06T00:00:00"),
        ("0 0 * * sun", "2024-01-01T00:00:00", "2024-01-07T00:00:00"),
        ("TZ=Asia/Kolkata 0 9 * * 1-5", "2024-03-30T03:00:00", "2024-04-01T03:30:00"),
        ("0 0 */2 * 1", "2024-01-01T00:00:00", "2024-01-03T00:00:00"),
        ("0 0 1-31/1 * 1", "2024-01-01T00:00:00", "2024-01-02T00:00:00"),
        ("@monthly", "2024-01-15T00:00:00", "2024-02-01T00:00:00"),
        ("@every 1h30m", "2024-01-01T00:00:00", "2024-01-01T01:30:00"),
        ("5/20 0 ? JAN *", "2024-01-01T00:00:00", "2024-01-01T00:05:00"),
        ("59 23 31 12 *", "2024-12-31T23:59:00", "2025-12-31T23:59:00"),
    ],
)
def test_next_time(schedule: str, after: str, expected: str) -> None:
    assert parse(schedule).next_after(at(after)) == at(expected)


def test_a_day_that_never_comes() -> None:
    assert parse("0 0 30 2 *").next_after(at("2024-01-01T00:00:00")) is None


def test_clocks_that_change() -> None:
    zone = ZoneInfo("Europe/Berlin")
    daily = parse("30 2 * * *")
    skipped = daily.next_after(at("2024-03-30T03:00:00", "Europe/Berlin"), zone)
    assert skipped == at("2024-04-01T02:30:00", "Europe/Berlin")
    first = daily.next_after(at("2024-10-26T12:00:00", "Europe/Berlin"), zone)
    assert first is not None
    assert daily.next_after(first, zone) == first + 3600  # half past two comes twice
    second = daily.next_after(first + 3600, zone)
    assert second == at("2024-10-28T02:30:00", "Europe/Berlin")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "* * * *",
        "60 * * * *",
        "* 24 * * *",
        "* * * * 7",
        "a * * * *",
        "*/0 * * * *",
        "5-1 * * * *",
        "@never",
        "@every x",
    ],
)
def test_what_is_no_schedule(text: str) -> None:
    with pytest.raises(ScheduleError):
        parse(text)


@given(
    st.integers(0, 59), st.integers(0, 23), st.integers(0, 4_000_000_000),
)  # fmt: skip
def test_daily_times_are_a_day_apart(minute: int, hour: int, start: int) -> None:
    schedule = parse(f"{minute} {hour} * * *")
    first = schedule.next_after(start)
    assert first is not None
    assert start < first <= start + 86400
    found = datetime.fromtimestamp(first, UTC)
    assert (found.hour, found.minute, found.second) == (hour, minute, 0)
    assert schedule.next_after(first) == first + 86400


def cron(schedule: str = "* * * * *", **spec) -> Object:
    container = {"name": "c", "image": "x"}
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "c"},
        "spec": {
            "schedule": schedule,
            "jobTemplate": {
                "metadata": {"labels": {"l": "v"}},
                "spec": {
                    "template": {"spec": {"restartPolicy": "Never", "containers": [container]}}
                },
            },
            **spec,
        },
    }


async def jobs(world: World) -> list[Object]:
    return sorted(await world.objects(JOBS), key=lambda j: j["metadata"]["name"])


async def complete(world: World, name: str, kind: str = "Complete") -> None:
    now = datetime.fromtimestamp(int(world.clock.now()), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    met = "SuccessCriteriaMet" if kind == "Complete" else "FailureTarget"
    conditions = [
        {"type": t, "status": "True", "lastTransitionTime": now, "reason": "r"} for t in (met, kind)
    ]
    started = (await world.client.get(JOBS, name, "default"))["status"].get("startTime", now)
    status: Object = {"conditions": conditions, "active": None, "ready": None, "startTime": started}
    if kind == "Complete":
        status["completionTime"] = now
    await world.client.patch(JOBS, name, "default", {"status": status}, subresource="status")


@pytest.mark.conformance(
    "[sig-apps] CronJob should schedule multiple jobs concurrently [Conformance]"
)
def test_starts_a_job_each_minute() -> None:
    async def test(world: World) -> None:
        await world.client.create(CRONJOBS, cron(), "default")
        await world.clock.sleep(130)
        found = await jobs(world)
        assert len(found) == 2
        first = found[0]
        assert first["metadata"]["labels"]["l"] == "v"
        assert first["metadata"]["ownerReferences"][0]["kind"] == "CronJob"
        assert "batch.kubernetes.io/cronjob-scheduled-timestamp" in first["metadata"]["annotations"]
        state = (await world.client.get(CRONJOBS, "c", "default"))["status"]
        assert len(state["active"]) == 2
        assert state["lastScheduleTime"].endswith(":00Z")
        assert len(await world.events("SuccessfulCreate")) >= 2

    run(test)


@pytest.mark.conformance(
    "[sig-apps] CronJob should not schedule new jobs when ForbidConcurrent [Slow] [Conformance]"
)
def test_forbid_waits_for_the_one_that_runs() -> None:
    async def test(world: World) -> None:
        await world.client.create(CRONJOBS, cron(concurrencyPolicy="Forbid"), "default")
        await world.clock.sleep(200)
        (only,) = await jobs(world)
        assert await world.events("JobAlreadyActive")
        await complete(world, only["metadata"]["name"])
        await world.clock.sleep(70)
        assert len(await jobs(world)) == 2
        state = (await world.client.get(CRONJOBS, "c", "default"))["status"]
        assert state["lastSuccessfulTime"]

    run(test)


@pytest.mark.conformance(
    "[sig-apps] CronJob should replace jobs when ReplaceConcurrent [Conformance]"
)
def test_replace_ends_the_one_that_runs() -> None:
    async def test(world: World) -> None:
        await world.client.create(CRONJOBS, cron(concurrencyPolicy="Replace"), "default")
        await world.clock.sleep(70)
        (first,) = await jobs(world)
        await world.clock.sleep(60)
        (second,) = await jobs(world)
        assert first["metadata"]["name"] != second["metadata"]["name"]
        state = (await world.client.get(CRONJOBS, "c", "default"))["status"]
        assert [r["name"] for r in state["active"]] == [second["metadata"]["name"]]

    run(test)


@pytest.mark.conformance(
    "[sig-apps] CronJob should not schedule jobs when suspended [Slow] [Conformance]"
)
def test_suspended() -> None:
    async def test(world: World) -> None:
        await world.client.create(CRONJOBS, cron(suspend=True), "default")
        await world.clock.sleep(200)
        assert await jobs(world) == []

    run(test)


def test_history_is_limited() -> None:
    async def test(world: World) -> None:
        limits = {"successfulJobsHistoryLimit": 1, "failedJobsHistoryLimit": 1}
        await world.client.create(CRONJOBS, cron(**limits), "default")
        for n in range(6):
            await world.clock.sleep(60)
            for job in await jobs(world):
                if not job["status"].get("conditions"):
                    await complete(
                        world, job["metadata"]["name"], "Failed" if n % 2 else "Complete"
                    )
        await world.clock.sleep(1)
        ended = [j for j in await jobs(world) if j["status"].get("conditions")]
        assert len(ended) == 2

    run(test, without=("job-controller",))


def test_missed_times_start_one_job_only() -> None:
    async def test(world: World) -> None:
        body = cron("0 * * * *", startingDeadlineSeconds=7200)
        await world.client.create(CRONJOBS, body, "default")
        status = {"status": {"lastScheduleTime": "2023-11-14T12:00:00Z"}}
        await world.client.patch(CRONJOBS, "c", "default", status, subresource="status")
        await world.clock.sleep(5)
        (job,) = await jobs(world)
        stamp = job["metadata"]["annotations"]["batch.kubernetes.io/cronjob-scheduled-timestamp"]
        assert stamp == "2023-11-14T22:00:00Z"

    run(test)


@pytest.mark.parametrize("behind", [CronJob, Job])
def test_a_watch_that_is_behind_misleads_nobody(behind: type[CronJob | Job]) -> None:
    """One informer stands still after the job was made; the books stay right."""

    async def test(world: World) -> None:
        client = world.client
        events = EventRecorder(client, "test")
        informers = InformerFactory(client)
        controller = CronJobReconciler(
            Context(world.clock, client.entropy, client, informers, events)
        )
        await client.create(CRONJOBS, cron(), "default")
        key = Key("default", "c")
        async with asyncio.TaskGroup() as group:
            tasks: dict[type, asyncio.Task[None]] = {}
            for view in (CronJob, Job):
                informer = informers.of(view)
                tasks[view] = group.create_task(informer.run(lambda: None))
                await informer.synced.wait()
            recording = group.create_task(events.run(lambda: None))
            tasks.pop(behind).cancel()
            await world.clock.sleep(61)
            await controller.reconcile(key)
            await world.clock.sleep(1)
            await controller.reconcile(key)
            (made,) = await jobs(world)
            state = (await client.get(CRONJOBS, "c", "default"))["status"]
            assert [r["uid"] for r in state["active"]] == [made["metadata"]["uid"]]
            assert len(await world.events("SuccessfulCreate")) == 1
            assert await world.events("UnexpectedJob") == []
            assert await world.events("MissingJob") == []
            for task in (*tasks.values(), recording):
                task.cancel()

    run(test, without=("cronjob-controller", "job-controller"))


def test_a_list_that_is_behind_does_not_undo_a_replacement() -> None:
    """The CronJob's informer stands still at the first job; the second has replaced it since."""

    async def test(world: World) -> None:
        client = world.client
        events = EventRecorder(client, "test")
        informers = InformerFactory(client)
        controller = CronJobReconciler(
            Context(world.clock, client.entropy, client, informers, events)
        )
        await client.create(CRONJOBS, cron(concurrencyPolicy="Replace"), "default")
        key = Key("default", "c")
        async with asyncio.TaskGroup() as group:
            tasks: dict[type, asyncio.Task[None]] = {}
            for view in (CronJob, Job):
                informer = informers.of(view)
                tasks[view] = group.create_task(informer.run(lambda: None))
                await informer.synced.wait()
            recording = group.create_task(events.run(lambda: None))
            await world.clock.sleep(61)
            await controller.reconcile(key)
            await world.clock.sleep(1)
            tasks.pop(CronJob).cancel()
            await world.clock.sleep(60)
            await controller.reconcile(key)
            await world.clock.sleep(1)
            (made,) = await jobs(world)
            await complete(world, made["metadata"]["name"])
            await world.clock.sleep(1)
            await controller.reconcile(key)
            assert await world.events("MissingJob") == []
            assert len(await world.events("SawCompletedJob")) == 1
            for task in (*tasks.values(), recording):
                task.cancel()

    run(test, without=("cronjob-controller", "job-controller"))
