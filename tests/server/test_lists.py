"""Lists: pages, revisions, selectors, representations."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skiff.server.assemble import Assembly, Settings
from skiff.server.listing import decode_token, encode_token
from skiff.server.request import parse
from tests.server.engine_world import CONFIGMAPS, PODS, World, configmap, play, pod

ALL = "/api/v1/configmaps"


async def fill(w: World, count: int) -> None:
    for i in range(count):
        await w.create(CONFIGMAPS, configmap(f"c{i:03}", labels={"n": str(i % 10)}))


def names(found: dict) -> list[str]:
    return [i["metadata"]["name"] for i in found["items"]]


def test_a_list_is_in_order_and_knows_its_revision() -> None:
    async def test(w: World) -> None:
        for name in ("b", "a", "c"):
            await w.create(CONFIGMAPS, configmap(name))
        await w.create("/api/v1/namespaces/default-2/configmaps", configmap("x"))
        found = await w.ok("GET", CONFIGMAPS)
        assert (found["kind"], found["apiVersion"]) == ("ConfigMapList", "v1")
        assert found["metadata"] == {"resourceVersion": str(w.store.revision)}
        assert names(found) == ["a", "b", "c"]
        assert len((await w.ok("GET", ALL))["items"]) == 4
        assert (await w.ok("GET", "/api/v1/namespaces/none/configmaps"))["items"] == []

    play(test)


@pytest.mark.conformance(
    "[sig-api-machinery] Servers with support for API chunking should return chunks of results for "
    "list calls [Conformance]"
)
def test_pages_are_of_one_moment() -> None:
    async def test(w: World) -> None:
        await fill(w, 25)
        first = await w.ok("GET", ALL, limit="10")
        assert first["metadata"]["remainingItemCount"] == 15
        await w.ok("DELETE", f"{CONFIGMAPS}/c012")
        await w.create(CONFIGMAPS, configmap("c0115"))
        second = await w.ok("GET", ALL, limit="10", **{"continue": first["metadata"]["continue"]})
        assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
        third = await w.ok("GET", ALL, limit="10", **{"continue": second["metadata"]["continue"]})
        assert "continue" not in third["metadata"]
        assert names(first) + names(second) + names(third) == [f"c{i:03}" for i in range(25)]

    play(test)


@pytest.mark.conformance(
    "[sig-api-machinery] Servers with support for API chunking should support continue listing from "
    "the last key if the original version has been compacted away, though the list is inconsistent "
    "[Slow] [Conformance]"
)
def test_a_token_that_is_too_old_offers_to_go_on() -> None:
    async def test(w: World) -> None:
        await fill(w, 10)
        first = await w.ok("GET", ALL, limit="4")
        await w.ok("DELETE", f"{CONFIGMAPS}/c005")
        w.store.compact(w.store.revision)
        gone = await w.get(ALL, limit="4", **{"continue": first["metadata"]["continue"]})
        assert (gone.status, gone.json["reason"]) == (410, "Expired")
        assert "The provided continue parameter is too old" in gone.message
        token = gone.json["metadata"]["continue"]
        rest = await w.ok("GET", ALL, **{"continue": token})
        assert names(rest) == ["c004", "c006", "c007", "c008", "c009"]

    play(test)


def test_revisions() -> None:
    async def test(w: World) -> None:
        await fill(w, 3)
        old = str(w.store.revision)
        await w.create(CONFIGMAPS, configmap("later"))
        exact = await w.ok("GET", ALL, resourceVersion=old, resourceVersionMatch="Exact")
        assert exact["metadata"]["resourceVersion"] == old
        assert "later" not in names(exact)
        newer = await w.ok("GET", ALL, resourceVersion=old, resourceVersionMatch="NotOlderThan")
        assert "later" in names(newer)
        assert "later" in names(await w.ok("GET", ALL, resourceVersion="0"))
        paged = await w.ok("GET", ALL, resourceVersion=old, limit="10")
        assert "later" not in names(paged)
        bad = await w.get(ALL, resourceVersion="x")
        assert (bad.status, bad.json["reason"]) == (400, "BadRequest")
        assert bad.message.startswith(
            'invalid resource version: resourceVersion: Invalid value: "x"'
        )
        w.store.compact(w.store.revision)
        gone = await w.get(ALL, resourceVersion=old, resourceVersionMatch="Exact")
        assert (gone.status, gone.json["reason"]) == (410, "Expired")

    play(test)


def test_a_revision_to_come_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(w: World) -> None:
        soon = str(w.store.revision + 1)
        listing = asyncio.create_task(w.get(ALL, resourceVersion=soon))
        getting = asyncio.create_task(w.get(f"{CONFIGMAPS}/a", resourceVersion=soon))
        await asyncio.sleep(0)
        await w.create(CONFIGMAPS, configmap("a"))
        assert names((await listing).json) == ["a"]
        assert (await getting).status == 200
        w.api.engine.watches.fresh.__func__.__defaults__ = (0.01,)  # type: ignore[attr-defined]
        try:
            late = await w.get(ALL, resourceVersion="999")
        finally:
            w.api.engine.watches.fresh.__func__.__defaults__ = (3.0,)  # type: ignore[attr-defined]
        assert late.status == 504
        assert (
            late.message == f"Timeout: Too large resource version: 999, current: {w.store.revision}"
        )
        assert late.json["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"
        assert late.header("Retry-After") == "1"

    play(test)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"resourceVersionMatch": "Exact"}, "forbidden unless resourceVersion is provided"),
        (
            {"resourceVersionMatch": "Exact", "resourceVersion": "0"},
            'forbidden for resourceVersion "0"',
        ),
        ({"resourceVersionMatch": "X", "resourceVersion": "1"}, "Unsupported value"),
        ({"sendInitialEvents": "true"}, "sendInitialEvents is forbidden for list"),
        ({"continue": "?"}, "continue key is not valid"),
        ({"labelSelector": "a in ("}, "unable to parse requirement"),
        ({"fieldSelector": "spec.nothing=1"}, "spec.nothing"),
        ({"limit": "ten"}, "invalid syntax"),
    ],
)
def test_bad_options(query: dict[str, str], message: str) -> None:
    async def test(w: World) -> None:
        answer = await w.get(ALL, **query)
        assert answer.status in (400, 422)
        assert message in answer.message

    play(test)


def test_selectors() -> None:
    async def test(w: World) -> None:
        await fill(w, 30)
        assert names(await w.ok("GET", ALL, labelSelector="n=3")) == ["c003", "c013", "c023"]
        assert len((await w.ok("GET", ALL, labelSelector="n in (1,2)"))["items"]) == 6
        assert len((await w.ok("GET", ALL, labelSelector="n!=1"))["items"]) == 27
        assert names(await w.ok("GET", CONFIGMAPS, fieldSelector="metadata.name=c007")) == ["c007"]
        assert names(await w.ok("GET", ALL, fieldSelector="metadata.name=c007")) == ["c007"]
        none = await w.ok("GET", ALL, fieldSelector="metadata.namespace=other")
        assert none["items"] == []
        await w.merge(f"{CONFIGMAPS}/c003", {"metadata": {"labels": {"n": "4"}}})
        await w.ok("DELETE", f"{CONFIGMAPS}/c013")
        assert names(await w.ok("GET", ALL, labelSelector="n=3")) == ["c023"]
        page = await w.ok("GET", ALL, labelSelector="n=4", limit="3")
        assert names(page) == ["c003", "c004", "c014"]
        assert "remainingItemCount" not in page["metadata"]
        rest = await w.ok(
            "GET", ALL, labelSelector="n=4", **{"continue": page["metadata"]["continue"]}
        )
        assert names(rest) == ["c024"]

    play(test)


def test_pods_by_node_and_phase() -> None:
    async def test(w: World) -> None:
        for i in range(6):
            made = pod(f"p{i}")
            if i % 2:
                made["spec"]["nodeName"] = f"n{i}"
            await w.create(PODS, made)
        assert names(await w.ok("GET", PODS, fieldSelector="spec.nodeName=n3")) == ["p3"]
        assert len((await w.ok("GET", PODS, fieldSelector="spec.nodeName="))["items"]) == 3
        await w.merge(f"{PODS}/p1/status", {"status": {"phase": "Running"}})
        found = await w.ok("GET", PODS, fieldSelector="status.phase=Running,spec.nodeName!=n5")
        assert names(found) == ["p1"]

    play(test)


def test_snapshots_are_reused_until_something_changes() -> None:
    async def test(w: World) -> None:
        await fill(w, 5)
        index = w.api.engine.cache.of(("", "configmaps"))
        first = await w.get(ALL)
        await w.get(ALL)
        assert any(k[0] != "asked" for k in index.snapshots)
        assert (await w.get(ALL)).body == first.body
        await w.create(CONFIGMAPS, configmap("d"))
        assert len((await w.ok("GET", ALL))["items"]) == 6

    play(test)


TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"


def test_tables() -> None:
    async def test(w: World) -> None:
        for i in range(3):
            await w.create(PODS, pod(f"p{i}"))
        answer = await w.call("GET", PODS, None, {"accept": TABLE}, limit="2")
        table = answer.json
        assert (table["kind"], table["apiVersion"]) == ("Table", "meta.k8s.io/v1")
        assert [c["name"] for c in table["columnDefinitions"]][:2] == ["Name", "Ready"]
        assert [r["cells"][0] for r in table["rows"]] == ["p0", "p1"]
        assert table["rows"][0]["object"]["kind"] == "PartialObjectMetadata"
        assert table["metadata"]["continue"]
        one = (
            await w.call("GET", f"{PODS}/p1", None, {"accept": TABLE}, includeObject="None")
        ).json
        assert one["rows"][0]["object"] is None
        whole = await w.call("GET", PODS, None, {"accept": TABLE}, includeObject="Object")
        assert whole.json["rows"][0]["object"]["kind"] == "Pod"
        bad = await w.call("GET", PODS, None, {"accept": TABLE}, includeObject="All")
        assert bad.status == 400

    play(test)


def test_metadata_alone() -> None:
    async def test(w: World) -> None:
        await w.create(PODS, pod("p"))
        accept = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
        found = (await w.call("GET", PODS, None, {"accept": accept})).json
        assert found["kind"] == "PartialObjectMetadataList"
        assert set(found["items"][0]) == {"kind", "apiVersion", "metadata"}
        accept = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
        one = (await w.call("GET", f"{PODS}/p", None, {"accept": accept})).json
        assert one["kind"] == "PartialObjectMetadata"

    play(test)


def test_two_versions_of_the_same_objects() -> None:
    async def test(w: World) -> None:
        base = "/apis/autoscaling/{}/namespaces/default/horizontalpodautoscalers"
        one, two = base.format("v1"), base.format("v2")
        spec = {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"},
            "maxReplicas": 3,
            "targetCPUUtilizationPercentage": 70,
        }
        made = await w.create(one, {"metadata": {"name": "h"}, "spec": spec})
        assert made["apiVersion"] == "autoscaling/v1"
        assert made["spec"]["targetCPUUtilizationPercentage"] == 70
        newer = await w.ok("GET", f"{two}/h")
        assert newer["apiVersion"] == "autoscaling/v2"
        assert newer["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] == 70
        assert (await w.ok("GET", one))["items"][0]["apiVersion"] == "autoscaling/v1"
        patched = await w.merge(f"{one}/h", {"spec": {"maxReplicas": 5}})
        assert patched["spec"]["maxReplicas"] == 5
        assert (await w.ok("GET", f"{two}/h"))["spec"]["maxReplicas"] == 5

    play(test)


@given(
    revision=st.integers(-1, 2**62).filter(bool),
    start=st.from_regex(r"[a-z]{1,9}/[a-z.]{1,9}", fullmatch=True),
)
@settings(max_examples=50)
def test_tokens_round_trip(revision: int, start: str) -> None:
    if ".." in start.split("/"):
        return
    assert decode_token(encode_token(revision, start)) == (revision, start + "\0")


@pytest.mark.parametrize(
    ("method", "path", "query", "expected"),
    [
        ("GET", "/api/v1/pods", "", "list v1 pods"),
        ("GET", "/api/v1/pods", "watch=true", "watch v1 pods"),
        ("GET", "/api/v1/watch/namespaces/n/pods", "", "watch v1 pods ns=n"),
        ("GET", "/api/v1/namespaces/n/pods/p", "", "get v1 pods ns=n name=p"),
        ("GET", "/api/v1/namespaces/n/pods/p/log", "", "get v1 pods ns=n name=p sub=log"),
        ("GET", "/api/v1/namespaces/n", "", "get v1 namespaces ns=n name=n"),
        ("PUT", "/api/v1/namespaces/n/finalize", "", "update v1 namespaces ns=n name=n sub=finalize"),
        ("GET", "/api/v1/namespaces", "", "list v1 namespaces"),
        ("DELETE", "/apis/apps/v1/namespaces/n/deployments", "", "deletecollection apps/v1 deployments ns=n"),
        ("GET", "/api/v1/pods", "fieldSelector=metadata.name%3Dx", "list v1 pods name=x"),
        ("PATCH", "/apis/apps/v1/namespaces/n/deployments/d", "", "patch apps/v1 deployments ns=n name=d"),
        ("GET", "/api/v1/nodes/n/proxy/a/b", "", "get v1 nodes name=n sub=proxy"),
        ("GET", "/healthz", "", "get /healthz"),
        ("GET", "/api/v1", "", "get /api/v1"),
        ("POST", "/apis/apps/v1", "", "post /apis/apps/v1"),
    ],
)  # fmt: skip
def test_request_lines(method: str, path: str, query: str, expected: str) -> None:
    info = parse(method, path, query)
    if not info.is_resource:
        assert f"{info.verb} {info.path}" == expected
        return
    version = f"{info.group}/{info.version}" if info.group else info.version
    parts = [info.verb, version, info.resource]
    for label, value in (("ns", info.namespace), ("name", info.name), ("sub", info.subresource)):
        if value:
            parts.append(f"{label}={value}")
    assert " ".join(parts) == expected


@pytest.mark.conformance(
    "[sig-api-machinery] Servers with support for Table transformation should return a 406 for a "
    "backend which does not implement metadata [Conformance]"
)
def test_what_is_no_object_is_no_table() -> None:
    async def test(w: World) -> None:
        review = {"spec": {"resourceAttributes": {"verb": "list", "resource": "pods"}}}
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        accept = "application/json;as=Table;v=v1;g=meta.k8s.io"
        answer = await w.call("POST", path, review, {"accept": accept})
        assert (answer.status, answer.json["reason"]) == (406, "NotAcceptable")
        assert answer.message == (
            "only the following media types are accepted: "
            "application/json, application/yaml, application/vnd.kubernetes.protobuf"
        )
        assert (await w.call("POST", path, review)).status == 201

    play(test, lambda engine: Assembly(engine, Settings()).parts)
