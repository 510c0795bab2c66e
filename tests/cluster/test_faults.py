"""Whatever fails meanwhile, the cluster comes to what was asked for: seeded faults, killed parts."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from skiff.api.errors import ApiError
from skiff.api.resources import (
    DEPLOYMENTS,
    NODES,
    PERSISTENTVOLUMECLAIMS,
    PERSISTENTVOLUMES,
    PODS,
    REPLICASETS,
    SERVICES,
)
from skiff.testing.cluster import Cluster, Faults
from tests.cluster.world import deployment, is_ready, named, ready_pods, rolled_out, run

BAD = Faults(latency_s=0.01, lost=0.05, unanswered=0.05, stream_life_s=20.0, conflict=0.05)
WORSE = Faults(latency_s=0.2, lost=0.2, unanswered=0.2, stream_life_s=5.0, conflict=0.2)
SEEDS = range(1, 6)
PARTS = ("server", "controllers", "scheduler", "node-1", "node-2")


async def rollout_story(cluster: Cluster) -> None:
    """Create, update, scale and delete, each to its end."""
    client = cluster.client
    await client.create(DEPLOYMENTS, deployment("web", 4))
    await cluster.wait_until(lambda: rolled_out(cluster, "web"), 900)
    image = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "web:2"}]}}}}
    await client.patch(DEPLOYMENTS, "web", "default", image, "strategic")
    await cluster.wait_until(lambda: rolled_out(cluster, "web"), 900)
    await client.patch(DEPLOYMENTS, "web", "default", {"spec": {"replicas": 6}})
    await cluster.wait_until(lambda: rolled_out(cluster, "web"), 900)
    await cluster.wait_until(lambda: len(cluster.list(PODS, "default")) == 6, 900)
    pods = ready_pods(cluster, "web")
    assert {p["spec"]["containers"][0]["image"] for p in pods} == {"web:2"}
    assert len({p["status"]["podIP"] for p in pods}) == 6
    await client.delete(DEPLOYMENTS, "web", "default", propagation="Foreground")
    await cluster.wait_until(
        lambda: not any(cluster.list(r, "default") for r in (DEPLOYMENTS, REPLICASETS, PODS)), 900
    )
    await cluster.advance(60)
    for runtime in cluster.runtimes.values():
        assert not await runtime.list_sandboxes(), "nothing is left on the nodes"


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("faults", [BAD, WORSE], ids=["bad", "worse"])
def test_lost_requests_lost_answers_cut_watches_and_conflicts(seed: int, faults: Faults) -> None:
    run(rollout_story, seed=seed, faults=faults)


def volume(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": "1Gi"},
            "storageClassName": "manual",
            "hostPath": {"path": "/data"},
        },
    }


def claim(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
            "storageClassName": "manual",
        },
    }


async def claims_story(cluster: Cluster) -> None:
    """More claims than volumes; claims go, and the volumes that are offered again go to the rest."""
    client = cluster.client

    def bound() -> dict[str, str]:
        """Volumes by the claims that have them; both sides must agree."""
        uids = {c["metadata"]["uid"]: c for c in cluster.list(PERSISTENTVOLUMECLAIMS, "default")}
        found: dict[str, str] = {}
        for one in cluster.list(PERSISTENTVOLUMES):
            mine = uids.get((one["spec"].get("claimRef") or {}).get("uid", ""))
            if mine is None or one["status"]["phase"] != "Bound":
                continue
            if mine["status"]["phase"] == "Bound":
                assert mine["spec"]["volumeName"] == one["metadata"]["name"]
                found[mine["metadata"]["name"]] = one["metadata"]["name"]
        return found

    async def free() -> bool:
        for one in cluster.list(PERSISTENTVOLUMES):
            if one["status"]["phase"] == "Released":
                name = one["metadata"]["name"]
                await client.patch(PERSISTENTVOLUMES, name, "", {"spec": {"claimRef": None}})
        return len(bound()) == 4 and len(cluster.list(PERSISTENTVOLUMECLAIMS, "default")) == 4

    for i in range(4):
        await client.create(PERSISTENTVOLUMES, volume(f"v{i}"))
    for i in range(6):
        await client.create(PERSISTENTVOLUMECLAIMS, claim(f"c{i}"))
    await cluster.wait_until(lambda: len(bound()) == 4, 900)
    gone = sorted(bound())[:2]
    for name in gone:
        await client.delete(PERSISTENTVOLUMECLAIMS, name, "default")
    await cluster.wait_until(free, 900)
    assert sorted(bound().values()) == ["v0", "v1", "v2", "v3"]
    assert not set(bound()) & set(gone)


@pytest.mark.parametrize("seed", SEEDS)
def test_claims_and_volumes_find_each_other_among_faults(seed: int) -> None:
    run(claims_story, seed=seed, faults=WORSE)


async def killing(cluster: Cluster, every_s: float, part: str = "") -> None:
    """Kill parts, one after the other, and start them again, until cancelled."""
    chance = cluster.entropy("killer").random
    while True:
        await cluster.advance(chance.random() * every_s * 2)
        name = part or chance.choice(PARTS)
        await cluster.kill(name)
        await cluster.advance(chance.random() * 3)
        await cluster.start(name)


class Persistent:
    """The admin's client of a cluster whose server comes and goes: asks again until it is told."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._inner = cluster.client

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            while True:
                try:
                    return await getattr(self._inner, name)(*args, **kwargs)
                except ApiError as e:
                    if e.code < 500:
                        raise
                await self._cluster.advance(0.5)

        return call


def among_kills(
    story: Callable[[Cluster], Awaitable[None]], seed: int, every_s: float, part: str = ""
) -> None:
    async def scenario(cluster: Cluster) -> None:
        cluster.client = Persistent(cluster)  # type: ignore[assignment] # has its methods
        async with asyncio.TaskGroup() as group:
            killer = group.create_task(killing(cluster, every_s, part))
            await story(cluster)
            killer.cancel()

    run(scenario, seed=seed)


@pytest.mark.parametrize("seed", SEEDS)
def test_parts_are_killed_again_and_again(seed: int) -> None:
    among_kills(rollout_story, seed, 0.5)


@pytest.mark.parametrize("seed", SEEDS)
def test_claims_are_bound_while_parts_are_killed(seed: int) -> None:
    among_kills(claims_story, seed, 0.5)


@pytest.mark.parametrize("part", PARTS)
def test_one_part_is_killed_all_the_time(part: str) -> None:
    # Without a server nobody gets anywhere: it lives for seconds, the others for milliseconds.
    among_kills(rollout_story, 11, 5.0 if part == "server" else 0.05, part)


def test_everything_dies_at_once() -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.client.create(DEPLOYMENTS, deployment("web", 4))
        await cluster.wait_until(lambda: rolled_out(cluster, "web"))
        pods = {p["metadata"]["uid"] for p in ready_pods(cluster, "web")}
        for name in PARTS:
            await cluster.kill(name)
        await cluster.advance(20)
        for name in ("server", *PARTS[1:]):
            await cluster.start(name)
        await cluster.advance(60)
        found = ready_pods(cluster, "web")
        assert {p["metadata"]["uid"] for p in found} == pods
        assert all(p["status"]["containerStatuses"][0]["restartCount"] == 0 for p in found)
        await cluster.client.patch(DEPLOYMENTS, "web", "default", {"spec": {"replicas": 6}})
        await cluster.wait_until(lambda: rolled_out(cluster, "web"))

    run(scenario)


def test_a_container_runtime_that_is_away_for_a_while() -> None:
    async def scenario(cluster: Cluster) -> None:
        await cluster.client.create(DEPLOYMENTS, deployment("web", 4))
        await cluster.wait_until(lambda: rolled_out(cluster, "web"))
        before = set(named(ready_pods(cluster, "web")))
        cluster.runtimes["node-1"].available = False
        await cluster.wait_until(lambda: not is_ready(cluster.get(NODES, "node-1") or {}), 90)
        await cluster.advance(30)
        cluster.runtimes["node-1"].available = True
        await cluster.wait_until(lambda: is_ready(cluster.get(NODES, "node-1") or {}), 90)
        await cluster.wait_until(lambda: rolled_out(cluster, "web"), 60)
        assert set(named(ready_pods(cluster, "web"))) == before

    run(scenario)


def test_many_at_once_with_faults() -> None:
    async def scenario(cluster: Cluster) -> None:
        for i in range(8):
            await cluster.client.create(DEPLOYMENTS, deployment(f"web{i}", 5))
            service = {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": f"web{i}", "namespace": "default"},
                "spec": {"selector": {"app": f"web{i}"}, "ports": [{"port": 80}]},
            }
            await cluster.client.create(SERVICES, service)
        await cluster.wait_until(lambda: all(rolled_out(cluster, f"web{i}") for i in range(8)), 900)
        assert len(cluster.list(PODS, "default")) == 40

    run(scenario, seed=5, faults=BAD, nodes=3)
