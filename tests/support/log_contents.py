"""What stands in a log, as its readers have it, and its tree as anybody can compute it."""

from collections.abc import Sequence
from contextlib import aclosing

from dispatcher.core.events import Recorded
from dispatcher.log import Log, decoded, serialization
from dispatcher.log.merkle import EMPTY_ROOT, leaf_hash, node_hash
from dispatcher.log.serialization import LogEntry

__all__ = ["encoded", "entries_in", "naive_root", "recorded_in"]


def encoded(*recorded: Recorded) -> list[LogEntry]:
    """Give the entries of events, to be appended."""
    return [serialization.encode(one) for one in recorded]


async def entries_in(log: Log, after: int = 0) -> list[LogEntry]:
    """Read all entries after a seq."""
    async with aclosing(log.entries(after)) as pages:
        return [entry async for page in pages for entry in page]


async def recorded_in(log: Log, after: int = 0) -> list[Recorded]:
    """Read all events after a seq."""
    return decoded(await entries_in(log, after))


def naive_root(lines: Sequence[bytes]) -> bytes:
    """Give the root of the tree over lines, as RFC 9162, 2.1.1, defines it word for word."""
    if not lines:
        return EMPTY_ROOT
    if len(lines) == 1:
        return leaf_hash(lines[0])
    left = 1
    while left * 2 < len(lines):
        left *= 2
    return node_hash(naive_root(lines[:left]), naive_root(lines[left:]))
