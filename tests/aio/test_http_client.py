"""The HTTP client against small servers that misbehave on cue."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from skiff.aio.http.client import Disconnected, HttpClient, Origin, Unreachable

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def run(serve: Serve, test: Callable[[HttpClient], Awaitable[None]], **kw: object) -> None:
    async def main() -> None:
        async def guarded(r: asyncio.StreamReader, w: asyncio.StreamWriter) -> None:
            try:
                await serve(r, w)
            except (asyncio.IncompleteReadError, ConnectionError):
                pass
            finally:
                w.close()

        server = await asyncio.start_server(guarded, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        client = HttpClient(Origin("127.0.0.1", port), **kw)  # type: ignore[arg-type]
        try:
            async with asyncio.timeout(10):
                await test(client)
        finally:
            client.close()
            server.close()
            await asyncio.sleep(0.01)

    asyncio.run(main())


async def head(r: asyncio.StreamReader) -> bytes:
    return await r.readuntil(b"\r\n\r\n")


def ok(body: bytes, extra: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\n%scontent-length: %d\r\n\r\n%s" % (extra, len(body), body)


def test_keeps_the_connection_and_sends_what_is_asked() -> None:
    connections = 0
    seen: list[bytes] = []

    async def serve(r: asyncio.StreamReader, w: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while True:
            seen.append(await head(r))
            w.write(ok(b"body", b"X-A: 1\r\nX-A: 2\r\n"))

    async def check(client: HttpClient) -> None:
        for _ in range(3):
            answer = await client.request("GET", "/x?y=1", headers={"accept": "a/b"})
            assert (answer.status, answer.body) == (200, b"body")
            assert answer.headers["x-a"] == "1, 2"

    run(serve, check, headers=lambda: {"authorization": "Bearer t"})
    assert connections == 1
    assert seen[0].startswith(b"GET /x?y=1 HTTP/1.1\r\nhost: 127.0.0.1:")
    assert b"authorization: Bearer t\r\naccept: a/b\r\n\r\n" in seen[0]


def test_the_pool_is_bounded_and_fair() -> None:
    open_now = most = 0

    async def serve(r: asyncio.StreamReader, w: asyncio.StreamWriter) -> None:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        try:
            while True:
                await head(r)
                await asyncio.sleep(0.001)
                w.write(ok(b""))
        finally:
            open_now -= 1

    async def check(client: HttpClient) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(50):
                group.create_task(client.request("GET", "/"))

    run(serve, check, max_connections=4)
    assert most == 4


@pytest.mark.parametrize(("method", "repeated"), [("GET", True), ("POST", False)])
def test_a_stale_connection_is_replaced_where_repeating_is_safe(
    method: str, repeated: bool
) -> None:
    count = 0

    async def serve(r: asyncio.StreamReader, w: asyncio.StreamWriter) -> None:
        nonlocal count
        count += 1
        await head(r)
        w.write(ok(b"1"))
        if count == 1:
            await head(r)  # takes the second request and hangs up without a word

    async def check(client: HttpClient) -> None:
        await client.request(method, "/")
        if repeated:
            assert (await client.request(method, "/")).body == b"1"
        else:
            with pytest.raises(Disconnected):
                await client.request(method, "/")

    run(serve, check)


def test_streams_chunks_and_notices_a_torn_end() -> None:
    async def serve(r: asyncio.StreamReader, w: asyncio.StreamWriter) -> None:
        await head(r)
        w.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        for part in (b"one", b"two"):
            w.write(b"%x\r\n%s\r\n" % (len(part), part))
            await w.drain()
            await asyncio.sleep(0.01)

    async def check(client: HttpClient) -> None:
        got = b""
        with pytest.raises(Disconnected):
            async with client.stream("GET", "/") as answer:
                assert answer.status == 200
                async for chunk in answer:
                    got += chunk
        assert got == b"onetwo"

    run(serve, check)


def test_a_stream_takes_the_connection_of_an_earlier_request() -> None:
    connections = 0

    async def serve(r: asyncio.StreamReader, w: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while True:
            await head(r)
            w.write(ok(b"body"))

    async def check(client: HttpClient) -> None:
        await client.request("GET", "/list")
        async with client.stream("GET", "/watch") as answer:
            assert [part async for part in answer] == [b"body"]
        await client.request("GET", "/list")  # the stream's connection has ended with it

    run(serve, check)
    assert connections == 2


def test_a_stream_on_a_stale_connection_begins_again_on_a_new_one() -> None:
    connections = 0

    async def serve(r: asyncio.StreamReader, w: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await head(r)
        w.write(ok(b"body"))
        if connections == 1:  # goes away just as the next request comes
            await head(r)

    async def check(client: HttpClient) -> None:
        await client.request("GET", "/list")
        async with client.stream("GET", "/watch") as answer:
            assert [part async for part in answer] == [b"body"]

    run(serve, check)
    assert connections == 2


def test_a_slow_consumer_pauses_the_sender() -> None:
    sent = 0

    async def serve(r: asyncio.StreamReader, w: asyncio.StreamWriter) -> None:
        nonlocal sent
        await head(r)
        w.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n")
        block = b"x" * 1_000_000
        for _ in range(100):
            w.write(block)
            await w.drain()
            sent += len(block)

    async def check(client: HttpClient) -> None:
        async with client.stream("GET", "/") as answer:
            await answer.read()
            await asyncio.sleep(0.3)
            assert sent < 60_000_000

    run(serve, check)


def test_upgrade_gives_the_raw_connection_with_bytes_that_came_early() -> None:
    async def serve(r: asyncio.StreamReader, w: asyncio.StreamWriter) -> None:
        await head(r)
        w.write(
            b"HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: echo\r\n\r\nhi"
        )
        w.write(await r.readexactly(3))

    async def check(client: HttpClient) -> None:
        answer, raw = await client.upgrade(
            "POST", "/", headers={"connection": "Upgrade", "upgrade": "echo"}
        )
        assert answer.status == 101
        assert raw is not None
        assert await raw.read() == b"hi"
        raw.write(b"abc")
        await raw.drain()
        assert await raw.read() == b"abc"
        assert await raw.read() == b""
        await raw.gone() if raw.closed else raw.close()

    run(serve, check)


def test_a_refused_upgrade_is_a_whole_response() -> None:
    async def serve(r: asyncio.StreamReader, w: asyncio.StreamWriter) -> None:
        await head(r)
        w.write(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno")

    async def check(client: HttpClient) -> None:
        answer, raw = await client.upgrade("GET", "/", headers={"connection": "Upgrade"})
        assert (answer.status, answer.body, raw) == (403, b"no", None)

    run(serve, check)


def test_refused_connection_names_the_address() -> None:
    async def main() -> None:
        client = HttpClient(Origin("127.0.0.1", 1))
        with pytest.raises(Unreachable, match=r"http://127.0.0.1:1"):
            await client.request("GET", "/")

    asyncio.run(main())


def test_a_cancelled_request_does_not_leak_its_answer_into_the_next() -> None:
    async def serve(r: asyncio.StreamReader, w: asyncio.StreamWriter) -> None:
        while True:
            line = (await head(r)).split(b" ")[1]
            await asyncio.sleep(0.05 if line == b"/slow" else 0)
            w.write(ok(line))

    async def check(client: HttpClient) -> None:
        with pytest.raises(TimeoutError):
            await client.request("GET", "/slow", timeout_s=0.01)
        assert (await client.request("GET", "/fast")).body == b"/fast"

    run(serve, check)


def test_head_and_interim_responses() -> None:
    async def serve(r: asyncio.StreamReader, w: asyncio.StreamWriter) -> None:
        while True:
            first = await head(r)
            if first.startswith(b"HEAD"):
                w.write(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n")
            else:
                w.write(b"HTTP/1.1 100 Continue\r\n\r\n" + ok(b"z"))

    async def check(client: HttpClient) -> None:
        assert (await client.request("HEAD", "/")).status == 200
        assert (await client.request("POST", "/", body=b"q")).body == b"z"

    run(serve, check)


def test_lines_may_end_without_a_carriage_return() -> None:
    async def serve(r: asyncio.StreamReader, w: asyncio.StreamWriter) -> None:
        await head(r)
        # As a web server passes on what a script wrote.
        w.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\nX: y\n\n{}")

    async def check(client: HttpClient) -> None:
        answer = await client.request("GET", "/")
        assert (answer.status, answer.headers["x"], answer.body) == (200, "y", b"{}")

    run(serve, check)
