"""A small operator over built-in kinds, run by kopf in `test_kopf.py`.

ConfigMaps labelled `kind=site` get a Pod (owned), a note of what happened in their annotations, and a heartbeat.
"""

import asyncio
import contextlib
from typing import Any

import kopf
from kubernetes import client, config

SITE = {"kind": "site"}


@kopf.on.startup()
def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    settings.posting.loggers = True
    settings.persistence.finalizer = "example.skiff.dev/finalizer"
    config.load_kube_config()


@kopf.on.create("v1", "configmaps", labels=SITE)
def created(
    name: str, namespace: str, body: kopf.Body, patch: kopf.Patch, retry: int, **_: Any
) -> dict[str, str]:
    if (body.get("data") or {}).get("flaky") and retry == 0:
        raise kopf.TemporaryError("not yet", delay=0.1)
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"{name}-pod", "labels": {"site": name}},
        "spec": {"containers": [{"name": "main", "image": "web:1"}]},
    }
    kopf.adopt(pod)
    client.CoreV1Api().create_namespaced_pod(namespace, pod)
    patch.metadata.annotations["example/created"] = f"after {retry} retries"
    return {"pod": f"{name}-pod"}


@kopf.on.update("v1", "configmaps", labels=SITE, field="data")
def updated(old: Any, new: Any, patch: kopf.Patch, **_: Any) -> None:
    patch.metadata.annotations["example/updated"] = f"{old.get('size')} to {new.get('size')}"


@kopf.on.delete("v1", "configmaps", labels=SITE)
def deleted(name: str, namespace: str, **_: Any) -> None:
    client.CoreV1Api().create_namespaced_config_map(
        namespace, {"metadata": {"name": f"{name}-was-here"}}
    )


@kopf.timer("v1", "configmaps", labels=SITE, interval=0.3)
def beat(patch: kopf.Patch, annotations: dict[str, str], **_: Any) -> None:
    count = int(annotations.get("example/beats", "0"))
    if count < 3:
        patch.metadata.annotations["example/beats"] = str(count + 1)


@kopf.daemon("v1", "configmaps", labels=SITE, cancellation_timeout=1.0)
async def lives(
    stopped: kopf.DaemonStopped, namespace: str, name: str, patch: kopf.Patch, **_: Any
) -> None:
    api = client.CoreV1Api()
    note = {"metadata": {"annotations": {"example/daemon": "started"}}}
    await asyncio.to_thread(api.patch_namespaced_config_map, name, namespace, note)
    await stopped.wait()


@kopf.on.event("v1", "pods", labels={"site": kopf.PRESENT})
def pod_seen(event: Any, namespace: str, labels: dict[str, str], status: Any, **_: Any) -> None:
    if event["type"] == "MODIFIED" and status.get("phase") == "Running":
        note = {"metadata": {"annotations": {"example/pod": "Running"}}}
        with contextlib.suppress(client.ApiException):  # the site may be gone before its pod
            client.CoreV1Api().patch_namespaced_config_map(labels["site"], namespace, note)


@kopf.index("v1", "pods", labels={"site": kopf.PRESENT})
def pods_by_site(name: str, labels: dict[str, str], **_: Any) -> dict[str, str]:
    return {labels["site"]: name}
