"""Telling how far a replay has come."""

import time
from collections.abc import Callable
from pathlib import Path

__all__ = ["ReplayProgress"]


class ReplayProgress:
    """A line a second while a long log is replayed, and none for a short one."""

    def __init__(self, say: Callable[[str], None], db: Path) -> None:
        self._say = say
        self._db = db
        self._next = time.monotonic() + 1

    def __call__(self, done: int, of: int) -> None:
        """Tell that `done` of `of` events have been read."""
        if (now := time.monotonic()) >= self._next:
            self._next = now + 1
            self._say(f"Replaying {self._db}: {done:,} of {of:,} events ({done * 100 // of} %)")
