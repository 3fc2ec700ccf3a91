"""Work on the past: states as they were at any seq, and snapshots to get there sooner.

Laws:
- It is done in processes of its own, from the log's file alone, so that the event loop never waits
  for a replay and a snapshot never holds anything but what is durable.
- So many at once and no more; whoever comes then is told to come back.
"""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar, TypeVarTuple

from anyio import BrokenWorkerProcess, CapacityLimiter, to_process

from dispatcher.log import LogError
from dispatcher.log.sqlite import SqliteLog
from dispatcher.merkle import Frontier, subtrees
from dispatcher.replay import State, replay
from dispatcher.snapshots import EVERY, SnapshotError, Snapshots
from dispatcher.views import Shown, View, show

__all__ = ["AT_ONCE", "Past", "TooManyError"]

logger = logging.getLogger(__name__)
T = TypeVar("T")
Work = TypeVarTuple("Work")

WORKERS: Final = 2
"""Processes that work on questions about the past."""
AT_ONCE: Final = 8
"""Questions in hand, those that wait for a process included."""


class TooManyError(Exception):
    """As many questions about the past as may be are being worked on."""


class Past:
    """What can be asked about the past of the log at `log_path`."""

    def __init__(self, log_path: Path, snapshot_every: int = EVERY) -> None:
        self.snapshots = Snapshots(log_path, snapshot_every)
        self._log_path = log_path
        self._every = snapshot_every
        self._asking = CapacityLimiter(WORKERS)
        self._asked = 0
        self._for_writing = CapacityLimiter(1)
        self._writing: asyncio.Task[None] | None = None
        self._due = self.snapshots.next_due()

    async def show(self, view: View, seq: int) -> Shown:
        """Answer a view as it was at a seq that is durable.

        `TooManyError` if too much is asked at once, `LogError` if the log can't be read.
        """
        if self._asked >= AT_ONCE:
            raise TooManyError(
                f"{AT_ONCE} questions about the past are in hand; try again in a moment"
            )
        self._asked += 1
        try:
            return await self._work(self._asking, _show, self._log_path, self._every, view, seq)
        finally:
            self._asked -= 1

    def notice(self, seq: int) -> None:
        """Begin a snapshot if one is due, now that `seq` is durable."""
        if seq >= self._due and self._writing is None:
            self._due = self.snapshots.due_after(seq)
            self._writing = asyncio.create_task(self._write_snapshot(seq), name="snapshot")

    async def close(self, state: State | None, tree: Frontier) -> None:
        """Stop, and keep what is true at the end, if that is known, as the newest snapshot."""
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)
        if state is not None:
            try:
                self.snapshots.write(state, tree)
            except SnapshotError as error:
                logger.warning("%s; the next start will take longer", error)

    async def _write_snapshot(self, seq: int) -> None:
        try:
            await self._work(self._for_writing, _write_snapshot, self._log_path, self._every, seq)
        except (SnapshotError, LogError) as error:
            logger.warning("No snapshot of seq %d: %s", seq, error)
        finally:
            self._writing = None

    async def _work(self, limiter: CapacityLimiter, work: Callable[[*Work], T], *args: *Work) -> T:
        try:
            return await to_process.run_sync(work, *args, cancellable=True, limiter=limiter)
        except BrokenWorkerProcess as error:
            raise LogError(f"{self._log_path}: a replay of it was ended from outside") from error


_newest: tuple[Path, State] | None = None
"""What this process was asked about last, in case the next page of it is asked for next."""


def _show(log_path: Path, every: int, view: View, seq: int) -> Shown:
    global _newest  # noqa: PLW0603 - a process of its own has its own
    if _newest is None or _newest[0] != log_path or _newest[1].seq != seq:
        _newest = None  # not to hold two at once
        _newest = log_path, asyncio.run(_state(log_path, every, seq))[0]
    state = _newest[1]
    return show(view, state.projections, state.fleet)


def _write_snapshot(log_path: Path, every: int, seq: int) -> None:
    state, tree = asyncio.run(_state(log_path, every, seq))
    Snapshots(log_path, every).write(state, tree)


async def _state(log_path: Path, every: int, seq: int) -> tuple[State, Frontier]:
    log = await SqliteLog.open_for_reading(log_path)
    state = await replay(log, seq, origin=Snapshots(log_path, every))
    return state, Frontier(seq, await log.subtree_hashes(subtrees(0, seq)))
