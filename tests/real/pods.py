"""What the tests of the node and of storage share: the API without kubectl, namespaces, pods, waiting.

Pods are made of the workshop's image, which is busybox: small shell programs stand for the programs of
Kubernetes' own end-to-end images. They are created all at once and waited for together.
"""

import base64
import itertools
import json
import ssl
import tempfile
import threading
import urllib.parse
from collections.abc import Callable
from http.client import HTTPException, HTTPSConnection
from typing import Any

import yaml

from tests.real.harness import RealCluster, wait_for

IMAGE = "web:1"
ENDED = ("Succeeded", "Failed")
MERGE, JSON_PATCH = "application/merge-patch+json", "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
# Kinds that the tests make, and where the API keeps them.
PATHS = {
    "Pod": "api/v1/namespaces/{ns}/pods",
    "ConfigMap": "api/v1/namespaces/{ns}/configmaps",
    "Secret": "api/v1/namespaces/{ns}/secrets",
    "Service": "api/v1/namespaces/{ns}/services",
    "Endpoints": "api/v1/namespaces/{ns}/endpoints",
    "EndpointSlice": "apis/discovery.k8s.io/v1/namespaces/{ns}/endpointslices",
    "Event": "api/v1/namespaces/{ns}/events",
    "PodTemplate": "api/v1/namespaces/{ns}/podtemplates",
    "PersistentVolumeClaim": "api/v1/namespaces/{ns}/persistentvolumeclaims",
    "PersistentVolume": "api/v1/persistentvolumes",
    "Namespace": "api/v1/namespaces",
    "Node": "api/v1/nodes",
    "ReplicationController": "api/v1/namespaces/{ns}/replicationcontrollers",
    "Deployment": "apis/apps/v1/namespaces/{ns}/deployments",
    "Lease": "apis/coordination.k8s.io/v1/namespaces/{ns}/leases",
    "RuntimeClass": "apis/node.k8s.io/v1/runtimeclasses",
    "StorageClass": "apis/storage.k8s.io/v1/storageclasses",
    "CSIDriver": "apis/storage.k8s.io/v1/csidrivers",
    "CSINode": "apis/storage.k8s.io/v1/csinodes",
    "CSIStorageCapacity": "apis/storage.k8s.io/v1/namespaces/{ns}/csistoragecapacities",
    "VolumeAttachment": "apis/storage.k8s.io/v1/volumeattachments",
    "VolumeAttributesClass": "apis/storage.k8s.io/v1/volumeattributesclasses",
    "DeviceClass": "apis/resource.k8s.io/v1/deviceclasses",
    "ResourceClaim": "apis/resource.k8s.io/v1/namespaces/{ns}/resourceclaims",
    "ResourceClaimTemplate": "apis/resource.k8s.io/v1/namespaces/{ns}/resourceclaimtemplates",
    "ResourceSlice": "apis/resource.k8s.io/v1/resourceslices",
}
Object = dict[str, Any]


class ApiFailure(Exception):
    """An answer of the API that is no success; `status` is its Status."""

    def __init__(self, code: int, status: Any) -> None:
        super().__init__(f"{code}: {status.get('message') if isinstance(status, dict) else status}")
        self.code = code
        self.status = status

    @property
    def reason(self) -> str:
        return str(self.status.get("reason", ""))

    @property
    def message(self) -> str:
        return str(self.status.get("message", ""))


class Api:
    """The cluster's API as its administrator. Threads each have a connection."""

    def __init__(self, cluster: RealCluster) -> None:
        config = yaml.safe_load(cluster.kubeconfig.read_text())
        about, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self.port = cluster.secure_port
        self.tls = ssl.create_default_context(
            cadata=base64.b64decode(about["certificate-authority-data"]).decode()
        )
        with tempfile.NamedTemporaryFile() as pem:
            pem.write(base64.b64decode(user["client-certificate-data"]))
            pem.write(base64.b64decode(user["client-key-data"]))
            pem.flush()
            self.tls.load_cert_chain(pem.name)
        self._local = threading.local()
        self._connections: list[HTTPSConnection] = []

    def close(self) -> None:
        for connection in self._connections:
            connection.close()

    def send(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json"
    ) -> tuple[int, bytes]:
        """The raw answer; a connection that the server closed in the meantime is opened anew."""
        data = None if body is None else json.dumps(body).encode()
        for attempt in (0, 1):
            connection = getattr(self._local, "connection", None)
            if connection is None:
                connection = HTTPSConnection("127.0.0.1", self.port, context=self.tls, timeout=30)
                self._local.connection = connection
                self._connections.append(connection)
            try:
                connection.request(method, f"/{path}", data, {"Content-Type": content_type})
                answer = connection.getresponse()
                return answer.status, answer.read()
            except (HTTPException, OSError):
                connection.close()
                self._local.connection = None
                if attempt:
                    raise
        raise AssertionError

    def __call__(self, method: str, path: str, body: Any = None, **options: Any) -> Any:
        status, text = self.send(method, path, body, **options)
        try:
            answer = json.loads(text)
        except ValueError:
            answer = text.decode(errors="replace")
        if status >= 300:
            raise ApiFailure(status, answer)
        return answer


class Space:
    """A namespace of a test's own, and what is done in it."""

    _numbers = itertools.count(1)

    def __init__(self, cluster: RealCluster, api: Api, name: str) -> None:
        self.cluster, self.api = cluster, api
        self.name = f"{name}-{next(self._numbers)}"
        self.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.name}})
        accounts = f"api/v1/namespaces/{self.name}/serviceaccounts/default"
        wait_for(lambda: self.api("GET", accounts), "the namespace's service account", 20, 0.02)

    def path(self, kind: str, name: str = "", subresource: str = "") -> str:
        parts = [PATHS[kind].format(ns=self.name), name, subresource]
        return "/".join(p for p in parts if p)

    def create(self, obj: Object) -> Object:
        made: Object = self.api("POST", self.path(obj["kind"]), obj)
        return made

    def create_all(self, objects: list[Object]) -> None:
        for obj in objects:
            self.create(obj)

    def get(self, kind: str, name: str, subresource: str = "") -> Object:
        found: Object = self.api("GET", self.path(kind, name, subresource))
        return found

    def list(self, kind: str, query: str = "") -> "list[Object]":
        found = self.api("GET", self.path(kind) + (f"?{query}" if query else ""))["items"]
        return list(found)

    def replace(self, obj: Object, subresource: str = "") -> Object:
        path = self.path(obj["kind"], obj["metadata"]["name"], subresource)
        made: Object = self.api("PUT", path, obj)
        return made

    def change(self, kind: str, name: str, fn: Callable[[Object], Any]) -> Object:
        """Read, change, write; again where somebody else was quicker."""
        while True:
            obj = self.get(kind, name)
            fn(obj)
            try:
                return self.replace(obj)
            except ApiFailure as e:
                if e.code != 409:
                    raise

    def patch(
        self, kind: str, name: str, body: Any, subresource: str = "", how: str = STRATEGIC
    ) -> Object:
        path = self.path(kind, name, subresource)
        made: Object = self.api("PATCH", path, body, content_type=how)
        return made

    def delete(self, kind: str, name: str, grace_s: int | None = None) -> None:
        options = {} if grace_s is None else {"gracePeriodSeconds": grace_s}
        self.api("DELETE", self.path(kind, name), options)

    def gone(self, kind: str, name: str) -> bool:
        try:
            self.get(kind, name)
        except ApiFailure as e:
            return e.code == 404
        return False

    # ---- pods

    def until(
        self, name: str, check: Callable[[Object], Any], what: str, timeout_s: float = 60
    ) -> Object:
        """The pod, once `check` holds for it."""
        seen: Object = {}

        def look() -> bool:
            seen.clear()
            seen.update(self.get("Pod", name))
            return bool(check(seen))

        try:
            wait_for(look, f"pod {name}: {what}", timeout_s, 0.1)
        except AssertionError as e:
            raise AssertionError(f"{e}\n{json.dumps(seen.get('status'), indent=1)}") from None
        return seen

    def ended(self, name: str, timeout_s: float = 90) -> Object:
        return self.until(name, lambda p: p["status"].get("phase") in ENDED, "ends", timeout_s)

    def ready(self, name: str, timeout_s: float = 90) -> Object:
        return self.until(name, lambda p: condition(p, "Ready") == "True", "is Ready", timeout_s)

    def log(self, name: str, container: str = "", **options: str) -> str:
        query = urllib.parse.urlencode(options | ({"container": container} if container else {}))
        status, text = self.api.send("GET", f"{self.path('Pod', name, 'log')}?{query}")
        assert status == 200, text
        return text.decode()

    def output(self, name: str, container: str = "") -> str:
        """What a pod that succeeds wrote."""
        pod = self.ended(name)
        text = self.log(name, container)
        assert pod["status"]["phase"] == "Succeeded", (
            f"{text}\n{json.dumps(pod['status'], indent=1)}"
        )
        return text

    def exec(self, name: str, script: str, container: str = "", check: bool = True) -> str:
        chosen = ["-c", container] if container else []
        return self.cluster.kubectl(
            "exec", "-n", self.name, name, *chosen, "--", "sh", "-c", script, check=check
        )

    def events(self, name: str) -> "list[Object]":
        return self.list("Event", f"fieldSelector=involvedObject.name%3D{name}")

    def has_event(self, name: str, reason: str, text: str = "", timeout_s: float = 30) -> None:
        def look() -> bool:
            return any(
                e["reason"] == reason and text in e.get("message", "") for e in self.events(name)
            )

        try:
            wait_for(look, f"event {reason} of {name}", timeout_s)
        except AssertionError as e:
            told = [(x["reason"], x.get("message")) for x in self.events(name)]
            raise AssertionError(f"{e}: {told}") from None


def container(name: str = "main", script: str | None = None, **fields: Any) -> Object:
    made: Object = {"name": name, "image": IMAGE, "imagePullPolicy": "Never", **fields}
    if script is not None:
        made["command"] = ["sh", "-c", script]
    return made


def pod(name: str, *containers: Object | str, labels: Any = None, **spec: Any) -> Object:
    """A pod of containers, or of scripts, that is not restarted and is stopped quickly."""
    made = [
        c if isinstance(c, dict) else container("main" if i == 0 else f"main{i}", c)
        for i, c in enumerate(containers)
    ]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels or {"name": name}},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "containers": made,
            **spec,
        },
    }


def config_map(name: str, data: Any = None, **more: Any) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name},
        "data": data or {},
        **more,
    }


def secret(name: str, data: dict[str, str], **more: Any) -> Object:
    encoded = {k: base64.b64encode(v.encode()).decode() for k, v in data.items()}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name},
        "data": encoded,
        **more,
    }


def condition(obj: Object, kind: str) -> str:
    """The status of a condition; "" where there is none."""
    found = [c["status"] for c in obj["status"].get("conditions", ()) if c["type"] == kind]
    return str(found[0]) if found else ""


def state(obj: Object, name: str = "main", key: str = "containerStatuses") -> Object:
    """A container's status."""
    return next((c for c in obj["status"].get(key, ()) if c["name"] == name), {})
