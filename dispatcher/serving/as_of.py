"""Queries about the past: states as of any seq; and what is kept beside the log for them.

That is the index, which also takes finished jobs out of the dispatcher's memory, and snapshots that
shorten a replay.

Laws:
- Replays run in worker processes, from the log's file alone. So the event loop never waits for a
  replay, and a snapshot never contains anything that is not durable.
- The index is written in steps, in a worker process too. A snapshot follows a step, so the index
  reaches what a snapshot lacks.
- What can't be written is a warning. Then more stays in memory, or the next start takes longer.
- So many queries are accepted at once as `quotas` says. Further callers get `TooManyError`.
"""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol, TypeVar, TypeVarTuple

from anyio import CapacityLimiter

from dispatcher.core.placing import picture_of
from dispatcher.index import IndexFaultError
from dispatcher.index.file import index_path
from dispatcher.index.reading import Index
from dispatcher.index.steps import Step, step_of
from dispatcher.log import Log, LogError
from dispatcher.log.merkle import Frontier, subtrees
from dispatcher.log.sqlite import SqliteLog
from dispatcher.serving.quotas import Asker, Quota, Quotas
from dispatcher.serving.views import Shown, View, show
from dispatcher.serving.workers import run_in_worker
from dispatcher.state.moments import seq_of
from dispatcher.state.replay import State, replay
from dispatcher.state.shortcuts import STEP_EVENTS, STEP_JOBS, Shortcuts, frontier, write_step
from dispatcher.state.snapshots import EVERY, SnapshotError, Snapshots
from projections.forecast import Forecast
from projections.forecasting import at_once, forecast, outlook_of

__all__ = ["Past"]

logger = logging.getLogger(__name__)
T = TypeVar("T")
Work = TypeVarTuple("Work")

WORKERS: Final = 2
"""Worker processes for queries about the past."""
AGAIN_S: Final = 0.05
"""The pause before a step is tried again that could not be taken at this moment."""


class Memory(Protocol):
    """The finished jobs that a dispatcher has in memory; see `memory`."""

    @property
    def ended(self) -> int:
        """How many there are."""

    def step(self, after: int) -> Step | None:
        """Return what an index that reaches up to seq `after` lacks; `None`: ask again soon."""

    def evict(self, upto: int) -> int:
        """Evict what the index has, which reaches up to seq `upto`; return how much must stay."""


class Past:
    """Answers queries about the past of the log at `log_path`, and keeps its snapshots.

    `questions` bounds the queries that are in hand, by default as a dispatcher does.
    """

    def __init__(
        self, log_path: Path, snapshot_every: int = EVERY, questions: Quota | None = None
    ) -> None:
        self._snapshots = Snapshots(log_path, snapshot_every)
        self._shortcuts = Shortcuts(log_path, self._snapshots, owns=True)
        self._log_path = log_path
        self._every = snapshot_every
        self._query_limiter = CapacityLimiter(WORKERS)
        self._questions = Quotas().questions if questions is None else questions
        self._keeping_limiter = CapacityLimiter(1)
        self._keeping: asyncio.Task[None] | None = None
        self._snapshot_due = self._snapshots.due_after(0)
        self._step_due = STEP_EVENTS
        self._ended_due = STEP_JOBS

    @property
    def index(self) -> Index | None:
        """The index of the log, if there is one that has anything."""
        return self._shortcuts.index if self._shortcuts.upto else None

    async def newest(self, log: Log, upto: int) -> State | None:
        """Return the state at which the dispatcher's own replay begins; see `replay.Origin`.

        The next snapshot is due relative to this one, whatever other snapshots there are.
        """
        state = await self._shortcuts.newest(log, upto)
        self._snapshot_due = self._snapshots.due_after(0 if state is None else state.seq)
        return state

    async def lighten(self, log: Log, state: State) -> None:
        """Let go of what the index has or takes; see `replay.Origin`."""
        await self._shortcuts.lighten(log, state)

    async def show(
        self, asker: Asker, view: View, moment: int | datetime, head: int
    ) -> tuple[int, Shown]:
        """Return the seq of a moment, which is at most `head`, and a view as of that seq.

        `TooManyError` if there are too many queries, `LogError` if the log can't be read.
        """
        return await self._query(asker, _show, self._log_path, self._every, view, moment, head)

    async def forecast(self, head: int) -> Forecast:
        """Return the forecast as of a durable seq. The caller asks for one at a time.

        `LogError` if the log can't be read.
        """
        return await self._run(self._query_limiter, _forecast, self._log_path, self._every, head)

    async def seq_of(self, asker: Asker, moment: int | datetime, head: int) -> int:
        """Return the seq of a moment, at most `head`; raises the same errors as `show`."""
        return await self._query(asker, _seq_of, self._log_path, moment, head)

    def notice(self, log: Log, memory: Memory, seq: int, ended: int) -> None:
        """Begin a step of the index or a snapshot if one is due.

        `seq` is durable and shown now, and so many jobs in memory have `ended`.
        """
        is_due = seq >= min(self._snapshot_due, self._step_due) or ended >= self._ended_due
        if is_due and self._keeping is None:
            self._step_due, self._ended_due = seq + STEP_EVENTS, ended + STEP_JOBS
            self._keeping = asyncio.create_task(self._keep(log, memory), name="index and snapshots")

    async def close(self, state: State | None, tree: Frontier) -> None:
        """Stop, and write the final state, if it is known, into the index and as a snapshot."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        if state is not None:
            try:
                if state.seq > (after := self._shortcuts.upto):
                    step = step_of(state.fleet, state.projections, after)
                    self._shortcuts.write(step, tuple(tree.roots))
                self._snapshots.write(state, tree)
            except (IndexFaultError, SnapshotError) as error:
                logger.warning("%s; the next start will take longer", error)
        self._shortcuts.close()

    async def _keep(self, log: Log, memory: Memory) -> None:
        """Write steps of the index and evict what it has; then a snapshot, if one is due."""
        try:
            await self._step(log, memory)
            while memory.ended >= self._ended_due:  # more have ended meanwhile
                await self._step(log, memory)
            if (seq := self._shortcuts.upto) >= self._snapshot_due:
                await self._write_snapshot(seq)
        except (IndexFaultError, LogError) as error:
            logger.warning("No step of the index: %s", error)
        finally:
            self._keeping = None

    async def _write_snapshot(self, seq: int) -> None:
        self._snapshot_due = self._snapshots.due_after(seq)
        try:
            size = await self._run(
                self._keeping_limiter, _write_snapshot, self._log_path, self._every, seq
            )
        except (SnapshotError, LogError) as error:
            logger.warning("No snapshot of seq %d: %s", seq, error)
        else:
            self._snapshot_due = self._snapshots.due_after(seq, size)

    async def _step(self, log: Log, memory: Memory) -> None:
        while (step := memory.step(self._shortcuts.upto)) is None:  # noqa: ASYNC110 - for any reason
            await asyncio.sleep(AGAIN_S)
        tree = await frontier(log, step.upto)
        if (upto := self._shortcuts.upto) < step.upto:
            if upto == 0:
                self._shortcuts.begin()
            path = index_path(self._log_path)
            await self._run(self._keeping_limiter, write_step, path, step, tree, upto == 0)
            self._shortcuts.look_again()
        self._step_due = step.upto + STEP_EVENTS
        self._ended_due = memory.evict(step.upto) + STEP_JOBS

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
    seq = _seq_of(log_path, moment, head)
    state = _state_at(log_path, every, seq)
    return seq, show(view, state.projections, state.fleet, state.finished)


def _forecast(log_path: Path, every: int, seq: int) -> Forecast:
    state = _state_at(log_path, every, seq)
    return at_once(forecast(outlook_of(picture_of(state.fleet), state.projections)))


def _state_at(log_path: Path, every: int, seq: int) -> State:
    global _last_state  # noqa: PLW0603 - each worker process has its own
    if _last_state is None or _last_state[0] != log_path or _last_state[1].seq != seq:
        _forget_last_state()  # frees its memory before the replay
        _last_state = log_path, asyncio.run(_replay_to(log_path, every, seq))[0]
    return _last_state[1]


def _seq_of(log_path: Path, moment: int | datetime, head: int) -> int:
    return moment if isinstance(moment, int) else asyncio.run(_find_seq(log_path, moment, head))


def _write_snapshot(log_path: Path, every: int, seq: int) -> int:
    _forget_last_state()  # frees its memory before the replay
    state, tree = asyncio.run(_replay_to(log_path, every, seq))
    _close(state)
    return Snapshots(log_path, every).write(state, tree).stat().st_size


def _forget_last_state() -> None:
    global _last_state  # noqa: PLW0603
    if _last_state is not None:
        _close(_last_state[1])
    _last_state = None


def _close(state: State) -> None:
    """Close the index of a state that was replayed here."""
    if isinstance(state.finished, Index):
        state.finished.close()


async def _find_seq(log_path: Path, moment: datetime, head: int) -> int:
    async with await SqliteLog.open_for_reading(log_path) as log:
        return await seq_of(moment, log, head)


async def _replay_to(log_path: Path, every: int, seq: int) -> tuple[State, Frontier]:
    async with await SqliteLog.open_for_reading(log_path) as log:
        origin = Shortcuts(log_path, Snapshots(log_path, every))
        state = await replay(log, seq, origin=origin)
        return state, Frontier(seq, await log.subtree_hashes(subtrees(0, seq)))
