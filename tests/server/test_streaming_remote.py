"""exec, attach and port-forward, by every protocol that clients speak."""

import asyncio
import base64
import json

import pytest

from skiff.node.runtime import ExecResult
from tests.server.streaming_world import PODS, TunnelRaw, messages, run, spdy_client

EXEC = PODS + "p/exec?command=x&stdin={i}&stdout=1&stderr=1"
EXIT_3 = {
    "metadata": {},
    "status": "Failure",
    "message": "command terminated with non-zero exit code: exit status 3",
    "reason": "NonZeroExitCode",
    "details": {"causes": [{"reason": "ExitCode", "message": "3"}]},
}


def scripted(world) -> None:
    world.runtime.exec_handler = lambda _id, argv: ExecResult(b"out " + argv[0].encode(), b"err", 3)


@pytest.mark.parametrize("protocol", ["v5.channel.k8s.io", "v4.channel.k8s.io", "channel.k8s.io"])
@pytest.mark.conformance(
    "[sig-node] Pods should support remote command execution over websockets "
    "[NodeConformance] [Conformance]"
)
def test_exec_over_websocket(tmp_path, protocol):
    async def scenario(world):
        await world.add_pod()
        scripted(world)
        async with world.websocket(EXEC.format(i=0), protocol) as (client, chosen):
            assert chosen == protocol
            found = await messages(client)
        assert (found[1], found[2]) == (b"out x", b"err")
        assert json.loads(found[3]) == EXIT_3

    run(scenario, tmp_path)


def test_exec_over_websocket_in_base64(tmp_path):
    async def scenario(world):
        await world.add_pod()
        scripted(world)
        async with world.websocket(EXEC.format(i=0), "base64.channel.k8s.io") as (client, _):
            found = await messages(client)
        assert base64.b64decode(found[ord("1")]) == b"out x"

    run(scenario, tmp_path)


def test_stdin_ends_when_the_client_closes_its_channel(tmp_path):
    async def scenario(world):
        await world.add_pod()
        path = PODS + "p/exec?command=cat&stdin=true&stdout=true&container=c"
        async with world.websocket(path, "v5.channel.k8s.io") as (client, _):
            await client.send(b"\0" + b"some ")
            await client.send(b"\0" + bytes(100_000))
            await client.send(b"\xff\0")
            found = await messages(client)
        assert found[1] == b"some " + bytes(100_000)
        assert json.loads(found[3])["status"] == "Success"

    run(scenario, tmp_path)


def test_exec_over_spdy(tmp_path):
    async def scenario(world):
        await world.add_pod()
        scripted(world)
        async with world.spdy(EXEC.format(i=0), "v4.channel.k8s.io") as client:
            streams = {
                k: await client.open([("streamType", k)]) for k in ("error", "stdout", "stderr")
            }
            assert await streams["stdout"].read_all(100) == b"out x"
            assert await streams["stderr"].read_all(100) == b"err"
            assert json.loads(await streams["error"].read_all(1000)) == EXIT_3

    run(scenario, tmp_path)


def test_a_command_is_told_when_its_client_leaves(tmp_path):
    async def scenario(world):
        await world.add_pod()
        path = PODS + "p/exec?command=cat&stdin=true&stdout=true"
        async with world.websocket(path, "v5.channel.k8s.io") as (client, _):
            await client.send(b"\0x")
            while (await client.receive()).data != b"\1x":
                pass

    run(scenario, tmp_path)


def test_attach_shows_what_is_logged_and_ends_with_the_container(tmp_path):
    async def scenario(world):
        container = await world.add_pod()
        world.runtime.write_log(container, "before")
        async with world.websocket(PODS + "p/attach", "v5.channel.k8s.io") as (client, _):
            seen = b""
            while not seen:
                world.runtime.write_log(container, "during")
                seen = (await client.receive()).data[1:]
                await asyncio.sleep(0.01)
            world.runtime.end(container, 0)
            found = await messages(client)
        assert set((seen + found.get(1, b"")).split()) == {b"during"}
        assert json.loads(found[3])["status"] == "Success"

    run(scenario, tmp_path)


@pytest.mark.parametrize(
    ("path", "code", "message"),
    [
        ("none/exec?command=x", 404, 'pods "none" not found'),
        ("p/exec?command=x&container=z", 400, "container z is not valid for pod p"),
        (
            "two/exec?command=x",
            400,
            "a container name must be specified for pod two, choose one of: [a b]"
            " or one of the init containers: [i]",
        ),
        ("free/exec?command=x", 400, "pod free does not have a host assigned"),
        ("lost/exec?command=x", 404, 'nodes "gone" not found'),
        ("p/exec?command=x", 400, "Upgrade request required"),
        ("p/portforward?ports=x", 400, None),
        ("free/portforward", 400, "pod free does not have a host assigned"),
    ],
)
def test_refusals(tmp_path, path, code, message):
    async def scenario(world):
        await world.add_pod()
        await world.add_pod("two", ("a", "b"), running=False, initContainers=[{"name": "i"}])
        await world.add_pod("free", running=False, node="")
        await world.add_pod("lost", running=False, node="gone")
        answer = await world.call("POST", PODS + path)
        status = json.loads(answer.body)
        assert (answer.status, status["code"]) == (code, code)
        if message:
            assert status["message"] == message

    run(scenario, tmp_path)


def test_a_command_that_cannot_start_is_told_by_each_protocol(tmp_path):
    async def scenario(world):
        container = await world.add_pod()
        world.runtime.end(container, 0)
        async with world.websocket(EXEC.format(i=0), "v5.channel.k8s.io") as (client, _):
            found = await messages(client)
        status = json.loads(found[3])
        assert status["reason"] == "InternalError"
        assert status["message"].startswith(
            "Internal error occurred: unable to upgrade connection: "
        )
        headers = {"connection": "Upgrade", "upgrade": "SPDY/3.1"}
        answer = await world.call("POST", EXEC.format(i=0), headers)
        assert answer.status == 500
        assert b"container is in CONTAINER_EXITED state" in answer.body

    run(scenario, tmp_path)


async def shout(_sandbox, port, stream) -> None:
    """A service of the pod: answers in capitals."""
    if port != 80:
        raise ConnectionRefusedError("connection refused")
    while data := await stream.read():
        await stream.write(data.upper())


async def forwarded(client, port: int, request: str, data: bytes) -> tuple[bytes, bytes]:
    """What a forwarded connection answers, and its errors."""
    common = (("port", str(port)), ("requestid", request))
    error = await client.open((("streamtype", "error"), *common))
    error.close()
    stream = await client.open((("streamtype", "data"), *common))
    await stream.write(data)
    stream.close()
    return await stream.read_all(1000), await error.read_all(1000)


async def check_forward(client) -> None:
    assert await forwarded(client, 80, "0", b"abc") == (b"ABC", b"")
    assert await forwarded(client, 81, "1", b"abc") == (
        b"",
        b"failed to forward port 81: connection refused",
    )
    assert await forwarded(client, 80, "2", b"def") == (b"DEF", b"")


def test_port_forward_over_spdy(tmp_path):
    async def scenario(world):
        await world.add_pod()
        world.runtime.forward_handler = shout
        async with world.spdy(PODS + "p/portforward", "portforward.k8s.io") as client:
            await check_forward(client)

    run(scenario, tmp_path)


def test_port_forward_tunnelled_in_websocket(tmp_path):
    async def scenario(world):
        await world.add_pod()
        world.runtime.forward_handler = shout
        protocol = "SPDY/3.1+portforward.k8s.io"
        async with world.websocket(PODS + "p/portforward", protocol) as (client, chosen):
            assert chosen == protocol
            async with spdy_client(TunnelRaw(client)) as spdy:
                await check_forward(spdy)

    run(scenario, tmp_path)


def test_port_forward_over_websocket_channels(tmp_path):
    async def scenario(world):
        await world.add_pod()
        world.runtime.forward_handler = shout
        path = PODS + "p/portforward?ports=80,81"
        async with world.websocket(path, "v4.channel.k8s.io") as (client, _):
            found: dict[int, bytes] = {}
            await client.send(b"\0abc")
            while found.get(0) != b"\x50\0ABC" or b"refused" not in found.get(3, b""):
                message = await client.receive()
                channel = message.data[0]
                found[channel] = found.get(channel, b"") + message.data[1:]
            assert found[2] == b"\x51\0"

    run(scenario, tmp_path)
