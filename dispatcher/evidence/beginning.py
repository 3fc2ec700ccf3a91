"""Where an audit may begin: at a checkpoint that is trusted."""

import zlib
from pathlib import Path

from dispatcher.evidence.audit import Start
from dispatcher.evidence.hashes import Known
from dispatcher.index import IndexFaultError
from dispatcher.index.steps import recall
from dispatcher.log import Log, LogError
from dispatcher.log.merkle import Frontier, subtrees
from dispatcher.log.sqlite import SqliteLog
from dispatcher.state.replay import State
from dispatcher.state.shortcuts import Shortcuts
from dispatcher.state.snapshots import Snapshots

__all__ = ["start_at"]


async def start_at(db: Path, known: Known) -> Start:
    """Return where the audit of a log begins that trusts a checkpoint: at a snapshot before it.

    Raises `LogError` if the log does not reach so far, or is not the one that was signed for.
    """
    size = known.checkpoint.size
    async with await SqliteLog.open_for_reading(db) as log:
        if size > log.head:
            raise LogError(
                f"{db}: ends at seq {log.head}, but {known.name} was signed for {size} events; "
                "audit it all, with --checkpoint in place of --from"
            )
        tree = Frontier(size, await log.subtree_hashes(subtrees(0, size)))
        if tree.root() != known.checkpoint.root:
            raise LogError(
                f"{db}: is not the log that {known.name} was signed for: its {size} events have "
                "another root; audit it all, with --checkpoint in place of --from"
            )
        state = await _whole_state(log, log.path, size)
        if state is not None:
            tree = Frontier(state.seq, await log.subtree_hashes(subtrees(0, state.seq)))
    return Start(known, tree, state)


async def _whole_state(log: Log, path: Path, upto: int) -> State | None:
    """Return the state of the newest snapshot at or before a seq, with its finished jobs.

    `None` if there is none, or no index that has them.
    """
    shortcuts = Shortcuts(path, Snapshots(path))
    try:
        if (state := await shortcuts.newest(log, upto)) is None or shortcuts.index is None:
            return None
        for found in shortcuts.index.all(state.seq):
            recall(state.fleet, state.projections, found)
    except (IndexFaultError, ValueError, zlib.error):
        return None
    finally:
        shortcuts.close()
    state.finished = None
    return state
