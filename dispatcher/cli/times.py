"""Moments as people read them: in the local time zone, or in UTC."""

from datetime import UTC, datetime

__all__ = ["ago", "shown", "shown_line", "zone_name"]


def shown(at: datetime, *, utc: bool) -> str:
    """Return a moment to the second, with its zone."""
    local = at.astimezone(UTC if utc else None)
    return f"{local:%Y-%m-%d %H:%M:%S} {local.tzname()}"


def shown_line(at: str, *, utc: bool) -> str:
    """Return the time of an event (RFC 3339) to the millisecond, without its zone."""
    local = datetime.fromisoformat(at).astimezone(UTC if utc else None)
    return f"{local:%Y-%m-%d %H:%M:%S}.{local.microsecond // 1000:03}"


def ago(seconds: float) -> str:
    """Return how long ago something was, in its largest unit. A clock may run behind another's."""
    for unit_s, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= unit_s:
            return f"{seconds // unit_s:.0f} {unit} ago"
    return f"{max(seconds, 0):.0f} s ago"


def zone_name(*, utc: bool) -> str:
    """Return the name of the zone in which moments are shown now."""
    return "UTC" if utc else datetime.now().astimezone().tzname() or "local"
