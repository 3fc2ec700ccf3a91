"""Simulated time: a queue of calls with the times at which they are due.

Laws:
- Time is a whole number of microseconds. It does not advance during a call, and then jumps to the
  time of the next one.
- Calls that are due at the same time are made in the order in which they were added, so that a
  run is the same everywhere.
"""

import heapq
from collections.abc import Callable
from typing import Any, Final

__all__ = ["DAY_S", "HOUR_S", "MICROS", "Agenda", "moment"]

MICROS: Final = 1_000_000
HOUR_S: Final = 3_600
DAY_S: Final = 86_400


class Agenda:
    """The queue of due calls."""

    def __init__(self) -> None:
        self.now_us = 0
        self._number = 0
        self._heap: list[tuple[int, int, Callable[..., object], tuple[Any, ...]]] = []

    def seconds(self) -> float:
        """Return the time in seconds, like a monotonic clock."""
        return self.now_us / MICROS

    def at(self, when_us: int, call: Callable[..., object], *args: Any) -> None:
        """Schedule a call at a time that is not in the past."""
        self._number += 1
        heapq.heappush(self._heap, (when_us, self._number, call, args))

    def after(self, seconds: float, call: Callable[..., object], *args: Any) -> None:
        """Schedule a call in `seconds` from now."""
        self._number += 1
        when_us = self.now_us + int(seconds * MICROS)
        heapq.heappush(self._heap, (when_us, self._number, call, args))

    def run(self, until_us: int) -> None:
        """Make all calls that are due up to a time, and advance to it."""
        heap, pop = self._heap, heapq.heappop
        while heap and heap[0][0] <= until_us:
            self.now_us, _, call, args = pop(heap)
            call(*args)
        self.now_us = until_us


def moment(us: int) -> str:
    """Format a time for people: day, hours, minutes, seconds."""
    seconds, micros = divmod(us, MICROS)
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    day, hour = divmod(hours, 24)
    return f"day {day} {hour:02}:{minute:02}:{second:02}.{micros:06}"
