"""Simulated time: a list of calls with the moments at which they are due.

Laws:
- Time is a whole number of microseconds. It stands still during a call, and then jumps to the
  moment of the next one.
- Calls that are due at the same moment are made in the order in which they were entered, so that
  a run is the same everywhere.
"""

import heapq
from collections.abc import Callable
from typing import Any, Final

__all__ = ["DAY_S", "HOUR_S", "MICROS", "Agenda", "moment"]

MICROS: Final = 1_000_000
HOUR_S: Final = 3_600
DAY_S: Final = 86_400


class Agenda:
    """What is to be called, and when."""

    def __init__(self) -> None:
        self.now_us = 0
        self._number = 0
        self._heap: list[tuple[int, int, Callable[..., object], tuple[Any, ...]]] = []

    def seconds(self) -> float:
        """Give the time as a monotonic clock does."""
        return self.now_us / MICROS

    def at(self, when_us: int, call: Callable[..., object], *args: Any) -> None:
        """Enter a call for a moment that is not past."""
        self._number += 1
        heapq.heappush(self._heap, (when_us, self._number, call, args))

    def after(self, seconds: float, call: Callable[..., object], *args: Any) -> None:
        """Enter a call for so many seconds from now."""
        self._number += 1
        when_us = self.now_us + int(seconds * MICROS)
        heapq.heappush(self._heap, (when_us, self._number, call, args))

    def run(self, until_us: int) -> None:
        """Let time pass up to a moment, with all that it brings."""
        heap, pop = self._heap, heapq.heappop
        while heap and heap[0][0] <= until_us:
            self.now_us, _, call, args = pop(heap)
            call(*args)
        self.now_us = until_us


def moment(us: int) -> str:
    """Write a moment for people: day, hours, minutes, seconds."""
    seconds, micros = divmod(us, MICROS)
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    day, hour = divmod(hours, 24)
    return f"day {day} {hour:02}:{minute:02}:{second:02}.{micros:06}"
