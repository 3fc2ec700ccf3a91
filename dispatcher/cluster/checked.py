"""Checking messages before a replica has them (law 4).

Law: a message is taken if it follows without a gap, is of no earlier term, and leads to the root
that it names.
"""

from collections.abc import Sequence
from typing import NamedTuple

from dispatcher.cluster import CorruptionError
from dispatcher.cluster.messages import Message
from dispatcher.cluster.stream import Stored
from dispatcher.log.merkle import Frontier, Growth
from dispatcher.log.serialization import LogEntry
from dispatcher.log.sqlite import growth_of

__all__ = ["Applied", "Checked", "following"]


class Applied(NamedTuple):
    """A message that the replica has now, and those of its events that it did not have before."""

    sequence: int
    message: Message
    entries: Sequence[LogEntry]


class Checked:
    """Messages that follow the log up to seq `head`, in `term`, and what they make of its tree."""

    def __init__(self, head: int, term: int, tree: Frontier) -> None:
        self.applied: list[Applied] = []
        self.entries: list[LogEntry] = []
        self.head, self._term, self.tree = head, term, tree
        self._leaf_hashes: list[bytes] = []
        self._subtrees: list[tuple[int, int, bytes]] = []

    async def add(self, stored: Stored) -> None:
        """Add the next message. `CorruptionError` says what is wrong with it."""
        message = Message.decode(stored.headers, stored.body)
        if message.term < self._term:
            raise CorruptionError(f"it is of term {message.term}, after term {self._term} began")
        if not message.first <= self.head + 1 <= message.upto + 1:
            raise CorruptionError(f"it leaves a gap: its events begin at seq {message.first}")
        known = self.head + 1 - message.first
        entries = message.entries()[known:]
        growth = await growth_of(self.tree, message.lines[known:])
        if (root := growth.frontier.root()) != message.root:
            raise CorruptionError(
                f"it leads to root {message.root.hex()}, but the replica to {root.hex()}"
            )
        self.head, self._term, self.tree = message.upto, message.term, growth.frontier
        self._leaf_hashes += growth.leaf_hashes
        self._subtrees += growth.subtrees
        self.entries += entries
        self.applied.append(Applied(stored.sequence, message, entries))

    def forget(self) -> None:
        """Let go of the messages that were added, but not of what they lead to."""
        self.applied, self.entries = [], []
        self._leaf_hashes, self._subtrees = [], []

    def growth(self) -> Growth:
        """Return what all of them make of the tree."""
        return Growth(self.tree, self._leaf_hashes, self._subtrees)


def following(stored: Sequence[Stored], position: int) -> list[Stored]:
    """Return those that come next, without a gap."""
    found = list[Stored]()
    for one in stored:
        if one.sequence == position + 1:
            position += 1
            found.append(one)
    return found
