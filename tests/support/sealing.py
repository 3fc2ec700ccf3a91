"""Sealing as a dispatcher does it, but here and now."""

from dispatcher.log.segments import Sealed
from dispatcher.log.segments.sealing import write_segment
from dispatcher.log.sqlite import SqliteLog

__all__ = ["SEGMENT_EVENTS", "release_all", "seal_all", "seal_next"]

SEGMENT_EVENTS = 256
"""The fewest that a segment can have."""


async def seal_next(log: SqliteLog, events: int = SEGMENT_EVENTS, level: int = 1) -> Sealed | None:
    """Seal the next segment, if it is there, and leave its rows."""
    if (segment := await log.unsealed(events, 1)) is None:
        return None
    row = write_segment(log.path, segment, level)
    await log.seal(row)
    return row


async def release_all(log: SqliteLog) -> None:
    """Delete all rows that are in segments."""
    while await log.release():
        pass


async def seal_all(log: SqliteLog, events: int = SEGMENT_EVENTS) -> None:
    """Seal all that can be, and delete its rows."""
    while await seal_next(log, events) is not None:
        pass
    await release_all(log)
