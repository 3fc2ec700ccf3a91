"""Where a replay begins: the snapshots and the index beside a log, together.

Laws:
- A state begins at a snapshot only if an index of this very log reaches that snapshot's seq. What
  the state lacks, since it is not alive, the index has.
- A log without an index that fits is replayed from its first event. Its owner makes the index anew
  meanwhile, step by step, so that memory holds only what is alive however long the log is.
- Only the owner of the log, its dispatcher, writes the index. Others read it.
- Each snapshot is of the seq of a step of the index. So a new index begins without snapshots.
"""

import asyncio
import logging
from pathlib import Path
from typing import Final

from dispatcher.index import IndexFaultError
from dispatcher.index import file as index_file
from dispatcher.index.reading import Index
from dispatcher.index.steps import Step, evict, step_of, write
from dispatcher.log import Log, LogError
from dispatcher.log.merkle import Frontier, subtrees
from dispatcher.state.replay import State
from dispatcher.state.snapshots import FOLD_VERSION, SnapshotError, Snapshots

__all__ = ["STEP_EVENTS", "STEP_JOBS", "Shortcuts", "frontier", "write_step"]

STEP_JOBS: Final = 1_024
STEP_EVENTS: Final = 1 << 16
"""So many finished jobs, or events, are in memory before a step of the index takes them."""

logger = logging.getLogger(__name__)


class Shortcuts:
    """The index and the snapshots of the log at `log_path`. `close` them after use.

    `index` is the index, if there is one that fits.
    """

    def __init__(self, log_path: Path, snapshots: Snapshots, *, owns: bool = False) -> None:
        self.index: Index | None = None
        self._path = index_file.index_path(log_path)
        self._snapshot_due = snapshots.due_after(0)
        self._snapshots = snapshots
        self._owns = owns

    def close(self) -> None:
        """Close the index."""
        if self.index is not None:
            self.index.close()
            self.index = None
            if self._owns:
                index_file.settle(self._path)

    @property
    def upto(self) -> int:
        """The seq that the index reaches; 0 if there is none."""
        return 0 if self.index is None else self.index.upto

    async def newest(self, log: Log, upto: int) -> State | None:
        """Return the state of the newest valid snapshot at or before `upto`; see `Origin`."""
        self.close()
        try:
            self.index = await self._fitting(log)
        except (IndexFaultError, LogError) as error:
            if self._path.exists():
                logger.warning("Using no index, and no snapshot: %s", error)
            return None
        state = await self._snapshots.newest(log, min(upto, self.index.upto))
        if state is None and not self._owns:  # nothing to begin at: better without evictions
            self.close()
            return None
        state = State() if state is None else state
        state.finished = self.index
        return state

    async def lighten(self, log: Log, state: State) -> None:
        """Let go of what the index has, or takes now if this is the owner; see `Origin`."""
        ended = state.projections.jobs.ended
        if len(ended) < STEP_JOBS and state.seq - state.projections.history.since < STEP_EVENTS:
            return
        if self._owns and state.seq > self.upto:
            step = step_of(state.fleet, state.projections, self.upto)
            roots = await frontier(log, step.upto)
            try:
                await asyncio.to_thread(self.write, step, roots)
                if step.upto >= self._snapshot_due:
                    path = self._snapshots.write(state, Frontier(step.upto, roots))
                    size = path.stat().st_size
                    self._snapshot_due = self._snapshots.due_after(step.upto, size)
            except (IndexFaultError, SnapshotError, OSError) as error:
                logger.warning("Nothing was kept beside the log at seq %d: %s", step.upto, error)
                self._owns = False  # what it does not have stays in memory
        if self.index is not None:
            state.finished = self.index
            evict(state.fleet, state.projections, min(self.index.upto, state.seq), set())

    def write(self, step: Step, tree: tuple[bytes, ...]) -> None:
        """Write a step, for the owner, and look at the index again. Raises `IndexFaultError`."""
        if self.upto == 0:
            self.begin()
        write_step(self._path, step, tree, self.upto == 0)
        self.look_again()

    def begin(self) -> None:
        """Prepare for the first step of a new index."""
        self._snapshots.clear()

    def look_again(self) -> None:
        """Take notice of a step that was written. Raises `IndexFaultError`."""
        if self.upto == 0:  # the first step has made the file
            self.close()
            self.index = Index(self._path, FOLD_VERSION)
        else:
            assert self.index is not None  # noqa: S101 - it reaches somewhere
            self.index.look_again()

    async def _fitting(self, log: Log) -> Index:
        """Open the index if it belongs to this log. Raises `IndexFaultError` if it does not."""
        index = Index(self._path, FOLD_VERSION)
        fits = False
        try:
            fits = index.upto <= log.head and index.tree == await frontier(log, index.upto)
        finally:
            if not fits:
                index.close()
        if not fits:
            raise IndexFaultError(f"{self._path}: belongs to another log")
        return index


def write_step(path: Path, step: Step, tree: tuple[bytes, ...], is_first: bool) -> None:
    """Write a step into the index at `path`; the first one makes it. Raises `IndexFaultError`."""
    if is_first:
        index_file.new(path)
    write(path, FOLD_VERSION, step, tree)


async def frontier(log: Log, size: int) -> tuple[bytes, ...]:
    """Return the roots that stand for the first `size` events of a log."""
    return tuple(await log.subtree_hashes(subtrees(0, size)))
