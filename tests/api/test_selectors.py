"""Selectors: what texts mean, how they print, and Kubernetes' error words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from skiff.api import selectors as s

LABELS = {"app": "web", "tier": "front", "n": "5", "example.com/x": ""}

MATCHES = [
    ("", True),
    ("app=web", True),
    ("app==web", True),
    (" app = web , tier = front ", True),
    ("app!=web", False),
    ("other!=web", True),
    ("app", True),
    ("!app", False),
    ("!other", True),
    ("other", False),
    ("app in (web,db)", True),
    ("app in ( db , web )", True),
    ("app in (db)", False),
    ("app notin (db)", True),
    ("other notin (db)", True),
    ("other in (db,)", False),
    ("example.com/x in (,)", True),
    ("example.com/x=", True),
    ("example.com/x", True),
    ("other=", False),
    ("n>4", True),
    ("n>5", False),
    ("n<6", True),
    ("app>1", False),
    ("missing<1", False),
    ("in", False),
    ("notin in (in,notin)", False),
    ("app=web,tier in (front,back),!gone,n", True),
    ("app=web,tier=back", False),
]


@pytest.mark.parametrize(("text", "expected"), MATCHES)
def test_matches(text, expected):
    selector = s.parse_labels(text)
    assert selector.matches(LABELS) is expected
    assert s.parse_labels(str(selector)) == selector


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("b=2,a=1", "a=1,b=2"),
        ("x in (b,a,b)", "x in (a,b)"),
        ("x notin (,)", "x notin (,)"),
        ("x==1", "x==1"),
        ("!x", "!x"),
        ("x", "x"),
        ("x>1,y<2", "x>1,y<2"),
    ],
)
def test_prints(text, printed):
    assert str(s.parse_labels(text)) == printed


P = "unable to parse requirement: "
ERRORS = [
    ("x=a||y=b", P + 'values[0][x]: Invalid value: "a||y": ' + s._VALUE_RULE),
    ("x==a==b", "found '==', expected: ',' or 'end of string'"),
    ("!x=a", "found '=', expected: ',' or 'end of string'"),
    ("x=a,", "found '', expected: identifier after ','"),
    (",x=a", "found ',', expected: !, identifier, or 'end of string'"),
    ("x in", P + "found '', expected: '('"),
    ("x in a", P + "found 'a', expected: '('"),
    ("x in (a", P + "found '', expected: ',' or ')'"),
    ("x in (a b)", P + "found 'b', expected: ',' or ')'"),
    ("x in (=)", P + "found '=', expected: ',', ')' or identifier"),
    ("x in (a,=)", P + "found '=', expected: ',', or identifier"),
    ("x in ()", P + "values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty"),
    ("x y", P + "found 'y', expected: in, notin, =, ==, !=, gt, lt"),
    ("x=(", P + "found '(', expected: identifier"),
    ("!", P + "found '', expected: identifier"),
    ("x>a", P + "values[0]: Invalid value: \"a\": for 'Gt', 'Lt' operators, the value must be an integer"),
    ("-x=a", P + '<nil>: Invalid value: "-x": name part ' + s._NAME_RULE),
    ("/x", P + '<nil>: Invalid value: "/x": prefix part must be non-empty'),
    ("a/", P + '<nil>: Invalid value: "a/": name part must be non-empty; name part ' + s._NAME_RULE),
    ("a/b/c", P + '<nil>: Invalid value: "a/b/c": a qualified name ' + s._NAME_RULE
     + " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), ERRORS)
def test_errors(text, message):
    with pytest.raises(s.SelectorError) as e:
        s.parse_labels(text)
    assert str(e.value) == message


def test_long_names():
    assert s.label_key_errors("a" * 63 + "") == []
    assert s.label_key_errors("a" * 64) == ["name part must be no more than 63 bytes"]
    assert s.label_key_errors("b" * 254 + "/a") == ["prefix part must be no more than 253 bytes"]
    assert s.label_value_errors("a" * 64) == ["must be no more than 63 bytes"]
    assert s.label_value_errors("") == []
    assert s.label_key_errors("a\n") != []
    assert s.label_value_errors("a\n") != []


def test_structured():
    assert s.structured(None).matches({}) is False
    assert s.structured({}).matches({"a": "b"}) is True
    selector = s.structured(
        {
            "matchLabels": {"app": "web"},
            "matchExpressions": [
                {"key": "tier", "operator": "In", "values": ["front", "back"]},
                {"key": "gone", "operator": "DoesNotExist"},
                {"key": "n", "operator": "Exists"},
                {"key": "app", "operator": "NotIn", "values": ["db"]},
            ],
        }
    )
    assert selector.matches(LABELS)
    assert str(selector) == "app=web,app notin (db),!gone,n,tier in (back,front)"
    with pytest.raises(s.SelectorError, match='"Gt" is not a valid label selector operator'):
        s.structured({"matchExpressions": [{"key": "a", "operator": "Gt", "values": ["1"]}]})
    with pytest.raises(s.SelectorError, match="values set can't be empty"):
        s.structured({"matchExpressions": [{"key": "a", "operator": "In"}]})
    assert s.labels_selector({"a": "1"}).equalities == (("a", "1"),)
    assert s.labels_selector(None).everything


def test_parse_is_cached():
    assert s.parse_labels("cached=yes") is s.parse_labels("cached=yes")


FIELDS = {"metadata.name": "a", "status.phase": "Running", "odd": "x,y=z\\"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", True),
        ("metadata.name=a", True),
        ("metadata.name==a", True),
        ("metadata.name!=a", False),
        ("metadata.name=a,status.phase!=Failed", True),
        ("metadata.name=a,,", True),
        ("missing=", True),
        ("missing!=", False),
        (r"odd=x\,y\=z\\", True),
    ],
)
def test_fields(text, expected):
    selector = s.parse_fields(text)
    assert selector.matches(FIELDS) is expected
    assert s.parse_fields(str(selector)) == selector


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("metadata.name", "invalid selector: 'metadata.name'; can't understand 'metadata.name'"),
        ("a=b,c", "invalid selector: 'a=b,c'; can't understand 'c'"),
        ("a=b=c", "invalid field selector: unescaped character in value: ="),
        (r"a=b\c", r"invalid field selector: invalid escape sequence: \c"),
    ],
)
def test_field_errors(text, message):
    with pytest.raises(s.SelectorError) as e:
        s.parse_fields(text)
    assert str(e.value) == message


def test_exact_field():
    selector = s.parse_fields("metadata.name=a,status.phase!=Failed")
    assert selector.exact("metadata.name") == "a"
    assert selector.exact("status.phase") is None


names = st.from_regex(r"\A[a-z]([a-z0-9.-]{0,5}[a-z0-9])?\Z")


@given(st.dictionaries(names, names, max_size=4), st.dictionaries(names, names, max_size=4))
def test_equality_is_inclusion(wanted, labels):
    selector = s.labels_selector(wanted)
    assert selector.matches(labels) == (wanted.items() <= labels.items())
    assert s.parse_labels(str(selector)) == selector


@given(names, st.lists(names, min_size=1, max_size=4), st.dictionaries(names, names, max_size=3))
def test_in_and_notin_are_opposites(key, values, labels):
    inside = s.parse_labels(f"{key} in ({','.join(values)})")
    outside = s.parse_labels(f"{key} notin ({','.join(values)})")
    assert inside.matches(labels) != outside.matches(labels)


@given(st.text(max_size=20))
def test_field_values_round_trip(value):
    selector = s.FieldSelector([("f", "=", value)])
    assert s.parse_fields(str(selector)).matches({"f": value})


@given(st.text(alphabet="ab=!,() in<>", max_size=20))
def test_any_text_parses_or_is_refused(text):
    try:
        selector = s.parse_labels(text)
    except s.SelectorError:
        return
    assert s.parse_labels(str(selector)) == selector
