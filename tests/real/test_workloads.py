"""Workloads whose containers matter: what replicas serve, tasks that fail and are tried again."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.real.harness import RealCluster, wait_for

pytestmark = pytest.mark.real

NAMESPACE = "real-workloads"


@pytest.fixture(scope="module")
def kube(cluster: RealCluster, images: dict[str, str]) -> Iterator[RealCluster]:
    cluster.kubectl("create", "namespace", NAMESPACE)
    yield cluster
    cluster.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def apply(kube: RealCluster, obj: dict[str, Any]) -> None:
    kube.kubectl("apply", "-n", NAMESPACE, "-f", "-", stdin=json.dumps(obj))


def ready(pod: dict[str, Any]) -> bool:
    conditions = pod["status"].get("conditions", ())
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


@pytest.mark.conformance(
    "[sig-apps] ReplicaSet should serve a basic image on each replica with a public image "
    "[Conformance]"
)
@pytest.mark.conformance(
    "[sig-apps] ReplicationController should serve a basic image on each replica with a public image "
    "[Conformance]"
)
@pytest.mark.parametrize(
    ("kind", "version"), [("ReplicaSet", "apps/v1"), ("ReplicationController", "v1")]
)
def test_each_replica_serves(kube: RealCluster, kind: str, version: str) -> None:
    name = f"serve-{kind.lower()}"
    labels = {"name": name}
    template = {
        "metadata": {"labels": labels},
        "spec": {"containers": [{"name": "web", "image": "web:1"}]},
    }
    selector = {"matchLabels": labels} if kind == "ReplicaSet" else labels
    spec = {"replicas": 2, "selector": selector, "template": template}
    apply(kube, {"apiVersion": version, "kind": kind, "metadata": {"name": name}, "spec": spec})

    def all_ready() -> list[dict[str, Any]] | None:
        pods = kube.pods(f"name={name}", NAMESPACE)
        return pods if len(pods) == 2 and all(map(ready, pods)) else None

    for pod in wait_for(all_ready, "both are ready"):
        its_name = pod["metadata"]["name"]
        path = f"/api/v1/namespaces/{NAMESPACE}/pods/{its_name}:8080/proxy/"
        page = wait_for(lambda p=path: kube.kubectl("get", "--raw", p), "it serves")  # type: ignore[misc] # a default argument binds the loop's value
        assert f"host={its_name}" in page.splitlines()


@pytest.mark.conformance(
    "[sig-apps] Job should run a job to completion when tasks sometimes fail and are locally "
    "restarted [Conformance]"
)
def test_tasks_that_fail_once_are_restarted_where_they_are(kube: RealCluster) -> None:
    task = "if [ -r /data/tried ]; then exit 0; fi; touch /data/tried; exit 1"
    container = {
        "name": "c",
        "image": "web:1",
        "command": ["sh", "-c", task],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    pods = {
        "restartPolicy": "OnFailure",
        "containers": [container],
        "volumes": [{"name": "data", "emptyDir": {}}],
    }
    spec = {"parallelism": 2, "completions": 4, "backoffLimit": 6, "template": {"spec": pods}}
    meta = {"name": "fail-once"}
    apply(kube, {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": spec})

    def complete() -> dict[str, Any] | None:
        status: dict[str, Any] = kube.get("job", "fail-once", "-n", NAMESPACE)["status"]
        done = {c["type"] for c in status.get("conditions", ()) if c["status"] == "True"}
        return status if "Complete" in done else None

    status = wait_for(complete, "the job is complete", 120)
    assert (status["succeeded"], status.get("failed", 0)) == (4, 0)
    for pod in kube.get("pods", "-n", NAMESPACE, "-l", "job-name=fail-once")["items"]:
        (state,) = pod["status"]["containerStatuses"]
        assert (pod["status"]["phase"], state["restartCount"]) == ("Succeeded", 1)


def test_a_suspended_job_gives_its_pods_up_without_failing(kube: RealCluster) -> None:
    container = {"name": "c", "image": "web:1", "command": ["sleep", "1000"]}
    pods = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 0,
        "containers": [container],
    }
    spec = {"parallelism": 2, "completions": 2, "backoffLimit": 0, "template": {"spec": pods}}
    meta = {"name": "paused"}
    apply(kube, {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": spec})

    def status() -> dict[str, Any]:
        found: dict[str, Any] = kube.get("job", "paused", "-n", NAMESPACE)["status"]
        return found

    def suspend(yes: bool) -> None:
        patch = json.dumps({"spec": {"suspend": yes}})
        kube.kubectl("patch", "job", "paused", "-n", NAMESPACE, "--type=merge", "-p", patch)

    wait_for(lambda: status().get("ready") == 2, "both run")
    suspend(True)
    wait_for(
        lambda: not kube.get("pods", "-n", NAMESPACE, "-l", "job-name=paused")["items"], "none"
    )
    wait_for(lambda: status()["terminating"] == 0, "nothing is on its way out")
    assert not status().get("failed")
    suspend(False)
    wait_for(lambda: status().get("ready") == 2, "both run again")
    kube.kubectl("delete", "job", "paused", "-n", NAMESPACE, "--cascade=foreground")
