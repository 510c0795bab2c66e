"""Protobuf through the whole server: bodies in, answers out."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from skiff.api.protobuf import decode, encode
from skiff.api.resources import by_kind
from tests.server.engine_world import CONFIGMAPS, PODS, Watching, World, configmap, play, pod

PROTOBUF = "application/vnd.kubernetes.protobuf"
SENT = {"content-type": PROTOBUF}
ONLY = {"accept": PROTOBUF}
BODIES = json.loads(
    (Path(__file__).parent.parent / "api" / "protobuf_bodies.json").read_text("utf-8")
)


def named(obj: dict[str, Any], version: str, kind: str) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, **obj}


@pytest.mark.parametrize("sent", BODIES, ids=lambda s: s["object"]["kind"])
def test_both_encodings_store_the_same(sent: dict[str, Any]) -> None:
    obj = sent["object"]
    resource = by_kind(obj["apiVersion"], obj["kind"])
    path = resource.path("ns" if resource.namespaced else "")
    answers = []

    async def in_protobuf(w: World) -> None:
        answers.append(await w.call("POST", path, base64.b64decode(sent["body"]), SENT))

    async def in_json(w: World) -> None:
        answers.append(await w.call("POST", path, obj))

    play(in_protobuf)
    play(in_json)
    assert [a.status for a in answers] == [201, 201], answers[0].body
    assert answers[0].json == answers[1].json
    assert not answers[0].warnings


def test_create_update_delete() -> None:
    async def test(w: World) -> None:
        body = encode(pod("a"))
        answer = await w.call("POST", PODS, body, SENT)
        assert answer.status == 201
        changed = answer.json
        changed["metadata"]["labels"] = {"a": "b"}
        answer = await w.call("PUT", f"{PODS}/a", encode(changed), SENT)
        assert answer.status == 200
        assert answer.json["metadata"]["labels"] == {"a": "b"}
        stale = {"preconditions": {"uid": "other"}}
        options = encode(named(stale, "v1", "DeleteOptions"))
        assert (await w.call("DELETE", f"{PODS}/a", options, SENT)).status == 409
        options = encode(named({"gracePeriodSeconds": 0}, "v1", "DeleteOptions"))
        assert (await w.call("DELETE", f"{PODS}/a", options, SENT)).status == 200
        assert (await w.get(f"{PODS}/a")).status == 404

    play(test)


def test_subresources() -> None:
    async def test(w: World) -> None:
        await w.create(PODS, pod("a"))
        binding = {"metadata": {"name": "a"}, "target": {"kind": "Node", "name": "n"}}
        body = encode(named(binding, "v1", "Binding"))
        assert (await w.call("POST", f"{PODS}/a/binding", body, SENT)).status == 201
        assert (await w.get(f"{PODS}/a")).json["spec"]["nodeName"] == "n"
        eviction = {"metadata": {"name": "a"}, "deleteOptions": {"gracePeriodSeconds": 0}}
        body = encode(named(eviction, "policy/v1", "Eviction"))
        assert (await w.call("POST", f"{PODS}/a/eviction", body, SENT)).status == 201
        assert (await w.get(f"{PODS}/a")).status == 404

    play(test)


def test_what_does_not_decode() -> None:
    async def test(w: World) -> None:
        for body, message in (
            (
                b"k8s\0" + b"\x0a\x09\x0a\x02v1\x12\x03Pod" + b"\x12\x02\x0a\x05",
                'Pod in version "v1" cannot be handled as a Pod: unexpected EOF',
            ),
            (
                b"k8s\0" + b"\x0a\x09\x0a\x02v1\x12\x03Foo",
                'Foo in version "v1" cannot be handled as a Pod: no kind "Foo" is registered for'
                ' version "v1" in scheme',
            ),
            (
                b"{}",
                "the object provided is unrecognized (must be of type Pod): provided data does"
                " not appear to be a protobuf message, expected prefix [107 56 115 0] ({})",
            ),
        ):
            answer = await w.call("POST", PODS, body, SENT)
            assert (answer.status, answer.json["reason"]) == (400, "BadRequest")
            assert answer.message == message
        answer = await w.call("POST", PODS, encode(named(configmap("a"), "v1", "ConfigMap")), SENT)
        assert answer.status == 400
        assert "cannot be handled as a Pod" in answer.message

    play(test)


def test_answers_for_clients_that_read_nothing_else() -> None:
    async def test(w: World) -> None:
        await w.create(CONFIGMAPS, configmap("a", {"k": "v"}))
        answer = await w.call("GET", f"{CONFIGMAPS}/a", None, ONLY)
        assert answer.header("content-type") in ("", PROTOBUF)
        found = decode(answer.body)
        assert found == (await w.get(f"{CONFIGMAPS}/a")).json
        listing = decode((await w.call("GET", CONFIGMAPS, None, ONLY)).body)
        assert listing["kind"] == "ConfigMapList"
        assert listing["items"][0]["data"] == {"k": "v"}
        missing = await w.call("GET", f"{CONFIGMAPS}/b", None, ONLY)
        assert missing.status == 404
        assert decode(missing.body)["reason"] == "NotFound"
        table = {"accept": f"{PROTOBUF};as=Table;g=meta.k8s.io;v=v1"}
        assert (await w.call("GET", CONFIGMAPS, None, table)).status == 406
        both = {"accept": f"{PROTOBUF},application/json"}
        assert (await w.call("GET", f"{CONFIGMAPS}/a", None, both)).json["data"] == {"k": "v"}

    play(test)


def test_watches_for_clients_that_read_nothing_else() -> None:
    """Frames of a length and a WatchEvent, whose object is in its envelope."""

    async def test(w: World) -> None:
        await w.create(CONFIGMAPS, configmap("a", {"k": "v"}))
        response = await w.response("GET", CONFIGMAPS, None, ONLY, watch="1")
        assert response.content_type == f"{PROTOBUF};stream=watch"
        watching = Watching(response)
        kind, found = await frame(watching)
        assert (kind, found) == ("ADDED", (await w.get(f"{CONFIGMAPS}/a")).json)
        await w.merge(f"{CONFIGMAPS}/a", {"data": {"k": "x" * 300}})
        kind, found = await frame(watching)
        assert (kind, found["data"]) == ("MODIFIED", {"k": "x" * 300})
        await w.call("DELETE", f"{CONFIGMAPS}/a")
        assert (await frame(watching))[0] == "DELETED"
        await watching.close()
        options = {
            "sendInitialEvents": "true",
            "resourceVersionMatch": "NotOlderThan",
            "allowWatchBookmarks": "true",
        }
        watching = Watching(await w.response("GET", CONFIGMAPS, None, ONLY, watch="1", **options))
        kind, found = await frame(watching)
        assert (kind, found["kind"]) == ("BOOKMARK", "ConfigMap")
        assert found["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
        await watching.close()
        w.store.compact(w.store.revision)
        watching = Watching(
            await w.response("GET", CONFIGMAPS, None, ONLY, watch="1", resourceVersion="1")
        )
        kind, found = await frame(watching)
        assert (kind, found["kind"], found["reason"]) == ("ERROR", "Status", "Expired")
        await watching.close()

    play(test)


async def frame(watching: Watching) -> tuple[str, dict[str, Any]]:
    """The next event's type and object."""
    data = await watching.take(int.from_bytes(await watching.take(4), "big"))
    fields = dict(messages(data))
    return fields[1].decode(), decode(dict(messages(fields[2]))[1])


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The length-delimited fields of a message."""
    at = 0
    while at < len(data):
        number, wire = data[at] >> 3, data[at] & 7
        assert wire == 2
        at += 1
        size = shift = 0
        while True:
            byte = data[at]
            at += 1
            size |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        yield number, data[at : at + size]
        at += size
