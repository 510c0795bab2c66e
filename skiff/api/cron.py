"""Cron schedules: what the text means, what is wrong with it, and the times it names. Pure.

Five fields (minute, hour, day of the month, month, day of the week), each `*` (or `?`), a value, a
range or a list of them, with steps; months and weekdays also by name. Or one of the `@` words, or
`@every` and a duration. Where both day fields are restricted, a day that matches either is meant.
`TZ=` or `CRON_TZ=` before it names the time zone in which it is read. Times of day that a change of
clocks skips are skipped; those that it repeats happen twice.

Source: https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/#schedule-syntax and
https://pkg.go.dev/github.com/robfig/cron/v3 (the dialect; faults are told in its words).
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Final

_MONTHS: Final = (
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
)
_DAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_WORDS: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_EVERY: Final = "@every "
_UNITS: Final = {
    "ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0,
}  # fmt: skip
_STEP: Final = re.compile(r"([0-9]*)(\.[0-9]*)?([^0-9.]*)")
_ZONE_NAME: Final = re.compile(r"[A-Za-z.\-_0-9+]{1,14}(/[A-Za-z.\-_0-9+]{1,14})*")
# A schedule with no time within so many years (the 30th of February) never happens.
_SEARCH_YEARS: Final = 5


class ScheduleError(ValueError):
    """The text is no schedule; the message says why."""


@dataclass(frozen=True, slots=True)
class _Field:
    """The bounds of a field, and the words that stand for its values from the least on."""

    least: int
    most: int
    names: tuple[str, ...] = ()


_MINUTE, _HOUR, _DAY = _Field(0, 59), _Field(0, 23), _Field(1, 31)
_MONTH, _WEEKDAY = _Field(1, 12, _MONTHS), _Field(0, 6, _DAYS)


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule that was read. `every_s` is set for `@every` and then decides alone; `zone` is the
    time zone that the text itself names."""

    minutes: frozenset[int] = frozenset()
    hours: frozenset[int] = frozenset()
    days: frozenset[int] = frozenset()
    months: frozenset[int] = frozenset()
    weekdays: frozenset[int] = frozenset()
    any_day: bool = True
    any_weekday: bool = True
    every_s: int = 0
    zone: tzinfo | None = None

    def next_after(self, time: float, zone: tzinfo = UTC) -> float | None:
        """The first time of the schedule after `time` (Unix seconds), in the schedule's own time
        zone or else in `zone`; None where there is none."""
        if self.every_s:
            return float(int(time)) + self.every_s
        return self._search(int(time) // 60 * 60 + 60, self.zone or zone)

    def _search(self, first: int, zone: tzinfo) -> float | None:
        """The first matching minute at or after `first`. Hours and minutes advance in real time, so
        that a change of clocks skips or repeats them as the wall does."""
        at = first
        local = datetime.fromtimestamp(at, zone)
        last_year = local.year + _SEARCH_YEARS
        while local.year <= last_year:
            if local.month not in self.months:
                at = _midnight(_next_month(local), zone)
            elif not self._on_day(local):
                at = _midnight(local + timedelta(days=1), zone)
            elif local.hour not in self.hours:
                at += 3600 - local.minute * 60
            elif local.minute not in self.minutes:
                at += 60
            else:
                return float(at)
            local = datetime.fromtimestamp(at, zone)
        return None

    def _on_day(self, local: datetime) -> bool:
        in_month = local.day in self.days
        in_week = local.isoweekday() % 7 in self.weekdays
        if self.any_day or self.any_weekday:
            return in_month and in_week
        return in_month or in_week


def _next_month(local: datetime) -> datetime:
    return local.replace(day=1) + timedelta(days=32 - local.replace(day=1).day)


def _midnight(local: datetime, zone: tzinfo) -> int:
    """The beginning of the day (of the month, where the day is beyond the first of the next one)."""
    plain = local.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None, fold=0)
    return int(plain.replace(tzinfo=zone).timestamp())


@lru_cache(256)
def parse(text: str) -> Schedule:
    """Read a schedule. Raises ScheduleError."""
    if not text:
        raise ScheduleError("empty spec string")
    zone: tzinfo | None = None
    if text.startswith(("TZ=", "CRON_TZ=")):
        named, _, rest = text.partition(" ")
        name = named.partition("=")[2]
        try:
            zone = location(name)
        except LookupError as e:
            raise ScheduleError(f"provided bad location {name}: {e}") from e
        text = rest.strip()
    if text.startswith(_EVERY):
        return Schedule(every_s=_every(text), zone=zone)
    if text.startswith("@"):
        if text not in _WORDS:
            raise ScheduleError(f"unrecognized descriptor: {text}")
        text = _WORDS[text]
    fields = text.split()
    if len(fields) != 5:
        raise ScheduleError(f"expected exactly 5 fields, found {len(fields)}: [{' '.join(fields)}]")
    minutes, _ = _values(fields[0], _MINUTE)
    hours, _ = _values(fields[1], _HOUR)
    days, any_day = _values(fields[2], _DAY)
    months, _ = _values(fields[3], _MONTH)
    weekdays, any_weekday = _values(fields[4], _WEEKDAY)
    return Schedule(minutes, hours, days, months, weekdays, any_day, any_weekday, zone=zone)


def fault(text: str) -> str:
    """What is wrong with a schedule; "" for a good one."""
    try:
        parse(text)
    except ScheduleError as e:
        return str(e)
    return ""


def location(name: str) -> tzinfo:
    """The time zone of that name ("" is UTC). Raises LookupError with what Kubernetes says."""
    if name in ("", "UTC"):
        return UTC
    # Here: only schedules with zones need it.
    from zoneinfo import ZoneInfo

    try:
        if _ZONE_NAME.fullmatch(name) is None:
            raise ValueError(name)
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as e:
        raise LookupError(f"unknown time zone {name}") from e


def _values(text: str, field: _Field) -> tuple[frozenset[int], bool]:
    """The values of one field, and whether a star says that it does not restrict anything."""
    values: set[int] = set()
    star = False
    for part in filter(None, text.split(",")):
        found, any_value = _range(part, field)
        values.update(found)
        star = star or any_value
    return frozenset(values), star


def _range(text: str, field: _Field) -> tuple[range, bool]:
    span, *steps = text.split("/")
    low, *high = span.split("-")
    star = low in ("*", "?")
    if star:
        first, last = field.least, field.most
    else:
        first = last = _value(low, field)
        if len(high) > 1:
            raise ScheduleError(f"too many hyphens: {text}")
        if high:
            last = _value(high[0], field)
    step = 1
    if len(steps) > 1:
        raise ScheduleError(f"too many slashes: {text}")
    if steps:
        step = _number(steps[0])
        last = last if high else field.most  # `N/step` means from N on
        star = star and step <= 1
    if first < field.least:
        raise ScheduleError(f"beginning of range ({first}) below minimum ({field.least}): {text}")
    if last > field.most:
        raise ScheduleError(f"end of range ({last}) above maximum ({field.most}): {text}")
    if first > last:
        raise ScheduleError(f"beginning of range ({first}) beyond end of range ({last}): {text}")
    if step == 0:
        raise ScheduleError(f"step of range should be a positive number: {text}")
    return range(first, last + 1, step), star


def _value(text: str, field: _Field) -> int:
    word = text.lower()
    return field.names.index(word) + field.least if word in field.names else _number(text)


def _number(text: str) -> int:
    digits = text[1:] if text[:1] in ("+", "-") else text
    problem = ""
    if not (digits.isascii() and digits.isdecimal()):
        problem = "invalid syntax"
    elif abs(int(text)) >= 2**63:
        problem = "value out of range"
    if problem:
        why = f'strconv.Atoi: parsing "{text}": {problem}'
        raise ScheduleError(f"failed to parse int from {text}: {why}")
    if int(text) < 0:
        raise ScheduleError(f"negative number ({int(text)}) not allowed: {text}")
    return int(text)


def _every(text: str) -> int:
    """Whole seconds, one at least. Source: Go's time.ParseDuration."""
    given = text.removeprefix(_EVERY)
    quoted = f'"{given}"'
    total, rest = 0.0, given.lstrip("+-") if given[:1] in ("+", "-") else given
    sign = -1 if given.startswith("-") else 1
    problem = "" if rest else f"time: invalid duration {quoted}"
    while rest and rest != "0" and not problem:
        found = _STEP.match(rest)
        assert found is not None
        whole, part, unit = found[1], found[2] or "", found[3]
        if not (whole or part.strip(".")):
            problem = f"time: invalid duration {quoted}"
        elif not unit:
            problem = f"time: missing unit in duration {quoted}"
        elif unit not in _UNITS:
            problem = f'time: unknown unit "{unit}" in duration {quoted}'
        else:
            total += float(f"{whole or 0}{part}") * _UNITS[unit]
            rest = rest[found.end() :]
    if problem:
        raise ScheduleError(f"failed to parse duration {text}: {problem}")
    return max(1, int(sign * total))
