"""The rows of a log: how entries are put into them, and what to ask for to have them back."""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, Final

from dispatcher.log.merkle import Growth
from dispatcher.log.serialization import LogEntry

__all__ = ["COLUMNS", "PAGE", "Statement", "appending", "inserts"]

Statement = tuple[str, tuple[Any, ...]]
"""A statement and its values."""

COLUMNS: Final = {
    1: "seq, time, type, 1, actor, NULL, data",
    2: "seq, time, type, version, actor, request_id, data",
}
"""What to SELECT of a log of each schema, to have what a `LogEntry` has."""

PAGE: Final = 2_000
"""Events a read: a few milliseconds of decoding, so that the event loop is never held long."""

_INSERTED_ROWS: Final = 128
"""Rows a statement. The compiled statement of each length is kept, and a long one is large."""


def appending(batch: Sequence[LogEntry], growth: Growth) -> list[Statement]:
    """Make the statements that add a batch, and what the tree grows by, as the schema has them."""
    events = [
        (
            entry.seq,
            entry.time,
            entry.type,
            entry.version,
            entry.actor,
            entry.request_id,
            entry.data.decode(),
            leaf_hash,
        )
        for entry, leaf_hash in zip(batch, growth.leaf_hashes, strict=True)
    ]
    return [*inserts("events", events), *inserts("subtrees", growth.subtrees)]


def inserts(table: str, rows: Sequence[tuple[Any, ...]]) -> Iterator[Statement]:
    """Make statements, with their values, that insert many rows each.

    SQLite's thread must have the interpreter for every statement, and waits for it where there is
    much to do: with a statement a row, the dispatcher does a tenth less.
    """
    for first in range(0, len(rows), _INSERTED_ROWS):
        some = rows[first : first + _INSERTED_ROWS]
        marks = f"({', '.join('?' * len(some[0]))})"
        statement = f"INSERT INTO {table} VALUES {', '.join([marks] * len(some))}"  # noqa: S608
        yield statement, tuple(chain.from_iterable(some))
