"""pods/log: what it answers, and how it refuses."""

import json

import pytest

from tests.server.streaming_world import PODS, collect, run


@pytest.mark.parametrize(
    ("query", "expected"),
    [("", b"one\ntwo\n"), ("?tailLines=1", b"two\n"), ("?limitBytes=2", b"on")],
)
def test_logs(tmp_path, query, expected):
    async def scenario(world):
        container = await world.add_pod()
        world.runtime.write_log(container, "one")
        world.runtime.write_log(container, "two")
        answer = await world.call("GET", PODS + "p/log" + query)
        assert (answer.status, answer.content_type) == (200, "text/plain")
        assert await collect(answer) == expected

    run(scenario, tmp_path)


def test_following_ends_with_the_container(tmp_path):
    async def scenario(world):
        container = await world.add_pod()
        world.runtime.write_log(container, "one")
        answer = await world.call("GET", PODS + "p/log?follow=true")
        world.runtime.write_log(container, "two")
        world.runtime.end(container, 0)
        assert await collect(answer) == b"one\ntwo\n"

    run(scenario, tmp_path)


@pytest.mark.conformance(
    "[sig-node] Pods should support retrieving logs from the container over websockets "
    "[NodeConformance] [Conformance]"
)
def test_logs_over_websocket(tmp_path):
    async def scenario(world):
        container = await world.add_pod()
        world.runtime.write_log(container, "container is alive")
        for protocol, text in (("binary.k8s.io", False), ("base64.binary.k8s.io", True)):
            async with world.websocket(PODS + "p/log?container=c", protocol) as (client, chosen):
                assert chosen == protocol
                message = await client.receive()
                assert message.text == text
                if not text:
                    assert message.data == b"container is alive\n"
                assert await client.receive() is None

    run(scenario, tmp_path)


@pytest.mark.parametrize(
    ("state", "last", "query", "message"),
    [
        (
            {"waiting": {"reason": "ContainerCreating"}}, {}, "",
            'container "c" in pod "p" is waiting to start: ContainerCreating',
        ),
        (
            {"waiting": {"reason": "ImagePullBackOff"}}, {}, "",
            'container "c" in pod "p" is waiting to start: trying and failing to pull image',
        ),
        (
            {"waiting": {"reason": "ErrImagePull"}}, {}, "",
            'container "c" in pod "p" is waiting to start: image can\'t be pulled',
        ),
        (
            {"running": {}}, {}, "?previous=true",
            'previous terminated container "c" in pod "p" not found',
        ),
        ({"terminated": {}}, {}, "", 'container "c" in pod "p" is terminated'),
        ({}, {}, "", 'container "c" in pod "p" is waiting to start - no logs yet'),
    ],
)  # fmt: skip
def test_containers_without_a_log_say_why(tmp_path, state, last, query, message):
    async def scenario(world):
        await world.add_pod(running=False)
        world.status_of("p", state, last)
        answer = await world.call("GET", PODS + "p/log" + query)
        status = json.loads(answer.body)
        assert (status["reason"], status["message"]) == ("BadRequest", message)

    run(scenario, tmp_path)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("tailLines=-1", "tailLines: Invalid value: -1: must be greater than or equal to 0"),
        ("sinceSeconds=0", "sinceSeconds: Invalid value: 0: must be greater than 0"),
        ("limitBytes=0", "limitBytes: Invalid value: 0: must be greater than 0"),
        (
            "stream=X",
            'stream: Unsupported value: "X": supported values: "All", "Stdout", "Stderr"',
        ),
        (
            "tailLines=1&stream=Stdout",
            "Forbidden: `tailLines` and specific `stream` are mutually exclusive for now",
        ),
    ],
)
def test_options_are_checked(tmp_path, query, message):
    async def scenario(world):
        await world.add_pod()
        answer = await world.call("GET", PODS + "p/log?" + query)
        status = json.loads(answer.body)
        assert (answer.status, status["reason"]) == (422, "Invalid")
        assert status["message"] == f'PodLogOptions "p" is invalid: {message}'

    run(scenario, tmp_path)


def test_a_pod_without_a_node_has_no_log(tmp_path):
    async def scenario(world):
        await world.add_pod(running=False, node="")
        assert (await world.call("GET", PODS + "p/log")).status == 204

    run(scenario, tmp_path)


def test_a_kubelet_that_is_away_is_told(tmp_path):
    async def scenario(world):
        await world.add_pod(running=False, node="far")
        world.objects.stored["nodes", "", "far"] = {
            "metadata": {"name": "far"},
            "status": {
                "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
                "daemonEndpoints": {"kubeletEndpoint": {"Port": 1}},
            },
        }
        answer = await world.call("GET", PODS + "p/log")
        assert answer.status == 500
        assert json.loads(answer.body)["message"] == (
            'Get "https://127.0.0.1:1/containerLogs/ns/p/c": dial tcp 127.0.0.1:1: connect: '
            "connection refused"
        )

    run(scenario, tmp_path)
