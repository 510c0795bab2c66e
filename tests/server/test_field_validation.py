"""fieldValidation, with Kubernetes' words, for each way to send an object."""

import pytest

from tests.server.engine_world import APPLY, CONFIGMAPS, MERGE, World, configmap, play

DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
DEPLOYMENT = (
    b'{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"d","unknownMeta":"x"},'
    b'"spec":{"unknown1":"v","paused":true,"paused":false,"replicas":1,'
    b'"selector":{"matchLabels":{"a":"b"}},"template":{"metadata":{"labels":{"a":"b"}},'
    b'"spec":{"containers":[{"name":"c","image":"i","imagePullPolicy":"Always",'
    b'"imagePullPolicy":"Never","unknownNested":"v"}]}}}}'
)


@pytest.mark.conformance(
    "[sig-api-machinery] FieldValidation should detect unknown and duplicate fields of a typed object "
    "[Conformance]"
)
def test_create_strictly_warned_and_ignoring() -> None:
    async def test(w: World) -> None:
        strict = await w.call("POST", DEPLOYMENTS, DEPLOYMENT, fieldValidation="Strict")
        assert strict.status == 400
        for part in (
            'unknown field "metadata.unknownMeta"',
            'unknown field "spec.unknown1"',
            'unknown field "spec.template.spec.containers[0].unknownNested"',
            'duplicate field "spec.paused"',
            'duplicate field "spec.template.spec.containers[0].imagePullPolicy"',
        ):
            assert part in strict.message
        assert "strict decoding error: unknown field" in strict.message
        warned = await w.call("POST", DEPLOYMENTS, DEPLOYMENT)
        assert warned.status == 201
        assert len(warned.warnings) == 5
        assert "unknown1" not in warned.json["spec"]

    play(test)


def test_yaml_with_repeated_keys() -> None:
    async def test(w: World) -> None:
        text = b"metadata:\n  name: a\ndata:\n  x: '1'\n  x: '2'\n"
        headers = {"content-type": "application/yaml"}
        strict = await w.call("POST", CONFIGMAPS, text, headers, fieldValidation="Strict")
        assert 'line 5: key "x" already set in map' in strict.message
        warned = await w.call("POST", CONFIGMAPS, text, headers)
        assert warned.status == 201
        assert len(warned.warnings) == 1

    play(test)


def test_patches_strictly() -> None:
    async def test(w: World) -> None:
        await w.create(CONFIGMAPS, configmap("a"))
        path, kind = f"{CONFIGMAPS}/a", {"content-type": MERGE}
        unknown = await w.call("PATCH", path, {"odd": 1}, kind, fieldValidation="Strict")
        assert unknown.status == 422
        assert unknown.message.startswith(' "" is invalid: patch: Invalid value: "{')
        assert unknown.message.endswith('strict decoding error: unknown field "odd"')
        twice = b'{"data":{"x":"1","x":"2"}}'
        repeated = await w.call("PATCH", path, twice, kind, fieldValidation="Strict")
        assert 'strict decoding error: duplicate field "data.x"' in repeated.message
        assert (await w.call("PATCH", path, twice, kind)).warnings == [
            '299 - "duplicate field \\"data.x\\""'
        ]
        wrong = await w.call("PATCH", path, {"data": {"x": 1}}, kind)
        assert wrong.status == 422

    play(test)


STRATEGIC = "application/strategic-merge-patch+json"


def test_strategic_patches_are_shown_as_go_prints_them() -> None:
    async def test(w: World) -> None:
        await w.create(CONFIGMAPS, configmap("a"))
        path, kind = f"{CONFIGMAPS}/a", {"content-type": STRATEGIC}
        wrong = await w.call("PATCH", path, {"metadata": {"labels": "invalid"}}, kind)
        assert wrong.status == 422
        assert wrong.message == (
            ' "" is invalid: patch: Invalid value: "map[metadata:map[labels:invalid]]": '
            "cannot restore map from string"
        )
        unknown = await w.call("PATCH", path, {"odd": 1}, kind, fieldValidation="Strict")
        assert unknown.message == (
            ' "" is invalid: patch: Invalid value: "map[odd:1]": '
            'strict decoding error: unknown field "odd"'
        )
        # The object is restored by its type: what the patch calls it is passed over.
        renamed = await w.call("PATCH", path, {"kind": "Pod", "data": {"b": "2"}}, kind)
        assert (renamed.status, renamed.json["kind"]) == (200, "ConfigMap")
        wrong = await w.call("PATCH", path, {"kind": 5}, kind)
        assert "cannot convert int64 to string" in wrong.message

    play(test)


@pytest.mark.conformance(
    "[sig-api-machinery] FieldValidation should detect unknown metadata fields of a typed object "
    "[Conformance]"
)
def test_apply_strictly() -> None:
    async def test(w: World) -> None:
        config = (
            b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  unknownMeta: x\n"
            b"data:\n  x: '1'\n"
        )
        kind = {"content-type": APPLY}
        answer = await w.call("PATCH", f"{CONFIGMAPS}/a", config, kind, fieldManager="m")
        assert answer.status in (400, 500)
        assert ".metadata.unknownMeta: field not declared in schema" in answer.message
        twice = config.replace(b"  unknownMeta: x\n", b"") + b"  x: '2'\n"
        strict = await w.call(
            "PATCH", f"{CONFIGMAPS}/a", twice, kind, fieldManager="m", fieldValidation="Strict"
        )
        assert strict.status == 400
        assert 'key "x" already set in map' in strict.message
        assert strict.message.startswith("error strict decoding YAML")

    play(test)
