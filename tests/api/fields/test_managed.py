"""managedFields through creates and updates: who owns what, since when."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skiff.api.fields import managed, sets
from skiff.api.schema.model import Schema, schema_of_kind

CONFIG_MAP = schema_of_kind("v1", "ConfigMap")
DEPLOYMENT = schema_of_kind("apps/v1", "Deployment")
POD = schema_of_kind("v1", "Pod")
S = {".": {}}


def at(second):
    return f"2026-01-01T00:{second // 60:02}:{second % 60:02}Z"


def config_map(**data):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data}


def create(obj, manager="creator", time=0, schema=CONFIG_MAP):
    obj = copy.deepcopy(obj)
    managed.on_create(obj, manager, obj["apiVersion"], at(time), schema)
    return obj


def update(old, manager, time, schema=CONFIG_MAP, subresource="", change=None, **data):
    new = copy.deepcopy(old)
    if change:
        change(new)
    new.get("data", {}).update(data)
    for name in [n for n, v in data.items() if v is None]:
        del new["data"][name]
    frozen = copy.deepcopy(old)
    managed.on_update(old, new, manager, old["apiVersion"], at(time), schema, subresource)
    assert old == frozen
    return new


def owned(obj):
    return {
        (e["manager"], *([e["subresource"]] if "subresource" in e else [])): e["fieldsV1"]
        for e in obj["metadata"].get("managedFields", ())
    }


def times(obj):
    return {e["manager"]: e["time"] for e in obj["metadata"]["managedFields"]}


def test_create():
    obj = create(config_map(a="1"))
    assert obj["metadata"]["managedFields"] == [
        {
            "manager": "creator",
            "operation": "Update",
            "apiVersion": "v1",
            "time": at(0),
            "fieldsType": "FieldsV1",
            "fieldsV1": {"f:data": {**S, "f:a": {}}},
        }
    ]
    empty = create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}})
    assert "managedFields" not in empty["metadata"]
    assert owned(create(config_map(a="1"), manager="")) == {
        ("unknown",): {"f:data": {**S, "f:a": {}}}
    }


def test_a_change_takes_ownership():
    obj = update(create(config_map(a="1", b="2")), "other", 5, a="9")
    assert owned(obj) == {
        ("creator",): {"f:data": {**S, "f:b": {}}},
        ("other",): {"f:data": {"f:a": {}}},
    }
    assert times(obj) == {"creator": at(0), "other": at(5)}


def test_an_own_change_keeps_the_rest_and_moves_the_time():
    obj = update(create(config_map(a="1", b="2")), "creator", 5, a="9", c="3")
    assert owned(obj) == {("creator",): {"f:data": {**S, "f:a": {}, "f:b": {}, "f:c": {}}}}
    assert times(obj) == {"creator": at(5)}


def test_no_change_changes_nothing():
    old = create(config_map(a="1"))
    obj = update(old, "other", 5)
    assert obj["metadata"]["managedFields"] is old["metadata"]["managedFields"]


def test_removal_belongs_to_nobody_and_moves_no_time():
    obj = update(create(config_map(a="1", b="2")), "other", 5, a=None)
    assert owned(obj) == {("creator",): {"f:data": {**S, "f:b": {}}}}
    assert times(obj) == {"creator": at(0)}


def test_an_entry_without_fields_goes():
    obj = update(create(config_map(a="1")), "other", 5, change=lambda o: o.pop("data"))
    assert "managedFields" not in obj["metadata"]


def test_subresources_have_their_own_entries():
    obj = create(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"},
         "spec": {"hostname": "h"}, "status": {"phase": "Pending"}},
        schema=POD,
    )  # fmt: skip
    assert owned(obj) == {("creator",): {"f:spec": {"f:hostname": {}}}}

    def run(o):
        o["status"]["phase"] = "Running"
        o["spec"]["hostname"] = "the server takes this back later"

    obj = update(obj, "kubelet", 3, POD, "status", run)
    assert owned(obj) == {
        ("creator",): {"f:spec": {"f:hostname": {}}},
        ("kubelet", "status"): {"f:status": {"f:phase": {}}},
    }


def test_objects_without_managers_stay_so():
    obj = update(config_map(a="1"), "other", 5, a="2")
    assert "managedFields" not in obj["metadata"]


def test_reset():
    obj = create(config_map(a="1"))
    new = copy.deepcopy(obj)
    new["metadata"]["managedFields"] = [{}]
    managed.on_update(obj, new, "other", "v1", at(1), CONFIG_MAP)
    assert "managedFields" not in new["metadata"]
    emptied = copy.deepcopy(obj)
    emptied["metadata"]["managedFields"] = []
    managed.on_update(obj, emptied, "other", "v1", at(1), CONFIG_MAP)
    assert emptied["metadata"]["managedFields"] == obj["metadata"]["managedFields"]


def test_a_client_may_edit_the_entries():
    obj = create(config_map(a="1"))
    new = copy.deepcopy(obj)
    new["metadata"]["managedFields"][0]["manager"] = "renamed"
    managed.on_update(obj, new, "other", "v1", at(1), CONFIG_MAP)
    assert owned(new) == {("renamed",): {"f:data": {**S, "f:a": {}}}}


@pytest.mark.parametrize(
    "wrong",
    [
        "x",
        [1],
        [{"operation": "Odd"}],
        [{"operation": "Update", "apiVersion": ""}],
        [{"operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV2"}],
        [
            {
                "operation": "Update",
                "apiVersion": "v1",
                "fieldsType": "FieldsV1",
                "fieldsV1": {"a": 1},
            }
        ],
    ],
)
def test_wrong_entries_are_passed_over(wrong):
    obj = create(config_map(a="1"))
    new = copy.deepcopy(obj)
    new["metadata"]["managedFields"] = wrong
    managed.on_update(obj, new, "other", "v1", at(1), CONFIG_MAP)
    assert new["metadata"]["managedFields"] == obj["metadata"]["managedFields"]


def test_old_updates_are_folded():
    obj = create(config_map(k0="0"), "m0", 0)
    for i in range(1, 15):
        obj = update(obj, f"m{i}", i, **{f"k{i}": "x"})
    managers = [e["manager"] for e in obj["metadata"]["managedFields"]]
    assert managers == ["ancient-changes", *(f"m{i}" for i in range(6, 15))]
    ancient = owned(obj)[("ancient-changes",)]
    assert ancient == {"f:data": {**S, **{f"f:k{i}": {} for i in range(6)}}}
    assert times(obj)["ancient-changes"] == at(5)


class EventVersions:
    """Two versions that name one field differently."""

    def convert(self, obj, api_version):
        if api_version == "gone/v1":
            raise KeyError(api_version)
        new = {k: v for k, v in obj.items() if k not in ("old", "new")}
        value = obj.get("old", obj.get("new"))
        return {**new, "apiVersion": api_version, "old" if api_version == "x/v1" else "new": value}

    def schema(self, api_version):
        return None


def test_managers_at_other_versions_lose_their_own_fields():
    old = {"apiVersion": "x/v2", "kind": "X", "metadata": {}, "new": 1, "other": 1}
    old["metadata"]["managedFields"] = [
        {"manager": "a", "operation": "Update", "apiVersion": "x/v1", "fieldsType": "FieldsV1",
         "fieldsV1": {"f:old": {}, "f:other": {}}},
        {"manager": "b", "operation": "Update", "apiVersion": "gone/v1", "fieldsType": "FieldsV1",
         "fieldsV1": {"f:old": {}}},
    ]  # fmt: skip
    new = copy.deepcopy(old)
    new["new"] = 2
    managed.on_update(old, new, "c", "x/v2", at(1), None, versions=EventVersions())
    assert owned(new) == {("a",): {"f:other": {}}, ("c",): {"f:new": {}}}


def test_a_list_that_became_atomic_is_owned_whole():
    def schema(list_type):
        items = {
            "type": "object",
            "properties": {"id": {"type": "string"}, "v": {"type": "string"}},
        }
        inner = {"type": "array", "x-kubernetes-list-type": list_type, "items": items}
        if list_type == "map":
            inner["x-kubernetes-list-map-keys"] = ["id"]
        return Schema({"type": "object", "properties": {"list": inner, "x": {"type": "string"}}})

    obj = {"apiVersion": "x/v1", "kind": "X", "metadata": {}, "list": [{"id": "a", "v": "1"}]}
    obj = create(obj, schema=schema("map"))
    assert 'k:{"id":"a"}' in owned(obj)[("creator",)]["f:list"]
    obj = update(obj, "other", 1, schema("atomic"), change=lambda o: o.update(x="1"))
    assert owned(obj) == {("creator",): {"f:list": {}}, ("other",): {"f:x": {}}}


def test_keep_times():
    old = create(config_map(a="1"))
    new = copy.deepcopy(old)
    new["metadata"]["managedFields"][0]["time"] = at(9)
    new["metadata"]["resourceVersion"] = "7"
    managed.keep_times(old, new)
    assert times(new) == {"creator": at(0)}
    changed = copy.deepcopy(old)
    changed["metadata"]["managedFields"][0]["time"] = at(9)
    changed["data"]["a"] = "2"
    managed.keep_times(old, changed)
    assert times(changed) == {"creator": at(9)}


@pytest.mark.parametrize(
    ("field_manager", "user_agent", "expected"),
    [
        ("me", "kubectl/v1.32", "me"),
        ("", "kubectl/v1.32 (linux/amd64)", "kubectl"),
        ("", "kube-controller-manager/v1", "kube-controller-manager"),
        ("", "", ""),
        ("", "a\x00b\tc", "abc"),
        ("", "x" * 200, "x" * 128),
        ("", "é" * 200, "é" * 64),
    ],
)
def test_manager_name(field_manager, user_agent, expected):
    assert managed.manager_name(field_manager, user_agent) == expected


data = st.dictionaries(st.sampled_from("abcd"), st.sampled_from("12"), max_size=4)
steps = st.lists(st.tuples(st.sampled_from(["m1", "m2", "m3"]), data), max_size=6)


@given(data, steps)
def test_each_field_has_exactly_one_owner(first, changes):
    """By Updates alone, every field that is there is owned once, and nothing else is."""
    obj = create(config_map(**first))
    for time, (manager, wanted) in enumerate(changes):
        new = copy.deepcopy(obj)
        new["data"] = wanted
        managed.on_update(obj, new, manager, "v1", at(time + 1), CONFIG_MAP)
        if not obj["metadata"].get("managedFields"):
            return  # emptied: no longer tracked
        obj = new
    owners = [p for fields in owned(obj).values() for p in sets.paths(fields)]
    assert len(owners) == len(set(owners))
    leaves = {p[1][2:] for p in owners if len(p) == 2}
    assert leaves == set(obj["data"])
