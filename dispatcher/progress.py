"""Progress reports of long operations."""

import time
from collections.abc import Callable

__all__ = ["Progress", "ProgressLines", "silent"]

Progress = Callable[[int, int], None]
"""Called now and then with the amount done and the total amount."""


def silent(_done: int, _of: int) -> None:
    """Report nothing."""


class ProgressLines:
    """Prints a line a second during a long operation, and none if it takes less than a second."""

    def __init__(self, say: Callable[[str], None], doing: str, unit: str = "events") -> None:
        self._say = say
        self._doing = doing
        self._unit = unit
        self._next = time.monotonic() + 1

    def __call__(self, done: int, of: int) -> None:
        """Report that `done` of `of` units are done."""
        if (now := time.monotonic()) >= self._next:
            self._next = now + 1
            percent = done * 100 // max(of, 1)
            self._say(f"{self._doing}: {done:,} of {of:,} {self._unit} ({percent} %)")
