"""What the server says of requests that make no sense: the words of Kubernetes' own machinery."""

from typing import Any

import pytest

from tests.server.engine_world import CONFIGMAPS, World, configmap, play

APPLY = {"content-type": "application/apply-patch+yaml"}
JSON_PATCH = {"content-type": "application/json-patch+json"}
MERGE = {"content-type": "application/merge-patch+json"}
STRATEGIC = {"content-type": "application/strategic-merge-patch+json"}
ENDED = "unexpected end of JSON input"
NOT_MAP = "Go value of type map[string]interface {}"
NO_LETTER = "looking for beginning of value"


@pytest.mark.parametrize(
    ("media", "body", "said"),
    [
        (JSON_PATCH, "", f"error decoding patch: {ENDED}"),
        (JSON_PATCH, "[", f"error decoding patch: {ENDED}"),
        (JSON_PATCH, "{}", "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp"),
        (JSON_PATCH, "[1]", "error decoding patch: json: cannot unmarshal number into Go value of type handlers.jsonPatchOp"),
        (JSON_PATCH, '[{"op":1}]', "error decoding patch: json: cannot unmarshal number into Go struct field jsonPatchOp.op of type string"),
        (MERGE, "data: {}", f"error decoding patch: invalid character 'd' {NO_LETTER}"),
        (MERGE, '{"a":1}{"b":2}', "error decoding patch: invalid character '{' after top-level value"),
        (MERGE, '{"a":1 "b":2}', "error decoding patch: invalid character '\"' after object key:value pair"),
        (MERGE, '{"a":[1 2]}', "error decoding patch: invalid character '2' after array element"),
        (MERGE, '"x"', f"error decoding patch: json: cannot unmarshal string into {NOT_MAP}"),
        (MERGE, "null", "Invalid JSON Patch"),
        (STRATEGIC, "{", ENDED),
        (STRATEGIC, "[]", f"json: cannot unmarshal array into {NOT_MAP}"),
        (APPLY, "", "invalid object type: /, Kind="),
        (APPLY, '{"apiVersion":"v2","kind":"ConfigMap"}', "invalid object type: /v2, Kind=ConfigMap"),
        (APPLY, '{"apiVersion":"apps/v1","kind":"ConfigMap"}', "invalid object type: apps/v1, Kind=ConfigMap"),
        (APPLY, "1", f"error decoding YAML: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal number into {NOT_MAP}"),
        (APPLY, "[", "error decoding YAML: error converting YAML to JSON: yaml: line 1: did not find expected node content"),
    ],
)  # fmt: skip
def test_patches_that_cannot_be_read(media: dict[str, str], body: str, said: str) -> None:
    async def test(w: World) -> None:
        await w.create(CONFIGMAPS, configmap("a"))
        answer = await w.call("PATCH", f"{CONFIGMAPS}/a", body.encode(), media, fieldManager="m")
        assert (answer.status, answer.message) == (400, said)

    play(test)


def test_null_is_a_patch_that_changes_nothing() -> None:
    async def test(w: World) -> None:
        await w.create(CONFIGMAPS, configmap("a"))
        for media in (JSON_PATCH, STRATEGIC):
            assert (await w.call("PATCH", f"{CONFIGMAPS}/a", b"null", media)).status == 200

    play(test)


def test_what_does_not_apply_has_empty_details() -> None:
    async def test(w: World) -> None:
        await w.create(CONFIGMAPS, configmap("a"))
        body = b'[{"op":"test","path":"/data/x","value":"z"}]'
        answer = await w.call("PATCH", f"{CONFIGMAPS}/a", body, JSON_PATCH)
        assert (answer.status, answer.json["details"]) == (422, {})

    play(test)


def test_an_applied_null_is_the_zero_of_its_map() -> None:
    async def test(w: World) -> None:
        body = b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"x":null}}'
        answer = await w.call("PATCH", f"{CONFIGMAPS}/a", body, APPLY, fieldManager="m")
        assert answer.json["data"] == {"x": ""}
        assert answer.json["metadata"]["managedFields"][0]["fieldsV1"] == {"f:data": {"f:x": {}}}

    play(test)


def test_apply_tells_of_the_configuration_as_it_was_sent() -> None:
    async def test(w: World) -> None:
        body = b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"x":1}}'
        answer = await w.call("PATCH", f"{CONFIGMAPS}/a", body, APPLY, fieldManager="m")
        assert answer.status == 500
        assert answer.message.startswith(
            "failed to create typed patch object (/a; /v1, Kind=ConfigMap): "
        )
        assert "reason" not in answer.json
        nameless = b'{"apiVersion":"v1","kind":"ConfigMap"}'
        answer = await w.call("PATCH", f"{CONFIGMAPS}/a", nameless, APPLY, fieldManager="m")
        assert answer.message == (
            "the name of the object (a based on URL) was undeterminable: name must be provided"
        )

    play(test)


def test_conflicts_name_what_is_owned_whole_before_what_is_below() -> None:
    async def test(w: World) -> None:
        def config(metadata: dict[str, Any]) -> dict[str, Any]:
            return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", **metadata}}

        path = f"{CONFIGMAPS}/a"
        owned = {"annotations": {"b": "1"}, "finalizers": ["x.y/z"], "labels": {"c": "1"}}
        await w.call("PATCH", path, config(owned), APPLY, fieldManager="one")
        owned = {"annotations": {"b": "2"}, "labels": {"c": "2"}}
        answer = await w.call("PATCH", path, config(owned), APPLY, fieldManager="two")
        assert answer.message == (
            'Apply failed with 2 conflicts: conflicts with "one":\n'
            "- .metadata.annotations.b\n- .metadata.labels.c"
        )

    play(test)


def test_options_are_refused_all_at_once() -> None:
    async def test(w: World) -> None:
        query = {"dryRun": "x", "fieldManager": "a\x00", "fieldValidation": "Bad"}
        answer = await w.call("POST", CONFIGMAPS, configmap("a"), **query)
        assert answer.message == (
            'CreateOptions.meta.k8s.io "" is invalid: [fieldManager: Invalid value: "a\\x00": '
            'invalid character U+0000 (at position 1), dryRun: Unsupported value: ["x"]: supported '
            'values: "All", fieldValidation: Unsupported value: "Bad": supported values: "", '
            '"Ignore", "Strict", "Warn"]'
        )

    play(test)


def test_unmet_preconditions() -> None:
    async def test(w: World) -> None:
        made = await w.create(CONFIGMAPS, configmap("a"))
        uid, path = made["metadata"]["uid"], f"{CONFIGMAPS}/a"
        answer = await w.call("DELETE", path, {"preconditions": {"uid": "x"}})
        assert answer.status == 409
        assert answer.message.startswith(
            'Operation cannot be fulfilled on ConfigMap "a": the UID in the precondition (x)'
        )
        assert answer.json["details"] == {"name": "a", "kind": "ConfigMap"}
        answer = await w.call("PUT", path, configmap("a", uid="x"))
        assert answer.message == (
            'Operation cannot be fulfilled on configmaps "a": StorageError: invalid object, Code: '
            "4, Key: /registry/configmaps/default/a, ResourceVersion: 0, AdditionalErrorMsg: "
            f"Precondition failed: UID in precondition: x, UID in object meta: {uid}"
        )

    play(test)


@pytest.mark.parametrize(
    ("kind", "version", "said"),
    [
        ("Foo", "v1", 'no kind "Foo" is registered for version "v1" in scheme'),
        ("ConfigMap", "apps/v1", 'no kind "ConfigMap" is registered for version "apps/v1" in scheme'),
        ("Pod", "v1", "converting (v1.Pod) to (core.ConfigMap): unknown conversion"),
    ],
)  # fmt: skip
def test_bodies_of_another_kind(kind: str, version: str, said: str) -> None:
    async def test(w: World) -> None:
        body = {"apiVersion": version, "kind": kind, "metadata": {"name": "a"}}
        answer = await w.call("POST", CONFIGMAPS, body)
        assert answer.status == 400
        assert f"cannot be handled as a ConfigMap: {said}" in answer.message

    play(test)


def test_only_false_and_nought_are_false() -> None:
    async def test(w: World) -> None:
        body = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "a"},
            "data": {"x": "1"},
        }
        path = f"{CONFIGMAPS}/a"
        await w.call("PATCH", path, body, APPLY, fieldManager="one")
        body["data"] = {"x": "2"}
        for word, status in (("false", 409), ("0", 409), ("yes", 200), ("", 200)):
            query = {"fieldManager": f"m{status}", "force": word, "dryRun": "All"}
            assert (await w.call("PATCH", path, body, APPLY, **query)).status == status

    play(test)


def test_a_body_of_options_stands_for_all_of_the_query() -> None:
    async def test(w: World) -> None:
        await w.create(CONFIGMAPS, configmap("a"))
        answer = await w.call("DELETE", f"{CONFIGMAPS}/a", {}, dryRun="All")
        assert answer.status == 200
        assert (await w.get(f"{CONFIGMAPS}/a")).status == 404

    play(test)


def test_a_generation_is_the_servers() -> None:
    async def test(w: World) -> None:
        await w.create(CONFIGMAPS, configmap("a"))
        body = {"metadata": {"generation": 7}}
        answer = await w.call("PATCH", f"{CONFIGMAPS}/a", body, MERGE)
        assert "generation" not in answer.json["metadata"]

    play(test)


def test_an_apply_that_changes_nothing_is_not_timed() -> None:
    async def test(w: World) -> None:
        made = await w.create(CONFIGMAPS, {**configmap("a"), "data": {"x": "1"}})
        body = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "a"},
            "data": made["data"],
        }
        answer = await w.call("PATCH", f"{CONFIGMAPS}/a", body, APPLY, fieldManager="late")
        entries = {e["manager"]: e for e in answer.json["metadata"]["managedFields"]}
        assert "time" not in entries["late"]
        assert "time" in entries["tester"]

    play(test)
