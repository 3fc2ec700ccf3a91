"""The rows of a log: the statements that insert entries, and the columns that read them."""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, Final

from dispatcher.log.merkle import Growth
from dispatcher.log.segments import Sealed
from dispatcher.log.serialization import LogEntry

__all__ = ["COLUMNS", "PAGE", "SEALED_AFTER", "Statement", "appending", "inserts", "sealing"]

Statement = tuple[str, tuple[Any, ...]]
"""A statement and its values."""

COLUMNS: Final = {
    1: "seq, time, type, 1, actor, NULL, data",
    2: "seq, time, type, version, actor, request_id, data",
    3: "seq, time, type, version, actor, request_id, data",
}
"""The columns to SELECT for a `LogEntry`, by the schema of the log."""

SEALED_AFTER: Final = (
    "SELECT number, level, upto, root, earliest, sha256 FROM sealed WHERE upto > ? ORDER BY upto"
)
"""Selects the fields of each `Sealed` after a seq."""

PAGE: Final = 2_000
"""Events a read. Decoding them takes a few milliseconds, so the event loop is never held long."""

_INSERTED_ROWS: Final = 128
"""Rows a statement. A compiled statement is kept for each length, and a long one is large."""


def appending(batch: Sequence[LogEntry], growth: Growth) -> list[Statement]:
    """Return the statements that add a batch and the growth of the tree, in the present schema."""
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


def sealing(row: Sealed) -> Statement:
    """Return the statement that makes a segment a part of the log."""
    values = (row.upto, row.number, row.level, row.root, row.earliest, row.sha256)
    return next(inserts("sealed", [values]))


def inserts(table: str, rows: Sequence[tuple[Any, ...]]) -> Iterator[Statement]:
    """Yield statements, with their values, that insert many rows each.

    SQLite's thread needs the GIL for every statement, and waits for it under load. With one
    statement a row, the dispatcher does a tenth less work.
    """
    for first in range(0, len(rows), _INSERTED_ROWS):
        chunk = rows[first : first + _INSERTED_ROWS]
        placeholders = f"({', '.join('?' * len(chunk[0]))})"
        statement = f"INSERT INTO {table} VALUES {', '.join([placeholders] * len(chunk))}"  # noqa: S608
        yield statement, tuple(chain.from_iterable(chunk))
