"""Workloads: what clients write and see of them, over the controllers."""

from typing import Any

import pytest

from skiff.api.resources import (
    DAEMONSETS,
    DEPLOYMENTS,
    JOBS,
    NODES,
    PODDISRUPTIONBUDGETS,
    PODS,
    REPLICASETS,
    REPLICATIONCONTROLLERS,
    RESOURCEQUOTAS,
    STATEFULSETS,
    Resource,
)
from tests.conformance.world import Kube, Object, condition, meta, names, pod, run, template

LABELS = {"app": "web"}


def workload(resource: Resource, name: str = "w", replicas: int = 1, **more: Any) -> Object:
    old = resource is REPLICATIONCONTROLLERS
    selector = LABELS if old else {"matchLabels": LABELS}
    spec: Object = {
        "replicas": replicas,
        "selector": selector,
        "template": template(LABELS),
        **more,
    }
    if resource is STATEFULSETS:
        spec["serviceName"] = "web"
    if resource is DAEMONSETS:
        del spec["replicas"]
    return {"metadata": meta(name, labels=LABELS), "spec": spec}


async def settled(kube: Kube, resource: Resource, number: int, name: str = "w") -> Object:
    """Wait until so many pods are ready."""
    field = "numberReady" if resource is DAEMONSETS else "readyReplicas"

    async def done() -> bool:
        found = (await kube.of(resource).get(name)).get("status") or {}
        return (found.get(field) or 0) == number

    await kube.until(done)
    return await kube.of(resource).get(name)


@pytest.mark.conformance(
    "[sig-apps] ReplicaSet should list and delete a collection of ReplicaSets [Conformance]"
)
@pytest.mark.conformance(
    "[sig-apps] StatefulSet Basic StatefulSet functionality [StatefulSetBasic] should list, patch and"
    " delete a collection of StatefulSets [Conformance]"
)
@pytest.mark.conformance(
    "[sig-apps] Daemon set [Serial] should list and delete a collection of DaemonSets [Conformance]"
)
@pytest.mark.parametrize(
    "resource",
    [REPLICASETS, STATEFULSETS, DAEMONSETS, REPLICATIONCONTROLLERS],
    ids=lambda r: r.plural,
)
def test_by_collection(resource: Resource) -> None:
    async def scenario(kube: Kube) -> None:
        api = kube.of(resource)
        await api.create(workload(resource, replicas=3))
        await settled(kube, resource, 1 if resource is DAEMONSETS else 3)
        assert names(await api.everywhere("app=web")) == ["w"]
        patched = await api.patch("w", {"metadata": {"labels": {"e2e": "patched"}}}, "strategic")
        assert patched["metadata"]["labels"]["e2e"] == "patched"
        await api.delete_all("e2e=patched")
        await api.count(0)
        assert await api.everywhere("app=web") == []

    run(scenario, nodes=1)


@pytest.mark.conformance(
    "[sig-apps] ReplicaSet should validate Replicaset Status endpoints [Conformance]"
)
@pytest.mark.conformance(
    "[sig-apps] StatefulSet Basic StatefulSet functionality [StatefulSetBasic] should validate Statefulset"
    " Status endpoints [Conformance]"
)
@pytest.mark.conformance(
    "[sig-apps] Daemon set [Serial] should verify changes to a daemon set status [Conformance]"
)
@pytest.mark.parametrize(
    "resource", [REPLICASETS, STATEFULSETS, DAEMONSETS], ids=lambda r: r.plural
)
def test_status(resource: Resource) -> None:
    """A condition that a client writes is seen by watchers; so is one that a patch writes."""

    async def scenario(kube: Kube) -> None:
        api = kube.of(resource)
        await api.create(workload(resource))
        await settled(kube, resource, 1)
        start = (await api.list())["metadata"]["resourceVersion"]
        got = await api.get("w", "status")
        assert got["status"]
        async with api.watch("app=web", resourceVersion=start) as watch:
            one = {
                "type": "StatusUpdate",
                "status": "True",
                "reason": "E2E",
                "message": "Set from e2e",
            }

            def add(obj: Object) -> None:
                obj["status"].setdefault("conditions", []).append(one)

            updated = await api.change("w", add, "status")
            assert condition(updated, "StatusUpdate")["message"] == "Set from e2e"
            await watch.expect("MODIFIED", lambda o: condition(o, "StatusUpdate"))
            patch = {"status": {"conditions": [{"type": "StatusPatched", "status": "True"}]}}
            await api.patch("w", patch, subresource="status")
            await watch.expect("MODIFIED", lambda o: condition(o, "StatusPatched"))

    run(scenario, nodes=1)


@pytest.mark.conformance("[sig-apps] ReplicaSet Replace and Patch tests [Conformance]")
def test_replace_and_patch() -> None:
    async def scenario(kube: Kube) -> None:
        api, pods = kube.of(REPLICASETS), kube.of(PODS)
        await pods.create(pod("adopted", LABELS))
        await api.create(workload(REPLICASETS, replicas=1))

        async def adopted() -> bool:
            return bool((await pods.get("adopted"))["metadata"].get("ownerReferences"))

        await kube.until(adopted)
        assert len(await pods.items()) == 1
        scale = await kube.get(api.path("w", "scale"))
        scale["spec"]["replicas"] = 2
        await kube.ok("PUT", api.path("w", "scale"), scale)
        await settled(kube, REPLICASETS, 2)
        patch = {
            "metadata": {"labels": {"test-rs": "patched"}},
            "spec": {
                "replicas": 3,
                "template": {
                    "spec": {"containers": [{"name": "c", "image": "web:2"}],
                             "terminationGracePeriodSeconds": 0},
                },
            },
        }  # fmt: skip
        start = (await api.list())["metadata"]["resourceVersion"]
        async with api.watch("app=web", resourceVersion=start) as watch:
            await api.patch("w", patch, "strategic")
            seen = await watch.expect(
                "MODIFIED",
                lambda o: (
                    o["metadata"]["labels"].get("test-rs") and o["status"].get("readyReplicas") == 3
                ),
            )
        spec = seen["spec"]["template"]["spec"]
        assert (seen["spec"]["replicas"], spec["containers"][0]["image"]) == (3, "web:2")

    run(scenario, nodes=1)


@pytest.mark.conformance(
    "[sig-apps] ReplicationController should get and update a ReplicationController scale [Conformance]"
)
@pytest.mark.conformance(
    "[sig-apps] StatefulSet Basic StatefulSet functionality [StatefulSetBasic] should have a working scale"
    " subresource [Conformance]"
)
@pytest.mark.parametrize(
    "resource", [REPLICASETS, REPLICATIONCONTROLLERS, STATEFULSETS], ids=lambda r: r.plural
)
def test_scale(resource: Resource) -> None:
    async def scenario(kube: Kube) -> None:
        api = kube.of(resource)
        await api.create(workload(resource, replicas=1))
        await settled(kube, resource, 1)
        scale = await kube.get(api.path("w", "scale"))
        assert (scale["kind"], scale["apiVersion"]) == ("Scale", "autoscaling/v1")
        assert (scale["spec"], scale["status"]) == (
            {"replicas": 1}, {"replicas": 1, "selector": "app=web"},
        )  # fmt: skip
        scale["metadata"]["resourceVersion"] = ""  # unconditional update
        scale["spec"]["replicas"] = 2
        answer = await kube.ok("PUT", api.path("w", "scale"), scale)
        assert answer["spec"]["replicas"] == 2
        assert (await api.get("w"))["spec"]["replicas"] == 2
        await settled(kube, resource, 2)
        patch = {"spec": {"replicas": 4}}
        answer = await api.patch("w", patch, "merge", "scale")
        assert answer["spec"]["replicas"] == 4
        await settled(kube, resource, 4)
        assert len(await kube.of(PODS).items("app=web")) == 4

    run(scenario, nodes=1)


@pytest.mark.conformance(
    "[sig-apps] ReplicationController should surface a failure condition on a common issue like exceeded"
    " quota [Conformance]"
)
def test_a_quota_shows_as_a_condition() -> None:
    async def scenario(kube: Kube) -> None:
        quotas, api = kube.of(RESOURCEQUOTAS), kube.of(REPLICATIONCONTROLLERS)
        await quotas.create({"metadata": meta("condition-test"), "spec": {"hard": {"pods": "2"}}})
        await api.create(workload(REPLICATIONCONTROLLERS, replicas=3))

        async def told() -> bool:
            found = condition(await api.get("w"), "ReplicaFailure")
            return (found.get("status"), found.get("reason")) == ("True", "FailedCreate")

        await kube.until(told)
        assert "exceeded quota" in condition(await api.get("w"), "ReplicaFailure")["message"]
        await api.change("w", lambda o: o["spec"].update(replicas=2))

        async def over() -> bool:
            return not condition(await api.get("w"), "ReplicaFailure")

        await kube.until(over)

    run(scenario, nodes=1)


@pytest.mark.conformance(
    "[sig-apps] ReplicationController should test the lifecycle of a ReplicationController [Conformance]"
)
def test_the_life_of_a_replication_controller() -> None:
    async def scenario(kube: Kube) -> None:
        api = kube.of(REPLICATIONCONTROLLERS)
        start = (await api.list())["metadata"]["resourceVersion"]
        async with api.watch("app=web", resourceVersion=start) as watch:
            await api.create(workload(REPLICATIONCONTROLLERS))
            await watch.expect("ADDED")
            await watch.expect("MODIFIED", lambda o: o["status"].get("readyReplicas") == 1)
            patch = {"metadata": {"labels": {"test-rc": "patched"}}}
            await api.patch("w", patch, "strategic")
            await watch.expect("MODIFIED", lambda o: "test-rc" in o["metadata"]["labels"])
            got = await api.get("w", "status")
            assert got["status"]["replicas"] == 1
            status = {"status": {"readyReplicas": 0, "availableReplicas": 0}}
            patched = await api.patch("w", status, subresource="status")
            assert not patched["status"].get("readyReplicas")
            await watch.expect("MODIFIED", lambda o: not o["status"].get("readyReplicas"))
            await watch.expect("MODIFIED", lambda o: o["status"].get("readyReplicas") == 1)
            await api.patch("w", {"spec": {"replicas": 2}}, "merge", "scale")
            await watch.expect("MODIFIED", lambda o: o["status"].get("readyReplicas") == 2)
            assert names(await api.everywhere("app=web")) == ["w"]
            await api.change(
                "w", lambda o: o["metadata"].setdefault("annotations", {}).update(a="b")
            )
            await watch.expect("MODIFIED", lambda o: o["metadata"].get("annotations"))
            await api.delete_all("app=web")
            await watch.expect("DELETED")

    run(scenario, nodes=1)


def job(name: str = "j", **spec: Any) -> Object:
    pods = template({"e2e": name}, restartPolicy="Never")
    return {
        "metadata": meta(name, labels={"e2e": name}),
        "spec": {"parallelism": 2, "completions": 4, "backoffLimit": 6, "template": pods, **spec},
    }


@pytest.mark.conformance("[sig-apps] Job should apply changes to a job status [Conformance]")
def test_job_status() -> None:
    async def scenario(kube: Kube) -> None:
        api = kube.of(JOBS)
        await api.create(job(completions=2))

        async def active() -> bool:
            return (await api.get("j"))["status"].get("ready") == 2

        await kube.until(active)
        patch = {
            "metadata": {"annotations": {"patchedstatus": "true"}},
            "status": {"conditions": [{"type": "CustomConditionType", "status": "True"}]},
        }
        patched = await api.patch("j", patch, subresource="status")
        assert condition(patched, "CustomConditionType")["status"] == "True"
        assert patched["metadata"]["annotations"]["patchedstatus"] == "true"
        start = "2026-01-01T00:00:00Z"
        again = {"type": "Updated", "status": "True", "lastTransitionTime": start}
        updated = await api.change("j", lambda o: o["status"]["conditions"].append(again), "status")
        assert condition(updated, "Updated") and updated["status"]["startTime"]
        got = await api.get("j", "status")
        assert got["status"]["conditions"]

    run(scenario, nodes=1)


@pytest.mark.conformance("[sig-apps] Job should manage the lifecycle of a job [Conformance]")
def test_the_life_of_a_job() -> None:
    async def scenario(kube: Kube) -> None:
        api = kube.of(JOBS)
        start = (await api.list())["metadata"]["resourceVersion"]
        async with api.watch("e2e=j", resourceVersion=start) as watch:
            made = await api.create(job(suspend=True))
            assert made["spec"]["suspend"] is True
            await watch.expect("ADDED")
            await watch.expect(
                "MODIFIED", lambda o: condition(o, "Suspended").get("status") == "True"
            )
            patched = await api.patch(
                "j", {"metadata": {"labels": {"patched": "true"}}}, "strategic"
            )
            assert patched["metadata"]["labels"]["patched"] == "true"
            await watch.expect("MODIFIED", lambda o: "patched" in o["metadata"]["labels"])

            def update(obj: Object) -> None:
                obj["spec"]["suspend"] = False
                obj["metadata"].setdefault("annotations", {})["updated"] = "true"

            await api.change("j", update)
            await watch.expect("MODIFIED", lambda o: o["metadata"].get("annotations"))
            await watch.expect("MODIFIED", lambda o: o["status"].get("active"))
            assert names(await api.everywhere("e2e=j")) == ["j"]
            await api.delete_all("e2e=j", propagationPolicy="Foreground")
            await watch.expect("DELETED", within=200)
        assert await kube.of(PODS).items() == []

    run(scenario, nodes=1)


@pytest.mark.conformance(
    "[sig-apps] Job should adopt matching orphans and release non-matching pods [Conformance]"
)
def test_jobs_adopt_and_release() -> None:
    async def scenario(kube: Kube) -> None:
        api, pods = kube.of(JOBS), kube.of(PODS)
        made = await api.create(job(completions=2))
        found = (await pods.count(2, "job-name=j"))[0]["metadata"]["name"]
        await pods.change(found, lambda o: o["metadata"].pop("ownerReferences"))

        async def adopted() -> bool:
            owners = (await pods.get(found))["metadata"].get("ownerReferences") or [{}]
            return owners[0].get("uid") == made["metadata"]["uid"]

        await kube.until(adopted)
        await pods.change(found, lambda o: o["metadata"].pop("labels"))

        async def released() -> bool:
            return not (await pods.get(found))["metadata"].get("ownerReferences")

        await kube.until(released)

    run(scenario, nodes=1)


@pytest.mark.conformance(
    "[sig-apps] Job should mark indexes as failed when the FailIndex action is matched in podFailurePolicy"
    " [Conformance]"
)
def test_jobs_fail_an_index() -> None:
    async def scenario(kube: Kube) -> None:
        api, pods = kube.of(JOBS), kube.of(PODS)
        failure = {
            "rules": [
                {
                    "action": "FailIndex",
                    "onExitCodes": {"containerName": "c", "operator": "In", "values": [42]},
                }
            ]
        }
        await api.create(
            job(
                completions=2,
                completionMode="Indexed",
                backoffLimitPerIndex=1,
                podFailurePolicy=failure,
            )
        )
        await pods.count(2)
        for one in await pods.items():
            index = one["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"]
            await finish(kube, one["metadata"]["name"], 42 if index == "0" else 0)

        async def failed() -> bool:
            return condition(await api.get("j"), "Failed").get("status") == "True"

        await kube.until(failed)
        status = (await api.get("j"))["status"]
        assert (status["failedIndexes"], status["completedIndexes"]) == ("0", "1")
        assert condition({"status": status}, "Failed")["reason"] == "FailedIndexes"
        assert (status["failed"], status["succeeded"]) == (1, 1)

    run(scenario)


async def finish(kube: Kube, name: str, code: int) -> None:
    """What a kubelet says of a pod that ended: there is no node here."""
    phase = "Failed" if code else "Succeeded"
    ended = {"exitCode": code, "reason": "Error" if code else "Completed"}
    state = {
        "name": "c", "image": "web:1", "imageID": "", "ready": False, "restartCount": 0,
        "state": {"terminated": ended},
    }  # fmt: skip
    patch = {"status": {"phase": phase, "containerStatuses": [state]}}
    await kube.of(PODS).patch(name, patch, "merge", "status")


@pytest.mark.conformance(
    "[sig-apps] Job with successPolicy should succeeded when all indexes succeeded [Conformance]"
)
@pytest.mark.conformance(
    "[sig-apps] Job with successPolicy succeededCount rule should succeeded even when some indexes remain"
    " pending [Conformance]"
)
@pytest.mark.parametrize(
    ("policy", "ended", "reason"),
    [
        ([{"succeededIndexes": "0-1"}], ("0", "1"), "SuccessPolicy"),
        ([{"succeededCount": 1}], ("0",), "SuccessPolicy"),
    ],
)
def test_jobs_succeed_by_policy(policy: Any, ended: Any, reason: str) -> None:
    async def scenario(kube: Kube) -> None:
        api, pods = kube.of(JOBS), kube.of(PODS)
        await api.create(
            job(completions=2, completionMode="Indexed", successPolicy={"rules": policy})
        )
        for one in await pods.count(2):
            index = one["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"]
            if index in ended:
                await finish(kube, one["metadata"]["name"], 0)

        async def complete() -> bool:
            return condition(await api.get("j"), "Complete").get("status") == "True"

        await kube.until(complete)
        found = await api.get("j")
        assert condition(found, "SuccessCriteriaMet")["reason"] == reason
        assert found["status"]["succeeded"] == len(ended)
        assert found["status"]["completedIndexes"] == ("0,1" if len(ended) == 2 else "0")

    run(scenario)


@pytest.mark.conformance(
    "[sig-apps] DisruptionController should create a PodDisruptionBudget [Conformance]"
)
@pytest.mark.conformance(
    "[sig-apps] DisruptionController should observe PodDisruptionBudget status updated [Conformance]"
)
@pytest.mark.conformance(
    "[sig-apps] DisruptionController should update/patch PodDisruptionBudget status [Conformance]"
)
def test_budgets() -> None:
    async def scenario(kube: Kube) -> None:
        api, pods = kube.of(PODDISRUPTIONBUDGETS), kube.of(PODS)
        budget = {
            "metadata": meta("foo"),
            "spec": {"selector": {"matchLabels": {"foo": "bar"}}, "minAvailable": 1},
        }
        await api.create(budget)
        await api.patch("foo", {"spec": {"minAvailable": "1%"}})
        await api.patch("foo", {"spec": {"minAvailable": 1}}, "strategic")
        for i in range(3):
            await pods.create(pod(f"p{i}", {"foo": "bar"}))

        async def counted() -> bool:
            found = (await api.get("foo")).get("status") or {}
            return found.get("disruptionsAllowed") == 2 and found["observedGeneration"] == 3

        await kube.until(counted)
        got = await api.get("foo")
        assert (got["status"]["currentHealthy"], got["status"]["expectedPods"]) == (3, 3)
        assert condition(got, "DisruptionAllowed")["status"] == "True"
        patch = {"status": {"disruptedPods": {"p0": "2026-01-01T00:00:00Z"}}}
        patched = await api.patch("foo", patch, subresource="status")
        assert "p0" in patched["status"]["disruptedPods"]
        await api.delete("foo")
        assert await api.absent("foo")

    run(scenario, nodes=1)


@pytest.mark.conformance(
    "[sig-apps] DisruptionController should block an eviction until the PDB is updated to allow it"
    " [Conformance]"
)
def test_evictions_wait_for_budgets() -> None:
    async def scenario(kube: Kube) -> None:
        budgets, pods = kube.of(PODDISRUPTIONBUDGETS), kube.of(PODS)
        for i in range(3):
            await pods.create(pod(f"p{i}", {"foo": "bar"}))
        await budgets.create(
            {
                "metadata": meta("foo"),
                "spec": {"selector": {"matchLabels": {"foo": "bar"}}, "minAvailable": 3},
            }
        )

        async def allowed(number: int) -> bool:
            found = (await budgets.get("foo")).get("status") or {}
            return found.get("disruptionsAllowed") == number and found.get("currentHealthy") == 3

        await kube.until(lambda: allowed(0))
        eviction = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": "p0", "namespace": "test"},
        }
        refused = await kube.call("POST", pods.path("p0", "eviction"), eviction)
        said = refused.failed(
            429,
            "TooManyRequests",
            "Cannot evict pod as it would violate the pod's disruption budget.",
        )
        assert said["details"]["causes"][0]["reason"] == "DisruptionBudget"
        await budgets.change("foo", lambda o: o["spec"].update(minAvailable=2))
        await kube.until(lambda: allowed(1))
        await kube.ok("POST", pods.path("p0", "eviction"), eviction)
        await pods.gone("p0")

    run(scenario, nodes=1)


@pytest.mark.conformance(
    "[sig-architecture] Conformance Tests should have at least two untainted nodes [Conformance]"
)
def test_two_nodes_take_pods() -> None:
    async def scenario(kube: Kube) -> None:
        nodes = await kube.of(NODES).items(fieldSelector="spec.unschedulable=false")
        assert len([n for n in nodes if not n["spec"].get("taints")]) == 2

    run(scenario, nodes=2)


def test_counts_behind_pointers_are_there_when_zero() -> None:
    """Clients dereference them."""

    async def scenario(kube: Kube) -> None:
        for resource, field in (
            (REPLICASETS, "terminatingReplicas"),
            (DEPLOYMENTS, "terminatingReplicas"),
            (STATEFULSETS, "collisionCount"),
        ):
            api = kube.of(resource)
            await api.create(workload(resource))
            assert (await settled(kube, resource, 1))["status"][field] == 0
            await api.delete("w", propagationPolicy="Foreground")
            await api.gone("w")

    run(scenario, nodes=1)
