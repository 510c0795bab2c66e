"""Probes and hooks: what restarts a container, what makes it ready, what runs at its start and end."""

import time
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import grpc
import pytest

from skiff.aio.clock import parse_rfc3339
from tests.real.harness import RealCluster, wait_for
from tests.real.pods import Api, Object, Space, condition, container, pod, state

pytestmark = pytest.mark.real

SLEEP = "trap 'exit 0' TERM; while true; do sleep 0.1; done"
HTTP = {"httpGet": {"path": "/healthz", "port": 8080}}
SERVE = "mkdir -p /www && echo ok > /www/healthz && httpd -p 8080 -h /www"
QUICK = {"periodSeconds": 1, "failureThreshold": 1}
# How long a container with a good probe is watched for restarts.
WATCHED_S = 8
INITIAL_DELAY_S = 5


class Health:
    """A gRPC health service on this machine: pods on the host's network are probed at its address."""

    def __init__(self) -> None:
        self.serving = True
        self.server = grpc.server(futures.ThreadPoolExecutor(2))
        handler = grpc.unary_unary_rpc_method_handler(self._check)
        service = grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": handler})
        self.server.add_generic_rpc_handlers((service,))
        self.port = self.server.add_insecure_port("0.0.0.0:0")
        self.server.start()

    def _check(self, request: bytes, context: Any) -> bytes:
        del request, context
        return b"\x08\x01" if self.serving else b"\x08\x02"


@pytest.fixture(scope="module")
def health() -> Iterator[tuple[Health, Health]]:
    good, bad = Health(), Health()
    bad.serving = False
    yield good, bad
    good.server.stop(None).wait()
    bad.server.stop(None).wait()


def always(name: str, one: Object, **spec: Any) -> Object:
    return pod(name, one, restartPolicy="Always", **spec)


def probe_pods(health: tuple[Health, Health]) -> list[Object]:
    def live(**probe: Any) -> Object:
        return {"livenessProbe": {**QUICK, **probe}}

    def asked(of: Health) -> Object:
        return live(grpc={"port": of.port}, timeoutSeconds=5)

    cat = {"exec": {"command": ["cat", "/tmp/health"]}}
    on_host = {"hostNetwork": True}
    soon = "sleep 2; rm"
    return [
        always("exec-bad", container(
            script=f"mkdir -p /tmp; echo ok >/tmp/health; ({soon} /tmp/health) & {SLEEP}",
            **live(**cat, initialDelaySeconds=1))),
        always("exec-good", container(
            script=f"mkdir -p /tmp; echo ok >/tmp/health; {SLEEP}", **live(**cat, initialDelaySeconds=1))),
        always("http-bad", container(
            script=f"{SERVE}; ({soon} /www/healthz) & {SLEEP}", **live(**HTTP, initialDelaySeconds=1))),
        always("http-good", container(script=f"{SERVE}; {SLEEP}", **live(**HTTP, initialDelaySeconds=1))),
        always("tcp-good", container(
            script=f"{SERVE}; {SLEEP}", **live(tcpSocket={"port": 8080}, initialDelaySeconds=1))),
        always("grpc-good", container(script=SLEEP, **asked(health[0])), **on_host),
        always("grpc-bad", container(script=SLEEP, **asked(health[1])), **on_host),
        always("ready-late", container(script=f"{SERVE}; {SLEEP}", readinessProbe={
            **HTTP, "initialDelaySeconds": INITIAL_DELAY_S, "periodSeconds": 1})),
        always("ready-never", container(script=SLEEP, readinessProbe={
            "exec": {"command": ["/bin/false"]}, "initialDelaySeconds": 1, **QUICK})),
        always("started-late", container(script=f"sleep 2; {SERVE}; {SLEEP}",
            startupProbe={**HTTP, "periodSeconds": 1, "failureThreshold": 30}, **live(**HTTP))),
    ]  # fmt: skip


def hook_pods() -> list[Object]:
    """A server that says which requests it got, and pods whose hooks ask it."""
    return [
        pod("handler", container(script=(
            "mkdir -p /www/cgi-bin; printf '#!/bin/sh\\necho \"$QUERY_STRING\" >> /www/got; echo; echo ok\\n'"
            " > /www/cgi-bin/echo; chmod 755 /www/cgi-bin/echo; touch /www/got; httpd -p 8080 -h /www;"
            f" {SLEEP}"))),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def ran(
    cluster: RealCluster, images: dict[str, str], health: tuple[Health, Health]
) -> Iterator[Space]:
    api = Api(cluster)
    space = Space(cluster, api, "probes")
    space.create_all([*hook_pods(), *probe_pods(health)])
    yield space
    space.delete("Namespace", space.name)
    api.close()


@pytest.mark.conformance(
    "[sig-node] Container Lifecycle Hook when create a pod with lifecycle hook should execute poststart exec hook properly [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] Container Lifecycle Hook when create a pod with lifecycle hook should execute poststart http hook properly [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] Container Lifecycle Hook when create a pod with lifecycle hook should execute prestop exec hook properly [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] Container Lifecycle Hook when create a pod with lifecycle hook should execute prestop http hook properly [NodeConformance] [Conformance]"
)
@pytest.mark.conformance("[sig-node] PreStop should call prestop when killing a pod [Conformance]")
def test_hooks_ask_the_handler(ran: Space) -> None:
    host = ran.ready("handler")["status"]["podIP"]

    def hook(how: str, when: str) -> Object:
        path = f"/cgi-bin/echo?{when}={how}"
        if how == "http":
            return {"httpGet": {"path": path, "host": host, "port": 8080}}
        return {"exec": {"command": ["sh", "-c", f"wget -q -O - 'http://{host}:8080{path}'"]}}

    for how in ("exec", "http"):
        for when in ("postStart", "preStop"):
            one = container(script=SLEEP, lifecycle={when: hook(how, when)})
            ran.create(pod(f"{how}-{when.lower()}", one, terminationGracePeriodSeconds=15))
    for how in ("exec", "http"):
        for when in ("poststart", "prestop"):
            ran.ready(f"{how}-{when}")
            ran.delete("Pod", f"{how}-{when}")
    wanted = {f"{when}={how}" for how in ("exec", "http") for when in ("postStart", "preStop")}

    def got() -> bool:
        return wanted <= set(ran.exec("handler", "cat /www/got").split())

    wait_for(got, "the handler was asked by each", 20)


def test_hooks_that_fail_or_sleep(ran: Space) -> None:
    fails = container(script=SLEEP, lifecycle={"postStart": {"exec": {"command": ["false"]}}})
    ran.create(always("hook-fails", fails))
    sleeps = container(script=SLEEP, lifecycle={"preStop": {"sleep": {"seconds": 3}}})
    ran.create(pod("hook-sleeps", sleeps, terminationGracePeriodSeconds=30))
    short = container(script=SLEEP, lifecycle={"preStop": {"sleep": {"seconds": 60}}})
    ran.create(pod("hook-too-long", short, terminationGracePeriodSeconds=3))
    ran.ready("hook-sleeps")
    ran.ready("hook-too-long")
    began = time.monotonic()
    ran.delete("Pod", "hook-sleeps")
    ran.delete("Pod", "hook-too-long")
    time.sleep(1)
    # Who is going can still be reached, and does not count as ready.
    assert ran.exec("hook-sleeps", "echo here") == "here\n"
    wait_for(lambda: ran.gone("Pod", "hook-sleeps"), "it is gone after its hook", 20)
    assert 3 <= time.monotonic() - began < 10
    wait_for(lambda: ran.gone("Pod", "hook-too-long"), "its hook is cut short", 20)
    assert 3 <= time.monotonic() - began < 12
    ran.has_event("hook-fails", "FailedPostStartHook", "PostStartHook failed")
    seen = ran.until("hook-fails", lambda p: state(p)["restartCount"] >= 1, "is restarted", 30)
    assert condition(seen, "Ready") == "False"


@pytest.mark.conformance(
    "[sig-node] Probing container with readiness probe should not be ready before initial delay and never restart [NodeConformance] [Conformance]"
)
def test_readiness_waits_for_its_delay(ran: Space) -> None:
    seen = ran.ready("ready-late")
    started = parse_rfc3339(state(seen)["state"]["running"]["startedAt"])
    ready = next(c for c in seen["status"]["conditions"] if c["type"] == "Ready")
    assert parse_rfc3339(ready["lastTransitionTime"]) - started >= INITIAL_DELAY_S - 1
    assert state(seen)["restartCount"] == 0


@pytest.mark.conformance(
    '[sig-node] Probing container should *not* be restarted with a exec "cat /tmp/health" liveness probe [NodeConformance] [Conformance]'
)
@pytest.mark.conformance(
    "[sig-node] Probing container should *not* be restarted with a /healthz http liveness probe [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] Probing container should *not* be restarted with a tcp:8080 liveness probe [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] Probing container should *not* be restarted with a GRPC liveness probe [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] Probing container with readiness probe that fails should never be ready and never restart [NodeConformance] [Conformance]"
)
def test_good_probes_leave_containers_alone(ran: Space) -> None:
    for name in ("exec-good", "http-good", "tcp-good", "grpc-good", "started-late"):
        seen = ran.ready(name)
        started = parse_rfc3339(state(seen)["state"]["running"]["startedAt"])
        time.sleep(max(0.0, started + WATCHED_S - time.time()))
        now = state(ran.get("Pod", name))
        assert (now["restartCount"], now["ready"], now["started"]) == (0, True, True)
    never = ran.get("Pod", "ready-never")
    assert condition(never, "Ready") == "False"
    assert state(never)["restartCount"] == 0
    assert state(never)["started"]
    ran.has_event("ready-never", "Unhealthy", "Readiness probe failed")


@pytest.mark.conformance(
    '[sig-node] Probing container should be restarted with a exec "cat /tmp/health" liveness probe [NodeConformance] [Conformance]'
)
@pytest.mark.conformance(
    "[sig-node] Probing container should be restarted with a /healthz http liveness probe [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] Probing container should be restarted with a GRPC liveness probe [NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] Probing container should have monotonically increasing restart count [NodeConformance] [Conformance]"
)
def test_failing_probes_restart(ran: Space) -> None:
    for name in ("exec-bad", "http-bad", "grpc-bad"):
        seen = ran.until(name, lambda p: state(p).get("restartCount", 0) >= 1, "is restarted", 40)
        assert "terminated" in state(seen)["lastState"]
        ran.has_event(name, "Unhealthy", "Liveness probe failed")
        ran.has_event(name, "Killing", "Container main failed liveness probe, will be restarted")
    last = 0
    deadline = time.monotonic() + 40
    while last < 2 and time.monotonic() < deadline:
        now = state(ran.get("Pod", "exec-bad"))["restartCount"]
        assert now >= last
        last = now
        time.sleep(0.2)
    assert last >= 2
