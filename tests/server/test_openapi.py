"""The OpenAPI documents: against Kubernetes' own where it is at hand, by form, by parse."""

import asyncio
import json
import struct
import zlib
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skiff.aio.http.message import Request
from skiff.api.errors import NotAcceptable, NotFound
from skiff.server.discovery import Catalog
from skiff.server.openapi import OpenApi, gnostic, v3
from skiff.server.openapi.definitions import references
from skiff.server.request import parse
from skiff.server.seams import Call, User

REFERENCE = Path(__file__).parents[3] / "shared" / "reference" / "swagger.json"
V2_PROTOBUF = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
UNSTABLE = ("alpha", "beta", "/internal.apiserver", "/storagemigration", "/logs")


class Clock:
    time = 0.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@pytest.fixture(scope="module")
def api() -> OpenApi:
    return OpenApi(Catalog(), Clock())


def get(api: OpenApi, path: str, query: str = "", **headers: str):
    call = Call(Request("GET", path, query, headers), parse("GET", path, query), User("x"))
    handler = api.serve_v2 if path.startswith("/openapi/v2") else api.serve_v3
    return asyncio.run(handler(call))


@pytest.fixture(scope="module")
def swagger(api: OpenApi) -> dict:
    return json.loads(get(api, "/openapi/v2").body)


# --- v2 ---------------------------------------------------------------------------------------


def test_v2_has_what_clients_look_for(swagger: dict):
    assert swagger["swagger"] == "2.0"
    pod = swagger["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"]
    patch = pod["patch"]
    assert patch["operationId"] == "patchCoreV1NamespacedPod"
    assert patch["x-kubernetes-action"] == "patch"
    assert patch["x-kubernetes-group-version-kind"] == {"group": "", "version": "v1", "kind": "Pod"}
    assert "dryRun" in [p.get("name") for p in patch["parameters"]]
    texts = {name: p["description"] for name, p in swagger["parameters"].items()}
    assert "restrict the list of returned objects" in texts["labelSelector"]
    assert "Watch for changes to the described resources" in texts["watch"]
    container = swagger["definitions"]["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"]
    assert container["x-kubernetes-patch-merge-key"] == "name"


def test_every_reference_leads_somewhere(swagger: dict):
    names = references(swagger)
    parameters = {n.removeprefix("#/parameters/") for n in names if n.startswith("#/parameters/")}
    assert parameters == set(swagger["parameters"])
    assert {n for n in names if not n.startswith("#/")} <= set(swagger["definitions"])


def test_operation_ids_are_unique(swagger: dict):
    ids = [
        o["operationId"]
        for item in swagger["paths"].values()
        for method, o in item.items()
        if method != "parameters"
    ]
    assert len(ids) == len(set(ids))


@pytest.mark.skipif(not REFERENCE.exists(), reason="the reference document is not here")
def test_v2_equals_the_reference(swagger: dict):
    reference = json.loads(REFERENCE.read_text())
    assert set(reference["definitions"]) <= set(swagger["definitions"])
    wanted = [p for p in reference["paths"] if not any(u in p for u in UNSTABLE)]
    assert len(wanted) > 350
    wrong = []
    for path in wanted:
        ours, theirs = swagger["paths"].get(path, {}), reference["paths"][path]
        for method in sorted({*ours, *theirs} - {"parameters"}):
            a = facts(reference, theirs, method)
            b = facts(swagger, ours, method)
            if a != b:
                wrong.append((path, method, a, b))
    assert not wrong


def facts(document: dict, item: dict, method: str):
    """What must agree of one operation: names, kinds, parameters, bodies, answers."""
    if method not in item:
        return None
    operation = item[method]

    def resolved(parameter: dict) -> dict:
        reference = parameter.get("$ref")
        return document["parameters"][reference.split("/")[-1]] if reference else parameter

    parameters = [*item.get("parameters", []), *operation.get("parameters", [])]
    return (
        operation["operationId"],
        operation.get("x-kubernetes-action"),
        operation.get("x-kubernetes-group-version-kind"),
        operation["tags"],
        sorted(
            (p["in"], p["name"], p.get("type", ""), p.get("required", False), str(p.get("schema")))
            for p in map(resolved, parameters)
        ),
        {code: r.get("schema") for code, r in operation["responses"].items()},
    )


def test_v2_tags_and_compression(api: OpenApi):
    plain = get(api, "/openapi/v2")
    headers = dict(plain.headers)
    packed = get(api, "/openapi/v2", **{"accept-encoding": "gzip"})
    assert dict(packed.headers)["content-encoding"] == "gzip"
    assert zlib.decompress(packed.body, wbits=31) == plain.body
    again = get(api, "/openapi/v2", **{"if-none-match": headers["etag"]})
    assert (again.status, again.body) == (304, b"")


def test_documents_are_dropped_after_a_while():
    clock = Clock()
    api = OpenApi(Catalog(), clock)
    get(api, "/openapi/v3/apis/batch/v1")
    assert api._kept
    clock.time = 700.0
    get(api, "/openapi/v3/version")
    assert list(api._kept) == ["v3 version"]


# --- gnostic ----------------------------------------------------------------------------------


def fields(data: bytes) -> list[tuple[int, int | bytes]]:
    """A protobuf message's fields, read by the wire format's rules."""
    out = []
    at = 0

    def varint() -> int:
        nonlocal at
        number = shift = 0
        while True:
            byte = data[at]
            at += 1
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return number

    while at < len(data):
        key = varint()
        if key & 7 == 2:
            size = varint()
            out.append((key >> 3, data[at : at + size]))
            at += size
        elif key & 7 == 1:
            out.append((key >> 3, struct.unpack("<d", data[at : at + 8])[0]))
            at += 8
        else:
            out.append((key >> 3, varint()))
    return out


def one(data: bytes, number: int):
    return next(v for n, v in fields(data) if n == number)


def test_gnostic_form_has_the_same_paths_and_definitions(api: OpenApi, swagger: dict):
    response = get(api, "/openapi/v2", accept=V2_PROTOBUF)
    assert response.content_type == "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
    document = fields(response.body)
    paths = {}
    definitions = {}
    for number, value in document:
        if number == 8:
            path = one(value, 2)
            paths[one(path, 1).decode()] = one(path, 2)
        elif number == 9:
            named = one(value, 1)
            definitions[one(named, 1).decode()] = one(named, 2)
    assert set(paths) == set(swagger["paths"])
    assert set(definitions) == set(swagger["definitions"])
    patch = one(paths["/api/v1/namespaces/{namespace}/pods/{name}"], 8)
    assert one(patch, 5) == b"patchCoreV1NamespacedPod"
    port = definitions["io.k8s.api.core.v1.ContainerPort"]
    assert one(one(port, 22), 1) == b"object"
    properties = {one(p, 1): one(p, 2) for n, p in fields(one(port, 25)) if n == 1}
    assert one(properties[b"containerPort"], 2) == b"int32"


@given(st.integers(0, 2**63 - 1))
def test_varints(number: int):
    assert fields(gnostic.integer(5, number)) == [(5, number)]


@given(st.floats(allow_nan=False), st.text())
def test_other_fields(number: float, text: str):
    assert fields(gnostic.double(6, number) + gnostic.text(900, text)) == [
        (6, number),
        (900, text.encode()),
    ]


# --- v3 ---------------------------------------------------------------------------------------


def test_v3_lists_its_documents_and_their_links_work(api: OpenApi):
    index = orjson.loads(get(api, "/openapi/v3").body)["paths"]
    assert {"api", "api/v1", "apis", "apis/apps", "apis/apps/v1", "version"} <= set(index)
    url = index["apis/apps/v1"]["serverRelativeURL"]
    path, _, query = url.partition("?")
    response = get(api, path, query)
    assert response.status == 200
    assert "immutable" in dict(response.headers)["cache-control"]
    document = orjson.loads(response.body)
    assert document["openapi"] == "3.0.0"
    operation = document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"][
        "patch"
    ]
    assert operation["x-kubernetes-group-version-kind"]["kind"] == "Deployment"
    assert "application/apply-patch+yaml" in operation["requestBody"]["content"]
    schemas = document["components"]["schemas"]
    text = json.dumps(document)
    assert "#/definitions/" not in text
    for reference in set(references(document)):
        assert reference.removeprefix("#/components/schemas/") in schemas


def test_v3_old_links_lead_to_new_ones(api: OpenApi):
    response = get(api, "/openapi/v3/apis/apps/v1", "hash=OLD")
    assert response.status == 301
    assert dict(response.headers)["location"].startswith("/openapi/v3/apis/apps/v1?hash=")
    with pytest.raises(NotFound):
        get(api, "/openapi/v3/apis/nothing/v1")
    with pytest.raises(NotAcceptable):
        get(api, "/openapi/v3/apis/apps/v1", accept="application/cbor")


def test_v3_wraps_references_that_have_neighbours():
    schema = {
        "properties": {
            "a": {"$ref": "#/definitions/B", "description": "x"},
            "c": {"$ref": "#/definitions/C"},
        }
    }
    assert v3.convert(schema)["properties"] == {
        "a": {"allOf": [{"$ref": "#/components/schemas/B"}], "description": "x"},
        "c": {"$ref": "#/components/schemas/C"},
    }
    assert v3.convert({"type": "string", "format": "int-or-string"})["oneOf"]


def test_custom_kinds_come_in_by_their_own_definitions():
    from skiff.api.resources import Resource

    widgets = Resource(
        "example.com", "v1", "widgets", "Widget", "widget", True, storage=("example.com", "widgets")
    )

    def custom(resource: Resource):
        if resource is not widgets:
            return {}
        widget = {"type": "object", "properties": {"spec": {"type": "object"}}}
        return {
            "com.example.v1.Widget": widget,
            "com.example.v1.WidgetList": {
                "type": "object",
                "properties": {
                    "items": {
                        "type": "array",
                        "items": {"$ref": "#/definitions/com.example.v1.Widget"},
                    }
                },
            },
        }

    api = OpenApi(Catalog(lambda: (widgets,)), Clock(), custom)
    document = orjson.loads(get(api, "/openapi/v3/apis/example.com/v1").body)
    assert "com.example.v1.Widget" in document["components"]["schemas"]
    patch = document["paths"]["/apis/example.com/v1/namespaces/{namespace}/widgets/{name}"]["patch"]
    assert "application/strategic-merge-patch+json" not in patch["requestBody"]["content"]
