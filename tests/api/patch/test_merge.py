"""JSON merge patch: the RFC's table of examples, and laws."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skiff.api.errors import BadRequest
from skiff.api.patch import merge_patch

RFC_7386 = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("obj", "patch", "expected"), RFC_7386)
def test_examples_of_the_rfc(obj, patch, expected):
    assert merge_patch(obj, patch) == expected


@pytest.mark.parametrize("patch", [[], "x", 1, None])
def test_is_no_patch(patch):
    with pytest.raises(BadRequest, match="Invalid JSON Patch"):
        merge_patch({}, patch)


def test_a_bottomless_patch_is_refused():
    patch = {}
    for _ in range(100_000):
        patch = {"a": patch}
    with pytest.raises(BadRequest, match="exceeded max depth"):
        merge_patch({}, patch)
    while patch:  # taken apart by hand: the interpreter's own recursion is bounded too
        patch = patch["a"]


values = st.recursive(
    st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=3)
    ),
    max_leaves=8,
)
docs = st.dictionaries(st.text("ab", max_size=2), values, max_size=4)


def difference(old, new):
    """The merge patch that turns `old` into `new`."""
    patch = {k: None for k in old if k not in new}
    for k, v in new.items():
        if k in old and isinstance(old[k], dict) and isinstance(v, dict):
            if inner := difference(old[k], v):
                patch[k] = inner
        elif k not in old or old[k] != v or type(old[k]) is not type(v):
            patch[k] = v
    return patch


@given(docs, docs)
def test_patch_of_a_difference(old, new):
    assert merge_patch(old, difference(old, new)) == new


@given(docs, docs)
def test_idempotent_and_unshared(old, patch):
    once = merge_patch(old, patch)
    assert merge_patch(once, patch) == once
    seen = repr((old, patch))
    for value in once.values():
        if isinstance(value, (dict, list)):
            value.clear()
    assert repr((old, patch)) == seen
