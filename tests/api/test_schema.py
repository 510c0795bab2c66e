"""Compiled schemas: they are Kubernetes' own, and objects decode against them as Kubernetes does."""

import copy
import json
import subprocess
import sys
from pathlib import Path

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from skiff.api.errors import BadRequest
from skiff.api.resources import (
    CONFIGMAPS,
    CUSTOMRESOURCEDEFINITIONS,
    DEPLOYMENTS,
    LEASES,
    NODES,
    PODS,
    SECRETS,
    SERVICES,
    TABLE,
)
from skiff.api.schema import (
    decode,
    decode_with,
    definition,
    definition_text,
    names,
    schema_for,
    schema_of_kind,
)
from skiff.api.schema.check import check_for
from skiff.api.schema.restore import restore_fault
from skiff.api.schema.walk import Walk
from skiff.api.schema.zeros import vanishing

from . import objects

SWAGGER = Path(__file__).parents[3] / "shared" / "reference" / "swagger.json"
REWORDED = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity",
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
}


@pytest.mark.skipif(not SWAGGER.is_file(), reason="no reference data here")
def test_definitions_equal_the_published_ones():
    published = json.loads(SWAGGER.read_text())["definitions"]
    assert set(names()) == set(published)
    for name, expected in published.items():
        found = definition_text(name)
        if name in REWORDED:
            found.pop("description")
            expected = {k: v for k, v in expected.items() if k != "description"}
        assert found == expected, name


@pytest.mark.parametrize("name", names())
def test_every_definition_takes_its_own_objects(name):
    """An object drawn from a definition walks through; only what is empty may vanish. What is left
    fits the quick check (but for numbers below zero where a zero would vanish)."""
    schema = definition(name)
    if schema.type != "object" or not schema.properties:
        return

    @settings(max_examples=3, deadline=None, suppress_health_check=list(HealthCheck))
    @given(obj=objects.of(schema, 4))
    def run(obj):
        obj = written(schema, obj)
        before = json.dumps(obj)
        check = check_for(schema)
        if check is not None and "-1" not in before:
            assert check(obj)
        walk = Walk()
        walk.object(schema, obj)
        assert walk.unknown == []
        if '"1.5Gi"' not in before:  # the one drawn amount that is not canonical
            assert json.dumps(obj) == before

    run()


def written(schema, value):
    """The value as Kubernetes writes it: without the empty fields that its types leave out."""
    if isinstance(value, list):
        return [written(schema.items, item) for item in value] if schema.items else value
    if not isinstance(value, dict):
        return value
    if schema.additional is not None:
        return {key: written(schema.additional, item) for key, item in value.items()}
    fields = {
        key: written(schema.properties[key], item) if key in schema.properties else item
        for key, item in value.items()
    }
    return {key: item for key, item in fields.items() if item or key not in vanishing(schema)}


EMPTY_FIELDS = {
    "metadata": {"name": "p", "labels": {}, "finalizers": [], "generateName": "", "generation": 0},
    "spec": {
        "hostNetwork": False,
        "hostUsers": False,
        "nodeSelector": {},
        "priority": 0,
        "nodeName": "",
        "securityContext": {},
        "volumes": [{"name": "v", "emptyDir": {"medium": ""}}],
        "containers": [
            {
                "name": "a",
                "command": [],
                "stdin": False,
                "env": [{"name": "A", "value": ""}],
                "args": [""],
                "ports": [{"containerPort": 0, "hostPort": 0}],
                "resources": {"limits": {}},
                "securityContext": {"privileged": False},
            }
        ],
    },
}
WRITTEN_FIELDS = {
    "metadata": {"name": "p"},
    "spec": {
        "hostUsers": False,
        "priority": 0,
        "securityContext": {},
        "volumes": [{"name": "v", "emptyDir": {}}],
        "containers": [
            {
                "name": "a",
                "env": [{"name": "A"}],
                "args": [""],
                "ports": [{"containerPort": 0}],
                "resources": {},
                "securityContext": {"privileged": False},
            }
        ],
    },
}


def test_what_is_empty_is_not_written_unless_a_pointer_holds_it():
    obj = copy.deepcopy(EMPTY_FIELDS)
    assert decode(PODS, obj, "Strict", b"") == []
    assert obj == WRITTEN_FIELDS


def test_flags_vanish_from_objects_that_need_no_walk():
    obj = {"metadata": {"name": "p"}, "spec": {"hostNetwork": False, "hostPID": True}}
    assert check_for(schema_for(PODS))(obj)
    decode(PODS, obj, "Strict", b"")
    assert obj["spec"] == {"hostPID": True}


def test_rules_are_written_even_when_there_are_none():
    role = {"metadata": {"name": "r"}, "rules": [], "aggregationRule": {"clusterRoleSelectors": []}}
    decode_with("rbac.authorization.k8s.io/v1", "ClusterRole", role, "Strict")
    assert role == {"metadata": {"name": "r"}, "rules": [], "aggregationRule": {}}


def test_command_writes_the_same_file_again(tmp_path):
    root = Path(__file__).parents[2]
    target = root / "skiff" / "api" / "schema.bin"
    before = target.read_bytes()
    out = subprocess.run(
        [sys.executable, "build_schemas.py"], cwd=root, capture_output=True, text=True
    )
    assert out.returncode == 0, out.stderr
    assert target.read_bytes() == before


def test_merge_metadata():
    spec = schema_of_kind("v1", "Pod").properties["spec"]
    containers = spec.properties["containers"]
    assert (containers.merge_key, containers.strategy) == ("name", ("merge",))
    assert (containers.list_type, containers.map_keys) == ("map", ("name",))
    ports = containers.items.properties["ports"]
    assert ports.map_keys == ("containerPort", "protocol")
    assert ports.key_default("protocol") == "TCP"
    strategy = schema_for(DEPLOYMENTS).properties["spec"].properties["strategy"]
    assert strategy.strategy == ("retainKeys",)
    assert strategy.properties["rollingUpdate"].properties["maxSurge"].int_or_string
    selector = schema_for(DEPLOYMENTS).properties["spec"].properties["selector"]
    assert selector.map_type == "atomic"
    assert schema_for(CONFIGMAPS).properties["data"].additional.type == "string"
    assert schema_of_kind("v1", "Pod").gvks == (("", "v1", "Pod"),)


def refused(resource, obj, validation="Strict", raw=b""):
    with pytest.raises(BadRequest) as e:
        decode(resource, obj, validation, raw)
    return e.value.message


POD = 'Pod in version "v1" cannot be handled as a Pod: '
DEPLOYMENT = 'Deployment in version "v1" cannot be handled as a Deployment: '
STRUCT = "json: cannot unmarshal {} into Go struct field {}"


@pytest.mark.parametrize(
    ("obj", "message"),
    [
        (
            {"spec": {"replicas": "x"}},
            STRUCT.format("string", "DeploymentSpec.spec.replicas of type int32"),
        ),
        (
            {"spec": {"replicas": 1.5}},
            STRUCT.format("number 1.5", "DeploymentSpec.spec.replicas of type int32"),
        ),
        (
            {"spec": {"replicas": 2**31}},
            STRUCT.format("number 2147483648", "DeploymentSpec.spec.replicas of type int32"),
        ),
        ({"spec": []}, STRUCT.format("array", "Deployment.spec of type v1.DeploymentSpec")),
        (
            {"spec": {"paused": "true"}},
            STRUCT.format("string", "DeploymentSpec.spec.paused of type bool"),
        ),
        (
            {"metadata": {"labels": {"a": 1}}},
            STRUCT.format("number", "ObjectMeta.metadata.labels of type string"),
        ),
        (
            {"metadata": {"labels": "a"}},
            STRUCT.format("string", "ObjectMeta.metadata.labels of type map[string]string"),
        ),
        (
            {"spec": {"template": {"spec": {"containers": {}}}}},
            STRUCT.format("object", "PodSpec.spec.template.spec.containers of type []v1.Container"),
        ),
        (
            {
                "spec": {
                    "template": {"spec": {"containers": [{"env": [{"name": "a", "value": True}]}]}}
                }
            },
            STRUCT.format("bool", "EnvVar.spec.template.spec.containers.env.value of type string"),
        ),
        (
            {"spec": {"template": {"spec": {"containers": [{"imagePullPolicy": 3}]}}}},
            STRUCT.format(
                "number",
                "Container.spec.template.spec.containers.imagePullPolicy of type v1.PullPolicy",
            ),
        ),
        (
            {
                "spec": {
                    "template": {"spec": {"containers": [{"resources": {"limits": {"cpu": "1x"}}}]}}
                }
            },
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        (
            {"spec": {"strategy": {"rollingUpdate": {"maxSurge": 1.5}}}},
            "json: cannot unmarshal number 1.5 into Go value of type int32",
        ),
        (
            {"metadata": {"creationTimestamp": "yesterday"}},
            'parsing time "yesterday" as "2006-01-02T15:04:05Z07:00": cannot parse "yesterday" as "2006"',
        ),
        (
            {"metadata": {"creationTimestamp": "2024-02-03T04:05:06"}},
            'parsing time "2024-02-03T04:05:06" as "2006-01-02T15:04:05Z07:00": cannot parse "" as "Z07:00"',
        ),
        (
            {"metadata": {"creationTimestamp": "2024-02-30T04:05:06Z"}},
            'parsing time "2024-02-30T04:05:06Z": day out of range',
        ),
        (
            {"metadata": {"creationTimestamp": 5}},
            "json: cannot unmarshal number into Go value of type string",
        ),
    ],
)
def test_wrong_types_are_refused_in_kubernetes_words(obj, message):
    for validation in ("Strict", "Ignore"):
        assert refused(DEPLOYMENTS, json.loads(json.dumps(obj)), validation) == DEPLOYMENT + message


def unknown():
    return {
        "spec": {"foo": 1, "containers": [{"name": "a", "bar": {}}, {"name": "b", "image": "x"}]},
        "baz": [],
    }


def test_unknown_fields_are_pruned_and_reported_as_asked():
    wanted = {"spec": {"containers": [{"name": "a"}, {"name": "b", "image": "x"}]}}
    obj = unknown()
    assert decode(PODS, obj, "Ignore") == []
    assert obj == wanted
    obj = unknown()
    assert decode(PODS, obj, "Warn") == [
        'unknown field "spec.foo"',
        'unknown field "spec.containers[0].bar"',
        'unknown field "baz"',
    ]
    assert obj == wanted
    assert refused(PODS, unknown()) == (
        POD + 'strict decoding error: unknown field "spec.foo", '
        'unknown field "spec.containers[0].bar", unknown field "baz"'
    )


@pytest.mark.parametrize("spaces", ["", " ", "\n  "])
def test_repeated_fields_are_found(spaces):
    raw = (
        ('{"spec":{"nodeName":"a","containers":[{"name":"\\":","name":"y"}],"nodeName":"b"}}')
        .replace(",", "," + spaces)
        .replace(":", ":" + spaces if spaces == " " else ":")
        .encode()
    )
    problems = ['duplicate field "spec.containers[0].name"', 'duplicate field "spec.nodeName"']
    assert decode(PODS, orjson.loads(raw), "Warn", raw) == problems
    assert refused(PODS, orjson.loads(raw), "Strict", raw) == (
        POD + "strict decoding error: " + ", ".join(problems)
    )
    assert decode(PODS, orjson.loads(raw), "Ignore", raw) == []


@pytest.mark.parametrize(
    "raw",
    [
        b'{"spec":{"nodeName" :"a","nodeName" :"b"}}',
        b'{"spec":{"nodeName":"a","hostname":"\\u003a","nodeName":"b"}}',
        b'{"spec": {"nodeName":"a","hostname":":","nodeName":"b"}}',
        b'{"spec":{"nodeName":":::","hostname":"\\\\","nodeName":"b"}}',
    ],
)
def test_no_spelling_hides_a_repeated_field(raw):
    assert decode(PODS, orjson.loads(raw), "Warn", raw) == ['duplicate field "spec.nodeName"']


def test_nothing_repeated_is_not_reported():
    obj = {
        "metadata": {"creationTimestamp": None, "annotations": {'":': '":"'}},
        "spec": {"containers": []},
    }
    for raw in (
        json.dumps(obj).encode(),
        json.dumps(obj, indent=2).encode(),
        orjson.dumps(obj) + b"\n",
    ):
        assert decode(PODS, orjson.loads(raw), "Strict", raw) == []


def test_nulls_are_dropped():
    obj = {
        "metadata": {"creationTimestamp": None, "labels": None, "annotations": {"a": None}},
        "spec": {"containers": [{"name": "a", "args": ["x", None], "env": None}], "nodeName": None},
    }
    assert decode(PODS, obj, "Strict") == []
    assert obj == {
        "metadata": {"annotations": {"a": ""}},
        "spec": {"containers": [{"name": "a", "args": ["x", ""]}]},
    }


def test_amounts_and_times_become_canonical():
    pod = {
        "metadata": {"creationTimestamp": "2024-02-03T06:05:06.5+02:00"},
        "spec": {
            "containers": [
                {"resources": {"limits": {"cpu": 0.1, "memory": "1024Mi"}, "requests": {"cpu": 2}}}
            ],
            "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1000m"}}],
        },
    }
    decode(PODS, pod, "Strict")
    assert pod["metadata"]["creationTimestamp"] == "2024-02-03T04:05:06Z"
    assert pod["spec"]["containers"][0]["resources"] == {
        "limits": {"cpu": "100m", "memory": "1Gi"},
        "requests": {"cpu": "2"},
    }
    assert pod["spec"]["volumes"][0]["emptyDir"] == {"sizeLimit": "1"}
    lease = {
        "spec": {
            "renewTime": "2024-02-03T04:05:06+00:00",
            "acquireTime": "2024-02-03T04:05:06.000001Z",
        }
    }
    decode(LEASES, lease, "Strict")
    assert lease["spec"] == {
        "renewTime": "2024-02-03T04:05:06.000000Z",
        "acquireTime": "2024-02-03T04:05:06.000001Z",
    }


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("*x", "illegal base64 data at input byte 0"),
        ("eA=", "illegal base64 data at input byte 3"),
        ("eA", "illegal base64 data at input byte 0"),
        ("eA==x", "illegal base64 data at input byte 4"),
        ("eHh4e", "illegal base64 data at input byte 4"),
        ("é", "illegal base64 data at input byte 0"),
    ],
)
def test_bytes_must_be_base64(value, message):
    assert refused(SECRETS, {"data": {"k": value}}).endswith(message)


def test_base64_may_have_line_ends():
    assert decode(SECRETS, {"data": {"k": "eHh4\neHh4\n"}}, "Strict") == []


def test_ports_are_numbers_or_names():
    obj = {
        "spec": {"ports": [{"port": 80, "targetPort": "http"}, {"port": 81, "targetPort": 8080}]}
    }
    assert decode(SERVICES, obj, "Strict") == []
    assert refused(SERVICES, {"spec": {"ports": [{"targetPort": True}]}}).endswith(
        "json: cannot unmarshal bool into Go value of type int32"
    )
    assert refused(SERVICES, {"spec": {"ports": [{"port": "abc"}]}}).endswith(
        STRUCT.format("string", "ServicePort.spec.ports.port of type int32")
    )


def test_free_form_parts_are_left_alone():
    obj = {"metadata": {"managedFields": [{"fieldsV1": {"f:spec": {"f:x": None}}}]}}
    decode(PODS, obj, "Strict")
    assert obj["metadata"]["managedFields"] == [{"fieldsV1": {"f:spec": {"f:x": None}}}]


def test_schemas_of_custom_resources_are_checked_all_the_way():
    node = {
        "type": "object",
        "properties": {"a": {"type": "array", "items": {"type": "string", "nope": 1}}},
    }
    obj = {"spec": {"versions": [{"name": "v1", "schema": {"openAPIV3Schema": node}}]}}
    path = "spec.versions[0].schema.openAPIV3Schema.properties.a.items.nope"
    assert decode(CUSTOMRESOURCEDEFINITIONS, obj, "Warn") == [f'unknown field "{path}"']


def test_kinds_that_are_no_resource_decode_too():
    assert decode_with("autoscaling/v1", "Scale", {"spec": {"replicas": 2}}, "Strict") == []
    with pytest.raises(BadRequest, match="Scale in version"):
        decode_with("autoscaling/v1", "Scale", {"spec": {"replicas": "2"}}, "Strict")


def test_every_resource_has_a_type():
    for resource in TABLE:
        assert schema_for(resource).gvks
    assert decode(NODES, {"metadata": {"name": "n"}}, "Strict") == []


@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_quick_check_and_walk_agree(data):
    """What the quick check accepts, the walk accepts, with the same outcome."""
    obj = data.draw(objects.kind(schema_for(PODS)))
    spoiled = data.draw(st.sampled_from([None, "x", 1, True, [], {}, {"q": 1}]))
    field = data.draw(
        st.sampled_from(["nodeName", "containers", "hostNetwork", "priority", "os", "zz"])
    )
    obj.setdefault("spec", {})[field] = spoiled
    check = check_for(schema_for(PODS))
    assert check is not None
    fits = check(obj)
    walk = Walk()
    try:
        walk.object(schema_for(PODS), json.loads(json.dumps(obj)))
        clean = not walk.unknown and spoiled is not None
    except ValueError:
        clean = False
    if written(schema_for(PODS), obj) == obj and "-1" not in json.dumps(obj):
        assert fits == clean
    else:
        assert clean or not fits


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"nodeSelector": "x"}, "cannot restore map from string"),
        ({"containers": {"a": 1}}, "cannot restore slice from map"),
        ({"containers": [1]}, "cannot restore struct from: int64"),
        ({"securityContext": True}, "cannot restore struct from: bool"),
        ({"nodeName": 1}, "cannot convert int64 to string"),
        ({"restartPolicy": 1}, "cannot convert int64 to v1.RestartPolicy"),
        ({"nodeName": [1]}, "unrecognized type: string"),
        ({"priority": "1"}, "unrecognized type: int32"),
        ({"priority": 1.5}, "cannot convert float64 to int32"),
        ({"hostNetwork": 1}, "unrecognized type: bool"),
        ({"nodeName": "n"}, ""),
    ],
)
def test_what_cannot_be_restored(spec: dict[str, object], words: str) -> None:
    assert restore_fault(schema_for(PODS), {"spec": spec}) == words


def test_bytes_that_cannot_be_restored() -> None:
    fault = restore_fault(schema_for(SECRETS), {"data": {"a": "$"}})
    assert fault == "error decoding from json: illegal base64 data at input byte 0"
    assert (
        restore_fault(schema_for(SECRETS), {"data": {"a": 1}}) == "cannot restore slice from int64"
    )
