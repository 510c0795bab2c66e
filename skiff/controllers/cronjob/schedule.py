"""Cron expressions: five fields, or one of the `@` words. Pure.

Minute, hour, day of the month, month, day of the week; each `*` (or `?`), a value, a range, a list,
with steps; months and weekdays also by name. Where both day fields are restricted, a day that
matches either is meant. Times of day that a change of clocks skips are skipped; those it repeats
happen once.

Source: https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/#schedule-syntax.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

_WORDS: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
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
_UNITS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
# A schedule with no time within so many years (the 30th of February) never happens.
_SEARCH_YEARS: Final = 5


class ScheduleError(ValueError):
    """The text is no schedule."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """A read expression; `every_s` is set for `@every` and then decides alone."""

    minutes: frozenset[int] = frozenset()
    hours: frozenset[int] = frozenset()
    days: frozenset[int] = frozenset()
    months: frozenset[int] = frozenset()
    weekdays: frozenset[int] = frozenset()
    any_day: bool = True
    any_weekday: bool = True
    every_s: float = 0.0

    def next_after(self, time: float, zone: tzinfo = UTC) -> float | None:
        """The first time of the schedule after `time` (Unix seconds), in the time zone; None where
        there is none."""
        if self.every_s:
            return float(int(time)) + self.every_s
        local = datetime.fromtimestamp(int(time), zone).replace(
            second=0, microsecond=0, tzinfo=None
        )
        local += timedelta(minutes=1)
        last_year = local.year + _SEARCH_YEARS
        while local.year <= last_year:
            if local.month not in self.months:
                local = _next_month(local)
            elif not self._on_day(local):
                local = local.replace(hour=0, minute=0) + timedelta(days=1)
            elif local.hour not in self.hours:
                local = local.replace(minute=0) + timedelta(hours=1)
            elif local.minute not in self.minutes:
                local += timedelta(minutes=1)
            else:
                found = local.replace(tzinfo=zone).timestamp()
                back = datetime.fromtimestamp(found, zone).replace(tzinfo=None)
                if found > time and back == local:
                    return found
                local += timedelta(minutes=1)  # the clocks skip this minute, or repeat it
        return None

    def _on_day(self, local: datetime) -> bool:
        in_month = local.day in self.days
        in_week = local.isoweekday() % 7 in self.weekdays
        if self.any_day or self.any_weekday:
            return in_month and in_week
        return in_month or in_week


def _next_month(local: datetime) -> datetime:
    first = local.replace(day=1, hour=0, minute=0)
    return (first + timedelta(days=32)).replace(day=1)


def parse(text: str) -> Schedule:
    """Read an expression. Raises ScheduleError."""
    text = text.strip()
    if text.startswith("@every "):
        return Schedule(every_s=_duration(text.removeprefix("@every ")))
    if text.startswith("@"):
        if text not in _WORDS:
            raise ScheduleError(f"unrecognized descriptor: {text}")
        text = _WORDS[text]
    fields = text.split()
    if len(fields) != 5:
        raise ScheduleError(f"expected exactly 5 fields, found {len(fields)}: [{' '.join(fields)}]")
    minute, hour, day, month, weekday = fields
    weekdays, any_weekday = _field(weekday, 0, 7, _DAYS)
    days, any_day = _field(day, 1, 31)
    return Schedule(
        minutes=_field(minute, 0, 59)[0],
        hours=_field(hour, 0, 23)[0],
        days=days,
        months=_field(month, 1, 12, ("", *_MONTHS))[0],
        weekdays=frozenset(d % 7 for d in weekdays),
        any_day=any_day,
        any_weekday=any_weekday,
    )


def _field(
    text: str, low: int, high: int, names: tuple[str, ...] = ()
) -> tuple[frozenset[int], bool]:
    """The values of one field, and whether it is a star."""
    values: set[int] = set()
    star = False
    for part in text.split(","):
        span, slash, step_text = part.partition("/")
        step = _number(step_text, ()) if slash else 1
        if step <= 0:
            raise ScheduleError(f"step of range should be a positive number: {part}")
        if span in ("*", "?"):
            first, last = low, high
            star = star or step == 1
        else:
            start, dash, end = span.partition("-")
            first = _number(start, names)
            last = _number(end, names) if dash else (high if slash else first)
        if first < low:
            raise ScheduleError(f"beginning of range ({first}) below minimum ({low}): {part}")
        if last > high:
            raise ScheduleError(f"end of range ({last}) above maximum ({high}): {part}")
        if first > last:
            raise ScheduleError(
                f"beginning of range ({first}) beyond end of range ({last}): {part}"
            )
        values.update(range(first, last + 1, step))
    return frozenset(values), star


def _number(text: str, names: tuple[str, ...]) -> int:
    word = text.lower()
    if word and word in names:
        return names.index(word)
    if not (text.isascii() and text.isdecimal()):
        raise ScheduleError(f"failed to parse int from {text}")
    return int(text)


def _duration(text: str) -> float:
    """Go's notation, such as `1h30m`."""
    total, number = 0.0, ""
    rest = text.strip()
    while rest:
        unit = next((u for u in ("ms", "h", "m", "s") if rest.startswith(u)), "")
        if unit and number:
            total += float(number) * _UNITS[unit]
            number, rest = "", rest[len(unit) :]
        elif rest[0].isdecimal() or rest[0] == ".":
            number, rest = number + rest[0], rest[1:]
        else:
            break
    if rest or number or total < 1:
        raise ScheduleError(f"failed to parse duration @every {text}")
    return total
