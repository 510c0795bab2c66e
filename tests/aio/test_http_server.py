"""The HTTP server, byte by byte over a real socket."""

import asyncio
import contextlib
import ssl
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import uvloop

from skiff.aio.http import client_checks
from skiff.aio.http import server as module
from skiff.aio.http.client_checks import believed, checking
from skiff.aio.http.message import Handler, RawConnection, Request, Response, Writer
from skiff.aio.http.server import Limits, Server
from skiff.server.pki.authority import Layout

Reader, Sender = asyncio.StreamReader, asyncio.StreamWriter


def serve(
    handler: Handler,
    test: Callable[[Server, Reader, Sender], Awaitable[None]],
    limits: Limits | None = None,
) -> None:
    async def main() -> None:
        server = Server(handler, limits=limits)
        host, port = await server.listen("127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(host, port)
        try:
            async with asyncio.timeout(10):
                await test(server, reader, writer)
        finally:
            writer.close()
            await server.close(0.1)

    asyncio.run(main())


async def read(reader: Reader) -> tuple[int, dict[str, str], bytes]:
    """One response with a Content-Length."""
    status, headers = await read_head(reader)
    return status, headers, await reader.readexactly(int(headers.get("content-length", "0")))


async def read_head(reader: Reader) -> tuple[int, dict[str, str]]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    line, *rest = head.split("\r\n")
    return int(line.split()[1]), {
        k.lower(): v for k, _, v in (r.partition(": ") for r in rest if r)
    }


def echo(request: Request) -> Response:
    text = f"{request.method} {request.path} {request.query} {request.body.decode()}"
    return Response(200, text.encode(), "text/plain", (("X-Test", "1"),))


def test_requests_on_one_connection() -> None:
    async def test(server: Server, reader: Reader, writer: Sender) -> None:
        for i in range(3):
            writer.write(b"POST /a/%d?b=c HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi" % i)
            status, headers, body = await read(reader)
            assert (status, body) == (200, b"POST /a/%d b=c hi" % i)
            assert headers["content-type"] == "text/plain"
            assert headers["x-test"] == "1"
            assert headers["date"].endswith("GMT")
        assert server.requests == 3

    serve(echo, test)


def test_pipelined_requests_are_answered_in_order() -> None:
    async def slow(request: Request) -> Response:
        await asyncio.sleep(0.05 if request.path == "/0" else 0)
        return Response(200, request.path.encode())

    def handler(request: Request) -> Response | Awaitable[Response]:
        return Response(200, b"/now") if request.path == "/now" else slow(request)

    async def test(server: Server, reader: Reader, writer: Sender) -> None:
        writer.write(b"".join(b"GET /%d HTTP/1.1\r\n\r\n" % i for i in range(50)))
        writer.write(b"GET /now HTTP/1.1\r\n\r\n")
        got = [(await read(reader))[2] for _ in range(51)]
        assert got == [b"/%d" % i for i in range(50)] + [b"/now"]

    serve(handler, test)


def test_chunked_request_and_continue() -> None:
    async def test(server: Server, reader: Reader, writer: Sender) -> None:
        writer.write(
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n"
        )
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
        assert (await read(reader))[2].endswith(b"abcde")

    serve(echo, test)


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_beyond_the_limit_is_refused(announced: bool) -> None:
    limits = Limits(body_bytes=1000, too_large=Response(413, b"too large"))

    async def test(server: Server, reader: Reader, writer: Sender) -> None:
        if announced:
            writer.write(b"POST / HTTP/1.1\r\nContent-Length: 1001\r\n\r\n")
        else:
            writer.write(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n")
            writer.write(b"x" * 1001 + b"\r\n0\r\n\r\n")
        status, headers, body = await read(reader)
        assert (status, body, headers["connection"]) == (413, b"too large", "close")

    serve(echo, test, limits)


def test_headers_beyond_the_limit_are_refused() -> None:
    async def test(server: Server, reader: Reader, writer: Sender) -> None:
        writer.write(b"GET / HTTP/1.1\r\nX-Big: " + b"y" * 5000 + b"\r\n\r\n")
        assert (await read(reader))[0] == 431

    serve(echo, test, Limits(header_bytes=4000))


def test_what_is_not_http_is_refused() -> None:
    async def test(server: Server, reader: Reader, writer: Sender) -> None:
        writer.write(b"\x16\x03\x01 hello\r\n\r\n")
        assert (await read(reader))[0] == 400

    serve(echo, test)


def test_repeated_headers_are_joined_and_absolute_targets_read() -> None:
    def handler(request: Request) -> Response:
        assert list(request.values("x-a")) == ["1", "2"]
        assert list(request.values("x-b")) == ["3, 4"]
        return Response(200, f"{request.path} {request.headers['x-a']}".encode())

    async def test(server: Server, reader: Reader, writer: Sender) -> None:
        writer.write(b"GET http://host:1/p?q HTTP/1.1\r\nX-A: 1\r\nx-a: 2\r\nX-B: 3, 4\r\n\r\n")
        assert (await read(reader))[2] == b"/p 1, 2"

    serve(handler, test)


def test_head_has_no_body_and_old_clients_close() -> None:
    async def test(server: Server, reader: Reader, writer: Sender) -> None:
        writer.write(b"HEAD /h HTTP/1.1\r\n\r\nGET /n HTTP/1.0\r\n\r\n")
        _, headers = await read_head(reader)
        assert headers["content-length"] == str(len("HEAD /h  "))
        status, headers, _ = await read(reader)
        assert (status, headers["connection"]) == (200, "close")
        assert await reader.read() == b""

    serve(echo, test)


def test_a_failing_handler_answers_500(caplog: pytest.LogCaptureFixture) -> None:
    def handler(request: Request) -> Response:
        raise RuntimeError("a bug")

    async def test(server: Server, reader: Reader, writer: Sender) -> None:
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        assert (await read(reader))[0] == 500

    serve(handler, test)
    assert "a bug" in caplog.text


def test_large_bodies_arrive_whole() -> None:
    blocks = [b"%d" % (i % 10) * 300_000 for i in range(20)]

    def handler(request: Request) -> Response:
        return Response(200, blocks)

    async def test(server: Server, reader: Reader, writer: Sender) -> None:
        for _ in range(3):
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            await asyncio.sleep(0.05)
            assert (await read(reader))[2] == b"".join(blocks)

    serve(handler, test)


def test_a_stream_is_chunked_and_knows_when_the_peer_has_gone() -> None:
    gone = asyncio.Event()

    async def stream(writer: Writer) -> None:
        writer.write(b"one\n")
        await writer.drain()
        try:
            await writer.gone()
        finally:
            gone.set()

    async def test(server: Server, reader: Reader, writer: Sender) -> None:
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        _, headers = await read_head(reader)
        assert headers["transfer-encoding"] == "chunked"
        assert await reader.readexactly(9) == b"4\r\none\n\r\n"
        writer.close()
        await gone.wait()

    serve(lambda r: Response(200, stream=stream), test)


def test_a_stream_ends_and_the_connection_goes_on() -> None:
    async def stream(writer: Writer) -> None:
        writer.write(b"x" * 70_000)

    def handler(request: Request) -> Response:
        return Response(200, stream=stream) if request.path == "/s" else Response(200, b"after")

    async def test(server: Server, reader: Reader, writer: Sender) -> None:
        writer.write(b"GET /s HTTP/1.1\r\n\r\nGET /n HTTP/1.1\r\n\r\n")
        await read_head(reader)
        size = int(await reader.readline(), 16)
        assert await reader.readexactly(size) == b"x" * 70_000
        assert await reader.readexactly(7) == b"\r\n0\r\n\r\n"
        assert (await read(reader))[2] == b"after"

    serve(handler, test)


def test_a_slow_peer_shows_in_the_writer() -> None:
    seen: list[int] = []

    async def stream(writer: Writer) -> None:
        for _ in range(40):
            writer.write(b"x" * 500_000)
        seen.append(writer.buffered)
        await writer.drain()
        seen.append(writer.buffered)

    async def test(server: Server, reader: Reader, writer: Sender) -> None:
        writer.write(b"GET / HTTP/1.0\r\n\r\n")
        await asyncio.sleep(0.05)
        total = len((await reader.read()).partition(b"\r\n\r\n")[2])
        assert total == 20_000_000
        assert seen[0] > 5_000_000 > seen[1]

    serve(lambda r: Response(200, stream=stream), test)


def test_an_upgrade_hands_over_the_bytes_behind_the_request() -> None:
    async def upgraded(connection: RawConnection) -> None:
        while data := await connection.read():
            connection.write(data.upper())
            await connection.drain()

    def handler(request: Request) -> Response:
        headers = (("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1"))
        return Response(101, headers=headers, upgrade=upgraded)

    async def test(server: Server, reader: Reader, writer: Sender) -> None:
        writer.write(
            b"POST / HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n"
            b"Content-Length: 0\r\n\r\nearly"
        )
        status, headers = await read_head(reader)
        assert (status, headers["upgrade"]) == (101, "SPDY/3.1")
        assert await reader.readexactly(5) == b"EARLY"
        writer.write(b"late")
        assert await reader.readexactly(4) == b"LATE"
        writer.write_eof()
        assert await reader.read() == b""

    serve(handler, test)


@pytest.mark.parametrize("waits", [True, False])
def test_an_upgrade_that_is_not_taken_leaves_http(waits: bool) -> None:
    async def later(request: Request) -> Response:
        await asyncio.sleep(0.02)
        return Response(200, request.path.encode())

    def handler(request: Request) -> Response | Awaitable[Response]:
        return later(request) if waits else Response(200, request.path.encode())

    async def test(server: Server, reader: Reader, writer: Sender) -> None:
        writer.write(
            b"GET /a HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\nGET /b HTTP/1.1\r\n\r\n"
        )
        assert (await read(reader))[2] == b"/a"
        assert (await read(reader))[2] == b"/b"

    serve(handler, test)


def test_closing_lets_an_answer_out_and_ends_streams() -> None:
    async def stream(writer: Writer) -> None:
        await writer.gone()

    async def slow(request: Request) -> Response:
        await asyncio.sleep(0.1)
        return Response(200, b"done")

    def handler(request: Request) -> Response | Awaitable[Response]:
        return Response(200, stream=stream) if request.path == "/s" else slow(request)

    async def test(server: Server, reader: Reader, writer: Sender) -> None:
        host, port = writer.get_extra_info("peername")[:2]
        other_reader, other = await asyncio.open_connection(host, port)
        other.write(b"GET /s HTTP/1.1\r\n\r\n")
        writer.write(b"GET /slow HTTP/1.1\r\n\r\n")
        await read_head(other_reader)
        await asyncio.sleep(0.02)
        await server.close(2.0)
        assert (await read(reader))[2] == b"done"
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(host, port)
        other.close()

    serve(handler, test)


def test_idle_connections_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SWEEP_S", 0.02)

    async def test(server: Server, reader: Reader, writer: Sender) -> None:
        assert await reader.read() == b""

    serve(echo, test, Limits(idle_s=0.05))


def test_a_client_certificate_is_offered_and_not_demanded(tmp_path: Path) -> None:
    from skiff.server.pki import Request as Names
    from skiff.server.pki import ensure

    pki = ensure(tmp_path, Names("host"), now=time.time())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki.certificate("server"), pki.key("server"))
    context.load_verify_locations(pki.certificate("ca"))
    context.verify_mode = ssl.CERT_OPTIONAL

    def handler(request: Request) -> Response:
        return Response(200, b"known" if request.peer.certificate else b"unknown")

    async def main() -> None:
        server = Server(handler, tls=context)
        _, port = await server.listen("127.0.0.1", 0)
        assert await ask(port, pki, pki) == b"known"
        assert await ask(port, pki, None) == b"unknown"
        await server.close()

    asyncio.run(main())


async def ask(
    port: int, pki: Layout, shown: Layout | None, version: ssl.TLSVersion | None = None
) -> bytes:
    """What a client of the server of `pki` is answered, with the certificate of `shown`."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    if version is not None:
        client.maximum_version = version
    client.load_verify_locations(pki.certificate("ca"))
    if shown is not None:
        client.load_cert_chain(shown.certificate("admin"), shown.key("admin"))
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client)
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    body = (await read(reader))[2]
    writer.close()
    await writer.wait_closed()
    return body


def test_a_bad_client_certificate_is_answered_and_not_believed(tmp_path: Path) -> None:
    """Python's ssl would break off the handshake: then nobody could answer 401."""
    from skiff.server.pki import Request as Names
    from skiff.server.pki import ensure

    pki = ensure(tmp_path / "own", Names("host"), now=time.time())
    other = ensure(tmp_path / "other", Names("host"), now=time.time())
    context = checking(str(pki.certificate("ca")))
    context.load_cert_chain(pki.certificate("server"), pki.key("server"))

    def handler(request: Request) -> Response:
        assert request.peer.tls is not None
        return Response(
            200, b"%d %d" % (bool(request.peer.certificate), believed(request.peer.tls))
        )

    async def main() -> None:
        server = Server(handler, tls=context)
        _, port = await server.listen("127.0.0.1", 0)
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            for _ in range(2):
                assert await ask(port, pki, pki, version) == b"1 1"
                assert await ask(port, pki, other, version) == b"1 0"
                assert await ask(port, pki, None, version) == b"0 1"
        await server.close()

    for run in (asyncio.run, uvloop.run):
        run(main())
    assert not context.verified(b"anything")


def test_forgotten_certificates_are_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from skiff.server.pki import Request as Names
    from skiff.server.pki import ensure

    monkeypatch.setattr(client_checks, "REMEMBERED", 1)
    pki = ensure(tmp_path, Names("host"), now=time.time())
    server = checking(str(pki.certificate("ca")))
    server.load_cert_chain(pki.certificate("server"), pki.key("server"))
    first, second = (shake(server, pki, name) for name in ("admin", "control"))
    assert [believed(first), believed(second)] == [False, True]


def test_a_certificate_that_was_good_is_not_believed_for_ever(tmp_path: Path) -> None:
    from skiff.server.pki import Request as Names
    from skiff.server.pki import ensure

    pki = ensure(tmp_path, Names("host"), now=time.time())
    server = checking(str(pki.certificate("ca")))
    server.load_cert_chain(pki.certificate("server"), pki.key("server"))
    assert believed(shake(server, pki, "admin"))
    # From here on no certificate is good: there is no list of revoked ones to look into.
    server.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    assert not believed(shake(server, pki, "admin"))


def shake(server: ssl.SSLContext, pki: Layout, name: str) -> ssl.SSLObject:
    """The server's end of a handshake in memory."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(pki.certificate("ca"))
    context.load_cert_chain(pki.certificate(name), pki.key(name))
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        context.wrap_bio(to_client, to_server),
        server.wrap_bio(to_server, to_client, server_side=True),
    )
    for _ in range(4):
        for end in ends:
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
    return ends[1]
