"""The server as a component: TLS, a file, a start, a stop, another start."""

import asyncio
import contextlib
import ssl
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import orjson
import pytest

from skiff.aio.clock import RealClock
from skiff.aio.entropy import Entropy
from skiff.aio.http.client import HttpClient, Origin
from skiff.aio.http.message import Peer, Response
from skiff.aio.http.message import Request as HttpRequest
from skiff.api.errors import ApiError
from skiff.api.resources import CONFIGMAPS, EVENTS
from skiff.server import run as module
from skiff.server.pki import Pki, Request, ensure
from skiff.server.run import Compaction, EventExpiry, ServerComponent, ServerConfig
from tests.server.engine_world import CONFIGMAPS as PATH
from tests.server.engine_world import World, configmap, play


def config(directory: Path, pki: Pki, **more: object) -> ServerConfig:
    return ServerConfig(
        database=directory / "store.db",
        tls_cert_file=pki.certificate("server"),
        tls_private_key_file=pki.key("server"),
        client_ca_file=pki.certificate("ca"),
        bind_address="127.0.0.1",
        advertise_address="192.0.2.1",
        secure_port=0,
        service_account_signing_key_file=pki.key("sa"),
        **more,  # type: ignore[arg-type]
    )


ADMIN = {"user": ("admin", ("system:masters",))}

Test = Callable[[HttpClient, ServerComponent], Awaitable[None]]


def serve(directory: Path, test: Test, identity: str = "admin", **more: object) -> None:
    pki = ensure(directory / "pki", Request("host"), now=time.time())

    async def main() -> None:
        component = ServerComponent(config(directory, pki, **more), RealClock(), Entropy())
        ready = asyncio.Event()
        task = asyncio.get_running_loop().create_task(component.run(ready.set))
        waiting = asyncio.get_running_loop().create_task(ready.wait())
        await asyncio.wait([task, waiting], timeout=20, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            waiting.cancel()
            task.result()
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        tls.load_verify_locations(pki.certificate("ca"))
        if identity:
            tls.load_cert_chain(pki.certificate(identity), pki.key(identity))
        client = HttpClient(Origin("127.0.0.1", component.address[1], tls=tls))
        try:
            async with asyncio.timeout(20):
                await test(client, component)
        finally:
            client.close()
            task.cancel()
            await asyncio.wait([task])

    asyncio.run(main())


async def call(client: HttpClient, method: str, path: str, body: object = None) -> tuple[int, dict]:
    headers = {"content-type": "application/json"}
    data = b"" if body is None else orjson.dumps(body)
    response = await client.request(method, path, headers=headers, body=data)
    return response.status, orjson.loads(response.body)


def test_what_was_written_is_there_after_a_restart(tmp_path: Path) -> None:
    made: list[dict] = []

    async def write(client: HttpClient, component: ServerComponent) -> None:
        status, answer = await call(client, "POST", PATH, configmap("kept", {"x": "1"}))
        assert status == 201
        made.append(answer)

    async def read(client: HttpClient, component: ServerComponent) -> None:
        assert await call(client, "GET", f"{PATH}/kept") == (200, made[0])
        _, service = await call(client, "GET", "/api/v1/namespaces/default/services/kubernetes")
        assert service["spec"]["clusterIP"] == "10.96.0.1"

    serve(tmp_path, write)
    serve(tmp_path, read)


def test_who_may_do_what(tmp_path: Path) -> None:
    async def nobody(client: HttpClient, component: ServerComponent) -> None:
        status, answer = await call(client, "GET", "/api/v1/namespaces/default/secrets")
        assert status == 403
        assert answer["message"] == (
            'secrets is forbidden: User "system:anonymous" cannot list resource "secrets" in API '
            'group "" in the namespace "default"'
        )
        response = await client.request("GET", "/readyz")
        assert (response.status, response.body) == (200, b"ok")

    serve(tmp_path, nobody, identity="")


def test_tokens_of_a_file(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.csv"
    tokens.write_text('secret,alice,1,"system:masters"\n')

    async def test(client: HttpClient, component: ServerComponent) -> None:
        for token, status in (("secret", 200), ("wrong", 401)):
            headers = {"authorization": f"Bearer {token}"}
            response = await client.request("GET", "/api/v1/nodes", headers=headers)
            assert response.status == status

    serve(tmp_path, test, identity="", token_auth_file=tokens)


def test_a_body_that_is_too_large(tmp_path: Path) -> None:
    async def test(client: HttpClient, component: ServerComponent) -> None:
        huge = configmap("big", {"x": "y" * 3_200_000})
        status, answer = await call(client, "POST", PATH, huge)
        assert status == 413
        assert answer["message"] == "Request entity too large: limit is 3145728"

    serve(tmp_path, test)


def test_a_port_in_use_is_said_before_the_store_is_touched(tmp_path: Path) -> None:
    async def test(client: HttpClient, component: ServerComponent) -> None:
        second = ServerComponent(component.config, RealClock(), Entropy())
        second.config.database = tmp_path / "other.db"
        with pytest.raises(OSError, match="in use"):
            await second.run(lambda: None)
        assert not (tmp_path / "other.db").exists()

    serve(tmp_path, test)


def test_watches_over_tls_end_with_the_server(tmp_path: Path) -> None:
    async def test(client: HttpClient, component: ServerComponent) -> None:
        async with client.stream("GET", f"{PATH}?watch=1&fieldSelector=metadata.name%3Da") as watch:
            await call(client, "POST", PATH, configmap("a"))
            chunks = watch.__aiter__()
            event = orjson.loads(await chunks.__anext__())
            assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", "a")

    serve(tmp_path, test)


def test_history_is_compacted(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(w: World) -> None:
        compaction = Compaction(w.store, w.clock)
        for i in range(5):
            await w.create(PATH, configmap(f"c{i}"))
        task = asyncio.get_running_loop().create_task(compaction.run(lambda: None))
        await asyncio.sleep(0)
        before = w.store.revision
        await w.create(PATH, configmap("later"))
        w.clock.seconds += module.HISTORY_S + 1
        for _ in range(5):
            await asyncio.sleep(0)
        assert before <= w.store.compacted <= w.store.revision
        assert w.api.engine.get(CONFIGMAPS, "c0", "default")
        task.cancel()
        await asyncio.wait([task])

    play(test)


def test_events_go_after_an_hour() -> None:
    async def test(w: World) -> None:
        events = "/api/v1/namespaces/default/events"

        def event(name: str) -> dict:
            about = {"kind": "Pod", "namespace": "default", "name": "p"}
            return {"metadata": {"name": name}, "involvedObject": about, "reason": "R"}

        await w.create(events, event("old"))
        expiry = EventExpiry(w.api.engine, w.clock, 3600.0)
        task = asyncio.get_running_loop().create_task(expiry.run(lambda: None))
        await asyncio.sleep(0)
        w.clock.seconds += 1800
        await w.create(events, event("new"))
        await w.merge(f"{events}/old", {"count": 2})
        await w.create(events, event("short"))
        w.clock.seconds += 1900
        for _ in range(5):
            await asyncio.sleep(0)
        assert {e["metadata"]["name"] for e in w.api.engine.list(EVENTS)} == {"old", "new", "short"}
        w.clock.seconds += 1800
        for _ in range(5):
            await asyncio.sleep(0)
        assert not w.api.engine.list(EVENTS)
        task.cancel()
        await asyncio.wait([task])

    play(test)


def test_a_certificate_of_another_authority_is_no_credential(tmp_path: Path) -> None:
    """401, as Kubernetes answers it; a token beside it still counts."""
    other = ensure(tmp_path / "other", Request("host"), now=time.time())
    tokens = tmp_path / "tokens.csv"
    tokens.write_text('secret,alice,1,"system:masters"\n')

    async def test(client: HttpClient, component: ServerComponent) -> None:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        tls.load_verify_locations(component.config.client_ca_file)
        tls.load_cert_chain(other.certificate("admin"), other.key("admin"))
        stranger = HttpClient(Origin("127.0.0.1", component.address[1], tls=tls))
        try:
            for path in (PATH, "/readyz"):
                status, answer = await call(stranger, "GET", path)
                assert (status, answer["message"]) == (401, "Unauthorized")
            headers = {"authorization": "Bearer secret"}
            assert (await stranger.request("GET", PATH, headers=headers)).status == 200
            assert (await call(stranger, "GET", PATH))[0] == 401
        finally:
            stranger.close()
        assert (await call(client, "GET", PATH))[0] == 200

    serve(tmp_path, test, token_auth_file=tokens)


def test_a_server_whose_indexes_stand_still_ends(tmp_path: Path) -> None:
    """It would go on answering from before: whoever restarts it gets one that sees."""
    component = ServerComponent(
        config(tmp_path, ensure(tmp_path / "pki", Request("host"), now=time.time())),
        RealClock(),
        Entropy(),
    )

    async def main() -> None:
        heard: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, told: heard.append(told))
        ready = asyncio.Event()

        def bug(changes: object) -> None:
            raise KeyError("vm")

        async def run() -> None:
            with pytest.raises(KeyError, match="vm"):
                await component.run(ready.set)

        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            group.create_task(run())
            await ready.wait()
            assert component.api is not None
            component.api.engine.subscribe(CONFIGMAPS, bug)
            request = HttpRequest(
                "POST", PATH, "", {"content-type": "application/json"},
                orjson.dumps(configmap("a")), Peer(("", 0), local=True, state=ADMIN),
            )  # fmt: skip
            answer = component.api.handle(request)
            if not isinstance(answer, Response):
                with contextlib.suppress(ApiError):
                    await answer
        assert heard

    asyncio.run(main())
