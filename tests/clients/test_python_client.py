"""The official Python client, as programs use it."""

import json
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, config, dynamic, stream, utils, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.leaderelection import electionconfig, leaderelection
from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock

from tests.clients.cluster import ProcessCluster, wait_for

Manifest = dict[str, Any]

pytestmark = pytest.mark.filterwarnings(
    # The client leaves connections of its watches to the garbage collector.
    "ignore:Exception ignored in.*ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning",
    "ignore:unclosed.*ssl.SSLSocket:ResourceWarning",
)


@pytest.fixture(scope="module")
def api(cluster: ProcessCluster) -> Iterator[client.ApiClient]:
    made = config.new_client_from_config(str(cluster.kubeconfig))
    yield made
    made.close()
    made.rest_client.pool_manager.clear()


@pytest.fixture(scope="module")
def core(api: client.ApiClient) -> client.CoreV1Api:
    return client.CoreV1Api(api)


@pytest.fixture(scope="module")
def apps(api: client.ApiClient) -> client.AppsV1Api:
    return client.AppsV1Api(api)


@pytest.fixture
def namespace(core: client.CoreV1Api) -> Iterator[str]:
    name = f"python-{uuid.uuid4().hex[:8]}"
    core.create_namespace({"metadata": {"name": name}})
    wait_for(
        lambda: core.read_namespaced_service_account("default", name), "the default service account"
    )
    yield name
    core.delete_namespace(name)


def pod(name: str, **annotations: str) -> Manifest:
    return {
        "metadata": {
            "name": name,
            "labels": {"app": name},
            "annotations": {f"simulation.skiff.dev/{k}": v for k, v in annotations.items()},
        },
        "spec": {
            "containers": [{"name": "main", "image": "web:1"}],
            "terminationGracePeriodSeconds": 1,
        },
    }


def deployment(name: str, replicas: int = 2) -> Manifest:
    labels = {"app": name}
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "main", "image": "web:1"}]},
            },
        },
    }


def test_a_pod_from_creation_to_deletion(core: client.CoreV1Api, namespace: str) -> None:
    made = core.create_namespaced_pod(namespace, pod("one", log="hello"))
    assert made.metadata.creation_timestamp.tzinfo is not None
    assert made.status.phase == "Pending"
    wait_for(
        lambda: core.read_namespaced_pod("one", namespace).status.phase == "Running", "running"
    )
    seen = core.read_namespaced_pod_status("one", namespace)
    assert seen.spec.node_name == "node-a"
    assert seen.status.container_statuses[0].ready
    assert "hello" in core.read_namespaced_pod_log("one", namespace)
    lines = [
        line.decode()
        for line in core.read_namespaced_pod_log(
            "one", namespace, timestamps=True, _preload_content=False
        ).stream()
    ]
    assert any("hello" in line for line in lines)
    core.delete_namespaced_pod("one", namespace)

    def gone() -> bool:
        try:
            core.read_namespaced_pod("one", namespace)
        except ApiException as e:
            return bool(e.status == 404)
        return False

    wait_for(gone, "the pod's end")


def test_lists_page_and_select(core: client.CoreV1Api, namespace: str) -> None:
    for number in range(7):
        parity = "odd" if number % 2 else "even"
        core.create_namespaced_config_map(
            namespace,
            {"metadata": {"name": f"cm-{number}", "labels": {"parity": parity, "x": "y"}}},
        )
    names, token = [], None
    while True:
        page = core.list_namespaced_config_map(
            namespace, label_selector="x=y", limit=3, _continue=token
        )
        names += [c.metadata.name for c in page.items]
        token = page.metadata._continue
        if not token:
            break
        assert page.metadata.remaining_item_count is None  # unknown with a selector
    assert names == [f"cm-{n}" for n in range(7)]
    page = core.list_namespaced_config_map(namespace, limit=3)
    assert page.metadata.remaining_item_count == 5  # and kube-root-ca.crt
    odd = core.list_namespaced_config_map(namespace, label_selector="parity in (odd)")
    assert [c.metadata.name for c in odd.items] == ["cm-1", "cm-3", "cm-5"]
    one = core.list_namespaced_config_map(namespace, field_selector="metadata.name=cm-4")
    assert [c.metadata.name for c in one.items] == ["cm-4"]
    everywhere = core.list_config_map_for_all_namespaces(label_selector="parity=even")
    assert {c.metadata.namespace for c in everywhere.items} == {namespace}
    core.delete_collection_namespaced_config_map(namespace, label_selector="parity=odd")
    rest = core.list_namespaced_config_map(namespace, label_selector="x")
    assert [c.metadata.name for c in rest.items] == ["cm-0", "cm-2", "cm-4", "cm-6"]


def test_watch_goes_on_from_a_revision_and_times_out(
    core: client.CoreV1Api, namespace: str
) -> None:
    before = core.list_namespaced_config_map(namespace).metadata.resource_version
    core.create_namespaced_config_map(namespace, {"metadata": {"name": "w"}, "data": {"a": "1"}})
    core.patch_namespaced_config_map("w", namespace, {"data": {"a": "2"}})
    core.delete_namespaced_config_map("w", namespace)
    events = [
        (e["type"], e["object"].data)
        for e in watch.Watch().stream(
            core.list_namespaced_config_map,
            namespace,
            resource_version=before,
            timeout_seconds=1,
        )
        if e["object"].metadata.name == "w"
    ]
    assert events == [
        ("ADDED", {"a": "1"}),
        ("MODIFIED", {"a": "2"}),
        ("DELETED", {"a": "2"}),
    ]


def test_watch_without_a_revision_begins_with_what_is_there(
    core: client.CoreV1Api, namespace: str
) -> None:
    core.create_namespaced_config_map(namespace, {"metadata": {"name": "there"}})
    watcher = watch.Watch()
    for event in watcher.stream(core.list_namespaced_config_map, namespace, timeout_seconds=5):
        assert event["type"] == "ADDED"
        if event["object"].metadata.name == "there":
            watcher.stop()


@pytest.mark.parametrize("way", ["strategic", "merge", "json", "apply", "replace"])
def test_every_way_to_change_a_deployment(
    apps: client.AppsV1Api, api: client.ApiClient, namespace: str, way: str
) -> None:
    apps.create_namespaced_deployment(namespace, deployment("web"))
    if way == "strategic":
        # merged by the container's name: the image changes, the rest stays
        body: Any = {
            "spec": {
                "template": {
                    "spec": {
                        "containers": [
                            {"name": "main", "image": "web:2"},
                            {"name": "side", "image": "s:1"},
                        ]
                    }
                }
            }
        }
        changed = apps.patch_namespaced_deployment("web", namespace, body)
        assert [c.name for c in changed.spec.template.spec.containers] == ["main", "side"]
    elif way == "merge":
        body = {"metadata": {"labels": {"app": None, "new": "1"}}, "spec": {"replicas": 5}}
        changed = apps.patch_namespaced_deployment(
            "web", namespace, body, _content_type="application/merge-patch+json"
        )
        assert changed.metadata.labels == {"new": "1"}
        assert changed.spec.replicas == 5
    elif way == "json":
        body = [{"op": "replace", "path": "/spec/replicas", "value": 4}]
        changed = apps.patch_namespaced_deployment("web", namespace, body)
        assert changed.spec.replicas == 4
    elif way == "apply":
        body = {"apiVersion": "apps/v1", "kind": "Deployment", **deployment("web", replicas=6)}
        with pytest.raises(ApiException) as refused:
            apps.patch_namespaced_deployment(
                "web", namespace, body, field_manager="me",
                _content_type="application/apply-patch+yaml",
            )  # fmt: skip
        assert refused.value.status == 409
        status = json.loads(refused.value.body)
        assert status["details"]["causes"][0]["reason"] == "FieldManagerConflict"
        changed = apps.patch_namespaced_deployment(
            "web", namespace, body, field_manager="me", force=True,
            _content_type="application/apply-patch+yaml",
        )  # fmt: skip
        assert changed.spec.replicas == 6
        assert "me" in {m.manager for m in changed.metadata.managed_fields}
    else:
        found = apps.read_namespaced_deployment("web", namespace)
        found.spec.replicas = 3

        def replaced() -> Any:
            latest = apps.read_namespaced_deployment("web", namespace)
            found.metadata.resource_version = latest.metadata.resource_version
            return apps.replace_namespaced_deployment("web", namespace, found)

        changed = wait_for(replaced, "a replace without conflict")
        assert changed.spec.replicas == 3
    assert changed.metadata.generation == 2
    scale = apps.read_namespaced_deployment_scale("web", namespace)
    assert scale.spec.replicas == changed.spec.replicas
    apps.patch_namespaced_deployment_scale("web", namespace, {"spec": {"replicas": 1}})
    wait_for(
        lambda: apps.read_namespaced_deployment("web", namespace).status.ready_replicas == 1,
        "one replica",
    )


def test_errors_are_parsed(core: client.CoreV1Api, namespace: str) -> None:
    def status(call: Any, *arguments: Any, **named: Any) -> tuple[int, Any]:
        with pytest.raises(ApiException) as refused:
            call(*arguments, **named)
        return refused.value.status, json.loads(refused.value.body)

    code, body = status(core.read_namespaced_pod, "none", namespace)
    assert code == 404
    assert body["message"] == 'pods "none" not found'
    assert body["details"] == {"name": "none", "kind": "pods"}
    core.create_namespaced_config_map(namespace, {"metadata": {"name": "once"}})
    code, body = status(
        core.create_namespaced_config_map, namespace, {"metadata": {"name": "once"}}
    )
    assert (code, body["reason"]) == (409, "AlreadyExists")
    code, body = status(
        core.create_namespaced_pod,
        namespace,
        {"metadata": {"name": "Bad_Name"}, "spec": {"containers": [{"name": "a"}]}},
    )
    assert (code, body["reason"]) == (422, "Invalid")
    assert {c["field"] for c in body["details"]["causes"]} == {
        "metadata.name",
        "spec.containers[0].image",
    }
    found = core.read_namespaced_config_map("once", namespace)
    core.patch_namespaced_config_map("once", namespace, {"data": {"a": "b"}})
    code, body = status(core.replace_namespaced_config_map, "once", namespace, found)
    assert (code, body["reason"]) == (409, "Conflict")
    assert body["message"] == (
        'Operation cannot be fulfilled on configmaps "once": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )
    code, body = status(core.list_namespaced_pod, namespace, label_selector="a in b")
    assert (code, body["reason"]) == (400, "BadRequest")


def test_yaml_files_of_several_kinds(
    api: client.ApiClient, core: client.CoreV1Api, namespace: str, tmp_path: Path
) -> None:
    file = tmp_path / "all.yaml"
    file.write_text(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: b}\n---\n"
        "apiVersion: v1\nkind: Service\nmetadata: {name: s}\n"
        "spec: {ports: [{port: 80}], selector: {app: web}}\n---\n"
        "apiVersion: batch/v1\nkind: Job\nmetadata: {name: j}\n"
        "spec: {template: {spec: {restartPolicy: Never, containers: [{name: m, image: i}]}}}\n"
    )
    utils.create_from_yaml(api, str(file), namespace=namespace)
    assert core.read_namespaced_service("s", namespace).spec.cluster_ip.startswith("10.96.")
    job = client.BatchV1Api(api).read_namespaced_job("j", namespace)
    assert job.spec.template.metadata.labels["batch.kubernetes.io/job-name"] == "j"


def test_the_dynamic_client(api: client.ApiClient, namespace: str) -> None:
    any_kind = dynamic.DynamicClient(api)
    maps = any_kind.resources.get(api_version="v1", kind="ConfigMap")
    body = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "d"}, "data": {"a": "1"}}
    made = maps.create(body=body, namespace=namespace)
    assert made.data.a == "1"
    patched = maps.patch(
        name="d", namespace=namespace, body={"data": {"b": "2"}},
        content_type="application/merge-patch+json",
    )  # fmt: skip
    assert patched.data.to_dict() == {"a": "1", "b": "2"}
    applied = maps.server_side_apply(
        body={**body, "data": {"c": "3"}}, name="d", namespace=namespace,
        field_manager="dyn", force_conflicts=True,
    )  # fmt: skip
    assert applied.data.c == "3"
    assert [c.metadata.name for c in maps.get(namespace=namespace, label_selector="x").items] == []
    seen = []
    for event in maps.watch(namespace=namespace, name="d", timeout=1):
        seen.append(event["type"])
    assert seen == ["ADDED"]
    maps.delete(name="d", namespace=namespace)
    deployments = any_kind.resources.get(api_version="apps/v1", kind="Deployment")
    assert {"patch", "watch", "deletecollection"} <= set(deployments.verbs)
    assert any_kind.version["kubernetes"]["gitVersion"].startswith("v1.36")


def test_leaders_are_elected(api: client.ApiClient, namespace: str) -> None:
    led: list[str] = []
    stop = threading.Event()

    def contend(identity: str) -> None:
        lock = LeaseLock("lead", namespace, identity)
        lock.api_instance = client.CoordinationV1Api(api)
        election = electionconfig.Config(
            lock, lease_duration=4, renew_deadline=3, retry_period=1,
            onstarted_leading=lambda: (led.append(identity), stop.wait(20)),
            onstopped_leading=lambda: None,
        )  # fmt: skip
        with pytest.raises(SystemExit):
            runner = leaderelection.LeaderElection(election)
            original = runner.update_lock

            def ends(record: Any) -> Any:
                if stop.is_set():
                    raise SystemExit
                return original(record)

            runner.update_lock = ends
            runner.run()

    first = threading.Thread(target=contend, args=("a",), daemon=True)
    first.start()
    wait_for(lambda: led == ["a"], "a leader")
    lease = client.CoordinationV1Api(api).read_namespaced_lease("lead", namespace)
    assert lease.spec.holder_identity == "a"
    stop.set()
    first.join(5)


def test_exec_and_port_forward_over_websockets(core: client.CoreV1Api, namespace: str) -> None:
    core.create_namespaced_pod(namespace, pod("shell"))
    wait_for(
        lambda: core.read_namespaced_pod("shell", namespace).status.phase == "Running", "running"
    )
    said = stream.stream(
        core.connect_get_namespaced_pod_exec, "shell", namespace,
        command=["echo", "hi"], stdout=True, stderr=True, stdin=False, tty=False,
    )  # fmt: skip
    assert isinstance(said, str)


def test_many_requests_on_one_connection(core: client.CoreV1Api, namespace: str) -> None:
    began = time.monotonic()
    for number in range(200):
        core.create_namespaced_config_map(
            namespace, {"metadata": {"generateName": "many-"}, "data": {"n": str(number)}}
        )
    assert len(core.list_namespaced_config_map(namespace).items) == 201
    assert time.monotonic() - began < 15


def test_services_secrets_and_nodes_come_typed(core: client.CoreV1Api, namespace: str) -> None:
    secret = core.create_namespaced_secret(
        namespace, {"metadata": {"name": "s"}, "stringData": {"k": "v"}}
    )
    assert secret.data == {"k": "dg=="}
    assert secret.type == "Opaque"
    node = core.list_node().items[0]
    assert {c.type for c in node.status.conditions} >= {"Ready", "MemoryPressure", "DiskPressure"}
    assert node.status.node_info.kubelet_version.startswith("v1.36")
    token = core.create_namespaced_service_account_token("default", namespace, {"spec": {}})
    assert token.status.token.count(".") == 2
    review = client.AuthenticationV1Api(core.api_client).create_token_review(
        {"spec": {"token": token.status.token}}
    )
    assert review.status.user.username == f"system:serviceaccount:{namespace}:default"


def test_openapi_and_versions(api: client.ApiClient) -> None:
    assert client.VersionApi(api).get_code().minor == "36"
    groups = {g.name for g in client.ApisApi(api).get_api_versions().groups}
    assert {"apps", "batch", "networking.k8s.io", "rbac.authorization.k8s.io"} <= groups
