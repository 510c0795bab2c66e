"""Pods as the API shows them: created, watched, patched, streamed from, ended, deleted."""

import base64
import contextlib
import json
import os
import socket
import threading
import time
import urllib.parse
from collections.abc import Iterator
from http.client import HTTPException, HTTPSConnection
from typing import Any

import pytest

from tests.real.harness import RealCluster, wait_for
from tests.real.pods import (
    IMAGE,
    JSON_PATCH,
    Api,
    ApiFailure,
    Object,
    Space,
    condition,
    container,
    pod,
    state,
)

pytestmark = pytest.mark.real

SLEEP = "trap 'exit 0' TERM; while true; do sleep 0.1; done"


@pytest.fixture(scope="module")
def api(cluster: RealCluster, images: dict[str, str]) -> Iterator[Api]:
    made = Api(cluster)
    yield made
    made.close()


@pytest.fixture(scope="module")
def space(cluster: RealCluster, api: Api) -> Iterator[Space]:
    made = Space(cluster, api, "pods")
    yield made
    made.delete("Namespace", made.name)


class Watching:
    """Watches the pods of a namespace from now on."""

    def __init__(self, space: Space, selector: str) -> None:
        self.events: list[tuple[str, Object]] = []
        query = urllib.parse.urlencode({"watch": "true", "labelSelector": selector})
        self._path = f"/{space.path('Pod')}?{query}"
        self._connection = HTTPSConnection(
            "127.0.0.1", space.api.port, context=space.api.tls, timeout=60
        )

    def __enter__(self) -> "Watching":
        self._connection.request("GET", self._path)
        self._answer = self._connection.getresponse()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()
        return self

    def _read(self) -> None:
        with contextlib.suppress(OSError, HTTPException, ValueError):  # ended from the other thread
            for line in self._answer:
                event = json.loads(line)
                self.events.append((event["type"], event["object"]))

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._connection.sock.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._answer.close()
        self._connection.close()

    def until(self, kind: str, check: Any = lambda _: True) -> Object:
        def look() -> Object | None:
            return next((o for k, o in list(self.events) if k == kind and check(o)), None)

        found: Object = wait_for(look, f"a {kind} event", 30)
        return found


@pytest.mark.conformance(
    "[sig-node] Pods should be submitted and removed [NodeConformance] [Conformance]"
)
@pytest.mark.conformance("[sig-node] Pods should be updated [NodeConformance] [Conformance]")
@pytest.mark.conformance("[sig-node] Pods should get a host IP [NodeConformance] [Conformance]")
def test_submitted_updated_removed(space: Space) -> None:
    with Watching(space, "time=now") as watching:
        space.create(
            pod("submitted", SLEEP, labels={"time": "now"}, terminationGracePeriodSeconds=30)
        )
        watching.until("ADDED")
        ready = space.ready("submitted")
        assert ready["status"]["hostIP"]
        assert ready["status"]["hostIPs"] == [{"ip": ready["status"]["hostIP"]}]
        space.change(
            "Pod", "submitted", lambda p: p["metadata"]["labels"].update(time="now", x="y")
        )
        assert (
            space.list("Pod", "labelSelector=x%3Dy")[0]["metadata"]["uid"]
            == ready["metadata"]["uid"]
        )
        space.delete("Pod", "submitted", 30)
        last = watching.until("DELETED")
    assert last["metadata"]["deletionTimestamp"]
    assert last["metadata"]["deletionGracePeriodSeconds"] in (0, 30)
    assert not state(last)["ready"]
    assert "terminated" in state(last)["state"]
    assert space.gone("Pod", "submitted")


@pytest.mark.conformance(
    "[sig-node] Pods should run through the lifecycle of Pods and PodStatus [Conformance]"
)
@pytest.mark.conformance("[sig-node] Pods should patch a pod status [Conformance]")
def test_lifecycle_and_status(space: Space) -> None:
    labels = {"test-pod-static": "true"}
    with Watching(space, "test-pod-static=true") as watching:
        space.create(pod("cycle", container(), labels=labels, restartPolicy="Always"))
        watching.until("ADDED")
        watching.until("MODIFIED", lambda p: condition(p, "Ready") == "True")
        change = {
            "metadata": {"labels": {"test-pod": "patched"}},
            "spec": {"terminationGracePeriodSeconds": 2, "containers": [{"name": "main", "image": "web:2"}]},
        }  # fmt: skip
        with pytest.raises(ApiFailure) as e:
            space.patch("Pod", "cycle", change)
        assert e.value.code == 422
        assert "pod updates may not change fields other than" in e.value.message
        del change["spec"]["terminationGracePeriodSeconds"]
        space.patch("Pod", "cycle", change)
        watching.until("MODIFIED", lambda p: p["metadata"]["labels"].get("test-pod") == "patched")
        # The container is replaced where its image is changed.
        space.until(
            "cycle", lambda p: state(p)["restartCount"] == 1 and state(p)["ready"], "restarts"
        )
        space.has_event("cycle", "Killing", "Container main definition changed, will be restarted")
        now = space.get("Pod", "cycle", "status")
        for one in now["status"]["conditions"]:
            if one["type"] == "Ready":
                one["status"] = "False"
        space.replace(now, "status")
        watching.until("MODIFIED", lambda p: condition(p, "Ready") == "False")
        space.ready("cycle", 20)  # the kubelet knows better
        space.patch(
            "Pod", "cycle", {"status": {"message": "Patched by a test", "reason": "E2E"}}, "status"
        )
        seen = watching.until(
            "MODIFIED", lambda p: p["status"].get("message") == "Patched by a test"
        )
        assert seen["status"]["reason"] == "E2E"
        space.api("DELETE", space.path("Pod") + "?labelSelector=test-pod-static%3Dtrue")
        watching.until("DELETED")


@pytest.mark.conformance("[sig-node] Pods should delete a collection of pods [Conformance]")
def test_delete_a_collection(space: Space) -> None:
    for index in range(3):
        space.create(pod(f"set-{index}", container(), labels={"type": "Testing"}))
    for index in range(3):
        space.ready(f"set-{index}")
    space.api(
        "DELETE", space.path("Pod") + "?labelSelector=type%3DTesting", {"gracePeriodSeconds": 1}
    )
    wait_for(lambda: not space.list("Pod", "labelSelector=type%3DTesting"), "all are gone", 20)


@pytest.mark.conformance(
    "[sig-node] Pods Extended Pods Set QOS Class should be set on Pods with matching resource requests and limits for memory and cpu [Conformance]"
)
def test_quality_of_service_class(space: Space) -> None:
    same = {"cpu": "100m", "memory": "100Mi"}
    one = pod("qos", container(resources={"limits": same, "requests": same}, script=SLEEP))
    assert space.create(one)["status"]["qosClass"] == "Guaranteed"
    assert space.ready("qos")["status"]["qosClass"] == "Guaranteed"
    space.delete("Pod", "qos", 0)
    assert space.gone("Pod", "qos")


@pytest.mark.conformance(
    "[sig-node] Pods should allow activeDeadlineSeconds to be updated [NodeConformance] [Conformance]"
)
def test_active_deadline(space: Space) -> None:
    space.create(pod("deadline", SLEEP))
    space.ready("deadline")
    space.change("Pod", "deadline", lambda p: p["spec"].update(activeDeadlineSeconds=3))
    status = space.ended("deadline", 20)["status"]
    assert (status["phase"], status["reason"]) == ("Failed", "DeadlineExceeded")
    assert status["message"] == "Pod was active on the node longer than the specified deadline"
    space.has_event("deadline", "DeadlineExceeded")


@pytest.mark.conformance(
    "[sig-node] Pods should contain environment variables for services [NodeConformance] [Conformance]"
)
def test_environment_of_services(space: Space) -> None:
    port = {"port": 8765, "targetPort": 8080}
    made = space.create(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "fooservice"},
            "spec": {"ports": [port], "selector": {"name": "server"}},
        }
    )
    address = made["spec"]["clusterIP"]

    def lines() -> list[str]:
        name = f"env-{time.monotonic_ns()}"
        space.create(pod(name, container(command=["env"])))
        return space.output(name).splitlines()

    wait_for(lambda: "FOOSERVICE_SERVICE_PORT=8765" in lines(), "the service's variables", 20)
    seen = lines()
    for expected in (
        f"FOOSERVICE_SERVICE_HOST={address}",
        "FOOSERVICE_SERVICE_PORT=8765",
        f"FOOSERVICE_PORT=tcp://{address}:8765",
        f"FOOSERVICE_PORT_8765_TCP=tcp://{address}:8765",
        "FOOSERVICE_PORT_8765_TCP_PROTO=tcp",
        "FOOSERVICE_PORT_8765_TCP_PORT=8765",
        f"FOOSERVICE_PORT_8765_TCP_ADDR={address}",
    ):
        assert expected in seen


@pytest.mark.conformance(
    "[sig-node] Pods Extended (pod generation) Pod Generation pod generation should start at 1 and increment per update [MinimumKubeletVersion:1.34] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] Pods Extended (pod generation) Pod Generation custom-set generation on new pods and graceful delete [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] Pods Extended (pod generation) Pod Generation issue 500 podspec updates and verify generation and observedGeneration eventually converge [MinimumKubeletVersion:1.34] [Conformance]"
)
def test_generations(space: Space) -> None:
    one = pod("generation", SLEEP, terminationGracePeriodSeconds=5)
    one["metadata"]["generation"] = 100
    assert space.create(one)["metadata"]["generation"] == 1

    def seen(generation: int) -> Object:
        return space.until(
            "generation", lambda p: p["status"].get("observedGeneration") == generation, "is observed", 20
        )  # fmt: skip

    ready = space.ready("generation")
    assert ready["status"]["observedGeneration"] == 1
    assert {c["observedGeneration"] for c in ready["status"]["conditions"]} == {1}
    toleration = {"key": "a", "operator": "Exists", "effect": "NoSchedule"}
    space.change("Pod", "generation", lambda p: p["spec"]["tolerations"].append(toleration))
    assert seen(2)["metadata"]["generation"] == 2
    space.change("Pod", "generation", lambda p: p["metadata"].update(annotations={"no": "spec"}))
    assert space.get("Pod", "generation")["metadata"]["generation"] == 2
    space.patch("Pod", "generation", {"status": {"message": "no spec"}}, "status")
    assert space.get("Pod", "generation")["metadata"]["generation"] == 2
    change = {"spec": {"containers": [{"name": "main", "resources": {"requests": {"cpu": "1m"}}}]}}
    with pytest.raises(ApiFailure):  # a pod's class of service is for life
        space.patch("Pod", "generation", change, "resize")
    for index in range(500):
        add = {
            "op": "add",
            "path": "/spec/tolerations/-",
            "value": {**toleration, "key": f"k{index}"},
        }
        space.patch("Pod", "generation", [add], how=JSON_PATCH)
    assert seen(502)["metadata"]["generation"] == 502
    space.delete("Pod", "generation")
    deleted = space.get("Pod", "generation")
    assert deleted["metadata"]["generation"] == 503
    wait_for(lambda: space.gone("Pod", "generation"), "it is gone", 20)


def read_websocket(space: Space, path: str, protocol: str) -> list[bytes]:
    """The frames' payloads until the server closes."""
    made = socket.create_connection(("127.0.0.1", space.api.port), 10)
    with space.api.tls.wrap_socket(made, server_hostname="127.0.0.1") as connection:
        key = base64.b64encode(os.urandom(16)).decode()
        head = [
            f"GET /{path} HTTP/1.1",
            "Host: localhost",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Protocol: {protocol}",
        ]
        connection.sendall(("\r\n".join(head) + "\r\n\r\n").encode())
        stream = connection.makefile("rb")
        status = stream.readline()
        assert b" 101 " in status, status + stream.read(500)
        headers = {}
        while (line := stream.readline().strip()) != b"":
            name, _, value = line.partition(b": ")
            headers[name.lower()] = value
        assert headers[b"sec-websocket-protocol"] == protocol.encode()
        frames = []
        while len(start := stream.read(2)) == 2:
            length = start[1] & 127
            if length == 126:
                length = int.from_bytes(stream.read(2), "big")
            payload = stream.read(length)
            if start[0] & 15 == 8:
                break
            if start[0] & 15 in (0, 1, 2):
                frames.append(payload)
        stream.close()
        return frames


@pytest.mark.conformance(
    "[sig-node] Pods should support remote command execution over websockets [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] Pods should support retrieving logs from the container over websockets [NodeConformance] [Conformance]"
)
def test_websockets(space: Space) -> None:
    space.create(pod("sockets", f"echo 'container is alive'; {SLEEP}"))
    space.ready("sockets")
    query = "command=echo&command=remote+execution+test&stderr=1&stdout=1"
    path = space.path("Pod", "sockets", "exec")
    frames = read_websocket(space, f"{path}?{query}", "v4.channel.k8s.io")
    assert b"".join(f[1:] for f in frames if f[:1] == b"\x01") == b"remote execution test\n"
    result = b"".join(f[1:] for f in frames if f[:1] == b"\x03")
    assert json.loads(result)["status"] == "Success"
    frames = read_websocket(space, f"{path}?{query}", "channel.k8s.io")
    assert b"remote execution test\n" in b"".join(f[1:] for f in frames if f[:1] == b"\x01")
    log = space.path("Pod", "sockets", "log")
    frames = read_websocket(space, f"{log}?container=main", "binary.k8s.io")
    assert b"container is alive\n" in b"".join(frames)


@pytest.mark.conformance(
    "[sig-node] Ephemeral Containers [NodeConformance] will start an ephemeral container in an existing pod [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] Ephemeral Containers [NodeConformance] should update the ephemeral containers in an existing pod [Conformance]"
)
def test_ephemeral_containers(space: Space) -> None:
    space.create(pod("debugged", container("main", SLEEP)))
    space.ready("debugged")
    debugger = container("debugger", "while true; do echo polo; sleep 1; done")
    body = {"spec": {"ephemeralContainers": [{**debugger, "targetContainerName": "main"}]}}
    space.patch("Pod", "debugged", body, "ephemeralcontainers")

    def runs(name: str) -> Any:
        return lambda p: "running" in state(p, name, "ephemeralContainerStatuses").get("state", {})

    space.until("debugged", runs("debugger"), "its debugger runs", 20)
    wait_for(lambda: "polo" in space.log("debugged", "debugger"), "it says polo", 10)
    processes = space.exec("debugged", "cat /proc/1/cmdline | tr '\\0' ' '", container="debugger")
    assert "trap" in processes  # the target's
    now = space.get("Pod", "debugged", "ephemeralcontainers")
    second = container("debugger2", SLEEP, stdin=True, tty=True)
    now["spec"]["ephemeralContainers"].append(second)
    space.replace(now, "ephemeralcontainers")
    seen = space.until("debugged", runs("debugger2"), "the second runs", 20)
    assert state(seen)["restartCount"] == 0
    assert condition(seen, "Ready") == "True"
    assert space.exec("debugged", "echo marco", container="debugger2") == "marco\n"


def test_readiness_gates(space: Space) -> None:
    gate = "example.com/gate"
    space.create(pod("gated", SLEEP, readinessGates=[{"conditionType": gate}]))
    seen = space.until(
        "gated", lambda p: condition(p, "ContainersReady") == "True", "its containers are"
    )
    ready = next(c for c in seen["status"]["conditions"] if c["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "ReadinessGatesNotReady")
    for value in ("True", "False"):
        body = {"status": {"conditions": [{"type": gate, "status": value}]}}
        space.patch("Pod", "gated", body, "status")
        space.until("gated", lambda p, v=value: condition(p, "Ready") == v, f"Ready is {value}", 10)
    space.delete("Pod", "gated", 0)


def test_image_pull_policies(space: Space) -> None:
    images = {
        "never": {"image": "absent:1", "imagePullPolicy": "Never"},
        "invalid": {"image": "not/an-//image", "imagePullPolicy": "IfNotPresent"},
        "absent": {"image": "127.0.0.1:1/absent:1", "imagePullPolicy": "Always"},
        "present": {"image": IMAGE, "imagePullPolicy": "IfNotPresent"},
    }
    for name, more in images.items():
        one = {**container(script=SLEEP), **more}
        space.create(pod(f"pull-{name}", one, restartPolicy="Always"))

    def waits(*reasons: str) -> Any:
        return lambda p: state(p).get("state", {}).get("waiting", {}).get("reason") in reasons

    seen = space.until("pull-never", waits("ErrImageNeverPull"), "is not pulled", 20)
    message = state(seen)["state"]["waiting"]["message"]
    assert message == 'Container image "absent:1" is not present with pull policy of Never'
    space.has_event("pull-never", "ErrImageNeverPull")
    seen = space.until("pull-invalid", waits("InvalidImageName"), "is refused", 20)
    assert "couldn't parse image name" in state(seen)["state"]["waiting"]["message"]
    space.until("pull-absent", waits("ErrImagePull", "ImagePullBackOff"), "fails", 20)
    seen = space.until("pull-absent", waits("ImagePullBackOff"), "backs off", 20)
    assert seen["status"]["phase"] == "Pending"
    assert (
        'Back-off pulling image "127.0.0.1:1/absent:1"'
        in state(seen)["state"]["waiting"]["message"]
    )
    space.has_event("pull-absent", "Pulling", 'Pulling image "127.0.0.1:1/absent:1"')
    space.has_event("pull-absent", "Failed", 'Failed to pull image "127.0.0.1:1/absent:1"')
    space.has_event("pull-absent", "BackOff", "Back-off pulling image")
    space.ready("pull-present")
    space.has_event(
        "pull-present", "Pulled", f'Container image "{IMAGE}" already present on machine'
    )
    space.has_event("pull-present", "Created")
    space.has_event("pull-present", "Started")
    # What was absent may be named anew.
    body = {"spec": {"containers": [{"name": "main", "image": IMAGE}]}}
    space.patch("Pod", "pull-never", body)
    space.ready("pull-never", 20)
