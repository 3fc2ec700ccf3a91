"""Telling how far something long has come."""

import time
from collections.abc import Callable

__all__ = ["Progress", "ProgressLines", "silent"]

Progress = Callable[[int, int], None]
"""Is told now and then how much has been done, and of how much."""


def silent(_done: int, _of: int) -> None:
    """Tell nobody."""


class ProgressLines:
    """A line a second while something long goes on, and none for what is short."""

    def __init__(self, say: Callable[[str], None], doing: str, unit: str = "events") -> None:
        self._say = say
        self._doing = doing
        self._unit = unit
        self._next = time.monotonic() + 1

    def __call__(self, done: int, of: int) -> None:
        """Tell that `done` of `of` have been done."""
        if (now := time.monotonic()) >= self._next:
            self._next = now + 1
            percent = done * 100 // max(of, 1)
            self._say(f"{self._doing}: {done:,} of {of:,} {self._unit} ({percent} %)")
