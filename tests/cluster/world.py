"""Scenarios: a cluster on virtual time, and objects as short as the test's point."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from skiff.api.resources import DEPLOYMENTS, EVENTS, PODS, REPLICASETS, Resource
from skiff.testing.cluster import Cluster, run_virtual

DEADLINE_S = 7200.0
SIMULATION = "simulation.skiff.dev/"

Object = dict[str, Any]
Scenario = Callable[[Cluster], Awaitable[None]]


def run(scenario: Scenario, **options: Any) -> None:
    """Run `scenario` in a cluster made with `options` (two nodes unless they say otherwise)."""

    async def main() -> None:
        async with Cluster(**({"nodes": 2} | options)) as cluster, asyncio.timeout(DEADLINE_S):
            await scenario(cluster)

    run_virtual(main())


def pod(
    name: str,
    *,
    labels: Mapping[str, str] | None = None,
    requests: Mapping[str, str] | None = None,
    limits: Mapping[str, str] | None = None,
    simulate: Mapping[str, str] | None = None,
    container: Mapping[str, Any] | None = None,
    metadata: Mapping[str, Any] | None = None,
    **spec: Any,
) -> Object:
    """A pod with one container, `c`; `simulate` are settings of the simulated runtime."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", **(metadata or {})},
        **template(
            labels or {},
            requests=requests,
            limits=limits,
            simulate=simulate,
            container=container,
            metadata={"name": name, "namespace": "default", **(metadata or {})},
            **spec,
        ),
    }


def template(
    labels: Mapping[str, str],
    image: str = "web:1",
    *,
    requests: Mapping[str, str] | None = None,
    limits: Mapping[str, str] | None = None,
    simulate: Mapping[str, str] | None = None,
    container: Mapping[str, Any] | None = None,
    metadata: Mapping[str, Any] | None = None,
    **spec: Any,
) -> Object:
    """A pod template (`metadata` and `spec`)."""
    resources = {k: dict(v) for k, v in (("requests", requests), ("limits", limits)) if v}
    settings = {SIMULATION + k: v for k, v in (simulate or {}).items()}
    main = {"name": "c", "image": image, "resources": resources, **(container or {})}
    whole = {"labels": dict(labels), "annotations": settings, **(metadata or {})}
    return {"metadata": whole, "spec": {"containers": [main], **spec}}


def workload(kind: str, name: str, replicas: int, image: str = "web:1", **more: Any) -> Object:
    """A Deployment, ReplicaSet, or ReplicationController; `more` are fields of its spec, or (with
    `pods=`) arguments of `template`."""
    labels = {"app": name}
    old = kind == "ReplicationController"
    pods = template(labels, image, **more.pop("pods", {}))
    return {
        "apiVersion": "v1" if old else "apps/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": "default", "labels": labels},
        "spec": {
            "replicas": replicas,
            "selector": labels if old else {"matchLabels": labels},
            "template": pods,
            **more,
        },
    }


def deployment(name: str, replicas: int, image: str = "web:1", **more: Any) -> Object:
    return workload("Deployment", name, replicas, image, **more)


def status(cluster: Cluster, resource: Resource, name: str, namespace: str = "default") -> Object:
    """An object's status as it is now; empty where there is none."""
    obj = cluster.get(resource, name, namespace if resource.namespaced else "")
    return (obj or {}).get("status") or {}


def condition(obj: Mapping[str, Any] | None, kind: str) -> Object:
    """A condition of an object; empty where there is none."""
    found = ((obj or {}).get("status") or {}).get("conditions") or ()
    return next((c for c in found if c["type"] == kind), {})


def phases(cluster: Cluster, namespace: str = "default") -> list[str]:
    return [p["status"]["phase"] for p in cluster.list(PODS, namespace)]


def named(objects: Sequence[Object]) -> list[str]:
    return [o["metadata"]["name"] for o in objects]


def is_ready(obj: Mapping[str, Any]) -> bool:
    return condition(obj, "Ready").get("status") == "True"


def ready_pods(cluster: Cluster, app: str, namespace: str = "default") -> list[Object]:
    """Pods of a workload that are ready and not on their way out."""
    return [
        p
        for p in cluster.list(PODS, namespace)
        if p["metadata"].get("labels", {}).get("app") == app
        and is_ready(p)
        and "deletionTimestamp" not in p["metadata"]
    ]


def rolled_out(cluster: Cluster, name: str) -> bool:
    """What `kubectl rollout status` waits for."""
    obj = cluster.get(DEPLOYMENTS, name, "default")
    if obj is None:
        return False
    now, want = obj.get("status") or {}, obj["spec"]["replicas"]
    return (
        now.get("observedGeneration", 0) >= obj["metadata"]["generation"]
        and now.get("updatedReplicas", 0) == want
        and now.get("replicas", 0) == want
        and now.get("availableReplicas", 0) == want
    )


def replica_sets(cluster: Cluster, app: str) -> list[Object]:
    """A Deployment's ReplicaSets, oldest revision first."""
    found = [
        r for r in cluster.list(REPLICASETS, "default") if r["metadata"]["labels"].get("app") == app
    ]
    revision = "deployment.kubernetes.io/revision"
    return sorted(found, key=lambda r: int(r["metadata"]["annotations"][revision]))


def events(cluster: Cluster, reason: str, about: str = "", namespace: str = "default") -> list[str]:
    """Messages of the events with that reason (about the object of that name)."""
    return [
        e["message"]
        for e in cluster.list(EVENTS, namespace)
        if e["reason"] == reason and about in ("", e["involvedObject"]["name"])
    ]
