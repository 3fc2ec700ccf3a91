"""Deletion of the rows whose events are in a sealed segment.

Laws:
- Few rows are deleted at a time, each time in a transaction of its own: a large DELETE would hold
  up the commits of events for seconds.
- The hashes of a segment's smaller subtrees go first, then its events, oldest first. So as long as
  an event is there, there may be more to delete, and after the last one there is not.
"""

from typing import Final

import aiosqlite

from dispatcher.log.merkle import KEPT_LEVEL
from dispatcher.log.segments import Sealed

__all__ = ["RELEASED_ROWS", "delete_events", "delete_subtrees"]

RELEASED_ROWS: Final = 512
"""Rows that are deleted at a time. It takes half a millisecond."""


async def delete_subtrees(writer: aiosqlite.Connection, row: Sealed) -> bool:
    """Delete some of the hashes inside a segment. Return whether there were any."""
    for level in range(KEPT_LEVEL, row.level):
        first, end = (row.first - 1) >> level, row.upto >> level
        query = "SELECT min(number) FROM subtrees WHERE level = ? AND number >= ? AND number < ?"
        ((found,),) = await writer.execute_fetchall(query, (level, first, end))
        if found is not None:
            statement = "DELETE FROM subtrees WHERE level = ? AND number >= ? AND number < ?"
            await writer.execute(statement, (level, found, min(found + RELEASED_ROWS, end)))
            return True
    return False


async def delete_events(writer: aiosqlite.Connection, row: Sealed, first: int) -> None:
    """Delete some events of a segment, from seq `first` on."""
    last = min(first + RELEASED_ROWS - 1, row.upto)
    await writer.execute("DELETE FROM events WHERE seq >= ? AND seq <= ?", (first, last))
