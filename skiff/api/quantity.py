"""Kubernetes quantities: "1500m", "1.5Gi", "1e3" — parse, print canonically, compare, add.

A quantity is an exact number of nano units with the notation it was written in: decimal suffixes,
binary suffixes or a decimal exponent. Finer values are rounded away from zero to one nano, so that
who asks for a little gets a little. The canonical text has no fraction and the largest suffix that
loses nothing: "1.5Gi" is "1536Mi", "1000m" is "1", "0.5" is "500m".

Parsed quantities are immutable and cached by their text: the same few texts come again and again.

Source: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
"""

import re
from decimal import Decimal
from functools import lru_cache, total_ordering
from typing import Final

DECIMAL_SI: Final = "DecimalSI"
BINARY_SI: Final = "BinarySI"
DECIMAL_EXPONENT: Final = "DecimalExponent"

FORMAT_WRONG: Final = (
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
)
SUFFIX_WRONG: Final = "unable to parse quantity's suffix"
NUMBER_WRONG: Final = "unable to parse numeric part of quantity"

NANO: Final = 10**9
_MILLI: Final = 10**6  # nano units in one milli unit
_BINARY_MAX: Final = (2**63 - 1) * NANO  # a binary quantity with a fraction is capped here
_EXPONENT_MAX: Final = 1000  # decimal exponents beyond it are refused: they would only eat memory
_DIGITS_MAX: Final = 1000

_PATTERN: Final = re.compile(
    r"([+-]?)([0-9]*)(?:\.([0-9]*))?([eEinumkKMGTP]*[-+]?[0-9]*)", re.ASCII
)
_DECIMAL_SUFFIXES: Final = {
    "n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18,
}  # fmt: skip
_DECIMAL_NAMES: Final = {exponent: suffix for suffix, exponent in _DECIMAL_SUFFIXES.items()}
_BINARY_SUFFIXES: Final = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}
_BINARY_NAMES: Final = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")


class QuantityError(ValueError):
    """The text is no quantity; the message is Kubernetes' own."""


@total_ordering
class Quantity:
    """An exact amount (`nano`, in units of 10⁻⁹) and the notation it prints in (`format`)."""

    __slots__ = ("_text", "format", "nano")

    def __init__(self, nano: int, format: str = DECIMAL_SI) -> None:  # noqa: A002 Kubernetes' word
        self.nano = nano
        self.format = format
        self._text = ""

    def __str__(self) -> str:
        if not self._text:
            self._text = _canonical_text(self.nano, self.format)
        return self._text

    def __repr__(self) -> str:
        return f"Quantity({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Quantity) and self.nano == other.nano

    def __lt__(self, other: "Quantity") -> bool:
        return self.nano < other.nano

    def __hash__(self) -> int:
        return hash(self.nano)

    def __bool__(self) -> bool:
        return self.nano != 0

    def __add__(self, other: "Quantity") -> "Quantity":
        """The sum, in this one's notation (in the other's, where this one is zero)."""
        return Quantity(self.nano + other.nano, self.format if self.nano else other.format)

    def __sub__(self, other: "Quantity") -> "Quantity":
        return Quantity(self.nano - other.nano, self.format if self.nano else other.format)

    def __neg__(self) -> "Quantity":
        return Quantity(-self.nano, self.format)

    def milli(self) -> int:
        """Thousandths of a unit, rounded away from zero (CPU is counted in these)."""
        return _divide_away_from_zero(self.nano, _MILLI)

    def whole(self) -> int:
        """Whole units, rounded away from zero (bytes, objects)."""
        return _divide_away_from_zero(self.nano, NANO)


def parse(value: str | int | float) -> Quantity:
    """The quantity that a text, or a JSON number, stands for.

    Raises QuantityError with Kubernetes' message.
    """
    if value.__class__ is str:
        return _parse_text(value)
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise QuantityError(FORMAT_WRONG)
    if isinstance(value, float):
        number = Decimal(repr(value))
        if not number.is_finite():
            raise QuantityError(FORMAT_WRONG)
        return _parse_text(format(number, "f"))
    return _parse_text(str(value))


@lru_cache(maxsize=16384)
def _parse_text(text: str) -> Quantity:
    match = _PATTERN.fullmatch(text)
    if match is None:
        raise QuantityError(FORMAT_WRONG)
    sign, digits, fraction, suffix = match.groups()
    fraction = fraction or ""
    if not digits and not fraction:
        raise QuantityError(NUMBER_WRONG if "." in text else FORMAT_WRONG)
    binary_exponent, decimal_exponent, notation = _interpret_suffix(suffix)
    if len(digits) + len(fraction) > _DIGITS_MAX:
        raise QuantityError(NUMBER_WRONG)
    number = int(digits + fraction) << binary_exponent
    scale = decimal_exponent - len(fraction) + 9
    nano = number * 10**scale if scale >= 0 else -(-number // 10**-scale)
    if notation == BINARY_SI and (fraction or nano > _BINARY_MAX):
        nano = min(nano, _BINARY_MAX)
        if 0 < nano < NANO:
            notation = DECIMAL_SI
    return Quantity(-nano if sign == "-" else nano, notation)


def _interpret_suffix(suffix: str) -> tuple[int, int, str]:
    """Binary exponent, decimal exponent and notation of a suffix."""
    decimal = _DECIMAL_SUFFIXES.get(suffix)
    if decimal is not None:
        return 0, decimal, DECIMAL_SI
    binary = _BINARY_SUFFIXES.get(suffix)
    if binary is not None:
        return binary, 0, BINARY_SI
    if suffix[:1] in ("e", "E"):
        try:
            exponent = int(suffix[1:])
        except ValueError as e:
            raise QuantityError(SUFFIX_WRONG) from e
        if abs(exponent) <= _EXPONENT_MAX:
            return 0, exponent, DECIMAL_EXPONENT
    raise QuantityError(SUFFIX_WRONG)


def _canonical_text(nano: int, notation: str) -> str:
    if nano == 0:
        return "0"
    if notation == BINARY_SI:
        units, rest = divmod(nano, NANO)
        # What is not a whole number, or too small for a suffix, prints in decimal notation.
        if rest == 0 and abs(units) >= 1024:
            power = 0
            while power < len(_BINARY_NAMES) - 1 and units & 1023 == 0:
                units >>= 10
                power += 1
            return f"{units}{_BINARY_NAMES[power]}"
    exponent = -9
    while nano % 1000 == 0 and (exponent < 18 or notation == DECIMAL_EXPONENT):
        nano //= 1000
        exponent += 3
    if notation == DECIMAL_EXPONENT:
        return f"{nano}e{exponent}" if exponent else str(nano)
    return f"{nano}{_DECIMAL_NAMES[exponent]}"


def _divide_away_from_zero(nano: int, unit: int) -> int:
    return -(-nano // unit) if nano > 0 else nano // unit


@lru_cache(maxsize=16384)
def canonical(value: str) -> str:
    """The text that Kubernetes stores and prints for `value`. Raises QuantityError."""
    return str(_parse_text(value))


@lru_cache(maxsize=16384)
def to_milli(value: str | int | float) -> int:
    """Thousandths of a unit, rounded up: "250m" is 250, "2" is 2000. Raises QuantityError."""
    return parse(value).milli()


@lru_cache(maxsize=16384)
def to_int(value: str | int | float) -> int:
    """Whole units, rounded up: "1Ki" is 1024, "1500m" is 2. Raises QuantityError."""
    return parse(value).whole()


def add(left: str, right: str) -> str:
    """The sum of two quantities in canonical text. Raises QuantityError."""
    return str(parse(left) + parse(right))


def subtract(left: str, right: str) -> str:
    """The difference of two quantities in canonical text. Raises QuantityError."""
    return str(parse(left) - parse(right))


def compare(left: str, right: str) -> int:
    """-1, 0 or 1, as `left` is less than, equal to or more than `right`. Raises QuantityError."""
    a, b = parse(left).nano, parse(right).nano
    return (a > b) - (a < b)
