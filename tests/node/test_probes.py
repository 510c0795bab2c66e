"""Probes: what they make of a pod (virtual time, simulated answers), and the checks themselves (loopback)."""

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skiff.aio.clock import LoopClock
from skiff.aio.entropy import Entropy
from skiff.api.views.container import (
    Container,
    ContainerPort,
    ExecAction,
    HTTPGetAction,
    HTTPHeader,
    LifecycleHandler,
    Probe,
    TCPSocketAction,
)
from skiff.node.hooks import HookFailed, run_hook
from skiff.node.probers import (
    InvalidPort,
    NetworkProber,
    Outcome,
    Target,
    http_get,
    resolve_port,
    tcp_connect,
)
from skiff.node.probes import Counter
from skiff.node.runtime import ExecResult, RuntimeUnavailable
from skiff.node.simulated import PREFIX, SimulatedRuntime
from tests.node.world import World, container, pod, run, status_of

HTTP = {"httpGet": {"path": "/healthz", "port": 8080}}


def probe(**fields) -> dict:
    return {**HTTP, "periodSeconds": 1, **fields}


def test_a_counter_needs_its_thresholds():
    counter = Counter(success_threshold=2, failure_threshold=3)
    seen = [counter.observe(ok) for ok in (True, True, False, False, True, False, False, False)]
    assert seen == [False, True, False, False, False, False, False, True]
    assert counter.value is False


@given(st.integers(1, 4), st.integers(1, 4), st.lists(st.booleans(), max_size=40))
def test_a_counter_changes_only_after_a_whole_run(success, failure, results):
    counter = Counter(success, failure)
    for index, ok in enumerate(results):
        before = counter.value
        changed = counter.observe(ok)
        need = success if ok else failure
        tail = results[max(0, index + 1 - need) : index + 1]
        if changed:
            assert len(tail) == need and set(tail) == {ok} and before is not ok
        assert changed == (counter.value is not before)


@pytest.mark.conformance(
    "[sig-node] Probing container with readiness probe should not be ready before initial delay and "
    "never restart [NodeConformance] [Conformance]"
)
def test_not_ready_before_the_initial_delay():
    async def test(w: World) -> None:
        await w.create(pod("web", container(readinessProbe=probe(initialDelaySeconds=30))))
        began = w.clock.now()
        found = await w.running("web", 60)
        assert w.clock.now() - began >= 30
        assert status_of(found)["restartCount"] == 0

    run(test)


@pytest.mark.conformance(
    "[sig-node] Probing container with readiness probe that fails should never be ready and never "
    "restart [NodeConformance] [Conformance]"
)
def test_a_failing_readiness_probe_never_restarts():
    async def test(w: World) -> None:
        marks = {PREFIX + "readiness": "false"}
        await w.create(pod("web", container(readinessProbe=probe()), annotations=marks))
        await w.event(
            "web", "Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 503"
        )
        await w.clock.sleep(120)
        found = await w.pod("web")
        assert status_of(found)["ready"] is False
        assert status_of(found)["started"] is True
        assert status_of(found)["restartCount"] == 0
        w.simulated.set_probe(w.simulated.find("default", "web", "main"), "readiness", ok=True)
        await w.running("web", 5)

    run(test)


@pytest.mark.conformance(
    "[sig-node] Probing container should be restarted with a /healthz http liveness probe "
    "[NodeConformance] [Conformance]"
)
@pytest.mark.conformance(
    "[sig-node] Probing container should have monotonically increasing restart count "
    "[NodeConformance] [Conformance]"
)
def test_a_failing_liveness_probe_restarts_again_and_again():
    async def test(w: World) -> None:
        marks = {PREFIX + "liveness": "false"}
        await w.create(
            pod("web", container(livenessProbe=probe(failureThreshold=2)), annotations=marks)
        )
        for count in range(1, 6):
            await w.pod_until("web", lambda p, n=count: status_of(p)["restartCount"] == n, 400)
        await w.event(
            "web", "Unhealthy", "Liveness probe failed: HTTP probe failed with statuscode: 503"
        )
        await w.event("web", "Killing", "Container main failed liveness probe, will be restarted")

    run(test)


@pytest.mark.conformance(
    "[sig-node] Probing container should *not* be restarted with a /healthz http liveness probe "
    "[NodeConformance] [Conformance]"
)
def test_a_good_liveness_probe_leaves_it_alone():
    async def test(w: World) -> None:
        await w.create(pod("web", container(livenessProbe=probe())))
        await w.clock.sleep(600)
        assert status_of(await w.pod("web"))["restartCount"] == 0

    run(test)


def test_the_startup_probe_holds_the_others_back():
    async def test(w: World) -> None:
        marks = {
            PREFIX + "startup": "false",
            PREFIX + "liveness": "false",
            PREFIX + "stop-seconds": "0",
        }
        fields = {"startupProbe": probe(failureThreshold=30), "livenessProbe": probe(failureThreshold=1),
                  "readinessProbe": probe(periodSeconds=10)}  # fmt: skip
        await w.create(pod("web", container(**fields), annotations=marks))
        await w.clock.sleep(15)
        found = await w.pod("web")
        assert (status_of(found)["started"], status_of(found)["restartCount"]) == (False, 0)
        me = w.simulated.find("default", "web", "main")
        w.simulated.set_probe(me, "liveness", ok=True)
        w.simulated.set_probe(me, "startup", ok=True)
        found = await w.running("web", 5)
        assert status_of(found)["started"] is True

    run(test)


def test_a_failed_startup_probe_ends_the_container():
    async def test(w: World) -> None:
        marks = {PREFIX + "startup": "false"}
        await w.create(
            pod("web", container(startupProbe=probe(failureThreshold=3)), annotations=marks)
        )
        await w.pod_until("web", lambda p: status_of(p)["restartCount"] == 1)
        await w.event("web", "Killing", "Container main failed startup probe, will be restarted")

    run(test)


def test_the_probes_own_grace_period_counts():
    async def test(w: World) -> None:
        marks = {PREFIX + "liveness": "false", PREFIX + "stop-seconds": "1000"}
        live = probe(failureThreshold=1, terminationGracePeriodSeconds=5)
        await w.create(pod("web", container(livenessProbe=live), annotations=marks,
                           terminationGracePeriodSeconds=500))  # fmt: skip
        await w.pod_until("web", lambda p: status_of(p).get("restartCount") == 1, 20)

    run(test)


def test_a_pod_that_never_restarts_fails_with_its_liveness():
    async def test(w: World) -> None:
        marks = {PREFIX + "liveness": "false"}
        live = container(livenessProbe=probe(failureThreshold=1))
        await w.create(pod("web", live, annotations=marks, restartPolicy="Never"))
        await w.pod_until("web", lambda p: p["status"]["phase"] == "Failed")
        await w.event("web", "Killing", "Container main failed liveness probe")

    run(test)


def test_nobody_sees_the_end_of_a_container_that_a_probe_replaces():
    async def test(w: World) -> None:
        marks = {PREFIX + "liveness": "false", PREFIX + "start-seconds": "2"}
        live = container(livenessProbe=probe(failureThreshold=1, initialDelaySeconds=5))
        await w.create(pod("web", live, annotations=marks))
        seen: list[tuple] = []

        async def look() -> bool:
            status = status_of(await w.pod("web"))
            state, last = status.get("state", {}), status.get("lastState", {})
            if not seen or seen[-1] != (status.get("restartCount"), *state):
                seen.append((status.get("restartCount"), *state))
            return "running" in state and "terminated" in last

        await w.until(look, 60, 0.01)
        assert not [entry for entry in seen if "terminated" in entry], seen
        assert seen[-1] == (1, "running")
        assert "BackOff" not in [reason for _, reason, _ in await w.events("web")]

    run(test)


def test_a_thousand_probes_cost_nothing_between_checks():
    async def test(w: World) -> None:
        for index in range(50):
            live = {**HTTP, "periodSeconds": 3600}
            await w.create(pod(f"web-{index}", container(livenessProbe=live, readinessProbe=live)))
        for index in range(50):
            await w.running(f"web-{index}")

    run(test)


# ---- the checks themselves


def serve(
    answer: Callable[[bytes], bytes], check: Callable[[int], Awaitable[None]], tls=None
) -> None:
    """Run `check(port)` beside a server on loopback that answers each request once."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await reader.readuntil(b"\r\n\r\n")
            reply = answer(request)
            if reply == b"hang":
                await asyncio.sleep(30)
            writer.write(reply)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def main() -> None:
        server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
        try:
            async with asyncio.timeout(20):
                await check(server.sockets[0].getsockname()[1])
        finally:
            server.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, Outcome.SUCCESS),
        (399, Outcome.SUCCESS),
        (400, Outcome.FAILURE),
        (503, Outcome.FAILURE),
    ],
)
def test_http_status_decides(status: int, outcome: Outcome):
    async def check(port: int) -> None:
        result = await http_get(HTTPGetAction(path="/x"), port, "127.0.0.1", 5)
        assert result.outcome is outcome
        if outcome is Outcome.FAILURE:
            assert result.output == f"HTTP probe failed with statuscode: {status}"

    serve(lambda _: b"HTTP/1.1 %d X\r\nContent-Length: 2\r\n\r\nok" % status, check)


def test_http_headers_and_host_are_the_probes():
    seen: list[bytes] = []

    async def check(port: int) -> None:
        action = HTTPGetAction(
            path="ready?a=b",
            http_headers=(
                HTTPHeader(name="Host", value="web.example"),
                HTTPHeader(name="X-A", value="1"),
            ),
        )
        assert (await http_get(action, port, "127.0.0.1", 5)).ok
        lines = seen[0].decode().split("\r\n")
        assert lines[0] == "GET /ready?a=b HTTP/1.1"
        assert {
            "Host: web.example",
            "X-A: 1",
            "User-Agent: kube-probe/1.36",
            "Connection: close",
        } <= set(lines)
        assert sum(line.startswith("Host:") for line in lines) == 1

    serve(lambda r: (seen.append(r), b"HTTP/1.1 200 OK\r\n\r\n")[1], check)


def test_an_answer_without_a_body_needs_no_end_of_the_connection():
    async def check(port: int) -> None:
        assert (await http_get(HTTPGetAction(path="/"), port, "127.0.0.1", 5)).ok

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await reader.read()

    serve_raw(connected, check)


def nothing() -> tuple[SimulatedRuntime, LoopClock]:
    clock = LoopClock(0.0)
    return SimulatedRuntime(clock, Entropy(1)), clock


def test_hooks_take_any_answer_and_fall_back_to_plain_text():
    seen: list[bytes] = []

    async def check(port: int) -> None:
        target = Target(Container(name="main"), "id", "127.0.0.1")
        for scheme in ("HTTP", "HTTPS"):
            action = HTTPGetAction(path="/hook", port=port, scheme=scheme)
            handler = LifecycleHandler(http_get=action)
            await run_hook(handler, target, *nothing())
        assert [r.split(b" ", 2)[1] for r in seen] == [b"/hook"] * 2
        assert b"User-Agent: kube-lifecycle/1.36\r\n" in seen[0]

    def answer(request: bytes) -> bytes:
        seen.append(request)
        return b"HTTP/1.1 500 No\r\n\r\nno"

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.read(4096)
        writer.write(answer(first) if first.startswith(b"GET ") else b"HTTP/1.0 400 Bad\r\n\r\n")

    serve_raw(connected, check)


Connected = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def serve_raw(connected: Connected, check: Callable[[int], Awaitable[None]]) -> None:
    """Run `check(port)` beside a server that does as `connected` says."""
    open_now: set[asyncio.Task] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_now.add(task)
        try:
            await connected(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            open_now.discard(task)

    async def main() -> None:
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        try:
            async with asyncio.timeout(20):
                await check(server.sockets[0].getsockname()[1])
                while open_now:
                    await asyncio.wait(set(open_now))
        finally:
            server.close()

    asyncio.run(main())


def test_hooks_that_cannot_be_run_say_so():
    async def main() -> None:
        target = Target(Container(name="main"), "id", "127.0.0.1")
        runtime, clock = nothing()
        tcp = LifecycleHandler(tcp_socket=TCPSocketAction(port=1))
        with pytest.raises(HookFailed) as e:
            await run_hook(tcp, target, runtime, clock)
        assert e.value.told("x") == "Cannot run handler: invalid handler"
        http = LifecycleHandler(http_get=HTTPGetAction(path="/a", port="web"))
        with pytest.raises(HookFailed) as e:
            await run_hook(http, target, runtime, clock)
        assert e.value.told('Container "main" in Pod "p"') == (
            'HTTP lifecycle hook (/a) for Container "main" in Pod "p" failed - '
            'error: couldn\'t find port: "web" in container main'
        )

    asyncio.run(main())


def test_redirects_are_followed_on_the_same_host_only():
    def answer(request: bytes) -> bytes:
        if b"GET /ok " in request:
            return b"HTTP/1.1 200 OK\r\n\r\nhere"
        there = b"/ok" if b"GET /near" in request else b"http://other.example/"
        return b"HTTP/1.1 302 Found\r\nLocation: %b\r\n\r\nmoved" % there

    async def check(port: int) -> None:
        near = await http_get(HTTPGetAction(path="/near"), port, "127.0.0.1", 5)
        assert (near.outcome, near.output) == (Outcome.SUCCESS, "here")
        far = await http_get(HTTPGetAction(path="/far"), port, "127.0.0.1", 5)
        assert far.outcome is Outcome.WARNING
        assert far.output == "Probe terminated redirects, Response body: moved"

    serve(answer, check)


def test_https_is_not_verified(tmp_path):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*_certificate(tmp_path))

    async def check(port: int) -> None:
        result = await http_get(HTTPGetAction(scheme="HTTPS", path="/"), port, "127.0.0.1", 5)
        assert result.ok, result

    serve(lambda _: b"HTTP/1.1 200 OK\r\n\r\n", check, context)


def _certificate(directory) -> tuple[str, str]:
    import datetime as dt

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "web")])
    now = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now).not_valid_after(now + dt.timedelta(days=9999))
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    cert_file, key_file = directory / "c.pem", directory / "k.pem"
    cert_file.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))  # fmt: skip
    return str(cert_file), str(key_file)


def test_what_does_not_answer_fails_in_kubernetes_words():
    async def check(port: int) -> None:
        late = await http_get(HTTPGetAction(path="/"), port, "127.0.0.1", 0.2)
        assert late.output == (
            f'Get "http://127.0.0.1:{port}/": context deadline exceeded '
            "(Client.Timeout exceeded while awaiting headers)"
        )
        assert (await tcp_connect("127.0.0.1", port, 5)).ok

    serve(lambda _: b"hang", check)

    async def closed() -> None:
        server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        server.close()
        await server.wait_closed()
        refused = await http_get(HTTPGetAction(path="/"), port, "127.0.0.1", 5)
        assert refused.output == (
            f'Get "http://127.0.0.1:{port}/": dial tcp 127.0.0.1:{port}: connect: connection refused'
        )
        tcp = await tcp_connect("127.0.0.1", port, 5)
        assert tcp.output == f"dial tcp 127.0.0.1:{port}: connect: connection refused"

    asyncio.run(closed())


def test_ports_by_name():
    web = Container(name="web", ports=(ContainerPort(name="http", container_port=8080),))
    assert resolve_port(web, "http") == 8080
    assert resolve_port(web, 9) == 9
    assert resolve_port(web, "81") == 81
    with pytest.raises(InvalidPort):
        resolve_port(web, "metrics")


class _Commands:
    """Stands for a runtime that runs commands."""

    def __init__(self, answer) -> None:
        self.answer = answer

    async def exec_sync(self, container_id, command, timeout_s):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.mark.parametrize(
    ("answer", "outcome", "output"),
    [
        (ExecResult(b"fine\n", b"", 0), Outcome.SUCCESS, "fine\n"),
        (ExecResult(b"", b"cat: no\n", 1), Outcome.FAILURE, "cat: no\n"),
        (RuntimeUnavailable("late", "DEADLINE_EXCEEDED"), Outcome.FAILURE,
         'command timed out: "cat /tmp/x" timed out after 1s'),
        (RuntimeUnavailable("gone", "UNAVAILABLE"), Outcome.UNKNOWN,
         "rpc error: code = Unavailable desc = gone"),
    ],
)  # fmt: skip
def test_exec_probes(answer, outcome: Outcome, output: str):
    target = Target(Container(name="main"), "id", "127.0.0.1")
    wanted = Probe(exec=ExecAction(command=("cat", "/tmp/x")), timeout_seconds=1)
    result = asyncio.run(NetworkProber(_Commands(answer)).check(target, "liveness", wanted))  # type: ignore[arg-type]
    assert (result.outcome, result.output) == (outcome, output)


def test_a_probe_of_an_unknown_port_counts_neither_way():
    target = Target(Container(name="main"), "id", "127.0.0.1")
    wanted = Probe(tcp_socket=TCPSocketAction(port="nosuch"))
    result = asyncio.run(NetworkProber(_Commands(None)).check(target, "liveness", wanted))  # type: ignore[arg-type]
    assert result.outcome is Outcome.UNKNOWN
    assert result.output == 'couldn\'t find port: "nosuch" in container main'


@pytest.mark.parametrize(("serving", "good"), [(1, True), (2, False)])
def test_grpc_health(serving: int, good: bool):
    import grpc
    import grpc.aio

    from skiff.node.probers import grpc_health

    async def main() -> None:
        seen: list[bytes] = []

        async def answer(request: bytes, context) -> bytes:
            seen.append(request)
            return bytes([0x08, serving])

        server = grpc.aio.server()
        method = grpc.unary_unary_rpc_method_handler(answer)
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": method}),)
        )
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        result = await grpc_health("127.0.0.1", port, "web", 5)
        assert result.ok is good
        assert seen == [b"\x0a\x03web"]
        if not good:
            assert result.output == 'service unhealthy (responded with "NOT_SERVING")'
        await server.stop(None)
        gone = await grpc_health("127.0.0.1", port, "", 1)
        assert gone.output == f'timeout: failed to connect service "127.0.0.1:{port}" within 1s'

    asyncio.run(main())
