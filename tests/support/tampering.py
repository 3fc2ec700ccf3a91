"""Hands on a log's file: whoever has the sqlite3 shell can do all of this."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from dispatcher.log import serialization
from dispatcher.log.merkle import Frontier, grow
from dispatcher.log.serialization import LogEntry

__all__ = [
    "COLUMNS",
    "Row",
    "change_actor",
    "delete_rows",
    "first_difference",
    "forge",
    "put",
    "rows",
    "tampering",
]


class Row(NamedTuple):
    """A row of the events, its text as bytes."""

    seq: int
    time: bytes
    type: bytes
    version: int
    actor: bytes
    request_id: bytes | None
    data: bytes
    leaf_hash: bytes


COLUMNS: Final = Row._fields
_INSERT: Final = (
    "INSERT INTO events VALUES (?, CAST(? AS TEXT), CAST(? AS TEXT), ?, "
    "CAST(? AS TEXT), CAST(? AS TEXT), CAST(? AS TEXT), ?)"
)


@contextmanager
def tampering(path: Path) -> Iterator[sqlite3.Connection]:
    """Take the triggers off, and put them back in the end, so that nothing shows."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA synchronous=OFF")
        query = "SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"
        triggers = connection.execute(query).fetchall()
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER {name}")
        connection.text_factory = bytes
        yield connection
        for _, sql in triggers:
            connection.execute(sql)
        connection.commit()


def rows(connection: sqlite3.Connection) -> list[Row]:
    """Read all events."""
    return [Row(*row) for row in connection.execute("SELECT * FROM events ORDER BY seq")]


def delete_rows(connection: sqlite3.Connection, first: int, last: int) -> None:
    """Take events out."""
    connection.execute("DELETE FROM events WHERE seq BETWEEN ? AND ?", (first, last))


def put(connection: sqlite3.Connection, *changed: Row) -> None:
    """Put rows in the place of those with their seqs."""
    for row in changed:
        connection.execute("DELETE FROM events WHERE seq = ?", (row.seq,))
        connection.execute(_INSERT, row)


def forge(connection: sqlite3.Connection, *, with_subtrees: bool) -> None:
    """Compute all leaf hashes anew from what stands there, and the rest of the tree or not."""
    present = rows(connection)
    growth = grow(Frontier(), [serialization.line(_entry(row)) for row in present])
    connection.executemany(
        "UPDATE events SET leaf_hash = ? WHERE seq = ?",
        [(leaf, row.seq) for row, leaf in zip(present, growth.leaf_hashes, strict=True)],
    )
    if with_subtrees:
        connection.execute("DELETE FROM subtrees")
        connection.executemany("INSERT INTO subtrees VALUES (?, ?, ?)", growth.subtrees)


def change_actor(path: Path, seq: int, *, forged: bool = False) -> None:
    """Say that somebody else has done it, and fit all the hashes or not."""
    with tampering(path) as connection:
        put(connection, rows(connection)[seq - 1]._replace(actor=b"somebody else"))
        if forged:
            forge(connection, with_subtrees=True)


def first_difference(before: Sequence[Row], after: Sequence[Row]) -> int | None:
    """Give the first seq at which there is not the row that there was."""
    changed = {row.seq for row in set(before) ^ set(after)}
    return min(changed, default=None)


def _entry(row: Row) -> LogEntry:
    def text(value: Any) -> str:
        return bytes(value).decode()

    request_id = None if row.request_id is None else text(row.request_id)
    head = (row.seq, text(row.time), text(row.type), row.version, text(row.actor), request_id)
    return LogEntry(*head, row.data)
