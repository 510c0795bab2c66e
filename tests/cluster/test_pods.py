"""Pods seen through the API: completion, crashes, changes, ends and evictions."""

import itertools
import re
from typing import Any

import pytest

from skiff.aio.clock import parse_rfc3339
from skiff.api.errors import ApiError, BadRequest, Forbidden, Invalid, NotFound, TooManyRequests
from skiff.api.resources import NODES, PODDISRUPTIONBUDGETS, PODS, RESOURCES
from skiff.testing.cluster import Cluster
from tests.cluster.world import condition, deployment, events, is_ready, named, pod, rolled_out, run

RUNTIMECLASSES = RESOURCES["node.k8s.io", "v1", "runtimeclasses"]
DEPLOYMENTS = RESOURCES["apps", "v1", "deployments"]


def now(cluster: Cluster, name: str) -> dict[str, Any]:
    return cluster.get(PODS, name, "default") or {}


async def running(cluster: Cluster, *names: str) -> None:
    await cluster.wait_until(lambda: all(is_ready(now(cluster, n)) for n in names), 60)


def container(cluster: Cluster, name: str) -> dict[str, Any]:
    return now(cluster, name).get("status", {}).get("containerStatuses", [{}])[0]


@pytest.mark.parametrize(
    ("code", "phase", "reason"), [("0", "Succeeded", "Completed"), ("3", "Failed", "Error")]
)
def test_a_pod_that_ends(code: str, phase: str, reason: str) -> None:
    async def scenario(cluster: Cluster) -> None:
        ends = {"exit-after-seconds": "5", "exit-code": code}
        await cluster.client.create(PODS, pod("p", simulate=ends, restartPolicy="Never"))
        await cluster.wait_until(lambda: now(cluster, "p")["status"]["phase"] == phase, 30)
        ended = container(cluster, "p")["state"]["terminated"]
        assert (ended["exitCode"], ended["reason"]) == (int(code), reason)
        lived = parse_rfc3339(ended["finishedAt"]) - parse_rfc3339(ended["startedAt"])
        assert lived == 5
        await cluster.advance(60)
        assert now(cluster, "p")["status"]["phase"] == phase
        assert container(cluster, "p")["restartCount"] == 0

    run(scenario, nodes=1)


def test_what_a_pod_that_ended_held_is_free_again() -> None:
    async def scenario(cluster: Cluster) -> None:
        whole = {"requests": {"cpu": "900m"}, "restartPolicy": "Never"}
        await cluster.client.create(
            PODS, pod("one", simulate={"exit-after-seconds": "20"}, **whole)
        )
        await cluster.client.create(PODS, pod("two", **whole))
        await running(cluster, "one")
        await running(cluster, "two")
        assert now(cluster, "one")["status"]["phase"] == "Succeeded"

    run(scenario, nodes=1, capacity={"cpu": "1", "memory": "1Gi"})


def test_crashes_come_at_growing_distances() -> None:
    async def scenario(cluster: Cluster) -> None:
        crashes = {"exit-after-seconds": "1", "exit-code": "1"}
        await cluster.client.create(PODS, pod("p", simulate=crashes))
        starts: list[float] = []

        def note() -> bool:
            found = container(cluster, "p").get("state", {}).get("running")
            if found:
                at = parse_rfc3339(found["startedAt"])
                if at not in starts:
                    starts.append(at)
            return len(starts) == 7

        await cluster.wait_until(note, 1500)
        gaps = [round(b - a) for a, b in itertools.pairwise(starts)]
        # The first restart is at once; then 10 s, doubling, each after a second's life.
        assert gaps[0] <= 2
        for found, expected in zip(gaps[1:], (11, 21, 41, 81, 161), strict=True):
            assert abs(found - expected) <= 2, gaps
        waiting = await cluster.wait_until(
            lambda: container(cluster, "p").get("state", {}).get("waiting"), 30
        )
        assert waiting["reason"] == "CrashLoopBackOff"
        uid = now(cluster, "p")["metadata"]["uid"]
        assert waiting["message"] == (
            f"back-off 5m0s restarting failed container=c pod=p_default({uid})"
        )
        assert container(cluster, "p")["lastState"]["terminated"]["exitCode"] == 1
        assert container(cluster, "p")["restartCount"] == 6
        assert any(
            m.startswith("Back-off restarting failed container c in pod p_default(")
            for m in events(cluster, "BackOff", "p")
        )

    run(scenario, nodes=1)


def test_an_image_that_cannot_be_pulled() -> None:
    async def scenario(cluster: Cluster) -> None:
        broken = pod("p", simulate={"pull-error": "not found"})
        await cluster.client.create(PODS, broken)
        reasons: list[str] = []

        def note() -> bool:
            found = container(cluster, "p").get("state", {}).get("waiting", {}).get("reason")
            if found and found not in reasons:
                reasons.append(found)
            return len(reasons) == 3

        await cluster.wait_until(note, 60)
        assert reasons[-2:] == ["ErrImagePull", "ImagePullBackOff"]
        assert now(cluster, "p")["status"]["phase"] == "Pending"

    run(scenario, nodes=1)


@pytest.mark.conformance(
    "[sig-node] Pods should be submitted and removed [NodeConformance] [Conformance]"
)
def test_a_graceful_end() -> None:
    async def scenario(cluster: Cluster) -> None:
        made = await cluster.client.create(
            PODS, pod("p", labels={"time": "1"}, simulate={"stop-seconds": "8"})
        )
        found: list[str] = []

        async def watch() -> None:
            from skiff.api.views.core import Pod

            revision = made["metadata"]["resourceVersion"]
            async for event in cluster.client.watch(Pod, "default", revision, "time=1"):
                found.append(event.type)
                if event.type == "DELETED":
                    return

        import asyncio

        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            group.create_task(watch())
            await running(cluster, "p")
            await cluster.client.delete(PODS, "p", "default", grace_period_s=30)
            ending = now(cluster, "p")["metadata"]
            assert ending["deletionGracePeriodSeconds"] == 30
            asked = cluster.clock.monotonic()
            await cluster.wait_until(lambda: not now(cluster, "p"), 30)
            assert 7 <= cluster.clock.monotonic() - asked <= 10
        assert found[-1] == "DELETED" and set(found[:-1]) == {"MODIFIED"}

    run(scenario, nodes=1)


@pytest.mark.parametrize(("wants", "grace", "ended"), [(50, 10, 10), (3, 0, 0), (50, 1, 1)])
def test_grace_is_bounded(wants: int, grace: int, ended: int) -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.client.create(PODS, pod("p", simulate={"stop-seconds": str(wants)}))
        await running(cluster, "p")
        asked = cluster.clock.monotonic()
        await cluster.client.delete(PODS, "p", "default", grace_period_s=grace)
        await cluster.wait_until(lambda: not now(cluster, "p"), 60)
        assert ended <= cluster.clock.monotonic() - asked <= ended + 3

    run(scenario, nodes=1)


@pytest.mark.conformance("[sig-node] Pods should be updated [NodeConformance] [Conformance]")
@pytest.mark.conformance("[sig-node] Pods should patch a pod status [Conformance]")
def test_labels_and_status_may_change_while_it_runs() -> None:
    async def scenario(cluster: Cluster) -> None:
        client = cluster.client
        await client.create(PODS, pod("p", labels={"time": "1"}))
        await running(cluster, "p")

        def relabel(obj: dict) -> dict:
            obj["metadata"]["labels"]["time"] = "2"
            return obj

        await client.update(PODS, "p", "default", relabel)
        body = (await client.raw_get(PODS.path("default") + "?labelSelector=time%3D2")).body
        assert b'"name":"p"' in body
        patch = {"status": {"message": "Patched by test", "reason": "E2E"}}
        patched = await client.patch(PODS, "p", "default", patch, subresource="status")
        assert patched["status"]["message"] == "Patched by test"
        read = await client.get(PODS, "p", "default", "status")
        assert read["status"]["reason"] == "E2E"
        await cluster.advance(5)
        assert container(cluster, "p")["restartCount"] == 0
        with pytest.raises(Invalid, match="pod updates may not change fields other than"):
            await client.patch(PODS, "p", "default", {"spec": {"hostname": "other"}})

    run(scenario, nodes=1)


@pytest.mark.conformance("[sig-node] Pods should delete a collection of pods [Conformance]")
def test_a_collection_of_pods_ends() -> None:
    async def scenario(cluster: Cluster) -> None:
        for i in range(3):
            await cluster.client.create(PODS, pod(f"p{i}", labels={"type": "Testing"}))
        await cluster.client.create(PODS, pod("stays"))
        await running(cluster, "p0", "p1", "p2", "stays")
        await cluster.client.delete_collection(PODS, "default", label_selector="type=Testing")
        await cluster.wait_until(lambda: named(cluster.list(PODS, "default")) == ["stays"], 60)

    run(scenario)


@pytest.mark.conformance(
    "[sig-node] Pods Extended (pod generation) Pod Generation pod generation should start at 1 and "
    "increment per update [MinimumKubeletVersion:1.34] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] Pods Extended (pod generation) Pod Generation custom-set generation on new pods and "
    "graceful delete [Conformance]"
)
def test_generations() -> None:
    async def scenario(cluster: Cluster) -> None:
        client = cluster.client
        made = await client.create(PODS, pod("p", metadata={"generation": 100}))
        assert made["metadata"]["generation"] == 1, "what the maker says does not count"
        await running(cluster, "p")
        assert now(cluster, "p")["metadata"]["generation"] == 1, "binding and status are no changes"
        toleration = [{"key": "k", "operator": "Exists", "effect": "NoExecute"}]

        def tolerate(obj: dict) -> dict:
            obj["spec"]["tolerations"] = [*obj["spec"]["tolerations"], *toleration]
            return obj

        assert (await client.update(PODS, "p", "default", tolerate))["metadata"]["generation"] == 2
        image = {"spec": {"containers": [{"name": "c", "image": "web:2"}]}}
        assert (await client.patch(PODS, "p", "default", image, "strategic"))["metadata"][
            "generation"
        ] == 3
        deadline = {"spec": {"activeDeadlineSeconds": 5000}}
        assert (await client.patch(PODS, "p", "default", deadline))["metadata"]["generation"] == 4
        labels = {"metadata": {"labels": {"a": "b"}}}
        assert (await client.patch(PODS, "p", "default", labels))["metadata"]["generation"] == 4
        await cluster.wait_until(
            lambda: now(cluster, "p")["status"].get("observedGeneration") == 4, 30
        )
        await cluster.client.patch(
            PODS, "p", "default", {"metadata": {"finalizers": ["example.com/x"]}}
        )
        await client.delete(PODS, "p", "default")
        assert now(cluster, "p")["metadata"]["generation"] == 5
        await cluster.wait_until(
            lambda: now(cluster, "p")["status"].get("observedGeneration") == 5, 60
        )

    run(scenario, nodes=1)


@pytest.mark.conformance(
    "[sig-node] Pods Extended (pod generation) Pod Generation issue 500 podspec updates and verify "
    "generation and observedGeneration eventually converge [MinimumKubeletVersion:1.34] [Conformance]"
)
def test_many_changes_are_all_observed_in_the_end() -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.client.create(PODS, pod("p"))
        await running(cluster, "p")
        for i in range(500):
            image = {"spec": {"containers": [{"name": "c", "image": f"web:{i % 2 + 2}"}]}}
            await cluster.client.patch(PODS, "p", "default", image, "strategic")
        assert now(cluster, "p")["metadata"]["generation"] == 501
        await cluster.wait_until(
            lambda: now(cluster, "p")["status"].get("observedGeneration") == 501, 60
        )

    run(scenario, nodes=1)


class TestEviction:
    def budget(self) -> dict[str, Any]:
        return {
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": {"name": "guard", "namespace": "default"},
            "spec": {"minAvailable": 2, "selector": {"matchLabels": {"app": "web"}}},
        }

    def status(self, cluster: Cluster) -> dict[str, Any]:
        return (cluster.get(PODDISRUPTIONBUDGETS, "guard", "default") or {}).get("status", {})

    async def evict(self, cluster: Cluster, name: str) -> None:
        eviction = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": name, "namespace": "default"},
        }
        await cluster.client.create(PODS, eviction, "default", "eviction", name)

    def test_without_a_budget_it_is_a_deletion(self) -> None:
        async def scenario(cluster: Cluster) -> None:
            await cluster.client.create(PODS, pod("p"))
            await running(cluster, "p")
            await self.evict(cluster, "p")
            assert (
                condition(now(cluster, "p"), "DisruptionTarget")["reason"]
                == "EvictionByEvictionAPI"
            )
            await cluster.wait_until(lambda: not now(cluster, "p"), 60)
            with pytest.raises(NotFound):
                await self.evict(cluster, "p")

        run(scenario, nodes=1)

    def test_a_budget_allows_as_many_as_it_says(self) -> None:
        async def scenario(cluster: Cluster) -> None:
            await cluster.client.create(DEPLOYMENTS, deployment("web", 3))
            await cluster.wait_until(lambda: rolled_out(cluster, "web"))
            await cluster.client.create(PODDISRUPTIONBUDGETS, self.budget())
            await cluster.wait_until(lambda: self.status(cluster).get("disruptionsAllowed") == 1)
            one, two, _ = named(cluster.list(PODS, "default"))
            await self.evict(cluster, one)
            assert self.status(cluster)["disruptionsAllowed"] == 0
            quick = cluster.client_as("kubernetes-admin", ["system:masters"])
            with pytest.raises(TooManyRequests) as refused:
                await quick.create(
                    PODS,
                    {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": two}},
                    "default",
                    "eviction",
                    two,
                )
            assert refused.value.message == (
                "Cannot evict pod as it would violate the pod's disruption budget."
            )
            told = "The disruption budget guard needs 2 healthy pods and has [23] currently"
            assert re.fullmatch(told, refused.value.causes[0].message)
            assert now(cluster, two), "it stays"
            await cluster.wait_until(lambda: rolled_out(cluster, "web"), 120)
            await cluster.wait_until(lambda: self.status(cluster).get("disruptionsAllowed") == 1)
            assert not self.status(cluster).get("disruptedPods")

        run(scenario)


class TestRuntimeClasses:
    def made(self, **more: Any) -> dict[str, Any]:
        kind = {"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass"}
        return {**kind, "metadata": {"name": "r"}, "handler": "simulated", **more}

    @pytest.mark.conformance(
        "[sig-node] RuntimeClass should reject a Pod requesting a non-existent RuntimeClass "
        "[NodeConformance] [Conformance]"
    )
    @pytest.mark.conformance(
        "[sig-node] RuntimeClass should reject a Pod requesting a deleted RuntimeClass "
        "[NodeConformance] [Conformance]"
    )
    def test_one_that_is_not_there(self) -> None:
        async def scenario(cluster: Cluster) -> None:
            words = r'pod rejected: RuntimeClass "r" not found'
            with pytest.raises(Forbidden, match=words):
                await cluster.client.create(PODS, pod("p", runtimeClassName="r"))
            await cluster.client.create(RUNTIMECLASSES, self.made())
            await cluster.client.delete(RUNTIMECLASSES, "r")
            with pytest.raises(Forbidden, match=words):
                await cluster.client.create(PODS, pod("p", runtimeClassName="r"))

        run(scenario, nodes=0)

    @pytest.mark.conformance(
        "[sig-node] RuntimeClass should schedule a Pod requesting a RuntimeClass and initialize its "
        "Overhead [NodeConformance] [Conformance]"
    )
    @pytest.mark.conformance(
        "[sig-node] RuntimeClass should schedule a Pod requesting a RuntimeClass without "
        "PodOverhead [NodeConformance] [Conformance]"
    )
    @pytest.mark.parametrize("overhead", [None, {"cpu": "1", "memory": "1Mi"}])
    def test_its_overhead_counts_and_its_selector_directs(self, overhead: Any) -> None:
        async def scenario(cluster: Cluster) -> None:
            more: dict[str, Any] = {"scheduling": {"nodeSelector": {"run": "r"}}}
            if overhead:
                more["overhead"] = {"podFixed": overhead}
            await cluster.client.create(RUNTIMECLASSES, self.made(**more))
            label = {"metadata": {"labels": {"run": "r"}}}
            await cluster.client.patch(NODES, "node-2", "", label)
            asks = {"requests": {"cpu": "1"}, "runtimeClassName": "r"}
            await cluster.client.create(PODS, pod("one", **asks))
            await cluster.wait_until(
                lambda: now(cluster, "one")["spec"].get("nodeName") == "node-2"
            )
            assert now(cluster, "one")["spec"].get("overhead") == overhead
            await cluster.client.create(PODS, pod("two", **asks))
            await cluster.advance(10)
            scheduled = "nodeName" in now(cluster, "two")["spec"]
            assert scheduled is (overhead is None), "2 CPUs: two pods of 1, or one of 1 + 1"

        run(scenario, capacity={"cpu": "2", "memory": "2Gi"})


class TestKubeletsApi:
    async def log(self, cluster: Cluster, query: str = "") -> bytes:
        path = PODS.path("default", "p", "log") + query
        return (await cluster.client.raw_get(path)).body

    def test_logs_through_the_server(self) -> None:
        async def scenario(cluster: Cluster) -> None:
            says = pod("p", simulate={"log": "hello"})
            await cluster.client.create(PODS, says)
            await running(cluster, "p")
            assert await self.log(cluster) == b"hello\n"
            stamped = await self.log(cluster, "?timestamps=true")
            assert stamped.startswith(b"2026-01-01T00:00:0") and stamped.endswith(b" hello\n")
            with pytest.raises(BadRequest, match="container nobody is not valid for pod p"):
                await self.log(cluster, "?container=nobody")
            await cluster.kill(now(cluster, "p")["spec"]["nodeName"])
            with pytest.raises(ApiError, match="connection refused"):
                await self.log(cluster)

        run(scenario, nodes=1)

    def test_the_previous_container_s_log(self) -> None:
        async def scenario(cluster: Cluster) -> None:
            crashes = {"exit-after-seconds": "1", "exit-code": "1", "log": "once"}
            await cluster.client.create(PODS, pod("p", simulate=crashes))
            await cluster.wait_until(lambda: container(cluster, "p").get("restartCount") == 1, 30)
            assert await self.log(cluster, "?previous=true") == b"once\n"

        run(scenario, nodes=1)

    def test_a_node_s_summary_through_its_proxy(self) -> None:
        async def scenario(cluster: Cluster) -> None:
            await cluster.client.create(PODS, pod("p"))
            await running(cluster, "p")
            path = "/api/v1/nodes/node-1/proxy/pods"
            body = (await cluster.client.raw_get(path)).body
            assert b'"name":"p"' in body

        run(scenario, nodes=1)
