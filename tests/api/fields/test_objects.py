"""Sets of objects, their differences, merges and removals, on real schemas and on invented ones."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skiff.api.fields import sets, types
from skiff.api.fields.check import check, describe
from skiff.api.fields.compare import compare
from skiff.api.fields.extract import applied, created
from skiff.api.fields.merge import merge, remove, with_named
from skiff.api.fields.types import root_type
from skiff.api.schema.load import kinds
from skiff.api.schema.model import Schema, definition, schema_of_kind

POD = root_type(schema_of_kind("v1", "Pod"))
DEPLOYMENT = root_type(schema_of_kind("apps/v1", "Deployment"))
CONFIG_MAP = root_type(schema_of_kind("v1", "ConfigMap"))
SERVICE = root_type(schema_of_kind("v1", "Service"))
CUSTOM = root_type(None)
L = {}
S = {".": {}}


def test_created_deployment_has_no_self_for_what_go_always_has():
    """As a real server writes it for a Deployment that a client creates."""
    obj = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default", "uid": "u", "labels": {"app": "web"}},
        "spec": {
            "replicas": 3,
            "selector": {"matchLabels": {"app": "web"}},
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {
                    "containers": [
                        {"name": "web", "image": "nginx", "resources": {}, "ports": [{"containerPort": 80}]}
                    ],
                    "securityContext": {},
                },
            },
        },
        "status": {"replicas": 1},
    }  # fmt: skip
    assert created(DEPLOYMENT, obj, {"f:status": {}}) == {
        "f:metadata": {"f:labels": {**S, "f:app": L}},
        "f:spec": {
            "f:replicas": L,
            "f:selector": L,
            "f:strategy": {"f:rollingUpdate": {**S, "f:maxSurge": L}, "f:type": L},
            "f:template": {
                "f:metadata": {"f:labels": {**S, "f:app": L}},
                "f:spec": {
                    "f:containers": {
                        'k:{"name":"web"}': {
                            **S,
                            "f:image": L,
                            "f:name": L,
                            "f:ports": {
                                **S,
                                'k:{"containerPort":80,"protocol":"TCP"}': {
                                    **S,
                                    "f:containerPort": L,
                                },
                            },
                            "f:resources": L,
                        }
                    },
                    "f:securityContext": L,
                },
            },
        },
    }


def test_created_custom_resource():
    obj = {
        "apiVersion": "x/v1",
        "kind": "X",
        "metadata": {"name": "a"},
        "spec": {"a": [1], "b": {"c": 1}},
    }
    assert created(CUSTOM, obj, {}) == {"f:spec": {**S, "f:a": L, "f:b": {**S, "f:c": L}}}


def test_applied_claims_no_steps():
    obj = {
        "metadata": {"name": "a", "labels": {"x": "1"}, "annotations": {}, "finalizers": ["f/a"]},
        "spec": {
            "containers": [{"name": "c", "args": ["1"], "ports": []}],
            "nodeSelector": {"k": "v"},
            "hostname": None,
        },
    }
    assert applied(POD, obj) == {
        "f:metadata": {
            "f:annotations": L,
            "f:finalizers": {'v:"f/a"': L},
            "f:labels": {"f:x": L},
            "f:name": L,
        },
        "f:spec": {
            "f:containers": {'k:{"name":"c"}': {**S, "f:args": L, "f:name": L}},
            "f:hostname": L,
            "f:nodeSelector": L,
        },
    }


def pod(**spec):
    return {"metadata": {"name": "a"}, "spec": spec}


DIFFERENCES = [
    (POD, pod(), pod(hostname="x"), {"f:spec": {"f:hostname": L}}, {}),
    (POD, pod(hostname="x"), pod(), {}, {"f:spec": {"f:hostname": L}}),
    (POD, pod(hostname="x"), pod(hostname="y"), {"f:spec": {"f:hostname": L}}, {}),
    (
        POD,
        pod(containers=[{"name": "a", "image": "1"}, {"name": "b"}]),
        pod(containers=[{"name": "c"}, {"name": "a", "image": "2", "tty": True}]),
        {
            "f:spec": {
                "f:containers": {
                    'k:{"name":"a"}': {"f:image": L, "f:tty": L},
                    'k:{"name":"c"}': {**S, "f:name": L},
                }
            }
        },
        {"f:spec": {"f:containers": {'k:{"name":"b"}': {**S, "f:name": L}}}},
    ),
    # An atomic list or map is one field.
    (POD, pod(tolerations=[{"key": "a"}]), pod(tolerations=[]), {"f:spec": {"f:tolerations": L}}, {}),
    (POD, pod(nodeSelector={"a": "1"}), pod(nodeSelector={"a": "2"}), {"f:spec": {"f:nodeSelector": L}}, {}),
    # Labels go one by one; emptied, the map itself stays.
    (
        CONFIG_MAP,
        {"data": {"a": "1", "b": "2"}},
        {"data": {"b": "3", "c": "4"}},
        {"f:data": {"f:b": L, "f:c": L}},
        {"f:data": {"f:a": L}},
    ),
    (CONFIG_MAP, {"data": {"a": "1"}}, {"data": {}}, {}, {"f:data": {"f:a": L}}),
    (CONFIG_MAP, {"data": {"a": "1"}}, {}, {}, {"f:data": {**S, "f:a": L}}),
    (CONFIG_MAP, {}, {"data": {"a": "1"}}, {"f:data": {**S, "f:a": L}}, {}),
    # What the server writes is nobody's.
    (
        CONFIG_MAP,
        {"metadata": {"resourceVersion": "1", "uid": "a", "labels": {"a": "b"}}},
        {"metadata": {"resourceVersion": "2", "generation": 1, "managedFields": [{}]}},
        {},
        {"f:metadata": {"f:labels": {**S, "f:a": L}}},
    ),
    # Sets.
    (
        CONFIG_MAP,
        {"metadata": {"finalizers": ["a", "b"]}},
        {"metadata": {"finalizers": ["b", "c"]}},
        {"f:metadata": {"f:finalizers": {'v:"c"': L}}},
        {"f:metadata": {"f:finalizers": {'v:"a"': L}}},
    ),
    # Items that repeat are owned as one.
    (
        POD,
        pod(containers=[{"name": "a"}]),
        pod(containers=[{"name": "a"}, {"name": "a", "image": "x"}]),
        {"f:spec": {"f:containers": {'k:{"name":"a"}': L}}},
        {"f:spec": {"f:containers": {'k:{"name":"a"}': {**S, "f:name": L}}}},
    ),
    (
        POD,
        pod(containers=[{"name": "a"}, {"name": "a"}]),
        pod(containers=[{"name": "a", "image": "x"}]),
        {"f:spec": {"f:containers": {'k:{"name":"a"}': {**S, "f:image": L, "f:name": L}}}},
        {"f:spec": {"f:containers": {'k:{"name":"a"}': L}}},
    ),
    # A key that is left out has its default.
    (
        SERVICE,
        {"spec": {"ports": [{"port": 80}]}},
        {"spec": {"ports": [{"port": 80, "protocol": "TCP"}]}},
        {"f:spec": {"f:ports": {'k:{"port":80,"protocol":"TCP"}': {"f:protocol": L}}}},
        {},
    ),
    (CUSTOM, {"spec": {"a": [1], "b": 1}}, {"spec": {"a": [1, 2], "b": 2}}, {"f:spec": {"f:a": L, "f:b": L}}, {}),
]  # fmt: skip


@pytest.mark.parametrize(("t", "old", "new", "changed", "removed"), DIFFERENCES)
def test_compare(t, old, new, changed, removed):
    assert compare(t, old, new, {}) == (changed, removed)
    assert compare(t, old, copy.deepcopy(old), {}) == ({}, {})


MERGES = [
    ("abc", "", "abc"),
    ("", "abc", "abc"),
    ("abc", "b", "abc"),
    ("abc", "cb", "acb"),
    ("abc", "bx", "abcx"),
    ("abc", "xb", "axbc"),
    ("aXb", "nX", "anXb"),
    ("ba", "abn", "abn"),
    ("bac", "abn", "acbn"),
    ("sabt", "ba", "sbta"),
    ("abc", "cab", "cab"),
]


@pytest.mark.parametrize(("live", "config", "expected"), MERGES)
def test_merged_lists_keep_both_orders(live, config, expected):
    lists = [{"spec": {"containers": [{"name": n} for n in names]}} for names in (live, config)]
    merged = merge(POD, *lists)
    assert "".join(c["name"] for c in merged["spec"]["containers"] or []) == expected


def test_merge():
    live = pod(
        containers=[{"name": "a", "image": "1", "tty": True}], hostname="h", nodeSelector={"a": "1"}
    )
    config = pod(containers=[{"name": "a", "image": "2"}], nodeSelector={"b": "2"}, dnsConfig=None)
    assert merge(POD, live, config) == pod(
        containers=[{"name": "a", "image": "2", "tty": True}],
        hostname="h",
        nodeSelector={"b": "2"},
        dnsConfig=None,
    )


def test_remove():
    obj = pod(containers=[{"name": "a", "image": "1"}, {"name": "b"}], hostname="h")
    assert remove(
        POD, obj, {"f:spec": {"f:containers": {'k:{"name":"a"}': {"f:image": L}, 'k:{"name":"b"}': {**S, "f:name": L}}}}
    ) == pod(containers=[{"name": "a"}], hostname="h")  # fmt: skip
    assert remove(POD, {"spec": {"hostname": "h"}}, {"f:spec": {"f:hostname": L}}) == {"spec": None}


def test_with_named():
    assert with_named(POD, {"f:spec": {"f:containers": {'k:{"name":"a"}': {"f:image": L}}}}) == {
        "f:spec": {**S, "f:containers": {**S, 'k:{"name":"a"}': {"f:image": L}}}
    }
    assert with_named(CUSTOM, {"f:spec": {"f:a": L}}) == {"f:spec": {"f:a": L}}


CHECKS = [
    (POD, pod(nonsense=1), ".spec.nonsense: field not declared in schema"),
    (POD, pod(hostname=1), ".spec.hostname: expected string, got &value.valueUnstructured{Value:1}"),
    (POD, pod(hostNetwork="x"), ".spec.hostNetwork: expected boolean, got &{x}"),
    (DEPLOYMENT, {"spec": {"replicas": "3"}}, ".spec.replicas: expected numeric (int or float), got string"),
    (POD, pod(containers={"a": 1}), ".spec.containers: expected list, got &{map[a:1]}"),
    (POD, {"spec": [1]}, ".spec: expected map, got &{[1]}"),
    (POD, pod(containers=[{"name": "a"}, {"name": "a"}]), '.spec.containers: duplicate entries for key [name="a"]'),
    (POD, pod(containers=[{"image": "a"}]),
     ".spec.containers: element 0: associative list with keys has an element that omits key field \"name\" (and doesn't have default value)"),
    (POD, pod(containers=[None]), ".spec.containers: element 0: associative list with keys may not have a null element"),
    (POD, pod(containers=[1]), ".spec.containers: element 0: associative list with keys may not have non-map elements"),
    (POD, pod(containers=[{"name": "a", "x": 1}]), '.spec.containers[name="a"].x: field not declared in schema'),
    (POD, pod(tolerations=[{"key": "a", "x": 1}]), ".spec.tolerations[0].x: field not declared in schema"),
    (POD, {"metadata": {"finalizers": ["a", "a"]}}, '.metadata.finalizers: duplicate entries for key [="a"]'),
    (POD, {"spec": {"x": 1, "y": 1}},
     "errors:\n  .spec.x: field not declared in schema\n  .spec.y: field not declared in schema"),
]  # fmt: skip


@pytest.mark.parametrize(("t", "obj", "message"), CHECKS)
def test_check_refuses(t, obj, message):
    assert describe(check(t, obj)) == message


@pytest.mark.parametrize(
    ("t", "obj"),
    [
        (POD, pod(containers=[{"name": "a", "resources": {"limits": {"cpu": 1, "memory": "1Gi"}}}])),
        (POD, pod(containers=[{"name": "a", "livenessProbe": {"httpGet": {"port": "http"}}}])),
        (POD, pod(containers=[{"name": "a", "ports": [{"containerPort": 80}]}], hostname=None)),
        (POD, pod(affinity={"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}})),
        (CUSTOM, {"apiVersion": "x/v1", "kind": "X", "metadata": {"name": "a"}, "spec": {"any": [{}, 1]}}),
    ],
)  # fmt: skip
def test_check_accepts(t, obj):
    assert check(t, obj) == []


STRUCTURAL = Schema(
    {
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "properties": {
                    "items": {
                        "type": "array",
                        "x-kubernetes-list-type": "map",
                        "x-kubernetes-list-map-keys": ["id"],
                        "items": {"type": "object", "properties": {"id": {"type": "integer"}, "v": {"type": "string"}}},
                    },
                    "tags": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
                    "atom": {"type": "object", "x-kubernetes-map-type": "atomic", "properties": {"a": {"type": "string"}}},
                    "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                    "list": {"type": "array", "items": {"type": "string"}},
                    "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                },
            }
        },
    }
)  # fmt: skip
TYPE = root_type(STRUCTURAL)


def test_structural_schema():
    obj = {
        "metadata": {"labels": {"a": "b"}},
        "spec": {
            "items": [{"id": 10, "v": "x"}, {"id": 9}],
            "tags": ["b", "a"],
            "atom": {"a": "1"},
            "free": {"x": {"y": 1}},
            "list": ["1"],
        },
    }
    fields = created(TYPE, obj, {})
    assert fields == {
        "f:metadata": {"f:labels": {**S, "f:a": L}},
        "f:spec": {
            **S,
            "f:atom": L,
            "f:free": {**S, "f:x": {**S, "f:y": L}},
            "f:items": {
                **S,
                'k:{"id":9}': {**S, "f:id": L},
                'k:{"id":10}': {**S, "f:id": L, "f:v": L},
            },
            "f:list": L,
            "f:tags": {**S, 'v:"a"': L, 'v:"b"': L},
        },
    }
    assert list(fields["f:spec"]["f:items"]) == [".", 'k:{"id":9}', 'k:{"id":10}']


texts = st.text("ab", max_size=2)
specs = st.fixed_dictionaries(
    {},
    optional={
        "items": st.lists(
            st.fixed_dictionaries({"id": st.integers(0, 4)}, optional={"v": texts}),
            max_size=4,
            unique_by=lambda i: i["id"],
        ),
        "tags": st.lists(texts, max_size=3, unique=True),
        "atom": st.fixed_dictionaries({}, optional={"a": texts}),
        "free": st.dictionaries(texts, st.integers(0, 3) | st.dictionaries(texts, texts, max_size=2), max_size=3),
        "list": st.lists(texts, max_size=2),
        "labels": st.dictionaries(texts, texts, max_size=3),
    },
)  # fmt: skip


@given(specs, specs)
def test_difference_explains_the_change(old_spec, new_spec):
    """What is owned of the new object is what was owned of the old, less the removed, plus the changed."""
    old, new = {"spec": old_spec}, {"spec": new_spec}
    changed, removed = compare(TYPE, old, new, {})
    before, after = created(TYPE, old, {}), created(TYPE, new, {})
    predicted = sets.union(sets.difference(before, removed), changed)
    assert sets.difference(after, predicted) == {}
    assert set(sets.paths(changed)) <= set(sets.paths(after))
    if old == new:
        assert (changed, removed) == ({}, {})


@given(specs, specs)
def test_merge_contains_the_configuration(live_spec, config_spec):
    live, config = {"spec": live_spec}, {"spec": config_spec}
    merged = merge(TYPE, live, config)
    assert merge(TYPE, merged, config) == merged
    claimed = applied(TYPE, config)
    changed, removed = compare(TYPE, live, merged, {})
    # Only what is claimed (or on the way to it) changes, and nothing is lost.
    for path in sets.paths(changed):
        assert sets.contains(claimed, path) or any(
            p[: len(path)] == path for p in sets.paths(claimed)
        ) or config_spec.get(path[-1][2:]) == []  # fmt: skip
    # (A free value that takes another form loses what it had in the old one.)
    assert removed.get("f:spec", {}).keys() <= {"f:free"}


def test_a_free_value_changes_its_form():
    before, after = {"spec": {"a": 1}}, {"spec": {"a": {"b": {"c": 1}}}}
    below = {"f:spec": {"f:a": {**S, "f:b": {**S, "f:c": L}}}}
    assert compare(CUSTOM, before, after, {}) == (below, {})
    assert compare(CUSTOM, after, before, {}) == (
        {"f:spec": {"f:a": L}},
        {"f:spec": {"f:a": {"f:b": {**S, "f:c": L}}}},
    )


@pytest.mark.parametrize("name", types._BY_VALUE)
def test_structs_by_value_exist(name):
    schema = definition(name)
    for field in types._BY_VALUE[name]:
        assert schema.properties[field].type == "object"
        assert field not in schema.required


def test_every_keyed_list_of_every_kind_has_its_keys():
    for gvk in kinds():
        group, version, kind = gvk.split("/")
        todo = [root_type(schema_of_kind(f"{group}/{version}" if group else version, kind))]
        seen = set()
        while todo:
            t = todo.pop()
            if t in seen or (t.schema is not None and "JSONSchemaProps" in t.schema.name):
                continue
            seen.add(t)
            todo += t.fields.values()
            if t.kind in (types.KEYED, types.SET):
                todo.append(t.items)
            if t.kind == types.KEYED:
                assert t.keys
                assert set(t.keys) <= set(t.schema.items.properties), (gvk, t)
