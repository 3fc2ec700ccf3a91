"""Moments and durations as people write them.

    5 minutes ago       2h 30min ago        now
    08:56               2:30 pm             yesterday 14:00     monday
    2026-11-22          2026-11-22 09:30    2026-11-22T09:30:00Z

Laws:
- A time without a zone is one of this machine's zone, or with `--utc` of UTC.
- A day without a time is its first moment.
- A weekday is the last one before today.
- A time of day alone is today's. If it is still to come it is yesterday's, unless an end is meant
  (`--until`).
- Minutes to weeks are lengths of time. Months and years are counted in the calendar.
"""

import re
from calendar import monthrange
from datetime import UTC, datetime, timedelta
from typing import Final

import typer

from dispatcher.state.moments import MomentError

__all__ = ["as_of_wire", "duration_s", "moment", "moment_of", "seq_or_moment_of"]

_UNITS: Final = {
    "s": ("second", 1),
    "sec": ("second", 1),
    "second": ("second", 1),
    "m": ("second", 60),
    "min": ("second", 60),
    "minute": ("second", 60),
    "h": ("second", 3_600),
    "hr": ("second", 3_600),
    "hour": ("second", 3_600),
    "d": ("second", 86_400),
    "day": ("second", 86_400),
    "w": ("second", 604_800),
    "week": ("second", 604_800),
    "month": ("month", 1),
    "year": ("month", 12),
}
"""Each unit as so many seconds or months. An s may follow those that have two letters or more."""
_PART: Final = re.compile(r"(\d+(?:\.\d+)?|an?)\s*([a-z]+)(?:\s*,\s*|\s+and\s+|\s*)", re.ASCII)
_DAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_MOMENT: Final = re.compile(
    r"(?P<day>today|yesterday|(?:last )?(?:" + "|".join(_DAYS) + r")|\d{4}-\d{2}-\d{2})?"
    r"(?:(?:^|[ t]|(?<=.) at )(?P<hour>\d{1,2})"
    r"(?::(?P<minute>\d{2})(?::(?P<second>\d{2})(?P<part>\.\d+)?)?)?"
    r" ?(?P<half>am|pm)?)?"
    r" ?(?P<zone>z|utc|[-+]\d{2}:?\d{2})?",
    re.ASCII,
)
_RULE: Final = (
    "is no moment; give one such as '5 minutes ago', '08:56', 'yesterday 14:00', '2026-11-22' or "
    "'2026-11-22T09:30:00Z'"
)


def moment_of(option: str, text: str | None, *, utc: bool, ahead: bool = False) -> datetime | None:
    """Return the moment that an option names; `BadParameter` if it names none."""
    if text is None:
        return None
    try:
        return moment(text, datetime.now(UTC), utc=utc, ahead=ahead)
    except MomentError as error:
        raise typer.BadParameter(f"{option} {text!r} {error}") from None


def seq_or_moment_of(option: str, text: str | None, *, utc: bool) -> int | datetime | None:
    """Return the seq or the moment that an option names; `BadParameter` if it names none."""
    if text is not None and re.fullmatch(r"[0-9]{1,19}", text, re.ASCII):
        return int(text)
    return moment_of(option, text, utc=utc)


def as_of_wire(text: str | None, *, utc: bool) -> int | str | None:
    """Return what `--as-of` names as the dispatcher takes it; `BadParameter` if it is nothing."""
    at = seq_or_moment_of("--as-of", text, utc=utc)
    return at.isoformat() if isinstance(at, datetime) else at


def moment(text: str, now: datetime, *, utc: bool, ahead: bool = False) -> datetime:
    """Return the moment that a text names, in UTC. `MomentError` if it names none.

    With `ahead`, a time of day alone may be still to come.
    """
    words = " ".join(text.lower().split())
    try:
        if words == "now":
            return now.astimezone(UTC)
        if words.endswith(" ago"):
            return _before(words.removesuffix(" ago"), now, utc=utc)
        return _named(words, now, utc=utc, ahead=ahead)
    except (ValueError, OverflowError) as error:
        raise MomentError(_RULE) from error


def duration_s(text: str) -> float:
    """Return a duration in seconds: `90`, `10m`, `1h 30min`. `ValueError` if it is none."""
    words = " ".join(text.lower().split())
    if re.fullmatch(r"\d+(\.\d+)?", words, re.ASCII):
        return float(words)
    seconds, months = _length(words)
    if months:
        raise ValueError(f"{text!r} is no duration of seconds, minutes, hours, days or weeks")
    return seconds


def _length(words: str) -> tuple[float, int]:
    """Return how many seconds and months a length of time has. `ValueError` if it is none."""
    at, seconds, months = 0, 0.0, 0
    while at < len(words):
        part = _PART.match(words, at)
        if part is None:
            raise ValueError(f"{words!r} is no length of time")
        number = 1.0 if part[1][0] == "a" else float(part[1])
        unit = part[2] if part[2] in _UNITS else part[2].removesuffix("s")
        if unit not in _UNITS or (len(unit) == 1 and unit != part[2]):
            raise ValueError(f"{part[2]!r} is no unit of time")
        kind, factor = _UNITS[unit]
        if kind == "second":
            seconds += number * factor
        elif number.is_integer():
            months += int(number) * factor
        else:
            raise ValueError("months and years are whole numbers")
        at = part.end()
    if not words:
        raise ValueError("there is no length of time")
    return seconds, months


def _before(words: str, now: datetime, *, utc: bool) -> datetime:
    seconds, months = _length(words)
    if months:
        local = _local(now, utc=utc)
        year, month = divmod(local.year * 12 + local.month - 1 - months, 12)
        day = min(local.day, monthrange(year, month + 1)[1])
        now = _zoned(local.replace(year=year, month=month + 1, day=day), utc=utc)
    return (now - timedelta(seconds=seconds)).astimezone(UTC)


def _named(words: str, now: datetime, *, utc: bool, ahead: bool) -> datetime:
    found = _MOMENT.fullmatch(words)
    if found is None or (found["day"] is None and found["hour"] is None):
        raise ValueError(words)
    if found["hour"] is not None and found["minute"] is None and found["half"] is None:
        raise ValueError(words)  # a number alone is no time
    if found["zone"] is not None and found["hour"] is None:
        raise ValueError(words)
    today = _local(now, utc=utc).replace(hour=0, minute=0, second=0, microsecond=0)
    zone = found["zone"]
    if zone is not None:
        offset = "+00:00" if zone in {"z", "utc"} else zone
        tz = datetime.fromisoformat(f"2000-01-01T00:00:00{offset}").tzinfo
        today = now.astimezone(tz).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    day = _day(found["day"], today) + _time_of_day(found)
    at = _zoned(day, utc=utc) if zone is None else day.replace(tzinfo=tz).astimezone(UTC)
    if found["day"] is None and at > now and not ahead:
        before = day - timedelta(days=1)
        return (
            _zoned(before, utc=utc) if zone is None else before.replace(tzinfo=tz).astimezone(UTC)
        )
    return at


def _day(name: str | None, today: datetime) -> datetime:
    if name is None or name == "today":
        return today
    if name == "yesterday":
        return today - timedelta(days=1)
    weekday = name.removeprefix("last ")
    if weekday in _DAYS:
        return today - timedelta(days=(today.weekday() - _DAYS.index(weekday) - 1) % 7 + 1)
    return datetime.fromisoformat(name)


def _time_of_day(found: re.Match[str]) -> timedelta:
    hour, minute, second = (int(found[name] or 0) for name in ("hour", "minute", "second"))
    if found["half"] is not None:
        if not 1 <= hour <= 12:  # noqa: PLR2004 - of half a day
            raise ValueError(f"{hour} {found['half']}")
        hour = hour % 12 + (12 if found["half"] == "pm" else 0)
    if hour > 23 or minute > 59 or second > 59:  # noqa: PLR2004
        raise ValueError(f"{hour}:{minute}:{second}")
    return timedelta(
        hours=hour, minutes=minute, seconds=second + float(f"0{found['part'] or '.0'}")
    )


def _local(now: datetime, *, utc: bool) -> datetime:
    """Return the wall clock's time in the operator's zone, without that zone."""
    return now.astimezone(UTC if utc else None).replace(tzinfo=None)


def _zoned(local: datetime, *, utc: bool) -> datetime:
    """Return the moment at which the operator's wall clock shows this."""
    return local.replace(tzinfo=UTC) if utc else local.astimezone().astimezone(UTC)
