"""Quantities: Kubernetes' canonical forms and errors, with the official client as oracle."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from kubernetes.utils.quantity import parse_quantity

from skiff.api import quantity as q

CANONICAL = [
    ("0", "0"),
    ("0n", "0"),
    ("0Ki", "0"),
    ("00.000", "0"),
    ("-0", "0"),
    ("1", "1"),
    ("+1", "1"),
    ("-1", "-1"),
    ("007", "7"),
    ("1.", "1"),
    (".5", "500m"),
    ("0.5", "500m"),
    ("1.5", "1500m"),
    ("1000m", "1"),
    ("1000", "1k"),
    ("1500", "1500"),
    ("100", "100"),
    ("1000000", "1M"),
    ("1.5Gi", "1536Mi"),
    ("1024Mi", "1Gi"),
    ("1024", "1024"),
    ("1Ki", "1Ki"),
    ("0.5Ki", "512"),
    ("0.5Mi", "512Ki"),
    ("512Ki", "512Ki"),
    ("1000Ki", "1000Ki"),
    ("-1.5Gi", "-1536Mi"),
    ("0.9Gi", "966367641600m"),
    ("2Ei", "2Ei"),
    ("1e3", "1e3"),
    ("1E3", "1e3"),
    ("10e3", "10e3"),
    ("1000e0", "1e3"),
    ("1e4", "10e3"),
    ("1e-3", "1e-3"),
    ("1.5e3", "1500"),
    ("1e0", "1"),
    ("1E", "1E"),
    ("5n", "5n"),
    ("1u", "1u"),
    ("1000n", "1u"),
    ("0.1n", "1n"),
    ("1.0000000001", "1000000001n"),
    ("-0.1n", "-1n"),
    ("1e-12", "1e-9"),
    ("0.0001Ki", "102400u"),
    ("0.30000000000000004", "300000001n"),
    ("100k", "100k"),
    ("1234567890M", "1234567890M"),
    ("999999999.5Ei", "9223372036854775807"),
]

WRONG = [
    ("", q.FORMAT_WRONG),
    ("aoeu", q.FORMAT_WRONG),
    ("1.1.M", q.FORMAT_WRONG),
    ("1+1.0M", q.FORMAT_WRONG),
    (" 1", q.FORMAT_WRONG),
    ("1 ", q.FORMAT_WRONG),
    ("1\n", q.FORMAT_WRONG),
    ("Mi", q.FORMAT_WRONG),
    ("١", q.FORMAT_WRONG),
    (".", q.NUMBER_WRONG),
    ("0.1mi", q.SUFFIX_WRONG),
    ("1i", q.SUFFIX_WRONG),
    ("1e", q.SUFFIX_WRONG),
    ("1K", q.SUFFIX_WRONG),
    ("-3.01e-", q.SUFFIX_WRONG),
    ("1e1000000000", q.SUFFIX_WRONG),
]


@pytest.mark.parametrize(("text", "expected"), CANONICAL)
def test_canonical(text, expected):
    assert q.canonical(text) == expected
    assert q.canonical(expected) == expected


@pytest.mark.parametrize(("text", "message"), WRONG)
def test_wrong(text, message):
    with pytest.raises(q.QuantityError) as e:
        q.parse(text)
    assert str(e.value) == message


def test_numbers():
    assert str(q.parse(1)) == "1"
    assert str(q.parse(0.1)) == "100m"
    assert str(q.parse(1e-7)) == "100n"
    for wrong in (True, float("nan"), float("inf")):
        with pytest.raises(q.QuantityError):
            q.parse(wrong)


def test_rounding_away_from_zero():
    assert q.to_int("1500m") == 2
    assert q.to_int("-1500m") == -2
    assert q.to_milli("1u") == 1
    assert q.to_milli("250m") == 250
    assert q.to_milli("2") == 2000
    assert q.to_int("1Ki") == 1024


def test_sum_keeps_the_first_notation():
    assert q.add("1Gi", "512Mi") == "1536Mi"
    assert q.add("0", "1Gi") == "1Gi"
    assert q.add("1Gi", "1M") == "1074741824"
    assert q.add("100m", "900m") == "1"
    assert q.subtract("1", "100m") == "900m"
    assert q.compare("1Gi", "1024Mi") == 0
    assert q.compare("1G", "1Gi") == -1
    assert q.compare("1", "999m") == 1


numbers = st.from_regex(r"\A[+-]?[0-9]{1,9}(\.[0-9]{1,6})?\Z")
suffixes = st.sampled_from(
    ["", "n", "u", "m", "k", "M", "G", "T", "Ki", "Mi", "Gi", "Ti", "e3", "E-2", "e0"]
)


@given(numbers, suffixes)
def test_canonical_is_stable_and_agrees_with_the_client(number, suffix):
    text = number + suffix
    ours = q.parse(text)
    exact = parse_quantity(text.replace("E-", "e-")) if suffix not in ("n", "u") else None
    printed = q.canonical(text)
    assert q.parse(printed).nano == ours.nano
    assert q.canonical(printed) == printed
    assert "." not in printed
    if (
        exact is not None and abs(exact) * q.NANO < q._BINARY_MAX
    ):  # beyond it, binary ones are capped
        assert 0 <= abs(ours.nano) - abs(exact * q.NANO) < 1


@given(numbers, suffixes, numbers, suffixes)
def test_order_and_sum(a, sa, b, sb):
    left, right = q.parse(a + sa), q.parse(b + sb)
    assert (left < right) == (q.compare(a + sa, b + sb) < 0)
    assert (left + right).nano == (right + left).nano
    # (Beyond 63 bits a binary quantity is capped when it is read again.)
    assume(abs(left.nano + right.nano) < q._BINARY_MAX)
    assert q.parse(q.add(a + sa, b + sb)).nano == left.nano + right.nano
