"""The objects that the measurements write."""

import json


def namespace(name: str) -> dict:  # type: ignore[type-arg] # JSON
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def pod(name: str, group: int = 0, *, scheduler: str = "nobody") -> bytes:
    """A pod as a workload makes it; no scheduler takes it unless one is named."""
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": {"app": "bench", "group": f"g{group}"}},
            "spec": {
                "schedulerName": scheduler,
                "containers": [
                    {
                        "name": "main",
                        "image": "registry.example/app:1",
                        "ports": [{"containerPort": 8080}],
                        "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
                        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
                    }
                ],
            },
        }
    ).encode()


def configmap(name: str) -> bytes:
    data = {f"key{i}": "value" * 8 for i in range(8)}
    return json.dumps(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}
    ).encode()


def deployment(name: str, replicas: int) -> dict:  # type: ignore[type-arg] # JSON
    labels = {"app": name}
    container = {
        "name": "main",
        "image": "registry.example/app:1",
        "resources": {"requests": {"cpu": "1m", "memory": "1Mi"}},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }


def node(name: str) -> bytes:
    """A node that no kubelet runs: an object with a status, which is all that scheduling needs."""
    resources = {"cpu": "32", "memory": "256Gi", "pods": "110", "ephemeral-storage": "100Gi"}
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "bench"}
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "bench": "node"}},
            "status": {"capacity": resources, "allocatable": resources, "conditions": [ready]},
        }
    ).encode()
