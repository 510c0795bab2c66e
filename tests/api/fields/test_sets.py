"""The algebra of field sets: its laws against sets of paths, its canonical form, its texts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skiff.api.fields import sets

elements = st.sampled_from(
    ["f:a", "f:b", 'k:{"name":"x"}', 'k:{"name":"y"}', 'v:"p"', "v:10", "v:9", "i:0"]
)
path_lists = st.lists(st.lists(elements, min_size=1, max_size=4).map(tuple), max_size=8)


def build(members):
    return sets.of_paths(members)


def members(fields):
    return set(sets.paths(fields))


def well_formed(fields, root=True):
    """No empty steps, "." only where there is something below it."""
    if not root:
        assert set(fields) != {"."}
    for element, node in fields.items():
        assert element != "." or not node
        if element != ".":
            well_formed(node, root=False)
    assert not (root and "." in fields)
    assert list(sets.in_order(fields)) == list(fields)


@given(path_lists)
def test_paths_round_trip(paths):
    fields = build(paths)
    assert members(fields) == set(paths)
    well_formed(fields)
    assert sets.decode(fields) == fields
    for path in paths:
        assert sets.contains(fields, path)


@given(path_lists, path_lists)
def test_laws(left, right):
    a, b = build(left), build(right)
    before = repr((a, b))
    union = sets.union(a, b)
    difference = sets.difference(a, b)
    common = sets.intersection(a, b)
    well_formed(union)
    assert members(union) == set(left) | set(right)
    assert members(difference) == set(left) - set(right)
    assert members(common) == set(left) & set(right)
    assert sets.union(difference, common) == a
    assert sets.union(a, b) == sets.union(b, a)
    assert sets.difference(sets.union(a, b), b) == sets.difference(a, b)
    assert sets.intersection(a, a) == a
    assert sets.difference(a, a) == {}
    assert repr((a, b)) == before


@given(path_lists, path_lists)
def test_recursive_difference(left, right):
    rest = members(sets.recursive_difference(build(left), build(right)))
    gone = set(right)
    assert rest == {p for p in set(left) if not any(p[: i + 1] in gone for i in range(len(p)))}


def test_order_is_by_value():
    fields = sets.decode({"v:10": {}, "v:9": {}, 'v:"a"': {}, "v:true": {}, "f:z": {}, "i:1": {}})
    assert list(fields) == ["f:z", "v:9", "v:10", 'v:"a"', "v:true", "i:1"]
    ports = {'k:{"containerPort":443}': {}, 'k:{"containerPort":80}': {}, ".": {}}
    assert list(sets.in_order(ports)) == [".", 'k:{"containerPort":80}', 'k:{"containerPort":443}']


def test_decode_makes_canonical():
    given_by_client = {'k:{ "protocol":"TCP", "containerPort": 80}': {".": {}}, "f:a": {"f:b": {}}}
    assert sets.decode(given_by_client) == {
        "f:a": {"f:b": {}},
        'k:{"containerPort":80,"protocol":"TCP"}': {},
    }


@pytest.mark.parametrize(
    "wrong", [[], "x", {"f:a": 1}, {"x:a": {}}, {"k:[]": {}}, {"k:{": {}}, {"i:x": {}}, {"": {}}]
)
def test_decode_refuses(wrong):
    with pytest.raises(sets.FieldSetError):
        sets.decode(wrong)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (("f:spec", "f:replicas"), ".spec.replicas"),
        (("f:c", 'k:{"name":"web"}', "f:image"), '.c[name="web"].image'),
        (("f:p", 'k:{"containerPort":80,"protocol":"TCP"}'), '.p[containerPort=80,protocol="TCP"]'),
        (("f:finalizers", 'v:"a/b"'), '.finalizers[="a/b"]'),
        (("f:x", "i:3"), ".x[3]"),
    ],
)
def test_path_text(path, text):
    assert sets.path_text(path) == text
