"""The HTTP proxies of pods, services and nodes."""

import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skiff.aio.entropy import Entropy
from skiff.aio.http.message import Request, Response
from skiff.aio.http.server import Server
from skiff.api.errors import BadRequest
from skiff.server.streaming.locate import Location, split_name
from skiff.server.streaming.proxy import split_path
from skiff.server.streaming.rewrite import rewrite_html, rewrite_url
from skiff.server.streaming.table import connectors
from tests.server.streaming_world import collect, run

NS = "/api/v1/namespaces/ns/"


class Backend:
    """A server that says what it got; every location leads to it."""

    def __init__(self) -> None:
        self.locations: list[Location] = []
        self.requests: list[Request] = []
        self.response = Response(200, b"plain", "text/plain")

    def dial(self, location: Location):
        self.locations.append(location)

        async def handle(request: Request) -> Response:
            self.requests.append(request)
            return self.response

        return handle


def proxied(world) -> Backend:
    backend = Backend()
    world.table = connectors(
        world.objects, world.kubelets, entropy=Entropy(1), dial_backend=backend.dial
    )
    world.objects.stored["pods", "ns", "p"] = {
        "metadata": {"name": "p"},
        "spec": {"containers": [{"name": "c", "ports": [{"containerPort": 8080}]}]},
        "status": {"podIP": "10.0.0.9"},
    }
    world.objects.stored["services", "ns", "s"] = {
        "metadata": {"name": "s"},
        "spec": {"ports": [{"name": "web", "port": 80}, {"name": "tls", "port": 443}]},
    }
    ports = [{"name": "web", "port": 8080}, {"name": "tls", "port": 8443}]
    world.objects.stored["endpoints", "ns", "s"] = {
        "metadata": {"name": "s"},
        "subsets": [{"addresses": [{"ip": "10.0.0.9"}], "ports": ports}],
    }
    world.objects.stored["services", "ns", "empty"] = {"metadata": {"name": "empty"}, "spec": {}}
    return backend


@pytest.mark.parametrize(
    ("path", "location", "target"),
    [
        ("pods/p/proxy/a/b?x=1", ("http", "10.0.0.9", 8080), "/a/b?x=1"),
        ("pods/p:81/proxy/", ("http", "10.0.0.9", 81), "/"),
        ("pods/https:p:443/proxy/x%2Fy", ("https", "10.0.0.9", 443), "/x%2Fy"),
        ("services/s:web/proxy/a", ("http", "10.0.0.9", 8080), "/a"),
        ("services/s:80/proxy/a", ("http", "10.0.0.9", 8080), "/a"),
        ("services/https:s:tls/proxy/", ("https", "10.0.0.9", 8443), "/"),
        ("services/https:s:443/proxy/", ("https", "10.0.0.9", 8443), "/"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"])
@pytest.mark.conformance(
    "[sig-network] Proxy version v1 should proxy through a service and a pod [Conformance]"
)
@pytest.mark.conformance(
    "[sig-network] Proxy version v1 A set of valid responses are returned for both pod and service "
    "Proxy [Conformance]"
)
def test_requests_reach_their_backend(tmp_path, path, location, target, method):
    async def scenario(world):
        backend = proxied(world)
        headers = {"authorization": "Bearer x", "host": "api:6443", "x-own": "1"}
        answer = await world.call(method, NS + path, headers, b"body")
        assert (answer.status, answer.body) == (200, b"plain")
        assert backend.locations == [Location(*location)]
        (request,) = backend.requests
        query = f"?{request.query}" if request.query else ""
        assert (request.method, request.path + query, request.body) == (method, target, b"body")
        assert request.headers["x-own"] == "1"
        assert "authorization" not in request.headers
        assert request.headers["x-forwarded-for"] == "10.1.1.1"

    run(scenario, tmp_path)


@pytest.mark.parametrize(
    ("path", "code", "message"),
    [
        ("pods/none/proxy/", 404, 'pods "none" not found'),
        ("pods/ftp:p:1/proxy/", 400, 'invalid pod request "ftp:p:1"'),
        ("services/none/proxy/", 404, 'services "none" not found'),
        ("services/empty/proxy/", 503, 'no endpoints available for service "empty"'),
        ("services/s:other/proxy/", 503, 'no endpoints available for service "s:other"'),
        ("services/s:81/proxy/", 503, 'no service port 81 found for service "s"'),
    ],
)
def test_refusals(tmp_path, path, code, message):
    async def scenario(world):
        proxied(world)
        answer = await world.call("GET", NS + path)
        assert answer.status == code
        assert json.loads(answer.body)["message"] == message

    run(scenario, tmp_path)


def test_only_addresses_of_the_pod_network_are_reached(tmp_path):
    async def scenario(world):
        proxied(world)
        for address in ("", "127.0.0.1", "169.254.169.254", "0.0.0.0", "::1"):
            world.objects.stored["pods", "ns", "p"]["status"]["podIP"] = address
            answer = await world.call("GET", NS + "pods/p/proxy/")
            assert (answer.status, json.loads(answer.body)["message"]) == (
                400,
                "address not allowed",
            )

    run(scenario, tmp_path)


@pytest.mark.conformance(
    "[sig-network] Proxy version v1 A set of valid responses are returned for both pod and service "
    "ProxyWithPath [Conformance]"
)
def test_a_bare_path_is_sent_to_its_directory(tmp_path):
    async def scenario(world):
        backend = proxied(world)
        answer = await world.call("GET", NS + "pods/p/proxy?method=GET")
        assert answer.status == 301
        assert ("Location", NS + "pods/p/proxy/?method=GET") in answer.headers
        assert (await world.call("POST", NS + "pods/p/proxy")).status == 200
        assert backend.requests[0].path == "/"

    run(scenario, tmp_path)


def test_the_nodes_own_api(tmp_path):
    async def scenario(world):
        answer = await world.call("GET", "/api/v1/nodes/n1/proxy/healthz")
        assert (answer.status, answer.body) == (200, b"ok")
        answer = await world.call("GET", "/api/v1/nodes/n1:10250/proxy/pods/")
        assert json.loads(answer.body)["kind"] == "PodList"
        answer = await world.call("GET", "/api/v1/nodes/n1/proxy/stats/summary")
        assert json.loads(answer.body)["node"]["nodeName"] == "n1"
        answer = await world.call("GET", "/api/v1/nodes/n1/proxy/metrics/resource")
        assert b"node_cpu_usage_seconds_total" in answer.body
        answer = await world.call("GET", "/api/v1/nodes/n1/proxy/nothing")
        assert answer.status == 404

    run(scenario, tmp_path)


def test_links_lead_back_through_the_proxy(tmp_path):
    async def scenario(world):
        backend = proxied(world)
        page = b'<a href="/x">x</a><img src=\'/y?z=1\'><a href="http://else/w">'
        backend.response = Response(
            200, page, "text/html; charset=utf-8",
            (("Location", "/there"), ("Access-Control-Allow-Origin", "*")),
        )  # fmt: skip
        answer = await world.call("GET", NS + "pods/p/proxy/")
        prefix = (NS + "pods/p/proxy").encode()
        assert answer.body == (
            b'<a href="' + prefix + b"/x\">x</a><img src='" + prefix + b"/y?z=1'>"
            b'<a href="http://else/w">'
        )
        assert answer.headers == (("Location", NS + "pods/p/proxy/there"),)

    run(scenario, tmp_path)


@pytest.mark.parametrize("encoding", ["", "gzip", "deflate"])
@pytest.mark.parametrize("streamed", [True, False])
def test_links_of_long_and_compressed_pages(tmp_path, encoding, streamed):
    windows = {"gzip": 31, "deflate": -15}
    page = b'<html><a href="/x">1 < 2</a>' * 50 + b"<"

    async def scenario(world):
        backend = proxied(world)
        body, headers = page, ()
        if encoding:
            packer = zlib.compressobj(wbits=windows[encoding])
            body, headers = (
                packer.compress(page) + packer.flush(),
                (("Content-Encoding", encoding),),
            )

        async def stream(writer):
            for at in range(0, len(body), 7):
                writer.write(body[at : at + 7])
                await writer.drain()

        backend.response = Response(
            200, b"" if streamed else body, "text/html", headers, stream if streamed else None
        )
        answer = await world.call("GET", NS + "pods/p/proxy/")
        found = await collect(answer) if streamed else answer.body
        if encoding:
            found = zlib.decompress(found, windows[encoding])
        assert found == page.replace(b"/x", (NS + "pods/p/proxy/x").encode())

    run(scenario, tmp_path)


def test_a_page_in_an_unknown_coding_passes_as_it_is(tmp_path):
    async def scenario(world):
        backend = proxied(world)
        page = b'<a href="/x">'
        backend.response = Response(200, page, "text/html", (("Content-Encoding", "br"),))
        assert (await world.call("GET", NS + "pods/p/proxy/")).body == page
        backend.response = Response(200, page, "text/html", (("Content-Encoding", "gzip"),))
        assert (await world.call("GET", NS + "pods/p/proxy/")).status == 503

    run(scenario, tmp_path)


def test_real_backends_stream_upgrade_and_fail(tmp_path):
    async def scenario(world):
        proxied(world)

        async def serve(request: Request) -> Response:
            if request.path == "/cookies":
                headers = (("Set-Cookie", "a=1, 2"), ("Set-Cookie", "b=2"))
                return Response(200, b"", "text/plain", headers)
            if request.path == "/echo":

                async def echo(raw):
                    while data := await raw.read():
                        raw.write(data[::-1])

                return Response(
                    101, headers=(("Upgrade", "x"), ("Connection", "Upgrade")), upgrade=echo
                )

            async def stream(writer):
                for _ in range(10):
                    writer.write(b"x" * 10_000)
                    await writer.drain()

            return Response(200, stream=stream, content_type="text/plain")

        server = Server(serve)
        _, port = await server.listen("127.0.0.1", 0)
        from skiff.aio.http.upstream import Upstream
        from skiff.aio.pipe import attached

        world.table = connectors(
            world.objects, world.kubelets, dial_backend=lambda _: Upstream("127.0.0.1", port)
        )
        assert len(await collect(await world.call("GET", NS + "pods/p/proxy/long"))) == 100_000
        answer = await world.call("GET", NS + "pods/p/proxy/cookies")
        assert [v for k, v in answer.headers if k == "set-cookie"] == ["a=1, 2", "b=2"]
        upgrade = {"connection": "Upgrade", "upgrade": "x"}
        answer = await world.call("GET", NS + "pods/p/proxy/echo", upgrade)
        assert answer.status == 101
        async with attached(answer.upgrade) as raw:
            raw.write(b"abc")
            assert await raw.read() == b"cba"
        await server.close(0)
        answer = await world.call("GET", NS + "pods/p/proxy/")
        assert answer.status == 503
        assert json.loads(answer.body)["message"] == (
            f"error trying to reach service: dial tcp 127.0.0.1:{port}: connect: connection refused"
        )

    run(scenario, tmp_path)


@pytest.mark.parametrize(
    ("text", "parts"),
    [("a", ("", "a", "")), ("a:1", ("", "a", "1")), ("https:a:b", ("https", "a", "b")),
     ("http:a:", ("http", "a", "")), ("https:a:", ("https", "a", ""))],
)  # fmt: skip
def test_names(text, parts):
    assert split_name(text, "pod") == parts


@pytest.mark.parametrize("text", ["", ":1", "x:a:1", "a:b:c:d"])
def test_names_that_are_none(text):
    with pytest.raises(BadRequest):
        split_name(text, "pod")


@pytest.mark.parametrize(
    ("target", "result"),
    [
        ("/a?b#c", "/p/a?b#c"), ("a", "a"), ("http://h/a", "/p/a"), ("http://other/a", "http://other/a"),
        ("/p/a", "/p/a"), ("/pa", "/p/pa"), ("#x", "#x"), ("//h/x", "/p/x"), ("http://[", "http://["),
    ],
)  # fmt: skip
def test_addresses(target, result):
    assert rewrite_url(target, "/p/", ("h",)) == result


@given(st.binary(max_size=200))
def test_rewriting_never_fails(page):
    rewrite_html(page, "/p", ("h",))


def test_paths_split_behind_the_name():
    assert split_path("/api/v1/namespaces/ns/pods/p/proxy/x/proxy", "p") == (
        "/api/v1/namespaces/ns/pods/p/proxy",
        "/x/proxy",
    )
    assert split_path("/api/v1/namespaces/ns/pods/http%3Ap%3A80/proxy", "http:p:80") == (
        "/api/v1/namespaces/ns/pods/http%3Ap%3A80/proxy",
        "",
    )
