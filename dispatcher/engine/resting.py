"""When an engine takes no new jobs of its own accord: outside its hours, or while a person works.

A job that it has goes on.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

from dispatcher.engine.hours import Hours
from dispatcher.engine.presence import Presence, PresenceError

__all__ = ["CHECK_S", "Resting"]

CHECK_S = 5.0
"""The pause between two looks at the clock and for a person."""


def _wall() -> datetime:
    return datetime.now(UTC).astimezone().replace(tzinfo=None)


class Resting(NamedTuple):
    """What an engine heeds: its hours, and that nobody has used the machine for `idle_min`."""

    hours: Hours | None = None
    presence: Presence | None = None
    idle_min: float = 0.0
    check_s: float = CHECK_S
    wall: Callable[[], datetime] = _wall

    async def reason(self) -> str | None:
        """Return why the engine takes no new jobs now, or `None`."""
        wall = self.wall()
        if self.hours is not None and not self.hours.is_open(wall):
            # The offset from UTC may be another one then.
            opens = self.hours.opens(wall).astimezone()
            return f"outside its hours until {opens.isoformat(timespec='minutes')}"
        if self.presence is None:
            return None
        try:
            idle_s = await self.presence.idle_s()
        except PresenceError as error:
            return f"{self.presence.program} can't tell whether a person uses the machine: {error}"
        if idle_s < self.idle_min * 60:
            return f"a person has used the machine in the last {self.idle_min:g} minutes"
        return None
