"""JSON patch: RFC 6902's examples, and the API server's answers to what does not apply."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skiff.api.errors import BadRequest, Invalid, RequestEntityTooLarge
from skiff.api.patch import json_patch

DOC = {"a": {"b": [1, 2, 3]}, "k/e~y": "x", "n": None, "t": True, "s": "text"}

APPLIES = [
    ([{"op": "add", "path": "/c", "value": 1}], {**DOC, "c": 1}),
    ([{"op": "add", "path": "/a/b/1", "value": 9}], {**DOC, "a": {"b": [1, 9, 2, 3]}}),
    ([{"op": "add", "path": "/a/b/-", "value": 9}], {**DOC, "a": {"b": [1, 2, 3, 9]}}),
    ([{"op": "add", "path": "/a/b/3", "value": 9}], {**DOC, "a": {"b": [1, 2, 3, 9]}}),
    ([{"op": "add", "path": "/a/b/-1", "value": 9}], {**DOC, "a": {"b": [1, 2, 3, 9]}}),
    ([{"op": "add", "path": "/c"}], {**DOC, "c": None}),
    ([{"op": "remove", "path": "/a/b"}], {**DOC, "a": {}}),
    ([{"op": "remove", "path": "/a/b/0"}], {**DOC, "a": {"b": [2, 3]}}),
    ([{"op": "remove", "path": "/a/b/-1"}], {**DOC, "a": {"b": [1, 2]}}),
    ([{"op": "replace", "path": "/k~1e~0y", "value": "y"}], {**DOC, "k/e~y": "y"}),
    ([{"op": "replace", "path": "/a/b/1", "value": {}}], {**DOC, "a": {"b": [1, {}, 3]}}),
    ([{"op": "replace", "path": "/n", "value": 1}], {**DOC, "n": 1}),
    ([{"op": "move", "from": "/a/b", "path": "/c"}], {**DOC, "a": {}, "c": [1, 2, 3]}),
    ([{"op": "copy", "from": "/a", "path": "/c"}], {**DOC, "c": {"b": [1, 2, 3]}}),
    (
        [
            {"op": "copy", "from": "/a", "path": "/c"},
            {"op": "add", "path": "/c/b/-", "value": 4},
        ],
        {**DOC, "c": {"b": [1, 2, 3, 4]}},
    ),
    ([{"op": "test", "path": "/a", "value": {"b": [1, 2, 3.0]}}], DOC),
    ([{"op": "test", "path": "/missing", "value": None}], DOC),
    ([], DOC),
]


@pytest.mark.parametrize(("operations", "expected"), APPLIES)
def test_applies(operations, expected):
    before = copy.deepcopy((DOC, operations))
    assert json_patch(DOC, operations) == expected
    assert (DOC, operations) == before


FAILS = [
    ({"op": "replace", "path": "/x", "value": 1}, "jsonpatch replace operation does not apply: doc is missing key: /x"),
    ({"op": "remove", "path": "/x"}, "jsonpatch remove operation does not apply: doc is missing key: /x"),
    ({"op": "add", "path": "/x/y", "value": 1}, "jsonpatch add operation does not apply: doc is missing key: /x/y"),
    ({"op": "add", "path": "/s/y", "value": 1}, "jsonpatch add operation does not apply: doc is missing path: /s/y"),
    ({"op": "add", "path": "", "value": 1}, "jsonpatch add operation does not apply: doc is missing path: "),
    ({"op": "add", "path": "x", "value": 1}, "jsonpatch add operation does not apply: doc is missing path: x"),
    ({"op": "add", "path": "/a/b/4", "value": 1}, "Unable to access invalid index: 4 of 3"),
    ({"op": "add", "path": "/a/b/x", "value": 1}, "value was not a proper array index: 'x'"),
    ({"op": "remove", "path": "/a/b/3"}, "Unable to access invalid index: 3 of 3"),
    ({"op": "test", "path": "/t", "value": 1}, "testing path /t failed"),
    ({"op": "test", "path": "/s", "value": "other"}, "testing path /s failed"),
    ({"op": "test", "path": "/a/b/9", "value": None}, "Unable to access invalid index: 9 of 3"),
    ({"op": "move", "from": "/x", "path": "/y"}, "jsonpatch move operation does not apply: doc is missing key: /x"),
    ({"op": "copy", "path": "/y"}, "operation missing from field"),
    ({"op": "add", "value": 1}, "operation missing path field"),
    ({"op": "nonsense", "path": "/y"}, "Unexpected kind: nonsense"),
]  # fmt: skip


@pytest.mark.parametrize(("operation", "cause"), FAILS)
def test_does_not_apply(operation, cause):
    with pytest.raises(Invalid) as e:
        json_patch(DOC, [operation])
    assert e.value.message == "the server rejected our request due to an error in our request"
    assert str(e.value.__cause__) == cause


def test_is_no_patch():
    with pytest.raises(BadRequest) as e:
        json_patch(DOC, {"a": 1})
    assert e.value.message == (
        "json: cannot unmarshal object into Go value of type jsonpatch.Patch"
    )
    with pytest.raises(BadRequest) as e:
        json_patch(DOC, ["x"])
    assert e.value.message == (
        "json: cannot unmarshal string into Go value of type jsonpatch.Operation"
    )


def test_limits():
    with pytest.raises(RequestEntityTooLarge) as e:
        json_patch(DOC, [{"op": "test", "path": "/s", "value": "text"}] * 10_001)
    assert e.value.message == (
        "Request entity too large: The allowed maximum operations in a JSON patch is 10000, got 10001"
    )
    doubling = [{"op": "copy", "from": "/a", "path": f"/a/c{i}"} for i in range(40)]
    with pytest.raises(Invalid):
        json_patch(DOC, doubling)


values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3)
    ),
    max_leaves=8,
)
docs = st.dictionaries(st.text(max_size=3), values, max_size=4)


@given(docs, st.text(max_size=3), values)
def test_add_then_test_then_remove(doc, key, value):
    path = "/" + key.replace("~", "~0").replace("/", "~1")
    added = json_patch(doc, [{"op": "add", "path": path, "value": value}])
    assert added == {**doc, key: value}
    json_patch(added, [{"op": "test", "path": path, "value": value}])
    removed = json_patch(added, [{"op": "remove", "path": path}])
    assert removed == {k: v for k, v in doc.items() if k != key}
