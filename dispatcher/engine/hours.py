"""The hours in which an engine takes jobs, by the clock on the wall of its machine.

    mo-fr 19:00-07:00; sa,su          # at night, and on Saturdays and Sundays all day
    22:30-06:00                       # every night

Laws:
- What counts is what the machine's clock shows. When daylight saving time begins or ends, hours are
  an hour shorter or longer, or end as the clock says, and the engine opens when the clock says so.
- Hours that pass midnight belong to the day on which they begin.
"""

import re
from collections.abc import Iterable
from datetime import datetime, time, timedelta
from typing import Final, NamedTuple, NoReturn, Self

from dispatcher.errors import DispatcherError

__all__ = ["Hours", "HoursError"]

_DAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_WEEK: Final = 7
_LEAST_LETTERS: Final = 2
_MINUTES: Final = 24 * 60
_SPAN: Final = re.compile(r"(?:(?P<days>[a-z,-]+))?\s*(?:(?P<from>[\d:]+)\s*-\s*(?P<to>[\d:]+))?")
_TIME: Final = re.compile(r"([01]?\d|2[0-4]):([0-5]\d)")
_EXAMPLE: Final = "write them as in --hours 'mo-fr 19:00-07:00; sa,su'"


class HoursError(DispatcherError):
    """The hours can't be understood; the text says why."""


class _Span(NamedTuple):
    """From a minute of a day (0 Monday) for so many minutes, which may pass midnight."""

    day: int
    minute: int
    minutes: int


class Hours(NamedTuple):
    """The hours of a week. Make them with `parse`."""

    spans: tuple[_Span, ...]

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Self:
        """Read hours; a text may have several, with semicolons between them.

        Raises `HoursError`.
        """
        spans = [span for text in texts for part in text.split(";") for span in _spans_of(part)]
        return cls(tuple(spans))

    def is_open(self, wall: datetime) -> bool:
        """Whether the engine takes jobs when the clock on the wall shows this."""
        return any(
            wall < _last_begin(span, wall) + timedelta(minutes=span.minutes) for span in self.spans
        )

    def opens(self, wall: datetime) -> datetime:
        """Return what the clock on the wall will show when it next opens."""
        return min(_last_begin(span, wall) + timedelta(days=_WEEK) for span in self.spans)


def _last_begin(span: _Span, wall: datetime) -> datetime:
    """Return when a span last began, now or before."""
    midnight = datetime.combine(wall.date(), time())
    day = midnight - timedelta(days=(wall.weekday() - span.day) % _WEEK)
    begins = day + timedelta(minutes=span.minute)
    return begins if begins <= wall else begins - timedelta(days=_WEEK)


def _spans_of(text: str) -> list[_Span]:
    match = _SPAN.fullmatch(text.strip().lower())
    if match is None or not any(match.groups()):
        _bad(text, "it has neither days nor times")
    begin, minutes = 0, _MINUTES
    if match["from"] is not None:
        begin, end = _minute(match["from"], text), _minute(match["to"], text)
        if begin in {end, _MINUTES}:
            _bad(text, "it begins when it ends; a whole day is 00:00-24:00")
        minutes = (end - begin) % _MINUTES or _MINUTES
    days = range(_WEEK) if match["days"] is None else _days(match["days"], text)
    return [_Span(day, begin, minutes) for day in days]


def _days(listed: str, text: str) -> list[int]:
    found: list[int] = []
    for part in listed.split(","):
        first, is_range, last = part.partition("-")
        begin = _day(first, text)
        count = (_day(last, text) - begin) % _WEEK if is_range else 0
        found += [(begin + later) % _WEEK for later in range(count + 1)]
    return sorted({*found})


def _day(name: str, text: str) -> int:
    found = [number for number, day in enumerate(_DAYS) if day.startswith(name)]
    if len(name) < _LEAST_LETTERS or not found:
        _bad(text, f"{name!r} is no day: there are mo, tu, we, th, fr, sa and su")
    return found[0]


def _minute(told: str, text: str) -> int:
    if (match := _TIME.fullmatch(told)) is None:
        _bad(text, f"{told!r} is no time from 00:00 to 24:00")
    minute = int(match[1]) * 60 + int(match[2])
    if minute > _MINUTES:
        _bad(text, f"{told!r} is no time from 00:00 to 24:00")
    return minute


def _bad(text: str, why: str) -> NoReturn:
    raise HoursError(f"--hours {text.strip()!r}: {why}; {_EXAMPLE}")
