"""Protobuf bodies: what kubectl sends, what the tables cover, and what no bytes may do."""

import base64
import json
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skiff.api import numbers
from skiff.api.protobuf import Malformed, UnknownKind, decode, encode, known, layout
from skiff.api.protobuf.decode import decode_message
from skiff.api.protobuf.encode import encode_message
from skiff.api.protobuf.layout import Field, Layout, layout_of
from skiff.api.resources import TABLE
from skiff.api.schema import decode_with, definition, names

BODIES = json.loads((Path(__file__).parent / "protobuf_bodies.json").read_text())
CORE = "io.k8s.api.core.v1."
META = "io.k8s.apimachinery.pkg.apis.meta.v1."
CRD = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1."


# --- what clients really send -------------------------------------------------------------------


@pytest.mark.parametrize("sent", BODIES, ids=lambda s: f"{s['object']['kind']}")
def test_kubectl_bodies(sent: dict[str, Any]) -> None:
    """Recorded from kubectl's create commands, beside what the same commands print as JSON."""
    assert decode(base64.b64decode(sent["body"])) == sent["object"]


@pytest.mark.parametrize("sent", BODIES, ids=lambda s: f"{s['object']['kind']}")
def test_written_bodies_read_the_same(sent: dict[str, Any]) -> None:
    assert decode(encode(sent["object"])) == sent["object"]


def raw(name: str, message: bytes) -> dict[str, Any]:
    out: dict[str, Any] = {}
    decode_message(layout_of(name), message, out)
    return out


def field(number: int, data: bytes) -> bytes:
    assert number < 16 and len(data) < 128
    return bytes([number << 3 | 2, len(data)]) + data


# --- zeros ------------------------------------------------------------------------------------------


def test_zeros_of_plain_fields_are_absent_and_pointers_stay() -> None:
    spec = b"\x58\x00" + b"\x20\x00" + b"\xa8\x01\x00" + b"\x1a\x00"
    # hostNetwork false, terminationGracePeriodSeconds 0, automountServiceAccountToken false,
    # restartPolicy ""
    assert raw(CORE + "PodSpec", spec) == {
        "terminationGracePeriodSeconds": 0,
        "automountServiceAccountToken": False,
    }


def test_zeros_that_json_writes_too_are_kept() -> None:
    assert raw(CORE + "EnvVar", b"\x0a\x00\x12\x00") == {"name": ""}
    assert raw(CORE + "ServicePort", b"\x18\x00\x28\x00") == {"port": 0}


def test_a_later_zero_takes_back() -> None:
    assert raw(CORE + "PodSpec", b"\x58\x01\x58\x00") == {}
    assert raw(CORE + "PodSpec", field(3, b"Never") + field(3, b"")) == {}


def test_empty_messages_are_empty_objects() -> None:
    volume = field(1, b"v") + field(2, field(2, b""))
    assert raw(CORE + "Volume", volume) == {"name": "v", "emptyDir": {}}


# --- shapes -----------------------------------------------------------------------------------------


def test_inlined_messages() -> None:
    probe = field(1, field(3, field(1, b"\x10\x50"))) + b"\x18\x05"
    assert raw(CORE + "Probe", probe) == {"tcpSocket": {"port": 80}, "timeoutSeconds": 5}
    selector = field(1, field(1, b"s")) + field(2, b"k") + b"\x18\x00"
    expected = {"name": "s", "key": "k", "optional": False}
    assert raw(CORE + "SecretKeySelector", selector) == expected


def test_int_or_string() -> None:
    assert raw(CORE + "TCPSocketAction", field(1, b"\x08\x01\x10\x00\x1a\x03web"))["port"] == "web"
    minus = b"\x10" + b"\xff" * 9 + b"\x01"
    assert raw(CORE + "TCPSocketAction", field(1, minus))["port"] == -1


def test_quantities_and_maps() -> None:
    limits = field(1, field(1, b"cpu") + field(2, field(1, b"500m")))
    limits += field(1, field(1, b"memory") + field(2, b""))
    found = raw(CORE + "ResourceRequirements", limits)
    assert found == {"limits": {"cpu": "500m", "memory": "0"}}
    labels = field(11, field(1, b"a") + field(2, b"b")) + field(11, field(1, b"c"))
    labels += field(11, field(2, b"z"))
    assert raw(META + "ObjectMeta", labels) == {"labels": {"a": "b", "c": "", "": "z"}}


def test_times() -> None:
    when = b"\x08" + varint(1_700_000_000) + b"\x10" + varint(123_456_789)
    assert raw(META + "ObjectMeta", b"\x42" + bytes([len(when)]) + when) == {
        "creationTimestamp": "2023-11-14T22:13:20Z"
    }
    lease = raw("io.k8s.api.coordination.v1.LeaseSpec", field(3, when))
    assert lease == {"acquireTime": "2023-11-14T22:13:20.123456Z"}
    assert raw(META + "ObjectMeta", b"\x42\x00") == {}
    year_one = b"\x08" + varint(-62135596800)
    assert raw(META + "ObjectMeta", field(8, year_one)) == {}


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def test_numbers_packed_and_not() -> None:
    plain = b"\x20\x01\x20\x02"
    packed = b"\x22\x02\x01\x02"
    for data in (plain, packed):
        assert raw(CORE + "PodSecurityContext", data) == {"supplementalGroups": [1, 2]}


def test_bytes_are_base64() -> None:
    entry = field(1, b"k") + field(2, b"\xff\x00")
    assert raw(CORE + "Secret", field(2, entry)) == {"data": {"k": "/wA="}}


def test_lists_in_maps() -> None:
    extra = field(5, field(1, b"k") + field(2, field(1, b"a") + field(1, b"b")))
    spec = "io.k8s.api.authorization.v1.SubjectAccessReviewSpec"
    assert raw(spec, extra) == {"extra": {"k": ["a", "b"]}}


def test_custom_resource_schemas() -> None:
    schema = {
        "type": "object",
        "$ref": "x",
        "maximum": 1.5,
        "minimum": 0,
        "enum": ["a", 1, {"b": None}],
        "default": {"x": [1]},
        "properties": {"a": {"items": {"type": "string"}, "additionalProperties": True}},
        "additionalProperties": {"type": "integer"},
        "items": [{"type": "string"}],
        "dependencies": {"a": ["b"], "c": {"type": "object"}},
        "x-kubernetes-preserve-unknown-fields": False,
        "x-kubernetes-validations": [{"rule": "true", "reason": "FieldValueInvalid"}],
    }
    written = encode_message(layout_of(CRD + "JSONSchemaProps"), schema)
    assert raw(CRD + "JSONSchemaProps", written) == schema


def test_objects_inside_objects() -> None:
    data = encode({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}})
    revision = b"\x12" + bytes([len(data) + 2]) + field(1, data)
    found = raw("io.k8s.api.apps.v1.ControllerRevision", revision + b"\x18\x01")
    inner = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}
    assert found == {"data": inner, "revision": 1}


def test_options_go_with_every_group() -> None:
    for version in ("v1", "apps/v1", "example.com/v1"):
        sent = {
            "apiVersion": version,
            "kind": "DeleteOptions",
            "gracePeriodSeconds": 0,
            "preconditions": {"uid": "u"},
            "propagationPolicy": "Foreground",
        }
        assert decode(encode(sent)) == sent


def test_the_kind_may_be_given() -> None:
    body = b"k8s\0" + field(2, field(1, field(1, b"n")))
    expected = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "n"}}
    assert decode(body, "v1", "ConfigMap") == expected


# --- what is wrong --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "empty data"),
        (b"k8s\0", "empty body"),
        (b"{}", "expected prefix [107 56 115 0]"),
        (b"k8s\0\x0a\x7f", "unexpected EOF"),
        (b"k8s\0\x12\x00", "Object 'Kind' is missing"),
    ],
)
def test_bad_envelopes(body: bytes, message: str) -> None:
    with pytest.raises(Malformed) as e:
        decode(body)
    assert message in str(e.value)


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (b"\x0a\x05abc", "unexpected EOF"),
        (b"\x0a", "unexpected EOF"),
        (b"\x08\x01", "proto: wrong wireType = 0 for field name"),
        (b"\x00\x01", "proto: illegal tag 0 (wire type 0)"),
        (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "proto: integer overflow"),
        (b"\x96\x06", "proto: illegal wireType 6"),
        (field(8, b"\x08" + varint(1 << 50)), "a time is out of range"),
        (field(8, b"\x0a\x01a"), "proto: wrong wireType = 2 for field seconds"),
    ],
)
def test_bad_messages(message: bytes, text: str) -> None:
    with pytest.raises(Malformed, match=text.replace("(", r"\(").replace(")", r"\)")):
        raw(META + "ObjectMeta", message)


def test_bad_json_inside() -> None:
    with pytest.raises(Malformed, match="unexpected"):
        raw(META + "ManagedFieldsEntry", field(7, field(1, b"{")))


def test_too_deep() -> None:
    message = b""
    for _ in range(5000):
        message = b"\xe2\x01" + varint(len(message)) + message  # not: {not: …}
    with pytest.raises(Malformed, match="too deep"):
        raw(CRD + "JSONSchemaProps", message)


def test_unknown_fields_are_skipped() -> None:
    unknown = b"\xa0\x06\x01" + b"\xa1\x06" + bytes(8) + b"\xa5\x06" + bytes(4) + b"\xa2\x06\x01x"
    group = b"\xa3\x06" + b"\x08\x01" + b"\x13\x14" + b"\xa4\x06"
    assert raw(META + "ObjectMeta", unknown + field(1, b"n") + group) == {"name": "n"}


def test_unknown_kinds() -> None:
    body = b"k8s\0" + field(1, field(1, b"v1") + field(2, b"Foo"))
    with pytest.raises(UnknownKind, match='no kind "Foo" is registered for version "v1" in scheme'):
        decode(body)
    assert known("v1", "Pod")
    assert not known("example.com/v1", "Pod")
    with pytest.raises(UnknownKind):
        encode({"apiVersion": "example.com/v1", "kind": "Pod"})


def test_text_that_is_no_utf8() -> None:
    assert raw(META + "ObjectMeta", field(1, b"a\xff")) == {"name": "a\ufffd"}


# --- the tables -----------------------------------------------------------------------------------


def served_definitions() -> list[str]:
    """The definitions of stable packages that are messages."""
    return [
        name
        for name in names()
        if "beta" not in name
        and "alpha" not in name
        and ".pkg.version." not in name
        and definition(name).properties
    ]


def test_every_property_has_a_number() -> None:
    """Every field of every stable type can be read and written."""
    missing = []
    for name in served_definitions():
        reached = reach(layout_of(name))
        for prop in definition(name).properties:
            top = prop in ("apiVersion", "kind") and definition(name).gvks
            if prop not in reached and not top:
                missing.append(f"{name}.{prop}")
    assert missing == []


def reach(of: Layout) -> set[str]:
    found = set()
    for _, f in of.fields:
        found |= reach(f.more) if f.op == layout.INLINE else {f.name}
    return found


def test_numbers_are_unique() -> None:
    for name in served_definitions():
        package, _, message = name.rpartition(".")
        found = [r.number for r in numbers.rows(package, message)]
        assert len(found) == len(set(found)), name
        assert found == sorted(found), name


def test_every_resource_is_known() -> None:
    for resource in TABLE:
        assert known(resource.api_version, resource.kind), resource
    for kind in ("Eviction",):
        assert known("policy/v1", kind)
    assert known("autoscaling/v1", "Scale")
    assert known("v1", "Binding")
    assert known("authentication.k8s.io/v1", "TokenRequest")
    assert known("v1", "PodList")


# --- any object, any bytes --------------------------------------------------------------------------

TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
SECONDS = st.integers(0, 4_000_000_000)
JSON = st.recursive(
    st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=4,
)


def stamps(micro: bool) -> st.SearchStrategy[str]:
    from datetime import UTC, datetime

    form = "%Y-%m-%dT%H:%M:%S.%fZ" if micro else "%Y-%m-%dT%H:%M:%SZ"
    return SECONDS.map(lambda s: datetime.fromtimestamp(s, UTC).strftime(form))


def scalars(f: Field) -> st.SearchStrategy[Any]:
    if f.op == layout.TEXT:
        return TEXT.filter(bool) if f.optional else TEXT
    if f.op == layout.BINARY:
        low = 1 if f.optional else 0
        return st.binary(min_size=low, max_size=5).map(lambda b: base64.b64encode(b).decode())
    if f.op == layout.BOOL:
        return st.just(True) if f.optional else st.booleans()
    if f.op == layout.DOUBLE:
        return st.floats(-1e9, 1e9).map(lambda v: int(v) if v == int(v) else v)
    bits = 31 if f.op == layout.INT32 else 63
    whole = st.integers(-(1 << bits), (1 << bits) - 1)
    return whole.filter(bool) if f.optional else whole


def wrapped(f: Field, depth: int) -> st.SearchStrategy[Any]:
    name = f.more.to_json.__name__
    if name == "quantity":
        return st.sampled_from(["1", "500m", "1Gi", "0"])
    if name in ("time", "micro_time"):
        return stamps(name == "micro_time")
    if name == "int_or_string":
        return st.integers(-100, 100) | TEXT
    if name == "raw":
        return JSON
    if name == "schema_or_bool":
        return st.booleans()
    if name == "schema_or_array":
        return values(f.more.layout.fields[0][1], depth)
    return st.lists(TEXT, max_size=2)


def values(f: Field, depth: int) -> st.SearchStrategy[Any]:
    if f.op == layout.STRUCT:
        return st.deferred(lambda: messages(f.more, depth - 1))
    if f.op == layout.WRAPPED:
        return wrapped(f, depth)
    if f.op == layout.MAP:
        entry = values(f.more.fields[1][1], depth)
        return st.dictionaries(TEXT, entry, min_size=1, max_size=2)
    return scalars(f)


@st.composite
def messages(draw: st.DrawFn, of: Layout, depth: int) -> dict[str, Any]:
    out: dict[str, Any] = {}
    fields = of.fields if depth > 0 else [x for x in of.fields if x[1].op not in (1, 2, 3, 4)]
    if not fields:
        return out
    for _, f in draw(st.lists(st.sampled_from(fields), max_size=4, unique_by=lambda x: x[1].name)):
        if f.op == layout.INLINE:
            out |= draw(messages(f.more, depth))
        elif f.repeated:
            out[f.name] = draw(st.lists(values(f, depth), min_size=1, max_size=2))
        else:
            out[f.name] = draw(values(f, depth))
    return out


KINDS = sorted({(r.api_version, r.kind) for r in TABLE})


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.data())
def test_any_object_survives(data: st.DataObject) -> None:
    version, kind = data.draw(st.sampled_from(KINDS))
    of = layout.layout_of(layout_name(version, kind))
    obj = {"apiVersion": version, "kind": kind, **data.draw(messages(of, 6))}
    body = encode(obj)
    found = decode(body)
    assert found == obj
    decode_with(version, kind, found)  # the schema takes all of it
    cut = data.draw(st.integers(0, len(body)))
    flip = data.draw(st.integers(0, len(body) - 1))
    broken = bytearray(body)
    broken[flip] ^= data.draw(st.integers(1, 255))
    for bad in (body[:cut], bytes(broken)):
        try:
            decode(bad)
        except Malformed as e:
            assert str(e)


def layout_name(version: str, kind: str) -> str:
    from skiff.api.schema.load import name_of_kind

    return name_of_kind(version, kind)


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(KINDS))
def test_any_bytes_are_an_object_or_an_error(data: bytes, kind: tuple[str, str]) -> None:
    for body in (data, b"k8s\0" + data, encode({"apiVersion": kind[0], "kind": kind[1]}) + data):
        try:
            assert isinstance(decode(body), dict)
        except Malformed:
            pass
    try:
        raw(layout_name(*kind), data)
    except Malformed:
        pass


def test_doubles() -> None:
    found = raw(CRD + "JSONSchemaProps", b"\x49" + struct.pack("<d", 2.0))
    assert found == {"maximum": 2}
    assert isinstance(found["maximum"], int)
    with pytest.raises(Malformed, match="EOF"):
        raw(CRD + "JSONSchemaProps", b"\x49\x00")
