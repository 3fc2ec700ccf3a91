"""Where an audit may begin: at a checkpoint that is trusted."""

from pathlib import Path

from dispatcher.evidence.audit import Known, Start
from dispatcher.log import LogError
from dispatcher.log.merkle import Frontier, subtrees
from dispatcher.log.sqlite import SqliteLog
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
        state = await Snapshots(log.path).newest(log, size)
        if state is not None:
            tree = Frontier(state.seq, await log.subtree_hashes(subtrees(0, state.seq)))
    return Start(known, tree, state)
