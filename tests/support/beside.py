"""What a dispatcher keeps beside its log."""

from pathlib import Path

from dispatcher.index.file import index_path
from dispatcher.index.steps import step_of
from dispatcher.log import Log
from dispatcher.log.merkle import Frontier
from dispatcher.state.replay import replay
from dispatcher.state.shortcuts import frontier, write_step
from dispatcher.state.snapshots import Snapshots

__all__ = ["kept_beside"]


async def kept_beside(path: Path, log: Log, seq: int) -> Path:
    """Write what a dispatcher at this seq would, the index and a snapshot; gives the latter."""
    state, roots = await replay(log, seq), await frontier(log, seq)
    index = index_path(path)
    step = step_of(state.fleet, state.projections, 0)
    write_step(index, step, roots, is_first=not index.exists())
    return Snapshots(path, every=1).write(state, Frontier(seq, roots))
