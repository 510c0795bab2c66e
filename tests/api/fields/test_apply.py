"""Server-side apply: merging, ownership, conflicts, removal, the way from client-side apply."""

import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skiff.api.errors import ApiError, BadRequest, Conflict
from skiff.api.fields import managed
from skiff.api.fields.apply import LAST_APPLIED, apply
from skiff.api.schema.model import schema_of_kind

CONFIG_MAP = schema_of_kind("v1", "ConfigMap")
DEPLOYMENT = schema_of_kind("apps/v1", "Deployment")
T0, T1, T2 = (f"2026-01-01T00:00:0{i}Z" for i in range(3))
S = {".": {}}


def config_map(**data):
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "a", "namespace": "default"},
        "data": data,
    }


def deployment(*containers, **spec):
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"template": {"spec": {"containers": list(containers)}}, **spec},
    }


def do(live, config, manager="me", force=False, time=T1, subresource="", schema="auto"):
    if schema == "auto":
        schema = schema_of_kind(config["apiVersion"], config["kind"])
    frozen = copy.deepcopy((live, config))
    result = apply(live, config, manager, force, config["apiVersion"], time, schema, subresource)
    assert (live, config) == frozen
    return result


def update(live, manager, change, time=T1):
    new = copy.deepcopy(live)
    change(new)
    schema = schema_of_kind(live["apiVersion"], live["kind"])
    managed.on_update(live, new, manager, live["apiVersion"], time, schema)
    return new


def owned(obj):
    return {
        (e["manager"], e["operation"]): e["fieldsV1"]
        for e in obj["metadata"].get("managedFields", ())
    }


def bare(obj):
    obj = copy.deepcopy(obj)
    obj["metadata"].pop("managedFields", None)
    return obj


def test_create():
    obj = do(None, config_map(a="1"))
    assert bare(obj) == config_map(a="1")
    assert obj["metadata"]["managedFields"] == [
        {
            "manager": "me",
            "operation": "Apply",
            "apiVersion": "v1",
            "time": T1,
            "fieldsType": "FieldsV1",
            "fieldsV1": {"f:data": {"f:a": {}}},
        }
    ]


def test_again_changes_nothing():
    obj = do(None, config_map(a="1"))
    assert do(obj, config_map(a="1"), time=T2) == obj


def test_what_is_no_longer_said_goes():
    obj = do(None, config_map(a="1", b="2"))
    obj = do(obj, config_map(b="3"), time=T2)
    assert bare(obj) == config_map(b="3")
    assert owned(obj) == {("me", "Apply"): {"f:data": {"f:b": {}}}}
    assert obj["metadata"]["managedFields"][0]["time"] == T2


def test_what_another_applier_says_too_stays():
    obj = do(None, config_map(a="1", b="2"))
    obj = do(obj, config_map(a="1"), "other")
    obj = do(obj, config_map(b="2"))
    assert obj["data"] == {"a": "1", "b": "2"}
    assert owned(obj) == {
        ("me", "Apply"): {"f:data": {"f:b": {}}},
        ("other", "Apply"): {"f:data": {"f:a": {}}},
    }
    obj = do(obj, config_map(), "other")
    assert obj["data"] == {"b": "2"}


def test_what_an_updater_took_stays():
    obj = do(None, config_map(a="1", b="2"))
    obj = update(obj, "updater", lambda o: o["data"].update(a="9"))
    obj = do(obj, config_map(b="2"))
    assert obj["data"] == {"a": "9", "b": "2"}


def test_a_conflict():
    obj = do(None, deployment(replicas=3), "kubectl-client-side-apply")
    obj["metadata"]["managedFields"][0]["operation"] = "Update"
    with pytest.raises(Conflict) as e:
        do(obj, deployment(replicas=5))
    assert e.value.message == (
        'Apply failed with 1 conflict: conflict with "kubectl-client-side-apply" '
        "using apps/v1: .spec.replicas"
    )
    assert e.value.status()["details"] == {
        "causes": [
            {
                "reason": "FieldManagerConflict",
                "message": 'conflict with "kubectl-client-side-apply" using apps/v1',
                "field": ".spec.replicas",
            }
        ]
    }
    forced = do(obj, deployment(replicas=5), force=True)
    assert forced["spec"]["replicas"] == 5
    assert owned(forced) == {("me", "Apply"): {"f:spec": {"f:replicas": {}}}}
    shared = do(obj, deployment(replicas=3))
    assert set(owned(shared)) == {("me", "Apply"), ("kubectl-client-side-apply", "Update")}


def test_conflicts():
    container = {"name": "web", "image": "1"}
    obj = do(None, deployment(container, replicas=3), "first")
    obj = update(obj, "scaler", lambda o: o["spec"].update(replicas=4))
    obj["metadata"]["managedFields"][-1]["subresource"] = "scale"
    with pytest.raises(Conflict) as e:
        do(obj, deployment({"name": "web", "image": "2"}, replicas=5))
    assert e.value.message == (
        'Apply failed with 2 conflicts: conflicts with "first":\n'
        '- .spec.template.spec.containers[name="web"].image\n'
        'conflicts with "scaler" with subresource "scale" using apps/v1:\n'
        "- .spec.replicas"
    )
    assert [c.field for c in e.value.causes] == [
        '.spec.template.spec.containers[name="web"].image',
        ".spec.replicas",
    ]


def test_lists_by_key():
    obj = do(None, deployment({"name": "a", "image": "1"}), "one")
    obj = do(obj, deployment({"name": "b", "image": "1"}), "two")
    names = [c["name"] for c in obj["spec"]["template"]["spec"]["containers"]]
    assert names == ["a", "b"]
    obj = do(obj, deployment({"name": "c", "image": "1"}), "one")
    names = [c["name"] for c in obj["spec"]["template"]["spec"]["containers"]]
    assert names == ["b", "c"]


def test_ports_with_the_default_protocol():
    def with_port(port):
        return deployment({"name": "a", "image": "1", "ports": [port]})

    obj = do(None, with_port({"containerPort": 80}))
    obj["spec"]["template"]["spec"]["containers"][0]["ports"][0]["protocol"] = "TCP"
    again = do(obj, with_port({"containerPort": 80, "name": "http"}))
    assert again["spec"]["template"]["spec"]["containers"][0]["ports"] == [
        {"containerPort": 80, "name": "http", "protocol": "TCP"}
    ]


def test_atomic_values_are_replaced():
    def selecting(**labels):
        return deployment(selector={"matchLabels": labels})

    obj = do(None, selecting(a="1"))
    obj = do(obj, selecting(b="2"), force=True)
    assert obj["spec"]["selector"] == {"matchLabels": {"b": "2"}}
    assert owned(obj)[("me", "Apply")] == {"f:spec": {"f:selector": {}}}


def test_the_last_field_of_a_map():
    obj = do(None, config_map(a="1"))
    obj = do(obj, {k: v for k, v in config_map().items() if k != "data"})
    assert "data" not in obj
    assert "managedFields" not in obj["metadata"]


def test_metadata_stays_when_labels_go():
    def labelled(**labels):
        return {**config_map(), "metadata": {"name": "a", "namespace": "default", "labels": labels}}

    obj = do(None, labelled(a="1"))
    obj["metadata"] |= {"uid": "u", "resourceVersion": "5"}
    obj = do(obj, config_map())
    assert bare(obj)["metadata"] == {
        "name": "a",
        "namespace": "default",
        "uid": "u",
        "resourceVersion": "5",
    }


def test_an_object_that_nobody_tracked():
    obj = do(config_map(a="1", b="2"), config_map(a="1"))
    assert owned(obj) == {
        ("me", "Apply"): {"f:data": {"f:a": {}}},
        ("before-first-apply", "Update"): {"f:data": {**S, "f:a": {}, "f:b": {}}},
    }
    with pytest.raises(Conflict, match=r'conflict with "before-first-apply" using v1: \.data\.a'):
        do(config_map(a="1"), config_map(a="2"))


def client_side_applied(config):
    obj = copy.deepcopy(config)
    annotations = obj["metadata"].setdefault("annotations", {})
    annotations[LAST_APPLIED] = json.dumps(config) + "\n"
    managed.on_create(
        obj, "kubectl-client-side-apply", config["apiVersion"], T0, schema_of_kind(config["apiVersion"], config["kind"])
    )  # fmt: skip
    return obj


def test_kubectl_takes_over_from_client_side_apply():
    live = client_side_applied(deployment({"name": "web", "image": "1"}, replicas=3))
    wanted = deployment({"name": "web", "image": "2"}, replicas=3)
    with pytest.raises(Conflict):
        do(live, wanted, "someone")
    obj = do(live, wanted, "kubectl")
    assert obj["spec"]["template"]["spec"]["containers"][0]["image"] == "2"
    kept = json.loads(obj["metadata"]["annotations"][LAST_APPLIED])
    assert kept == wanted
    assert obj["metadata"]["annotations"][LAST_APPLIED].endswith("\n")


def test_kubectl_does_not_take_what_others_changed_since():
    live = client_side_applied(deployment({"name": "web", "image": "1"}, replicas=3))
    live = update(live, "scaler", lambda o: o["spec"].update(replicas=9))
    wanted = deployment({"name": "web", "image": "2"}, replicas=3)
    with pytest.raises(Conflict) as e:
        do(live, wanted, "kubectl")
    assert e.value.message == (
        'Apply failed with 1 conflict: conflict with "scaler" using apps/v1: .spec.replicas'
    )


def test_status_is_not_owned_through_the_main_resource():
    config = {**deployment(replicas=1), "status": {"replicas": 5}}
    assert owned(do(None, config)) == {("me", "Apply"): {"f:spec": {"f:replicas": {}}}}
    status = do(None, config, subresource="status")
    assert owned(status) == {("me", "Apply"): {"f:status": {"f:replicas": {}}}}
    assert status["metadata"]["managedFields"][0]["subresource"] == "status"


def test_custom_resources_without_a_schema():
    def custom(**spec):
        return {"apiVersion": "x/v1", "kind": "X", "metadata": {"name": "a"}, "spec": spec}

    obj = do(None, custom(a={"b": 1, "c": 2}, l=[1, 2]), schema=None)
    obj = do(obj, custom(a={"c": 2, "d": 3}, l=[3]), schema=None)
    assert bare(obj) == custom(a={"c": 2, "d": 3}, l=[3])
    assert owned(obj) == {
        ("me", "Apply"): {"f:spec": {**S, "f:a": {**S, "f:c": {}, "f:d": {}}, "f:l": {}}}
    }


class Versions:
    """x/v1 calls `old` what x/v2 calls `new`."""

    def __init__(self):
        self.names = {"x/v1": "old", "x/v2": "new"}

    def convert(self, obj, api_version):
        before, after = self.names[obj["apiVersion"]], self.names[api_version]
        out = {k: v for k, v in obj.items() if k != before}
        if before in obj:
            out[after] = obj[before]
        return {**out, "apiVersion": api_version}

    def schema(self, api_version):
        if api_version not in self.names:
            raise KeyError(api_version)


def test_a_configuration_in_a_newer_version_prunes_the_old_one():
    versions = Versions()

    def config(version, **fields):
        return {"apiVersion": version, "kind": "X", "metadata": {"name": "a"}, **fields}

    def go(live, wanted, manager="me"):
        version = wanted["apiVersion"]
        if live is not None:
            live = versions.convert(live, version)
        return apply(live, wanted, manager, False, version, T1, None, versions=versions)

    obj = go(None, config("x/v1", old=1, other=1))
    obj = go(obj, config("x/v1", third=1), "someone")
    moved = go(obj, config("x/v2", new=1))
    assert bare(moved) == config("x/v2", new=1, third=1)
    assert owned(moved) == {("me", "Apply"): {"f:new": {}}, ("someone", "Apply"): {"f:third": {}}}
    dropped = go(obj, config("x/v2", other=1))
    assert bare(dropped) == config("x/v2", other=1, third=1)


def test_a_configuration_of_a_version_that_is_gone():
    live = {"apiVersion": "x/v2", "kind": "X", "metadata": {"name": "a"}, "new": 1, "other": 1}
    live["metadata"]["managedFields"] = [
        {"manager": "me", "operation": "Apply", "apiVersion": "x/v0", "time": T0,
         "fieldsType": "FieldsV1", "fieldsV1": {"f:ancient": {}}},
    ]  # fmt: skip
    config = {"apiVersion": "x/v2", "kind": "X", "metadata": {"name": "a"}, "other": 1}
    obj = apply(live, config, "me", False, "x/v2", T1, None, versions=Versions())
    assert bare(obj) == {**config, "new": 1}
    assert owned(obj) == {("me", "Apply"): {"f:other": {}}}


def test_refusals():
    with pytest.raises(BadRequest) as e:
        apply(None, {**config_map(), "apiVersion": "v2"}, "me", False, "v1", T0, CONFIG_MAP)
    assert e.value.message == (
        "Incorrect version specified in apply patch. Specified patch version: v2, expected: v1"
    )
    with pytest.raises(BadRequest, match=r"metadata\.managedFields must be nil"):
        do(None, {**config_map(), "metadata": {"name": "a", "managedFields": []}})
    with pytest.raises(ApiError) as e2:
        do(None, deployment(nonsense=1))
    assert (e2.value.code, e2.value.reason) == (500, "")
    assert e2.value.message == (
        "failed to create typed patch object (default/web; apps/v1, Kind=Deployment): "
        ".spec.nonsense: field not declared in schema"
    )
    twice = {"name": "a", "image": "1"}
    with pytest.raises(ApiError, match=r'containers: duplicate entries for key \[name="a"\]'):
        do(None, deployment(twice, twice))


def test_live_duplicates_are_tolerated():
    live = deployment({"name": "a", "image": "1"}, {"name": "a", "image": "2"})
    obj = do(live, deployment({"name": "a", "image": "3"}), force=True)
    assert obj["spec"]["template"]["spec"]["containers"] == [{"name": "a", "image": "3"}]


data = st.dictionaries(st.sampled_from("abc"), st.sampled_from("12"), max_size=3)
steps = st.lists(st.tuples(st.sampled_from(["m1", "m2"]), st.booleans(), data), max_size=6)


@given(data, steps)
def test_laws(first, changes):
    """Apply is idempotent, its fields are there and owned, and what nobody applies any more is gone."""
    obj = do(None, config_map(**first), "m1")
    applied = {"m1": first}
    for manager, is_apply, wanted in changes:
        if not is_apply:
            obj = update(
                obj, f"{manager}-updates", lambda o, w=wanted: o.setdefault("data", {}).update(w)
            )
            continue
        try:
            obj = do(obj, config_map(**wanted), manager)
        except Conflict:
            obj = do(obj, config_map(**wanted), manager, force=True)
            for other, theirs in applied.items():  # what was forced is no longer theirs
                applied[other] = {k: v for k, v in theirs.items() if wanted.get(k, v) == v}
        applied[manager] = wanted
        assert do(obj, config_map(**wanted), manager, time=T2) == obj
        assert wanted.items() <= obj.get("data", {}).items()
        mine = owned(obj).get((manager, "Apply"), {}).get("f:data", {})
        assert {k for k in mine if k != "."} == {f"f:{k}" for k in wanted}
    if all(is_apply for _, is_apply, _ in changes):
        assert set(obj.get("data", {})) == set().union(*applied.values())
