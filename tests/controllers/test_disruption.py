"""Disruption budgets: what they allow, and evictions that ask them."""

import pytest

from skiff.aio.clock import rfc3339
from skiff.api.errors import TooManyRequests
from skiff.api.resources import DAEMONSETS, DEPLOYMENTS, PODDISRUPTIONBUDGETS, PODS
from skiff.api.views.core import Pod
from skiff.api.views.policy import PodDisruptionBudget, PodDisruptionBudgetSpec
from skiff.controllers.disruption import assess, share, still_disrupted
from tests.controllers.world import World, run, workload

NOW = 1_700_000_000.0
RECENT = "2023-11-14T22:12:20Z"  # a minute before NOW
OLD = "2023-11-14T22:00:00Z"


def pod(name: str, *, ready: bool = True) -> Pod:
    import msgspec

    status = {"conditions": [{"type": "Ready", "status": "True" if ready else "False"}]}
    return msgspec.convert({"metadata": {"name": name}, "status": status}, Pod)


@pytest.mark.parametrize(
    ("spec", "ready", "expected", "desired", "allowed"),
    [
        ({"min_available": 2}, 3, 3, 2, 1),
        ({"min_available": 3}, 3, 3, 3, 0),
        ({"min_available": 5}, 3, 3, 5, 0),
        ({"min_available": "50%"}, 3, 3, 2, 1),
        ({"max_unavailable": 1}, 3, 3, 2, 1),
        ({"max_unavailable": "34%"}, 3, 3, 1, 2),
        ({"max_unavailable": 1}, 2, 3, 2, 0),
        ({"max_unavailable": 5}, 3, 3, 0, 3),
        ({"min_available": 0}, 0, 0, 0, 0),
    ],
)
def test_what_a_budget_allows(spec, ready, expected, desired, allowed) -> None:
    budget = PodDisruptionBudget(spec=PodDisruptionBudgetSpec(**spec))
    group = [pod(f"p{i}", ready=i < ready) for i in range(expected)]
    found = assess(budget, group, expected, NOW)
    assert (found.current_healthy, found.desired_healthy, found.disruptions_allowed) == (
        ready,
        desired,
        allowed,
    )


def test_shares() -> None:
    assert share(2, 10) == 2
    assert share("25%", 10) == 3
    with pytest.raises(ValueError, match="neither a number nor a percentage"):
        share("a", 10)


def test_evictions_count_until_they_show_or_run_out() -> None:
    recorded = {"a": RECENT, "b": OLD, "gone": RECENT}
    kept, again_in_s = still_disrupted(recorded, [pod("a"), pod("b")], NOW)
    assert kept == {"a": RECENT}
    assert 0 < again_in_s <= 120


@pytest.mark.conformance(
    "[sig-apps] DisruptionController should block an eviction until the PDB is updated to allow it [Conformance]"
)
@pytest.mark.conformance(
    "[sig-apps] DisruptionController should observe PodDisruptionBudget status updated [Conformance]"
)
def test_an_eviction_waits_for_its_budget() -> None:
    async def test(world: World) -> None:
        await world.client.create(DEPLOYMENTS, workload("Deployment", "web", 3))
        budget = {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": "web", "namespace": "default"},
            "spec": {"minAvailable": 3, "selector": {"matchLabels": {"app": "web"}}},
        }
        await world.client.create(PODDISRUPTIONBUDGETS, budget)

        async def status():
            found = await world.client.get(PODDISRUPTIONBUDGETS, "web", "default")
            return found.get("status", {})

        async def healthy():
            return (await status()).get("currentHealthy") == 3

        await world.until(healthy)
        assert (await status())["disruptionsAllowed"] == 0
        assert (await status())["conditions"][0]["reason"] == "InsufficientPods"
        victim = (await world.objects(PODS))[0]["metadata"]["name"]
        eviction = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": victim, "namespace": "default"},
        }
        with pytest.raises(TooManyRequests, match="disruption budget"):
            await world.client.create(PODS, eviction, "default", subresource="eviction")
        await world.client.patch(
            PODDISRUPTIONBUDGETS, "web", "default", {"spec": {"minAvailable": 2}}
        )

        async def allowed():
            return (await status()).get("disruptionsAllowed") == 1

        await world.until(allowed)
        await world.client.create(PODS, eviction, "default", subresource="eviction")

        async def replaced():
            names = {p["metadata"]["name"] for p in await world.objects(PODS)}
            return len(names) == 3 and victim not in names

        await world.until(replaced)
        await world.until(allowed)

    run(test, play=True)


def budget(selector=None, **spec):
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "b", "namespace": "default"},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, **spec},
    }


def bare_pod(name: str, owner=None):
    meta = {"name": name, "labels": {"app": "web"}}
    if owner:
        meta["ownerReferences"] = [owner]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": meta,
        "spec": {"containers": [{"name": "c", "image": "x"}]},
    }


async def told(world: World, reason: str):
    async def check():
        status = (await world.client.get(PODDISRUPTIONBUDGETS, "b", "default"))["status"]
        found = {c["type"]: c for c in status.get("conditions", ())}.get("DisruptionAllowed", {})
        return found.get("reason") == reason and (status, found)

    return await world.until(check)


def test_nothing_may_go_where_no_size_can_be_found() -> None:
    async def test(world: World) -> None:
        owner = {
            "apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "uid": "u", "controller": True,
        }  # fmt: skip
        await world.client.create(PODS, bare_pod("p", owner), "default")
        await world.client.create(PODDISRUPTIONBUDGETS, budget(maxUnavailable=1))
        status, condition = await told(world, "SyncFailed")
        words = "daemonsets.apps does not implement the scale subresource"
        assert condition["message"] == words
        assert status["disruptionsAllowed"] == 0 and "observedGeneration" not in condition
        assert await world.events("CalculateExpectedPodCountFailed") == [
            f"Failed to calculate the number of expected pods: {words}"
        ]
        assert DAEMONSETS.plural == "daemonsets"

    run(test, without=("garbage-collector-controller",))


def test_pods_without_a_controller_are_told_of() -> None:
    async def test(world: World) -> None:
        await world.client.create(PODS, bare_pod("p"), "default")
        await world.client.create(PODDISRUPTIONBUDGETS, budget(minAvailable="50%"))
        status, _ = await told(world, "InsufficientPods")
        assert status["expectedPods"] == 0
        assert "were found to be unmanaged" in (await world.events("UnmanagedPods"))[0]
        await world.client.patch(
            PODDISRUPTIONBUDGETS, "b", "default", {"spec": {"minAvailable": None}}
        )
        await told(world, "InsufficientPods")

    run(test, play=True)


def test_conditions_of_others_stay() -> None:
    async def test(world: World) -> None:
        await world.client.create(PODDISRUPTIONBUDGETS, budget(minAvailable=0))
        status, _ = await told(world, "InsufficientPods")
        other = {
            "type": "Other", "status": "True", "reason": "R", "message": "m",
            "lastTransitionTime": "2023-11-14T00:00:00Z",
        }  # fmt: skip
        patch = {"status": {"conditions": [*status["conditions"], other]}}
        await world.client.patch(PODDISRUPTIONBUDGETS, "b", "default", patch, subresource="status")
        await world.client.create(PODS, bare_pod("p"), "default")
        status, _ = await told(world, "SufficientPods")
        assert {c["type"] for c in status["conditions"]} == {"DisruptionAllowed", "Other"}

    run(test, play=True)


def test_a_disruption_that_did_not_happen_is_taken_back() -> None:
    async def test(world: World) -> None:
        await world.client.create(PODS, bare_pod("p"), "default")
        condition = {
            "type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler",
            "lastTransitionTime": rfc3339(world.clock.now()),
        }  # fmt: skip
        await world.client.patch(
            PODS, "p", "default", {"status": {"conditions": [condition]}}, "strategic", "status"
        )

        async def over():
            found = (await world.client.get(PODS, "p", "default"))["status"]["conditions"]
            (one,) = [c for c in found if c["type"] == "DisruptionTarget"]
            return one["status"] == "False" and "reason" not in one

        assert not await over()
        await world.until(over, 200)

    run(test)
