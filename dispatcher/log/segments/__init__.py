"""Segments: the older events of a log, in compressed files of their own.

A log is its segments, oldest first, and then the rows of `events.db` after them. A segment has 2 to
the power of its level events, and is a perfect subtree of the log's Merkle tree. Its file has the
lines of its events (docs/log.md, "Segments").

Laws:
- The row in the table `sealed` is the only switch. From its commit on, the events up to `upto` are
  those in the file; before it, those in the table `events`. A file without a row means nothing.
- The row is committed only after the file was synced, read back and found to have the subtree's
  root. Only then are the rows of the events deleted, a few at a time.
- The file of a sealed segment never changes. A reader that needs one that is missing or damaged
  gets a `SegmentError`; others are not disturbed.
- The newest event is never in a segment.
"""

from pathlib import Path
from typing import Final

import msgspec

from dispatcher.log import LogError
from dispatcher.log.merkle import Subtree

__all__ = [
    "LEAST_EVENTS",
    "SEGMENT_EVENTS",
    "SEGMENT_LEVEL",
    "SUFFIX",
    "Sealed",
    "SegmentError",
    "Unsealed",
    "folder_of",
]

SEGMENT_EVENTS: Final = 1 << 20
"""Events of a segment, unless the operator sets another number."""
LEAST_EVENTS: Final = 256
"""The fewest that a segment can have: the tree keeps the root of no smaller subtree."""
SEGMENT_LEVEL: Final = 19
"""zstd's level: the file is a quarter smaller than with 9, and takes a minute or two to make."""

SUFFIX: Final = ".jsonl.zst"


class SegmentError(LogError):
    """A segment can't be read or written; the text names its file, its events and the remedy."""


class Unsealed(msgspec.Struct, frozen=True):
    """A segment that may be sealed next: events `first` to `upto`, under this root."""

    number: int
    level: int
    upto: int
    root: bytes

    @property
    def first(self) -> int:
        """The seq of its first event."""
        return self.upto - (1 << self.level) + 1

    @property
    def file_name(self) -> str:
        """The name of its file, in the folder of segments."""
        return f"{self.number:08}{SUFFIX}"

    def contains(self, subtree: Subtree) -> bool:
        """Whether a subtree is a smaller one inside the segment."""
        above = self.level - subtree.level
        return above > 0 and subtree.number >> above == (self.upto >> self.level) - 1

    def __str__(self) -> str:
        """Return what messages call it."""
        return f"segment {self.number} (seq {self.first:,} to {self.upto:,})"


class Sealed(Unsealed, frozen=True):
    """A row of the table `sealed`: a segment in a file with this SHA-256.

    `earliest` is the earliest time of its events, as the log spells it.
    """

    earliest: str
    sha256: bytes


def folder_of(log_path: Path) -> Path:
    """Return the folder that has the segments of the log at `log_path`."""
    return log_path.with_name(log_path.name + ".segments")
