"""Deployments from end to end: controllers, scheduler and nodes together."""

import pytest

from skiff.api.resources import DEPLOYMENTS, PODS, REPLICASETS
from skiff.testing.cluster import Cluster
from tests.cluster.world import (
    SIMULATION,
    condition,
    deployment,
    events,
    named,
    ready_pods,
    replica_sets,
    rolled_out,
    run,
    status,
)

IMAGE = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "web:2"}]}}}}
BROKEN = {
    "spec": {
        "template": {
            "metadata": {"annotations": {SIMULATION + "pull-error": "not found"}},
            "spec": {"containers": [{"name": "c", "image": "broken:1"}]},
        }
    }
}


async def roll_out(cluster: Cluster, name: str, timeout_s: float = 120.0) -> None:
    await cluster.wait_until(lambda: rolled_out(cluster, name), timeout_s)


def test_three_replicas_become_available() -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.client.create(DEPLOYMENTS, deployment("web", 3))
        await roll_out(cluster, "web", 5)
        pods = ready_pods(cluster, "web")
        assert len(pods) == 3
        assert {p["spec"]["nodeName"] for p in pods} == {"node-1", "node-2"}, "spread"
        assert len({p["status"]["podIP"] for p in pods}) == 3
        obj = cluster.get(DEPLOYMENTS, "web", "default")
        assert condition(obj, "Available")["reason"] == "MinimumReplicasAvailable"
        assert condition(obj, "Progressing")["reason"] == "NewReplicaSetAvailable"
        name = named(replica_sets(cluster, "web"))[0]
        assert events(cluster, "ScalingReplicaSet") == [f"Scaled up replica set {name} from 0 to 3"]

    run(scenario)


@pytest.mark.conformance(
    "[sig-apps] Deployment Deployment should have a working scale subresource [Conformance]"
)
def test_the_scale_subresource() -> None:
    async def scenario(cluster: Cluster) -> None:
        client = cluster.client
        await client.create(DEPLOYMENTS, deployment("web", 1))
        await roll_out(cluster, "web")
        scale = await client.get(DEPLOYMENTS, "web", "default", "scale")
        assert scale["spec"]["replicas"] == scale["status"]["replicas"] == 1
        assert scale["status"]["selector"] == "app=web"
        scale["spec"]["replicas"] = 2
        await client.replace(DEPLOYMENTS, scale, "scale")
        await roll_out(cluster, "web")
        assert len(ready_pods(cluster, "web")) == 2
        await client.patch(
            DEPLOYMENTS, "web", "default", {"spec": {"replicas": 4}}, subresource="scale"
        )
        await roll_out(cluster, "web")
        assert len(ready_pods(cluster, "web")) == 4

    run(scenario)


@pytest.mark.parametrize("path", [(10, 3), (0, 4, 0)])
def test_scaling_there_and_back(path: tuple[int, ...]) -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.client.create(DEPLOYMENTS, deployment("web", 3))
        await roll_out(cluster, "web")
        for count in path:
            await cluster.client.patch(
                DEPLOYMENTS, "web", "default", {"spec": {"replicas": count}}, subresource="scale"
            )
            await roll_out(cluster, "web")
            await cluster.wait_until(lambda n=count: len(cluster.list(PODS, "default")) == n)

    run(scenario)


@pytest.mark.conformance(
    "[sig-apps] Deployment RollingUpdateDeployment should delete old pods and create new ones "
    "[Conformance]"
)
def test_a_rolling_update_never_has_too_few_pods_and_can_be_undone() -> None:
    async def scenario(cluster: Cluster) -> None:
        slow = {"simulate": {"start-seconds": "3"}}
        await cluster.client.create(DEPLOYMENTS, deployment("web", 4, pods=slow))
        await roll_out(cluster, "web")
        old = named(ready_pods(cluster, "web"))
        fewest, most = 4, 4

        def done() -> bool:
            nonlocal fewest, most
            fewest = min(fewest, len(ready_pods(cluster, "web")))
            alive = [
                p
                for p in cluster.list(PODS, "default")
                if p["metadata"].get("deletionTimestamp") is None
            ]
            most = max(most, len(alive))
            return rolled_out(cluster, "web")

        await cluster.client.patch(DEPLOYMENTS, "web", "default", IMAGE, "strategic")
        await cluster.wait_until(done)
        assert fewest >= 3, "maxUnavailable is 25 %"
        assert most <= 5, "maxSurge is 25 %"
        pods = ready_pods(cluster, "web")
        assert {p["spec"]["containers"][0]["image"] for p in pods} == {"web:2"}
        assert not set(named(pods)) & set(old)

        # What `kubectl rollout undo` does: the older template comes back, its ReplicaSet with it.
        first, second = replica_sets(cluster, "web")
        template = first["spec"]["template"]
        del template["metadata"]["labels"]["pod-template-hash"]
        patch = [{"op": "replace", "path": "/spec/template", "value": template}]
        await cluster.client.patch(DEPLOYMENTS, "web", "default", patch, "json")
        await roll_out(cluster, "web")
        pods = ready_pods(cluster, "web")
        assert {p["spec"]["containers"][0]["image"] for p in pods} == {"web:1"}
        assert named(replica_sets(cluster, "web")) == named([second, first]), "used again"

    run(scenario)


@pytest.mark.conformance(
    "[sig-apps] Deployment RecreateDeployment should delete old pods and create new ones "
    "[Conformance]"
)
def test_recreate_never_has_old_and_new_side_by_side() -> None:
    async def scenario(cluster: Cluster) -> None:
        obj = deployment(
            "web", 2, strategy={"type": "Recreate"}, pods={"simulate": {"stop-seconds": "2"}}
        )
        await cluster.client.create(DEPLOYMENTS, obj)
        await roll_out(cluster, "web")

        def done() -> bool:
            alive = [
                p
                for p in cluster.list(PODS, "default")
                if p["status"]["phase"] in ("Pending", "Running")
            ]
            images = {p["spec"]["containers"][0]["image"] for p in alive}
            assert len(images) <= 1
            return rolled_out(cluster, "web") and images == {"web:2"}

        await cluster.client.patch(DEPLOYMENTS, "web", "default", IMAGE, "strategic")
        await cluster.wait_until(done)

    run(scenario)


@pytest.mark.conformance("[sig-apps] Deployment deployment should support rollover [Conformance]")
def test_an_update_that_overtakes_another() -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.client.create(
            DEPLOYMENTS, deployment("web", 4, minReadySeconds=5, progressDeadlineSeconds=60)
        )
        await roll_out(cluster, "web")
        await cluster.client.patch(DEPLOYMENTS, "web", "default", BROKEN, "strategic")
        await cluster.wait_until(lambda: len(replica_sets(cluster, "web")) == 2)
        await cluster.advance(10)
        assert not rolled_out(cluster, "web")
        mended = {"metadata": {"annotations": {SIMULATION + "pull-error": None}}}
        patch = {"spec": {"template": IMAGE["spec"]["template"] | mended}}
        await cluster.client.patch(DEPLOYMENTS, "web", "default", patch, "strategic")
        await roll_out(cluster, "web")
        counts = [r["spec"]["replicas"] for r in replica_sets(cluster, "web")]
        assert counts == [0, 0, 4]

    run(scenario)


@pytest.mark.conformance(
    "[sig-apps] Deployment deployment should delete old replica sets [Conformance]"
)
def test_old_replica_sets_go() -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.client.create(DEPLOYMENTS, deployment("web", 1, revisionHistoryLimit=0))
        await roll_out(cluster, "web")
        await cluster.client.patch(DEPLOYMENTS, "web", "default", IMAGE, "strategic")
        await roll_out(cluster, "web")
        await cluster.wait_until(lambda: len(cluster.list(REPLICASETS, "default")) == 1)
        spec = cluster.list(REPLICASETS, "default")[0]["spec"]
        assert spec["template"]["spec"]["containers"][0]["image"] == "web:2"

    run(scenario)


@pytest.mark.conformance(
    "[sig-apps] Deployment deployment should support proportional scaling [Conformance]"
)
def test_scaling_amid_a_stuck_update_is_proportional() -> None:
    async def scenario(cluster: Cluster) -> None:
        strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}}
        await cluster.client.create(DEPLOYMENTS, deployment("web", 10, strategy=strategy))
        await roll_out(cluster, "web")
        await cluster.client.patch(DEPLOYMENTS, "web", "default", BROKEN, "strategic")
        await cluster.wait_until(
            lambda: [r["spec"]["replicas"] for r in replica_sets(cluster, "web")] == [8, 5]
        )
        await cluster.wait_until(lambda: len(ready_pods(cluster, "web")) == 8)
        await cluster.client.patch(DEPLOYMENTS, "web", "default", {"spec": {"replicas": 30}})
        await cluster.wait_until(
            lambda: [r["spec"]["replicas"] for r in replica_sets(cluster, "web")] == [20, 13]
        )

    run(scenario)


@pytest.mark.conformance(
    "[sig-apps] Deployment should run the lifecycle of a Deployment [Conformance]"
)
def test_the_life_of_a_deployment() -> None:
    async def scenario(cluster: Cluster) -> None:
        client = cluster.client
        await client.create(DEPLOYMENTS, deployment("web", 1))
        await roll_out(cluster, "web")
        changed = {"metadata": {"labels": {"more": "1"}}, "spec": {"replicas": 2, **IMAGE["spec"]}}
        await client.patch(DEPLOYMENTS, "web", "default", changed, "strategic")
        await roll_out(cluster, "web")
        listed = await client.raw_get("/apis/apps/v1/deployments?labelSelector=more%3D1")
        assert b'"name":"web"' in listed.body
        fetched = await client.get(DEPLOYMENTS, "web", "default", "status")
        assert fetched["status"]["readyReplicas"] == 2
        zero = {"readyReplicas": 0, "availableReplicas": 0}
        patch = {"metadata": {"labels": {"via": "status"}}, "status": zero}
        patched = await client.patch(DEPLOYMENTS, "web", "default", patch, subresource="status")
        assert patched["status"].get("readyReplicas", 0) == 0
        await roll_out(cluster, "web")
        await cluster.wait_until(lambda: status(cluster, DEPLOYMENTS, "web")["readyReplicas"] == 2)
        await client.delete_collection(DEPLOYMENTS, "default", label_selector="more=1")
        await cluster.wait_until(
            lambda: not any(cluster.list(r, "default") for r in (DEPLOYMENTS, REPLICASETS, PODS))
        )

    run(scenario)


@pytest.mark.conformance(
    "[sig-apps] Deployment should validate Deployment Status endpoints [Conformance]"
)
def test_status_can_be_read_updated_and_patched() -> None:
    async def scenario(cluster: Cluster) -> None:
        client = cluster.client
        await client.create(DEPLOYMENTS, deployment("web", 1))
        await roll_out(cluster, "web")
        kind = {"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set"}

        def update(obj: dict) -> dict:
            obj["status"]["conditions"].append(kind)
            return obj

        await client.update(DEPLOYMENTS, "web", "default", update, "status")
        obj = await client.get(DEPLOYMENTS, "web", "default", "status")
        assert condition(obj, "StatusUpdate")["reason"] == "E2E"
        patch = {"status": {"conditions": [{"type": "StatusPatched", "status": "True"}]}}
        await client.patch(DEPLOYMENTS, "web", "default", patch, "strategic", "status")
        obj = await client.get(DEPLOYMENTS, "web", "default")
        assert condition(obj, "StatusPatched") and condition(obj, "StatusUpdate")

    run(scenario)


def test_a_paused_deployment_rolls_nothing_out_but_scales() -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.client.create(DEPLOYMENTS, deployment("web", 2))
        await roll_out(cluster, "web")
        paused = {"spec": {"paused": True, **IMAGE["spec"]}}
        await cluster.client.patch(DEPLOYMENTS, "web", "default", paused, "strategic")
        await cluster.advance(30)
        assert len(replica_sets(cluster, "web")) == 1
        assert (
            condition(cluster.get(DEPLOYMENTS, "web", "default"), "Progressing")["reason"]
            == "DeploymentPaused"
        )
        await cluster.client.patch(DEPLOYMENTS, "web", "default", {"spec": {"replicas": 3}})
        await cluster.wait_until(lambda: len(ready_pods(cluster, "web")) == 3)
        await cluster.client.patch(DEPLOYMENTS, "web", "default", {"spec": {"paused": False}})
        await roll_out(cluster, "web")
        assert {p["spec"]["containers"][0]["image"] for p in ready_pods(cluster, "web")} == {
            "web:2"
        }

    run(scenario)


def test_no_progress_within_the_deadline_is_told() -> None:
    async def scenario(cluster: Cluster) -> None:
        unready = {
            "simulate": {"readiness": "false"},
            "container": {"readinessProbe": {"httpGet": {"port": 80}}},
        }
        obj = deployment("web", 2, progressDeadlineSeconds=60, pods=unready)
        await cluster.client.create(DEPLOYMENTS, obj)
        await cluster.advance(50)
        now = cluster.get(DEPLOYMENTS, "web", "default")
        assert condition(now, "Progressing")["status"] == "True"
        await cluster.wait_until(
            lambda: (
                condition(cluster.get(DEPLOYMENTS, "web", "default"), "Progressing").get("status")
                == "False"
            ),
            20,
        )
        found = condition(cluster.get(DEPLOYMENTS, "web", "default"), "Progressing")
        assert found["reason"] == "ProgressDeadlineExceeded"
        name = named(replica_sets(cluster, "web"))[0]
        assert found["message"] == f'ReplicaSet "{name}" has timed out progressing.'

    run(scenario)


def test_a_deleted_pod_is_replaced() -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.client.create(DEPLOYMENTS, deployment("web", 3))
        await roll_out(cluster, "web")
        victim = named(ready_pods(cluster, "web"))[0]
        await cluster.client.delete(PODS, victim, "default")
        await cluster.wait_until(lambda: cluster.get(PODS, victim, "default") is None, 60)
        await cluster.wait_until(lambda: len(ready_pods(cluster, "web")) == 3, 5)

    run(scenario)


def test_a_pod_that_is_ready_only_now_and_then_is_not_available() -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.client.create(DEPLOYMENTS, deployment("web", 1, minReadySeconds=30))
        await cluster.wait_until(
            lambda: status(cluster, DEPLOYMENTS, "web").get("readyReplicas") == 1
        )
        await cluster.advance(25)
        assert not status(cluster, DEPLOYMENTS, "web").get("availableReplicas")
        await cluster.wait_until(
            lambda: status(cluster, DEPLOYMENTS, "web").get("availableReplicas") == 1, 10
        )

    run(scenario)
