"""Strategic merge patch on the schemas of real kinds: lists by key, directives, order, errors."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skiff.api.errors import ApiError, BadRequest, Invalid
from skiff.api.patch import strategic_patch
from skiff.api.schema.model import schema_of_kind

POD = schema_of_kind("v1", "Pod")
DEPLOYMENT = schema_of_kind("apps/v1", "Deployment")


def containers(*items, **spec):
    return {"spec": {"containers": list(items), **spec}}


def c(name, **rest):
    return {"name": name, **rest}


CASES = {
    "maps merge and null removes": (
        {"metadata": {"labels": {"a": "1", "b": "2"}}},
        {"metadata": {"labels": {"a": None, "c": "3"}}},
        {"metadata": {"labels": {"b": "2", "c": "3"}}},
    ),
    "lists of objects merge by key, new ones after their neighbour in the patch": (
        containers(c("a", image="1"), c("b", image="1")),
        containers(c("b", image="2"), c("x", image="3")),
        containers(c("a", image="1"), c("b", image="2"), c("x", image="3")),
    ),
    "an item is removed by its key": (
        containers(c("a"), c("b")),
        containers({"$patch": "delete", "name": "a"}),
        containers(c("b")),
    ),
    "a list is replaced": (
        containers(c("a"), c("b")),
        containers(c("x"), {"$patch": "replace"}),
        containers(c("x")),
    ),
    "a map is replaced": (
        {"metadata": {"labels": {"a": "1"}}},
        {"metadata": {"labels": {"$patch": "replace", "b": "2"}}},
        {"metadata": {"labels": {"b": "2"}}},
    ),
    "a map is emptied": (
        {"metadata": {"labels": {"a": "1"}}},
        {"metadata": {"labels": {"$patch": "delete"}}},
        {"metadata": {"labels": {}}},
    ),
    "lists without a strategy are replaced": (
        containers(c("a", args=["1", "2"], command=["x"])),
        containers(c("a", args=["3"])),
        containers(c("a", args=["3"], command=["x"])),
    ),
    "scalars merge as a set": (
        {"metadata": {"finalizers": ["a", "b"]}},
        {"metadata": {"finalizers": ["c", "b"]}},
        {"metadata": {"finalizers": ["c", "a", "b"]}},
    ),
    "scalars are removed": (
        {"metadata": {"finalizers": ["a", "b", "c"]}},
        {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a", "x"]}},
        {"metadata": {"finalizers": ["b", "c"]}},
    ),
    "scalars are ordered": (
        {"metadata": {"finalizers": ["a", "b", "c"]}},
        {
            "metadata": {
                "$setElementOrder/finalizers": ["c", "d", "a"],
                "finalizers": ["d"],
                "$deleteFromPrimitiveList/finalizers": ["b"],
            }
        },
        {"metadata": {"finalizers": ["c", "d", "a"]}},
    ),
    "items are ordered; the server's own keep their place": (
        containers(c("a"), c("s"), c("b")),
        containers(c("x"), **{"$setElementOrder/containers": [c("b"), c("x"), c("a")]}),
        containers(c("s"), c("b"), c("x"), c("a")),
    ),
    "only the order changes": (
        containers(c("a"), c("b")),
        {"spec": {"$setElementOrder/containers": [c("b"), c("a")]}},
        containers(c("b"), c("a")),
    ),
    "an order for a list that nobody has": (
        {"spec": {}},
        {"spec": {"$setElementOrder/containers": [c("b")]}},
        {"spec": {}},
    ),
    "retainKeys clears the others (one member of a union replaces another)": (
        {"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}},
        {"spec": {"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/"}}]}},
        {"spec": {"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}},
    ),
    "what is new is taken without nulls and directives": (
        {},
        {
            "metadata": {"labels": {"a": None, "b": "1", "$patch": "replace"}},
            "spec": {
                "$setElementOrder/containers": [c("a")],
                "containers": [c("a", image=None), {"$patch": "delete", "name": "gone"}],
            },
        },
        {"metadata": {"labels": {"b": "1"}}, "spec": {"containers": [c("a")]}},
    ),
    "null for what is not there": ({}, {"spec": None}, {}),
    "other types replace": ({"spec": "x"}, {"spec": {"a": 1}}, {"spec": {"a": 1}}),
    "ports merge by containerPort": (
        containers(c("a", ports=[{"containerPort": 80, "name": "x"}])),
        containers(c("a", ports=[{"containerPort": 80, "name": "y"}, {"containerPort": 81}])),
        containers(c("a", ports=[{"containerPort": 80, "name": "y"}, {"containerPort": 81}])),
    ),
    "conditions of a status merge by type": (
        {"status": {"conditions": [{"type": "Ready", "status": "False"}, {"type": "X", "status": "True"}]}},
        {"status": {"conditions": [{"type": "Ready", "status": "True"}]}},
        {"status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "X", "status": "True"}]}},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_cases(name):
    obj, patch, expected = copy.deepcopy(CASES[name])
    assert strategic_patch(obj, patch, POD) == expected
    assert [obj, patch, expected] == list(CASES[name])


def test_retain_keys_of_a_deployment_strategy():
    obj = {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}
    patch = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    assert strategic_patch(obj, patch, DEPLOYMENT) == {"spec": {"strategy": {"type": "Recreate"}}}


NO_KEY = "map: map[image:nginx] does not contain declared merge key: name"
ERRORS = [
    ([], BadRequest, "json: cannot unmarshal array into Go value of type map[string]interface {}"),
    (containers({"image": "nginx"}), ApiError, NO_KEY),
    (containers({"$patch": "delete", "image": "nginx"}), ApiError,
     "map: map[$patch:delete image:nginx] does not contain declared merge key: name"),
    ({"spec": {"$patch": "merge"}}, ApiError, "unknown patch type: merge in map: map[$patch:merge]"),
    (containers({"$patch": "merge", "name": "a"}), ApiError, "merging lists cannot yet be specified in the patch"),
    (containers({"$patch": "bad", "name": "a"}), ApiError,
     "unknown patch type: bad in map: map[$patch:bad name:a]"),
    ({"spec": {"$retainKeys": "x"}}, BadRequest, "invalid patch format of retainKeys"),
    ({"spec": {"$retainKeys": ["a"], "b": 1}}, BadRequest, "invalid patch format of retainKeys"),
    ({"spec": {"$setElementOrder/containers": "x"}}, BadRequest, "invalid patch format of setElementOrder list"),
    ({"spec": {"$setElementOrder": []}}, BadRequest, "invalid patch format of setElementOrder list"),
    ({"metadata": {"$deleteFromPrimitiveList": []}}, BadRequest, "invalid patch format of primitive list"),
    ({"metadata": {"finalizers": [["a"]]}}, Invalid,
     "the server rejected our request due to an error in our request"),
    (containers(c("x"), c("y"), **{"$setElementOrder/containers": [c("y"), c("x")]}), ApiError,
     "The order in patch list:\n[map[name:x] map[name:y]]\n doesn't match $setElementOrder list:\n[map[name:y] map[name:x]]\n"),
]  # fmt: skip


@pytest.mark.parametrize(("patch", "error", "message"), ERRORS)
def test_errors(patch, error, message):
    obj = {"metadata": {"finalizers": ["a"]}, **containers(c("a", image="1"))}
    with pytest.raises(error) as e:
        strategic_patch(obj, patch, POD)
    assert e.value.message == message
    if error is ApiError:
        assert (e.value.code, e.value.reason) == (500, "")


labels = st.dictionaries(st.sampled_from("abc"), st.text("xy", max_size=2), max_size=3)
lists = st.lists(
    st.builds(c, st.sampled_from("pqrs"), image=st.text("12", max_size=1)),
    max_size=4,
    unique_by=lambda i: i["name"],
)


def difference(old, new):
    """The strategic merge patch that kubectl would make of these two."""
    patch = {
        "metadata": {
            "labels": {
                **{
                    k: None for k in old["metadata"]["labels"] if k not in new["metadata"]["labels"]
                },
                **new["metadata"]["labels"],
            }
        }
    }
    kept = {i["name"] for i in new["spec"]["containers"]}
    patch["spec"] = {
        "$setElementOrder/containers": [{"name": i["name"]} for i in new["spec"]["containers"]],
        "containers": new["spec"]["containers"]
        + [
            {"$patch": "delete", "name": i["name"]}
            for i in old["spec"]["containers"]
            if i["name"] not in kept
        ],
    }
    return patch


@given(labels, lists, labels, lists)
def test_patch_of_a_difference(old_labels, old_items, new_labels, new_items):
    old = {"metadata": {"labels": old_labels}, "spec": {"containers": old_items}}
    new = {"metadata": {"labels": new_labels}, "spec": {"containers": new_items}}
    patch = difference(old, new)
    once = strategic_patch(old, patch, POD)
    assert once == new
    assert strategic_patch(once, patch, POD) == once
