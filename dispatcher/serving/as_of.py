"""Work on the past: states as they were at any seq, and snapshots to get there sooner.

Laws:
- It is done in processes of its own, from the log's file alone, so that the event loop never waits
  for a replay and a snapshot never holds anything but what is durable.
- Ctrl-C reaches them too, and means the dispatcher: they ignore it, and are ended by it.
- So many at once and no more; whoever comes then is told to come back.
"""

import asyncio
import logging
import os
import signal
from collections.abc import Callable
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Final, TypeVar, TypeVarTuple

from anyio import BrokenWorkerProcess, CapacityLimiter, to_process

from dispatcher.log import Log, LogError
from dispatcher.log.merkle import Frontier, subtrees
from dispatcher.log.sqlite import SqliteLog
from dispatcher.serving.views import Shown, View, show
from dispatcher.state.moments import seq_of
from dispatcher.state.replay import State, replay
from dispatcher.state.snapshots import EVERY, SnapshotError, Snapshots

__all__ = ["AT_ONCE", "Past", "TooManyError"]

logger = logging.getLogger(__name__)
T = TypeVar("T")
Work = TypeVarTuple("Work")

WORKERS: Final = 2
"""Processes that work on questions about the past."""
AT_ONCE: Final = 8
"""Questions in hand, those that wait for a process included."""
NICENESS: Final = 10
"""By how much these processes stand back behind the event loop."""


class TooManyError(Exception):
    """As many questions about the past as may be are being worked on."""


class Past:
    """What can be asked about the past of the log at `log_path`."""

    def __init__(self, log_path: Path, snapshot_every: int = EVERY) -> None:
        self._snapshots = Snapshots(log_path, snapshot_every)
        self._log_path = log_path
        self._every = snapshot_every
        self._asking = CapacityLimiter(WORKERS)
        self._asked = 0
        self._for_writing = CapacityLimiter(1)
        self._writing: asyncio.Task[None] | None = None
        self._due = self._snapshots.due_after(0)

    async def newest(self, log: Log, upto: int) -> State | None:
        """Give where the dispatcher's own replay may begin; see `replay.Origin`.

        The next snapshot is due after that one, whatever others may lie there.
        """
        state = await self._snapshots.newest(log, upto)
        self._due = self._snapshots.due_after(0 if state is None else state.seq)
        return state

    async def show(self, view: View, moment: int | datetime, head: int) -> tuple[int, Shown]:
        """Answer a view as it was at a moment, no later than `head`; the seq of it comes first.

        `TooManyError` if too much is asked at once, `LogError` if the log can't be read.
        """
        return await self._ask(_show, self._log_path, self._every, view, moment, head)

    async def seq_of(self, moment: int | datetime, head: int) -> int:
        """Find the seq of a moment, no later than `head`; fails as `show` does."""
        return await self._ask(_seq_of, self._log_path, moment, head)

    def notice(self, seq: int) -> None:
        """Begin a snapshot if one is due, now that `seq` is durable."""
        if seq >= self._due and self._writing is None:
            self._due = self._snapshots.due_after(seq)
            self._writing = asyncio.create_task(self._write_snapshot(seq), name="snapshot")

    async def close(self, state: State | None, tree: Frontier) -> None:
        """Stop, and keep what is true at the end, if that is known, as the newest snapshot."""
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)
        if state is not None:
            try:
                self._snapshots.write(state, tree)
            except SnapshotError as error:
                logger.warning("%s; the next start will take longer", error)

    async def _write_snapshot(self, seq: int) -> None:
        try:
            await self._work(self._for_writing, _write_snapshot, self._log_path, self._every, seq)
        except (SnapshotError, LogError) as error:
            logger.warning("No snapshot of seq %d: %s", seq, error)
        finally:
            self._writing = None

    async def _ask(self, work: Callable[[*Work], T], *args: *Work) -> T:
        if self._asked >= AT_ONCE:
            raise TooManyError(
                f"{AT_ONCE} questions about the past are in hand; try again in a moment"
            )
        self._asked += 1
        try:
            return await self._work(self._asking, work, *args)
        finally:
            self._asked -= 1

    async def _work(self, limiter: CapacityLimiter, work: Callable[[*Work], T], *args: *Work) -> T:
        try:
            return await to_process.run_sync(_aside, work, args, cancellable=True, limiter=limiter)
        except (BrokenWorkerProcess, ProcessLookupError, KeyboardInterrupt) as error:
            # The last is what Ctrl-C has made of a process that had not begun to ignore it.
            raise LogError(f"{self._log_path}: a replay of it was ended from outside") from error


def _aside(work: Callable[[*Work], T], args: tuple[*Work]) -> T:
    """Do any work in a process of its own; all of it comes in here."""
    _step_aside()
    return work(*args)


@cache
def _step_aside() -> None:
    """Leave Ctrl-C to the dispatcher, and the processor too if there is not enough of it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(NICENESS)


_newest: tuple[Path, State] | None = None
"""What this process was asked about last, in case the next page of it is asked for next."""


def _show(
    log_path: Path, every: int, view: View, moment: int | datetime, head: int
) -> tuple[int, Shown]:
    global _newest  # noqa: PLW0603 - a process of its own has its own
    seq = _seq_of(log_path, moment, head)
    if _newest is None or _newest[0] != log_path or _newest[1].seq != seq:
        _newest = None  # not to hold two at once
        _newest = log_path, asyncio.run(_replayed(log_path, every, seq))[0]
    state = _newest[1]
    return seq, show(view, state.projections, state.fleet)


def _seq_of(log_path: Path, moment: int | datetime, head: int) -> int:
    return moment if isinstance(moment, int) else asyncio.run(_found(log_path, moment, head))


def _write_snapshot(log_path: Path, every: int, seq: int) -> None:
    global _newest  # noqa: PLW0603
    _newest = None  # not to hold two at once
    state, tree = asyncio.run(_replayed(log_path, every, seq))
    Snapshots(log_path, every).write(state, tree)


async def _found(log_path: Path, moment: datetime, head: int) -> int:
    async with await SqliteLog.open_for_reading(log_path) as log:
        return await seq_of(moment, log, head)


async def _replayed(log_path: Path, every: int, seq: int) -> tuple[State, Frontier]:
    async with await SqliteLog.open_for_reading(log_path) as log:
        state = await replay(log, seq, origin=Snapshots(log_path, every))
        return state, Frontier(seq, await log.subtree_hashes(subtrees(0, seq)))
