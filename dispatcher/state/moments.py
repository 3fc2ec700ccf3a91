"""References to a moment of the log's past: a seq or a time."""

import re
from datetime import UTC, datetime
from typing import Final

from dispatcher.errors import DispatcherError
from dispatcher.log import Log

__all__ = ["MomentError", "check_reached", "parse_moment", "parse_time", "seq_of"]

_SEQ: Final = re.compile(r"[0-9]{1,19}", re.ASCII)
# RFC 3339; an unescaped plus in a query arrives as a space.
_TIME: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]{1,6})?[0-9]*"
    r"([Zz]|[-+ ][0-9]{2}:[0-9]{2})",
    re.ASCII,
)
_RULE_OF_TIME: Final = "must be a time of RFC 3339, such as 2026-11-22T09:30:00Z"
_RULE: Final = "must be a seq or a time of RFC 3339, such as 2026-11-22T09:30:00Z"


class MomentError(DispatcherError, ValueError):
    """A text is not a moment, or names one that has not come yet."""


def parse_moment(text: str) -> int | datetime:
    """Parse a seq or an RFC 3339 time. Raises `MomentError`."""
    return int(text) if _SEQ.fullmatch(text) is not None else _time(text, _RULE)


def parse_time(text: str) -> datetime:
    """Parse an RFC 3339 time. Raises `MomentError`."""
    return _time(text, _RULE_OF_TIME)


def _time(text: str, rule: str) -> datetime:
    match = _TIME.fullmatch(text)
    if match is None:
        raise MomentError(rule)
    try:
        day, second, fraction, zone = match.groups()
        zone = "Z" if zone in "zZ" else zone.replace(" ", "+")
        return datetime.fromisoformat(f"{day}T{second}{fraction or ''}{zone}").astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise MomentError(rule) from error


def check_reached(moment: int | datetime, head: int) -> None:
    """Raise `MomentError` for a seq that the log has not reached. Any time is accepted."""
    if isinstance(moment, int) and moment > head:
        raise MomentError(f"must be at most {head}, the log's last seq")


async def seq_of(moment: int | datetime, log: Log, head: int) -> int:
    """Return the seq of a moment; for a time, that of the last event recorded by then.

    Finding a time may scan the whole log.
    """
    if isinstance(moment, datetime):
        return min(await log.seq_at(moment), head)
    check_reached(moment, head)
    return moment
