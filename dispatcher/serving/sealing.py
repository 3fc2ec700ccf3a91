"""Sealing while the dispatcher works: older events go into segments, and leave the hot file.

    enough events ──► a worker writes the file ──► one row ──► rows deleted, a few at a time

Laws:
- What takes long is done by a worker process of low priority. The event loop only commits a row,
  and deletes rows between the commits of events, at most a twentieth of the time; half of it, if
  the next segment is due already.
- Nothing depends on it. If it fails, events stay where they are, `warning` says why, and it is
  tried again later.
- Whatever a dispatcher that was killed has left half done, the next one continues.
"""

import asyncio
import logging
from typing import Final

from anyio import CapacityLimiter

from dispatcher.log import LogError
from dispatcher.log.segments import LEAST_EVENTS, SEGMENT_EVENTS, SEGMENT_LEVEL, Unsealed
from dispatcher.log.segments.sealing import write_segment
from dispatcher.log.sqlite import SqliteLog
from dispatcher.serving.workers import run_in_worker

__all__ = ["Sealing"]

MARGIN: Final = 16
"""One part in so many of a segment must follow it: newer events are read more often."""
RETRY_S: Final = 60.0
"""The pause after a failure."""
PAUSE: Final = 19
"""The pause between two deletions, in times of what the first has taken."""

logger = logging.getLogger(__name__)


class Sealing:
    """Seals the segments of a log that is being written, of so many events, a power of two."""

    def __init__(
        self, log: SqliteLog, events: int = SEGMENT_EVENTS, level: int = SEGMENT_LEVEL
    ) -> None:
        if events < LEAST_EVENTS or events & (events - 1):
            raise ValueError(f"a segment has a power of two of events, {LEAST_EVENTS} at least")
        self._fault: str | None = None
        self._log = log
        self._events = events
        self._level = level
        self._limiter = CapacityLimiter(1)
        self._due = asyncio.Event()
        self._due_at = 0
        self._task: asyncio.Task[None] | None = None

    @property
    def warning(self) -> str | None:
        """Why the log is not being sealed, or a segment can't be read; `None` if all is well."""
        return self._fault or self._log.fault_of_segments

    def start(self) -> None:
        """Begin, with what an earlier dispatcher has left."""
        self._task = asyncio.create_task(self._run(), name="sealing")

    def notice(self, seq: int) -> None:
        """Take note that `seq` is durable."""
        if seq >= self._due_at:
            self._due.set()

    async def close(self) -> None:
        """Stop, wherever it is."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                await self._release()
                while (segment := await self._next()) is not None:
                    await self._seal(segment)
                    await self._release()
            except Exception as error:  # noqa: BLE001 - whatever it is, the dispatcher goes on
                self._warn(error)
                await asyncio.sleep(RETRY_S)
            else:
                self._take_back_warning()
                await self._due.wait()

    async def _next(self) -> Unsealed | None:
        """Return the segment that is due; if there is none, prepare to wait for it."""
        self._due.clear()
        self._due_at = self._next_due()
        return await self._log.unsealed(self._events, self._events // MARGIN)

    def _next_due(self) -> int:
        """Return the seq from which the next segment is due."""
        return self._log.sealable_at(self._events) + self._events // MARGIN

    async def _seal(self, segment: Unsealed) -> None:
        path, level = self._log.path, self._level
        row = await run_in_worker(
            "the sealing of it", path, self._limiter, write_segment, path, segment, level
        )
        await self._log.seal(row)

    async def _release(self) -> None:
        """Delete all rows that are in segments, slowly."""
        now_s = asyncio.get_running_loop().time
        began_s = now_s()
        while await self._log.release():
            pause = PAUSE if self._log.head < self._next_due() else 1
            await asyncio.sleep((now_s() - began_s) * pause)
            began_s = now_s()

    def _warn(self, error: Exception) -> None:
        why = str(error) if isinstance(error, LogError) else f"{error!r}"
        if why != self._fault:
            is_known = isinstance(error, LogError)
            logger.warning(
                "Older events can't be sealed and stay in the log's file: %s; trying again",
                why,
                exc_info=None if is_known else error,
            )
        self._fault = why

    def _take_back_warning(self) -> None:
        if self._fault is not None:
            logger.warning("Older events are sealed again, up to seq %d", self._log.sealed_upto)
        self._fault = None
