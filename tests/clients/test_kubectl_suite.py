"""What the conformance suite asks of kubectl, as far as pods need not really run."""

import contextlib
import http.client
import json
import re
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.clients.cluster import Kubectl, wait_for

PRIMARY = """
apiVersion: v1
kind: ReplicationController
metadata: {name: primary, labels: {app: store, role: primary}}
spec:
  replicas: 1
  selector: {app: store, role: primary}
  template:
    metadata: {labels: {app: store, role: primary}}
    spec:
      containers:
      - name: primary
        image: "store:1"
        ports: [{name: store, containerPort: 6379}]
"""
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: primary, labels: {app: store, role: primary}}
spec:
  selector: {app: store, role: primary}
  ports: [{port: 6379, targetPort: store}]
"""
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: "web:1", ports: [{containerPort: 80}]}]}
"""


def tells(text: str, *lines: tuple[str, ...]) -> None:
    """`text` has lines with the words of `lines`, in their order."""
    left = iter(text.splitlines())
    for words in lines:
        line = next((found for found in left if words[0] in found), None)
        assert line is not None, f"{words[0]!r} is not in\n{text}"
        assert all(word in line for word in words), f"{words} are not in {line!r}"


def primary(kube: Kubectl) -> str:
    """The replication controller with its pod running; the pod's name."""
    kube("create", "-f", "-", stdin=PRIMARY)

    def running() -> str:
        phase = "{.items[?(@.status.phase=='Running')].metadata.name}"
        return kube.path(phase, "pods", "-l", "role=primary")

    return str(wait_for(running, "the pod runs"))


@contextlib.contextmanager
def proxying(kube: Kubectl, *arguments: str) -> Iterator[str]:
    """`kubectl proxy` until the end; what it says first."""
    process = subprocess.Popen(
        kube.command("proxy", *arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    guard = threading.Timer(30, process.kill)
    guard.start()
    try:
        yield process.stdout.readline()
    finally:
        guard.cancel()
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.conformance(
    "[sig-cli] Kubectl client Kubectl api-versions should check if v1 is in available api versions [Conformance]"
)
def test_api_versions(kube: Kubectl) -> None:
    assert "v1" in kube("api-versions").splitlines()


@pytest.mark.conformance(
    "[sig-cli] Kubectl client Kubectl cluster-info should check if Kubernetes control plane services is included in cluster-info [Conformance]"
)
def test_cluster_info(kube: Kubectl) -> None:
    text = kube("cluster-info")
    assert re.search(r"Kubernetes control plane.* is running at .*https://127\.0\.0\.1:\d+", text)
    assert '"kind": "EventList"' in kube("cluster-info", "dump")


@pytest.mark.conformance(
    "[sig-cli] Kubectl client Kubectl version should check is all data is printed [Conformance]"
)
def test_version(kube: Kubectl) -> None:
    text = kube("version")
    for side in ("Client", "Server"):
        short = rf"{side} Version: v\d\.\d+\.[\w.+-]+"
        long = rf'{side} Version: version.Info{{Major:"\d", Minor:"\d+\+?", GitVersion:"v[\d.]+[^"]*", GitCommit:"[0-9a-f]+"'
        assert re.search(short, text) or re.search(long, text), text


@pytest.mark.conformance(
    "[sig-cli] Kubectl client Kubectl describe should check if kubectl describe prints relevant information for rc and pods [Conformance]"
)
def test_describe(kube: Kubectl) -> None:
    pod = primary(kube)
    kube("create", "-f", "-", stdin=SERVICE)
    tells(
        kube("describe", "pod", pod),
        ("Name:", "primary-"),
        ("Namespace:", kube.namespace),
        ("Node:", "node-a/"),
        ("Labels:", "app=store"),
        ("role=primary",),
        ("Annotations:",),
        ("Status:", "Running"),
        ("IP:",),
        ("Controlled By:", "ReplicationController/primary"),
        ("Image:", "store:1"),
        ("State:", "Running"),
        ("QoS Class:", "BestEffort"),
    )
    controller = (
        ("Name:", "primary"),
        ("Namespace:", kube.namespace),
        ("Selector:", "app=store,role=primary"),
        ("Labels:", "app=store"),
        ("role=primary",),
        ("Annotations:",),
        ("Replicas:", "1 current", "1 desired"),
        ("Pods Status:", "1 Running", "0 Waiting", "0 Succeeded", "0 Failed"),
        ("Pod Template:",),
        ("Image:", "store:1"),
        ("Events:",),
        ("SuccessfulCreate", "replication-controller", f"Created pod: {pod}"),
    )
    wait_for(lambda: "SuccessfulCreate" in kube("describe", "rc", "primary"), "the event")
    tells(kube("describe", "rc", "primary"), *controller)
    tells(
        kube("describe", "service", "primary"),
        ("Name:", "primary"),
        ("Namespace:", kube.namespace),
        ("Labels:", "app=store"),
        ("role=primary",),
        ("Annotations:",),
        ("Selector:", "app=store", "role=primary"),
        ("Type:", "ClusterIP"),
        ("IP:",),
        ("Port:", "<unset>", "6379/TCP"),
        ("Endpoints:",),
        ("Session Affinity:", "None"),
    )
    tells(
        kube("describe", "node", "node-a"),
        ("Name:", "node-a"),
        ("Labels:",),
        ("Annotations:",),
        ("CreationTimestamp:",),
        ("Conditions:",),
        ("Type", "Status", "LastHeartbeatTime", "LastTransitionTime", "Reason", "Message"),
        ("Addresses:",),
        ("Capacity:",),
        ("Kernel Version:",),
        ("OS Image:",),
        ("Container Runtime Version:",),
        ("Kubelet Version:",),
        ("Pods:",),
    )
    tells(
        kube("describe", "namespace", kube.namespace),
        ("Name:", kube.namespace),
        ("Labels:",),
        ("Annotations:",),
        ("Status:", "Active"),
    )


@pytest.mark.conformance(
    "[sig-cli] Kubectl client Kubectl expose should create services for rc [Conformance]"
)
def test_expose(kube: Kubectl) -> None:
    pod = primary(kube)
    address = kube.path("{.status.podIP}", "pod", pod)
    for kind, name, port in (("rc/primary", "first", 1234), ("service/first", "second", 2345)):
        kube("expose", kind, f"--name={name}", f"--port={port}", "--target-port=6379")
        spec = kube.json("service", name)["spec"]
        assert [(p["port"], p["targetPort"]) for p in spec["ports"]] == [(port, 6379)]
        label = f"kubernetes.io/service-name={name}"

        def told(label: str = label) -> bool:
            slices = kube.json("endpointslices", "-l", label)["items"]
            found = [
                (e["addresses"], s["ports"][0]["port"]) for s in slices for e in s["endpoints"]
            ]
            return found == [([address], 6379)]

        wait_for(told, f"the endpoint of {name}")


@pytest.mark.conformance(
    "[sig-cli] Kubectl client Kubectl patch should add annotations for pods in rc [Conformance]"
)
def test_patch(kube: Kubectl) -> None:
    pod = primary(kube)
    assert kube("patch", "pod", pod, "-p", '{"metadata":{"annotations":{"x":"y"}}}') == (
        f"pod/{pod} patched"
    )
    assert kube.path("{.items[*].metadata.annotations.x}", "pods", "-l", "app=store") == "y"


@pytest.mark.conformance(
    "[sig-cli] Kubectl client Kubectl label should update the label on a resource [Conformance]"
)
def test_label(kube: Kubectl) -> None:
    kube("run", "idle", "--image=idle:1")
    kube("wait", "pod/idle", "--for=condition=Ready", "--timeout=20s")
    kube("label", "pods", "idle", "testing=some-value")
    assert "some-value" in kube("get", "pod", "idle", "-L", "testing")
    assert kube("get", "pods", "-l", "testing", "-o", "name") == "pod/idle"
    kube("label", "pods", "idle", "testing-")
    assert "some-value" not in kube("get", "pod", "idle", "-L", "testing")


@pytest.mark.conformance(
    "[sig-cli] Kubectl client Kubectl run pod should create a pod from an image when restart is Never [Conformance]"
)
def test_run(kube: Kubectl) -> None:
    assert kube("run", "web", "--image=web:1", "--restart=Never") == "pod/web created"
    spec = kube.json("pod", "web")["spec"]
    assert spec["restartPolicy"] == "Never"
    assert [c["image"] for c in spec["containers"]] == ["web:1"]


@pytest.mark.conformance(
    "[sig-cli] Kubectl client Kubectl replace should update a single-container pod's image [Conformance]"
)
def test_replace(kube: Kubectl) -> None:
    kube("run", "web", "--image=web:1", "--labels=run=web")
    kube("wait", "pod/web", "--for=condition=Ready", "--timeout=20s")

    def replaced() -> bool:  # the kubelet may have written in between
        current = kube("get", "pod", "web", "-o", "json")
        changed = current.replace('"web:1"', '"web:2"', 1)
        return kube.run("replace", "-f", "-", stdin=changed).returncode == 0

    wait_for(replaced, "the replacement")
    assert kube.path("{.spec.containers[*].image}", "pod", "web") == "web:2"


@pytest.mark.conformance(
    "[sig-cli] Kubectl client Kubectl diff should check if kubectl diff finds a difference for Deployments [Conformance]"
)
def test_diff(kube: Kubectl) -> None:
    kube("create", "-f", "-", stdin=DEPLOYMENT)
    done = kube.run("diff", "-f", "-", stdin=DEPLOYMENT.replace("web:1", "other:2"))
    assert done.returncode == 1
    assert re.search(r"^- +- image: web:1$", done.stdout, re.MULTILINE)
    assert re.search(r"^\+ +- image: other:2$", done.stdout, re.MULTILINE)
    assert kube.path("{..image}", "deployment", "web") == "web:1"


@pytest.mark.conformance(
    "[sig-cli] Kubectl client Proxy server should support proxy with --port 0 [Conformance]"
)
def test_proxy_picks_a_port(kube: Kubectl) -> None:
    with proxying(kube, "-p", "0", "--disable-filter") as said:
        found = re.search(r"Starting to serve on 127\.0\.0\.1:(\d+)", said)
        assert found, said
        connection = http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=10)
        connection.request("GET", "/api/")
        assert json.loads(connection.getresponse().read())["versions"] == ["v1"]
        connection.close()


@pytest.mark.conformance(
    "[sig-cli] Kubectl client Proxy server should support --unix-socket=/path [Conformance]"
)
def test_proxy_on_a_socket(kube: Kubectl, tmp_path: Path) -> None:
    path = tmp_path / "s"
    with proxying(kube, f"--unix-socket={path}") as said:
        assert str(path) in said
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(10)
            client.connect(str(path))
            client.sendall(b"GET /api HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            answer = b"".join(iter(lambda: client.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b'"versions":["v1"]' in answer


def test_a_secret_carries_its_accounts_token(kube: Kubectl, tmp_path: Path) -> None:
    kube("create", "serviceaccount", "robot")
    body = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "s", "annotations": {"kubernetes.io/service-account.name": "robot"}},
        "type": "kubernetes.io/service-account-token",
    }
    kube("create", "-f", "-", stdin=json.dumps(body))
    template = "go-template={{.data.token | base64decode}}"
    token = wait_for(
        lambda: (t := kube("get", "secret", "s", "-o", template)) != "<no value>" and t, "the token"
    )
    text = kube("describe", "secret", "s")
    tells(text, ("kubernetes.io/service-account.uid",), ("Data",), ("ca.crt:", "bytes"))
    assert f"token:      {token}" in text
    tokens = re.findall(r"^Tokens: +(.*)$", kube("describe", "sa", "robot"), re.MULTILINE)
    assert tokens in (["s"], [])  # kubectl 1.36 tells no tokens any more
    config = yaml.safe_load(kube.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": token}
    (tmp_path / "config").write_text(yaml.safe_dump(config))
    robot = Kubectl(kube.binary, tmp_path / "config", kube.namespace)
    refused = robot.fails("get", "pods")
    assert f'User "system:serviceaccount:{kube.namespace}:robot" cannot list' in refused
    kube("delete", "serviceaccount", "robot")
    wait_for(lambda: not kube("get", "secret", "s", "--ignore-not-found"), "the secret goes")
    assert "You must be logged in" in robot.fails("get", "pods")
