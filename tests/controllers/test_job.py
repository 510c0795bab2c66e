"""Jobs: pure policies and books, and against the real API server on virtual time."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skiff.aio.clock import rfc3339
from skiff.api.errors import NotFound
from skiff.api.resources import JOBS, PODS
from skiff.api.views.batch import (
    PodFailurePolicy,
    PodFailurePolicyOnExitCodesRequirement,
    PodFailurePolicyOnPodConditionsPattern,
    PodFailurePolicyRule,
    SuccessPolicy,
    SuccessPolicyRule,
)
from skiff.api.views.core import (
    ContainerState,
    ContainerStateTerminated,
    ContainerStatus,
    Pod,
    PodCondition,
    PodStatus,
)
from skiff.api.views.meta import ObjectMeta
from skiff.controllers.job import indexes, policy
from tests.controllers.world import Object, World, run

FINALIZER = "batch.kubernetes.io/job-tracking"
INDEX = "batch.kubernetes.io/job-completion-index"


@pytest.mark.parametrize(
    ("found", "text"),
    [([], ""), ([0], "0"), ([0, 1], "0,1"), ([0, 1, 2, 5, 7, 8], "0-2,5,7,8")],
)
def test_indexes_as_text(found, text) -> None:
    assert indexes.render(found) == text
    assert indexes.parse(text, 100) == set(found)


@given(st.sets(st.integers(0, 200)))
def test_indexes_survive_their_text(found) -> None:
    assert indexes.parse(indexes.render(found), 201) == found


def failed_pod(code: int = 1, *conditions: str) -> Pod:
    ended = ContainerStateTerminated(exit_code=code)
    return Pod(
        metadata=ObjectMeta(name="p", namespace="n"),
        status=PodStatus(
            phase="Failed",
            container_statuses=(ContainerStatus(name="c", state=ContainerState(terminated=ended)),),
            conditions=tuple(PodCondition(type=t, status="True") for t in conditions),
        ),
    )


def exit_rule(
    action: str, operator: str, *values: int, container: str = ""
) -> PodFailurePolicyRule:
    wanted = PodFailurePolicyOnExitCodesRequirement(
        operator=operator, values=values, container_name=container
    )
    return PodFailurePolicyRule(action=action, on_exit_codes=wanted)


DISRUPTED = PodFailurePolicyRule(
    action="Ignore",
    on_pod_conditions=(
        PodFailurePolicyOnPodConditionsPattern(type="DisruptionTarget", status="True"),
    ),
)


@pytest.mark.parametrize(
    ("pod", "rules", "action", "message"),
    [
        (failed_pod(), (), "Count", ""),
        (failed_pod(42), (exit_rule("FailJob", "In", 42),), "FailJob",
         "Container c for pod n/p failed with exit code 42 matching FailJob rule at index 0"),
        (failed_pod(1), (exit_rule("FailJob", "In", 42),), "Count", ""),
        (failed_pod(1), (exit_rule("FailIndex", "NotIn", 42),), "FailIndex", ""),
        (failed_pod(0), (exit_rule("FailJob", "NotIn", 42),), "Count", ""),
        (failed_pod(42), (exit_rule("FailJob", "In", 42, container="x"),), "Count", ""),
        (failed_pod(42, "DisruptionTarget"), (DISRUPTED, exit_rule("FailJob", "In", 42)), "Ignore", ""),
    ],
)  # fmt: skip
def test_what_a_failed_pod_means(pod, rules, action, message) -> None:
    assert policy.meaning_of(pod, PodFailurePolicy(rules=rules)) == (action, message)


@pytest.mark.parametrize(
    ("count", "named", "completed", "message"),
    [
        (None, "0,2", {0, 1}, None),
        (None, "0,2", {0, 2}, "Matched rules at index 0"),
        (2, "", {0}, None),
        (2, "", {0, 4}, "Matched rules at index 0"),
        (1, "0-1", {3}, None),
        (1, "0-1", {1}, "Matched rules at index 0"),
    ],
)
def test_when_enough_has_succeeded(count, named, completed, message) -> None:
    rule = SuccessPolicyRule(succeeded_count=count, succeeded_indexes=named)
    assert policy.met_rule(SuccessPolicy(rules=(rule,)), 5, completed) == message


def job(name: str = "j", **spec) -> Object:
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {
            "template": {
                "spec": {
                    "restartPolicy": "Never",
                    "containers": [{"name": "c", "image": "x"}],
                    "terminationGracePeriodSeconds": 1,
                }
            },
            **spec,
        },
    }


async def create(world: World, **spec):
    await world.client.create(JOBS, job(**spec), "default")


async def status(world: World, timeout_s: float = 60, **wanted):
    async def check():
        found = (await world.client.get(JOBS, "j", "default"))["status"]
        return all(found.get(k, 0) == v for k, v in wanted.items()) and found

    return await world.until(check, timeout_s)


async def active(world: World, count: int):
    async def check():
        found = [
            p
            for p in await world.objects(PODS)
            if p["status"].get("phase") == "Running" and "deletionTimestamp" not in p["metadata"]
        ]
        return len(found) == count and found

    return await world.until(check, 700)


async def finish(world: World, pod: Object, phase: str = "Succeeded", code: int = 0, **extra):
    now = rfc3339(world.clock.now())
    ended = {"terminated": {"exitCode": code, "finishedAt": now, "reason": "x"}}
    container = {
        "name": "c", "image": "x", "imageID": "", "ready": False, "restartCount": 0, "state": ended,
    }  # fmt: skip
    patch = {"status": {"phase": phase, "containerStatuses": [container], **extra}}
    await world.client.patch(PODS, pod["metadata"]["name"], "default", patch, "merge", "status")


def condition(found: Object, kind: str) -> Object:
    (one,) = [c for c in found["conditions"] if c["type"] == kind]
    return one


async def ended(world: World, kind: str, timeout_s: float = 700):
    async def check():
        found = (await world.client.get(JOBS, "j", "default"))["status"]
        return condition(found, kind)["status"] == "True" and found

    return await world.until(check, timeout_s)


def test_runs_to_completion() -> None:
    async def test(world: World) -> None:
        await create(world, completions=3, parallelism=2)
        pods = await active(world, 2)
        found = await status(world, active=2)
        assert found["startTime"]
        assert pods[0]["metadata"]["finalizers"] == [FINALIZER]
        assert pods[0]["metadata"]["labels"]["job-name"] == "j"
        for pod in pods:
            await finish(world, pod)
        (last,) = await active(world, 1)
        await finish(world, last)
        found = await ended(world, "Complete")
        assert found["succeeded"] == 3
        assert found["completionTime"]
        assert condition(found, "SuccessCriteriaMet")["reason"] == "CompletionsReached"
        assert not any(p["metadata"].get("finalizers") for p in await world.objects(PODS))
        assert await world.events("Completed") == ["Job completed"]

    run(test, play=True)


def test_failures_are_retried_ever_later_until_the_limit() -> None:
    async def test(world: World) -> None:
        await create(world, backoffLimit=2)
        times = []
        for _ in range(3):
            (pod,) = await active(world, 1)
            times.append(world.clock.monotonic())
            await finish(world, pod, "Failed", 1)
        found = await ended(world, "Failed")
        assert found["failed"] == 3
        assert condition(found, "Failed")["reason"] == "BackoffLimitExceeded"
        assert (
            condition(found, "Failed")["message"] == "Job has reached the specified backoff limit"
        )
        waits = [b - a for a, b in itertools.pairwise(times)]
        assert 9 <= waits[0] <= 11
        assert 19 <= waits[1] <= 21

    run(test, play=True)


@pytest.mark.conformance(
    "[sig-apps] Job should allow to use the pod failure policy on exit code to fail the job early "
    "[Conformance]"
)
def test_an_exit_code_may_fail_the_job_at_once() -> None:
    async def test(world: World) -> None:
        rule = {
            "action": "FailJob",
            "onExitCodes": {"operator": "In", "values": [42], "containerName": "c"},
        }
        await create(world, completions=4, parallelism=2, podFailurePolicy={"rules": [rule]})
        first, _ = await active(world, 2)
        await finish(world, first, "Failed", 42)
        found = await ended(world, "Failed")
        assert condition(found, "Failed")["reason"] == "PodFailurePolicy"
        assert (
            "failed with exit code 42 matching FailJob rule"
            in condition(found, "Failed")["message"]
        )
        assert not found.get("active")

    run(test, play=True)


@pytest.mark.conformance(
    "[sig-apps] Job should allow to use a pod failure policy to ignore failure matching on "
    "DisruptionTarget condition [Conformance]"
)
def test_disruptions_may_be_ignored() -> None:
    async def test(world: World) -> None:
        rule = {
            "action": "Ignore",
            "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
        }
        await create(world, backoffLimit=0, podFailurePolicy={"rules": [rule]})
        (pod,) = await active(world, 1)
        await finish(
            world, pod, "Failed", 137, conditions=[{"type": "DisruptionTarget", "status": "True"}]
        )
        (pod,) = await active(world, 1)
        await finish(world, pod)
        found = await ended(world, "Complete")
        assert not found.get("failed")

    run(test, play=True)


@pytest.mark.conformance(
    "[sig-apps] Job should create pods for an Indexed job with completion indexes and specified "
    "hostname [Conformance]"
)
def test_indexed_jobs() -> None:
    async def test(world: World) -> None:
        await create(world, completions=3, parallelism=3, completionMode="Indexed")
        pods = await active(world, 3)
        assert {p["metadata"]["annotations"][INDEX] for p in pods} == {"0", "1", "2"}
        for pod in pods:
            index = pod["metadata"]["annotations"][INDEX]
            assert pod["spec"]["hostname"] == f"j-{index}"
            assert pod["metadata"]["name"].startswith(f"j-{index}-")
            env = {e["name"] for e in pod["spec"]["containers"][0]["env"]}
            assert "JOB_COMPLETION_INDEX" in env
        by_index = {p["metadata"]["annotations"][INDEX]: p for p in pods}
        await finish(world, by_index["2"])
        await finish(world, by_index["0"])
        await status(world, completedIndexes="0,2", active=1)
        await finish(world, by_index["1"])
        found = await ended(world, "Complete")
        assert (found["completedIndexes"], found["succeeded"]) == ("0-2", 3)

    run(test, play=True)


@pytest.mark.conformance(
    "[sig-apps] Job should execute all indexes despite some failing when using backoffLimitPerIndex "
    "[Conformance]"
)
def test_each_index_has_its_own_limit() -> None:
    async def test(world: World) -> None:
        await create(
            world, completions=3, parallelism=3, completionMode="Indexed", backoffLimitPerIndex=1
        )
        for pod in await active(world, 3):
            bad = pod["metadata"]["annotations"][INDEX] == "1"
            await finish(world, pod, *(("Failed", 1) if bad else ()))
        (again,) = await active(world, 1)
        assert (
            again["metadata"]["annotations"]["batch.kubernetes.io/job-index-failure-count"] == "1"
        )
        await finish(world, again, "Failed", 1)
        found = await ended(world, "Failed")
        assert (found["completedIndexes"], found["failedIndexes"]) == ("0,2", "1")
        assert condition(found, "Failed")["reason"] == "FailedIndexes"
        assert (found["succeeded"], found["failed"]) == (2, 2)

    run(test, play=True)


@pytest.mark.conformance(
    "[sig-apps] Job should terminate job execution when the number of failed indexes exceeds "
    "maxFailedIndexes [Conformance]"
)
def test_too_many_failed_indexes() -> None:
    async def test(world: World) -> None:
        await create(
            world, completions=4, parallelism=4, completionMode="Indexed",
            backoffLimitPerIndex=0, maxFailedIndexes=1,
        )  # fmt: skip
        pods = await active(world, 4)
        for pod in pods[:2]:
            await finish(world, pod, "Failed", 1)
        found = await ended(world, "Failed")
        assert condition(found, "Failed")["reason"] == "MaxFailedIndexesExceeded"

    run(test, play=True)


@pytest.mark.conformance(
    "[sig-apps] Job with successPolicy succeededIndexes rule should succeeded even when some indexes "
    "remain pending [Conformance]"
)
def test_success_policy() -> None:
    async def test(world: World) -> None:
        await create(
            world, completions=5, parallelism=2, completionMode="Indexed",
            successPolicy={"rules": [{"succeededIndexes": "0"}]},
        )  # fmt: skip
        pods = {p["metadata"]["annotations"][INDEX]: p for p in await active(world, 2)}
        await finish(world, pods["0"])
        found = await ended(world, "Complete")
        assert condition(found, "SuccessCriteriaMet")["reason"] == "SuccessPolicy"
        assert found["completedIndexes"] == "0"
        assert (found["succeeded"], found.get("failed", 0)) == (1, 0)

    run(test, play=True)


def test_suspend_and_resume() -> None:
    async def test(world: World) -> None:
        await create(world, parallelism=2, completions=2, suspend=True)
        found = await status(world)
        await world.clock.sleep(1)
        found = await status(world)
        assert condition(found, "Suspended")["reason"] == "JobSuspended"
        assert not found.get("startTime")
        assert await world.objects(PODS) == []
        await world.client.patch(JOBS, "j", "default", {"spec": {"suspend": False}})
        await active(world, 2)
        await world.client.patch(JOBS, "j", "default", {"spec": {"suspend": True}})
        await status(world, active=0)
        await world.client.patch(JOBS, "j", "default", {"spec": {"suspend": False}})
        for pod in await active(world, 2):
            await finish(world, pod)
        await ended(world, "Complete")

    run(test, play=True)


def test_the_deadline_ends_the_job() -> None:
    async def test(world: World) -> None:
        await create(world, activeDeadlineSeconds=30)
        await active(world, 1)
        found = await ended(world, "Failed")
        assert 29 <= world.clock.monotonic() <= 33
        assert condition(found, "Failed")["reason"] == "DeadlineExceeded"
        assert not found.get("active")

    run(test, play=True)


def test_parallelism_may_change_and_finished_jobs_expire() -> None:
    async def test(world: World) -> None:
        await create(world, parallelism=4, completions=10, ttlSecondsAfterFinished=20)
        await active(world, 4)
        await world.client.patch(JOBS, "j", "default", {"spec": {"parallelism": 1}})
        await status(world, active=1)
        await world.client.patch(JOBS, "j", "default", {"spec": {"parallelism": 10}})

        async def run_all():
            for pod in await world.objects(PODS):
                if pod["status"].get("phase") == "Running":
                    await finish(world, pod)
            found = (await world.client.get(JOBS, "j", "default"))["status"]
            return condition(found, "Complete")

        await world.until(run_all, 700, every_s=0.5)
        await world.clock.sleep(25)
        with pytest.raises(NotFound):
            await world.client.get(JOBS, "j", "default")

    run(test, play=True)


@pytest.mark.conformance("[sig-apps] Job should delete a job [Conformance]")
def test_deleting_a_job_leaves_nothing_behind() -> None:
    async def test(world: World) -> None:
        await create(world, parallelism=2, completions=2)
        await active(world, 2)
        await world.client.delete(JOBS, "j", "default", propagation="Foreground")

        async def empty():
            return not await world.objects(PODS) and not await world.objects(JOBS)

        await world.until(empty)

    run(test, play=True)


def test_pods_that_are_not_wanted_any_more_are_no_failures() -> None:
    """Neither suspending nor less parallelism counts towards the backoff limit."""

    async def test(world: World) -> None:
        await create(world, parallelism=3, completions=3, backoffLimit=0)
        await active(world, 3)
        await world.client.patch(JOBS, "j", "default", {"spec": {"parallelism": 1}})
        await status(world, active=1, terminating=0)
        await world.client.patch(JOBS, "j", "default", {"spec": {"suspend": True}})
        found = await status(world, active=0, terminating=0)
        assert condition(found, "Suspended")["lastProbeTime"]
        assert "startTime" not in found
        await world.client.patch(JOBS, "j", "default", {"spec": {"suspend": False}})
        await active(world, 1)
        found = await status(world, active=1)
        assert not found.get("failed") and found["startTime"]
        assert (condition(found, "Suspended")["status"], len(found["conditions"])) == ("False", 1)

    run(test, play=True)


def test_counts_that_clients_read_through_pointers_are_there_when_zero() -> None:
    async def test(world: World) -> None:
        await create(world, podReplacementPolicy="Failed", backoffLimit=1)
        (pod,) = await active(world, 1)
        found = await status(world, active=1, ready=1)
        assert (found["terminating"], found["uncountedTerminatedPods"]) == (0, {})
        assert "failedIndexes" not in found
        name = pod["metadata"]["name"]
        await world.client.patch(
            PODS, name, "default", {"metadata": {"finalizers": [FINALIZER, "test/held"]}}
        )
        await world.client.delete(PODS, name, "default", grace_period_s=30)
        found = await status(world, active=0, terminating=1)
        assert (found["ready"], found.get("failed", 0)) == (0, 0)
        await finish(world, pod, "Failed", 143)
        found = await status(world, active=1, failed=1)
        assert found["terminating"] == 0
        await world.client.patch(PODS, name, "default", {"metadata": {"finalizers": None}})

    run(test, play=True)


def test_ignored_failures_of_an_index_are_counted_apart() -> None:
    async def test(world: World) -> None:
        rule = {"action": "Ignore", "onExitCodes": {"operator": "In", "values": [3]}}
        await create(
            world,
            completions=1,
            completionMode="Indexed",
            backoffLimitPerIndex=1,
            podFailurePolicy={"rules": [rule]},
        )
        (pod,) = await active(world, 1)
        found = await status(world, active=1)
        assert found["failedIndexes"] == ""
        for code, failed, ignored in ((3, "0", "1"), (3, "0", "2"), (4, "1", "2")):
            await finish(world, pod, "Failed", code)
            (pod,) = await active(world, 1)
            notes = pod["metadata"]["annotations"]
            assert notes["batch.kubernetes.io/job-index-failure-count"] == failed
            assert notes["batch.kubernetes.io/job-index-ignored-failure-count"] == ignored
        await finish(world, pod, "Failed", 4)
        found = await ended(world, "Failed")
        assert (found["failedIndexes"], found["failed"]) == ("0", 2)

    run(test, play=True)


def test_an_indexed_job_shrinks_from_its_end() -> None:
    async def test(world: World) -> None:
        await create(world, parallelism=4, completions=4, completionMode="Indexed")
        pods = await active(world, 4)
        # The highest index came first: neither age nor anything else of it may count.
        pods.sort(key=lambda p: p["metadata"]["annotations"][INDEX])
        await finish(world, pods[3])
        await status(world, succeeded=1)
        await world.client.patch(
            JOBS, "j", "default", {"spec": {"parallelism": 2, "completions": 2}}
        )
        left = await active(world, 2)
        assert {p["metadata"]["annotations"][INDEX] for p in left} == {"0", "1"}
        found = await status(world, active=2, succeeded=0)
        assert "completedIndexes" not in found and not found.get("failed")
        for pod in left:
            await finish(world, pod)
        found = await ended(world, "Complete")
        assert found["completedIndexes"] == "0,1"

    run(test, play=True)


def test_the_tracking_finalizer_comes_with_adoption_and_goes_with_the_job() -> None:
    async def test(world: World) -> None:
        await create(world, parallelism=2, completions=2)
        pod = (await active(world, 2))[0]["metadata"]["name"]
        owners = {"metadata": {"ownerReferences": None, "finalizers": None}}
        await world.client.patch(PODS, pod, "default", owners)

        async def adopted():
            meta = (await world.client.get(PODS, pod, "default"))["metadata"]
            return meta.get("ownerReferences") and meta["finalizers"] == [FINALIZER]

        await world.until(adopted)
        await world.client.delete(JOBS, "j", "default", propagation="Orphan")

        async def left_alone():
            found = [p["metadata"] for p in await world.objects(PODS)]
            return len(found) == 2 and not any(
                m.get("ownerReferences") or m.get("finalizers") for m in found
            )

        await world.until(left_alone)

    run(test, play=True)
