"""Whether a cron schedule is well formed: five fields, names of months and days, steps, macros.

The times that a schedule names are the CronJob controller's business.

Source: https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/#schedule-syntax
"""

import re
from functools import cache
from typing import Final

_MACROS: Final = frozenset(
    ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")
)
_MONTHS: Final = [
    "jan",
    "feb",
    "mar",
    "apr",
    "may",
    "jun",
    "jul",
    "aug",
    "sep",
    "oct",
    "nov",
    "dec",
]
_DAYS: Final = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]
_EVERY: Final = re.compile(r"@every (?:\d+(?:\.\d+)?(?:ns|us|µs|ms|s|m|h))+")
# (least, most, names that stand for least, least + 1, …)
_FIELDS: Final[tuple[tuple[int, int, list[str]], ...]] = (
    (0, 59, []),
    (0, 23, []),
    (1, 31, []),
    (1, 12, _MONTHS),
    (0, 6, _DAYS),
)


def fault(schedule: str) -> str:
    """What is wrong with the schedule, in Kubernetes' words; "" for a good one."""
    text = re.sub(r"^(?:CRON_)?TZ=\S*\s+", "", schedule)
    if text.startswith("@"):
        if text in _MACROS or _EVERY.fullmatch(text):
            return ""
        return f"unrecognized descriptor: {text}"
    fields = text.split()
    if len(fields) != len(_FIELDS):
        return f"expected exactly 5 fields, found {len(fields)}: [{' '.join(fields)}]"
    for field, (least, most, words) in zip(fields, _FIELDS, strict=True):
        for part in field.split(","):
            found = _part_fault(part, least, most, words)
            if found:
                return found
    return ""


def _part_fault(part: str, least: int, most: int, words: list[str]) -> str:
    span, slash, step = part.partition("/")
    low, dash, high = span.partition("-")
    if part.count("/") > 1:
        return f"too many slashes: {part}"
    if span.count("-") > 1:
        return f"too many hyphens: {part}"
    if low in ("*", "?"):
        start, end = least, most
    else:
        first = _number(low, least, words)
        if first is None:
            return _no_number(low)
        start = end = first
        if dash:
            last = _number(high, least, words)
            if last is None:
                return _no_number(high)
            end = last
        elif slash:
            end = most
    if slash and not (step.isdigit() and step.isascii()):
        return _no_number(step)
    if slash and int(step) == 0:
        return f"step of range should be a positive number: {part}"
    if start < least:
        return f"beginning of range ({start}) below minimum ({least}): {part}"
    if end > most:
        return f"end of range ({end}) above maximum ({most}): {part}"
    if start > end:
        return f"beginning of range ({start}) beyond end of range ({end}): {part}"
    return ""


def _number(text: str, least: int, words: list[str]) -> int | None:
    if text.isdigit() and text.isascii():
        return int(text)
    return words.index(text.lower()) + least if text.lower() in words else None


def _no_number(text: str) -> str:
    return f'failed to parse int from {text}: strconv.Atoi: parsing "{text}": invalid syntax'


@cache
def is_zone(name: str) -> bool:
    """Whether the IANA database knows the time zone."""
    from zoneinfo import (
        ZoneInfo,
        ZoneInfoNotFoundError,
    )  # here: it is only for schedules with zones

    try:
        return bool(ZoneInfo(name).key)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
