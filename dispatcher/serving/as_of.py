"""Queries about the past: states as of any seq, and snapshots that shorten the replay.

Laws:
- Replays run in worker processes, from the log's file alone. So the event loop never waits for a
  replay, and a snapshot never contains anything that is not durable.
- So many queries are accepted at once as `quotas` says. Further callers get `TooManyError`.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final, TypeVar, TypeVarTuple

from anyio import CapacityLimiter

from dispatcher.log import Log, LogError
from dispatcher.log.merkle import Frontier, subtrees
from dispatcher.log.sqlite import SqliteLog
from dispatcher.serving.quotas import Asker, Quota, Quotas
from dispatcher.serving.views import Shown, View, show
from dispatcher.serving.workers import run_in_worker
from dispatcher.state.moments import seq_of
from dispatcher.state.replay import State, replay
from dispatcher.state.snapshots import EVERY, SnapshotError, Snapshots

__all__ = ["Past"]

logger = logging.getLogger(__name__)
T = TypeVar("T")
Work = TypeVarTuple("Work")

WORKERS: Final = 2
"""Worker processes for queries about the past."""


class Past:
    """Answers queries about the past of the log at `log_path`, and keeps its snapshots.

    `questions` bounds the queries that are in hand, by default as a dispatcher does.
    """

    def __init__(
        self, log_path: Path, snapshot_every: int = EVERY, questions: Quota | None = None
    ) -> None:
        self._snapshots = Snapshots(log_path, snapshot_every)
        self._log_path = log_path
        self._every = snapshot_every
        self._query_limiter = CapacityLimiter(WORKERS)
        self._questions = Quotas().questions if questions is None else questions
        self._snapshot_limiter = CapacityLimiter(1)
        self._snapshot_task: asyncio.Task[None] | None = None
        self._next_due = self._snapshots.due_after(0)

    async def newest(self, log: Log, upto: int) -> State | None:
        """Return the state at which the dispatcher's own replay begins; see `replay.Origin`.

        The next snapshot is due relative to this one, whatever other snapshots there are.
        """
        state = await self._snapshots.newest(log, upto)
        self._next_due = self._snapshots.due_after(0 if state is None else state.seq)
        return state

    async def show(
        self, asker: Asker, view: View, moment: int | datetime, head: int
    ) -> tuple[int, Shown]:
        """Return the seq of a moment, which is at most `head`, and a view as of that seq.

        `TooManyError` if there are too many queries, `LogError` if the log can't be read.
        """
        return await self._query(asker, _show, self._log_path, self._every, view, moment, head)

    async def seq_of(self, asker: Asker, moment: int | datetime, head: int) -> int:
        """Return the seq of a moment, at most `head`; raises the same errors as `show`."""
        return await self._query(asker, _seq_of, self._log_path, moment, head)

    def notice(self, seq: int) -> None:
        """Start writing a snapshot if one is due, now that `seq` is durable."""
        if seq >= self._next_due and self._snapshot_task is None:
            self._next_due = self._snapshots.due_after(seq)
            self._snapshot_task = asyncio.create_task(self._write_snapshot(seq), name="snapshot")

    async def close(self, state: State | None, tree: Frontier) -> None:
        """Stop, and write the final state, if it is known, as the newest snapshot."""
        if self._snapshot_task is not None:
            self._snapshot_task.cancel()
            await asyncio.gather(self._snapshot_task, return_exceptions=True)
        if state is not None:
            try:
                self._snapshots.write(state, tree)
            except SnapshotError as error:
                logger.warning("%s; the next start will take longer", error)

    async def _write_snapshot(self, seq: int) -> None:
        try:
            await self._run(
                self._snapshot_limiter, _write_snapshot, self._log_path, self._every, seq
            )
        except (SnapshotError, LogError) as error:
            logger.warning("No snapshot of seq %d: %s", seq, error)
        finally:
            self._snapshot_task = None

    async def _query(self, asker: Asker, work: Callable[[*Work], T], *args: *Work) -> T:
        with self._questions.holding(asker):
            return await self._run(self._query_limiter, work, *args)

    async def _run(self, limiter: CapacityLimiter, work: Callable[[*Work], T], *args: *Work) -> T:
        return await run_in_worker("a replay of it", self._log_path, limiter, work, *args)


_last_state: tuple[Path, State] | None = None
"""The state of this worker's last query, for example for a list's next page."""


def _show(
    log_path: Path, every: int, view: View, moment: int | datetime, head: int
) -> tuple[int, Shown]:
    global _last_state  # noqa: PLW0603 - each worker process has its own
    seq = _seq_of(log_path, moment, head)
    if _last_state is None or _last_state[0] != log_path or _last_state[1].seq != seq:
        _last_state = None  # frees its memory before the replay
        _last_state = log_path, asyncio.run(_replay_to(log_path, every, seq))[0]
    state = _last_state[1]
    return seq, show(view, state.projections, state.fleet)


def _seq_of(log_path: Path, moment: int | datetime, head: int) -> int:
    return moment if isinstance(moment, int) else asyncio.run(_find_seq(log_path, moment, head))


def _write_snapshot(log_path: Path, every: int, seq: int) -> None:
    global _last_state  # noqa: PLW0603
    _last_state = None  # frees its memory before the replay
    state, tree = asyncio.run(_replay_to(log_path, every, seq))
    Snapshots(log_path, every).write(state, tree)


async def _find_seq(log_path: Path, moment: datetime, head: int) -> int:
    async with await SqliteLog.open_for_reading(log_path) as log:
        return await seq_of(moment, log, head)


async def _replay_to(log_path: Path, every: int, seq: int) -> tuple[State, Frontier]:
    async with await SqliteLog.open_for_reading(log_path) as log:
        state = await replay(log, seq, origin=Snapshots(log_path, every))
        return state, Frontier(seq, await log.subtree_hashes(subtrees(0, seq)))
