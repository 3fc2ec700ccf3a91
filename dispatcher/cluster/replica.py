"""The reading half of a replicated log: all reads are from this dispatcher's replica."""

from collections.abc import AsyncGenerator, Sequence
from datetime import datetime

from dispatcher.log.merkle import Frontier, Subtree
from dispatcher.log.serialization import LogEntry
from dispatcher.log.sqlite import SqliteLog

__all__ = ["ReadFromReplica"]


class ReadFromReplica:
    """Reads a `replica`, which is a log in a SQLite file."""

    def __init__(self, replica: SqliteLog) -> None:
        self.replica = replica

    @property
    def head(self) -> int:
        """The seq of the newest event in the replica."""
        return self.replica.head

    @property
    def tree(self) -> Frontier:
        """The tree over all events of the replica; see `Log.tree`."""
        return self.replica.tree

    def entries(
        self, after: int = 0, upto: int | None = None
    ) -> AsyncGenerator[list[LogEntry], None]:
        """Read pages of entries; see `Log.entries`."""
        return self.replica.entries(after, upto)

    async def page(
        self,
        after: int,
        limit: int,
        *,
        upto: int | None = None,
        event_type: str | None = None,
        at_most_bytes: int | None = None,
    ) -> list[LogEntry]:
        """Read some entries; see `Log.page`."""
        return await self.replica.page(
            after, limit, upto=upto, event_type=event_type, at_most_bytes=at_most_bytes
        )

    async def pick(
        self, seqs: Sequence[int], *, at_most_bytes: int | None = None
    ) -> list[LogEntry]:
        """Read certain entries; see `Log.pick`."""
        return await self.replica.pick(seqs, at_most_bytes=at_most_bytes)

    async def seq_at(self, moment: datetime) -> int:
        """Find the last event at a time; see `Log.seq_at`."""
        return await self.replica.seq_at(moment)

    async def subtree_hashes(self, wanted: Sequence[Subtree]) -> list[bytes]:
        """Read hashes of the tree; see `Log.subtree_hashes`."""
        return await self.replica.subtree_hashes(wanted)
