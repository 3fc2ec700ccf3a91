"""The log's Merkle tree in SQLite (RFC 9162, 2.1): a leaf is the hash of an event's line.

Laws:
- A batch's leaf hashes, and the roots of the perfect subtrees that it completes, are written in the
  batch's own transaction. So the tree is neither ahead of the events nor behind them.
- Subtrees of fewer than 256 leaves are not stored, since their leaves are in at most 256
  neighbouring rows. So the tree costs 32 bytes an event and little more, and neither a proof nor a
  start hashes more than a few hundred leaves.
"""

import aiosqlite

from dispatcher.log import LogError
from dispatcher.log.merkle import KEPT_LEVEL, Frontier, Subtree, subtrees

__all__ = ["read_frontier", "read_subtree"]


async def read_frontier(connection: aiosqlite.Connection, size: int) -> Frontier:
    """Return the tree's frontier as it was with `size` leaves."""
    return Frontier(size, [await read_subtree(connection, it) for it in subtrees(0, size)])


async def read_subtree(connection: aiosqlite.Connection, wanted: Subtree) -> bytes:
    """Return the root of one perfect subtree."""
    if wanted.level >= KEPT_LEVEL:
        rows = await connection.execute_fetchall(
            "SELECT hash FROM subtrees WHERE level = ? AND number = ?", wanted
        )
        if not rows:
            raise LogError(
                f"the tree lacks subtree {wanted.number} of level {wanted.level}; "
                "see what `dispatcher audit` says of the log"
            )
        return bytes(next(iter(rows))[0])
    first = wanted.number << wanted.level
    leaves = await connection.execute_fetchall(
        "SELECT leaf_hash FROM events WHERE seq > ? AND seq <= ? ORDER BY seq",
        (first, first + (1 << wanted.level)),
    )
    frontier = Frontier()
    for (leaf,) in leaves:
        frontier.append(bytes(leaf))
    if frontier.size != 1 << wanted.level:
        raise LogError(
            f"the tree lacks leaves after seq {first}; run `dispatcher audit` on the log"
        )
    return frontier.root()
