"""Leaf values with a form of their own: times, quantities, bytes. Each is checked and made canonical.

Kubernetes decodes these into values and writes them out anew, so what is stored is the canonical text:
times in UTC with whole seconds (MicroTime: six digits), quantities with the largest fitting suffix.

Source: apimachinery `metav1.Time`, `metav1.MicroTime`, `resource.Quantity`; RFC 3339; RFC 4648 §4.
"""

import re
from base64 import b64decode
from binascii import Error as Base64Error
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from skiff.api import quantity


class LeafError(ValueError):
    """The value does not fit its type; the message is the decoder's own."""


_RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:[.,](\d+))?(Z|[+-]\d\d:\d\d)", re.ASCII
)
_LAYOUT = "2006-01-02T15:04:05Z07:00"
_MICRO_LAYOUT = "2006-01-02T15:04:05.000000Z07:00"
# What is canonical already, days of 29 and more (which depend on the month) left to the parser.
_PLAIN = re.compile(
    r"\d{4}-(?:0[1-9]|1[012])-(?:0[1-9]|1\d|2[0-8])T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\dZ", re.ASCII
)
_PARTS = (
    (r"\d{4}", "2006"), ("-", "-"), (r"\d\d", "01"), ("-", "-"), (r"\d\d", "02"), ("T", "T"),
    (r"\d\d", "15"), (":", ":"), (r"\d\d", "04"), (":", ":"), (r"\d\d(?:[.,]\d+)?", "05"),
    (r"Z|[+-]\d\d:\d\d", "Z07:00"),
)  # fmt: skip


def _unparsed(text: str, layout: str) -> str:
    """The message for a text that is no time: which part of the layout was not found, and where."""
    at = 0
    for pattern, part in _PARTS:
        match = re.compile(pattern, re.ASCII).match(text, at)
        if match is None:
            return f'parsing time "{text}" as "{layout}": cannot parse "{text[at:]}" as "{part}"'
        at = match.end()
    return f'parsing time "{text}": extra text: "{text[at:]}"'


def _parse(text: str, layout: str) -> datetime:
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise LeafError(_unparsed(text, layout))
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    micro = int((fraction or "")[:6].ljust(6, "0"))
    try:
        found = datetime(
            int(year), int(month), int(day), int(hour), int(minute), int(second), micro, UTC
        )
    except ValueError as e:
        wrong = next(
            (w for w in ("month", "day", "hour", "minute", "second") if str(e).startswith(w)), "day"
        )
        raise LeafError(f'parsing time "{text}": {wrong} out of range') from e
    if zone != "Z":
        shift = timedelta(hours=int(zone[1:3]), minutes=int(zone[4:6]))
        found = found - shift if zone[0] == "+" else found + shift
    return found


def time_text(value: Any) -> str:
    """A Time's canonical text. Raises LeafError."""
    if type(value) is not str:
        raise LeafError(_no_text(value))
    if _PLAIN.fullmatch(value):
        return value
    return _parse(value, _LAYOUT).strftime("%Y-%m-%dT%H:%M:%SZ").rjust(20, "0")


def micro_time_text(value: Any) -> str:
    """A MicroTime's canonical text. Raises LeafError."""
    if type(value) is not str:
        raise LeafError(_no_text(value))
    return _parse(value, _MICRO_LAYOUT).strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0")


def _no_text(value: Any) -> str:
    from skiff.api.schema.gotypes import value_name  # here: gotypes needs the model, leaves do not

    return f"json: cannot unmarshal {value_name(value)} into Go value of type string"


@lru_cache(1024)
def _canonical(value: str) -> str:
    try:
        return quantity.canonical(value)
    except quantity.QuantityError as e:
        raise LeafError(str(e)) from e


def quantity_text(value: Any) -> str:
    """A Quantity's canonical text, of a text or a number. Raises LeafError."""
    if type(value) is str:
        return _canonical(value)
    if type(value) is int:
        return _canonical(str(value))
    if type(value) is float:
        return _canonical(repr(value))
    raise LeafError(quantity.FORMAT_WRONG)


_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def check_bytes(value: str) -> None:
    """Accepts standard base64 with padding (line ends are skipped). Raises LeafError."""
    try:
        raw = value.encode("ascii").replace(b"\n", b"").replace(b"\r", b"")
        b64decode(raw, validate=True)
    except (Base64Error, UnicodeEncodeError) as e:
        raise LeafError(f"illegal base64 data at input byte {_first_illegal(value)}") from e


def _first_illegal(value: str) -> int:
    """Where decoding stops: at a foreign byte, at padding too early, or at a group left unfinished."""
    raw = value.encode("utf-8", "surrogatepass")
    filled = 0  # of the current group of four
    for at, byte in enumerate(raw):
        if byte in b"\r\n":
            continue
        if byte == 0x3D:  # "="
            rest = raw[at + 1 :].translate(None, b"\r\n")
            if filled < 2:
                return at
            if filled == 2:
                if not rest:
                    return len(raw)
                if rest[0] != 0x3D:
                    return at
                return len(raw) - len(rest) + 1
            return len(raw) - len(rest)
        if byte not in _BASE64:
            return at
        filled = (filled + 1) % 4
    return len(raw) - filled
