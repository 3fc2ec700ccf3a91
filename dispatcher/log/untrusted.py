"""The file of a log as it is, for readers that trust nothing in it.

Laws:
- The file is only read, in one transaction, which sees one moment of a log that may be growing.
- The content of a row is returned as it is, however wrong.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, Final, NamedTuple

from dispatcher.log import LogError
from dispatcher.log.file import check
from dispatcher.log.layout import LAYOUT, changes
from dispatcher.log.rows import COLUMNS, SEALED_AFTER
from dispatcher.log.schema import FIRST_WITH_SEGMENTS, FIRST_WITH_TREE, SCHEMA_VERSION
from dispatcher.log.segments import Sealed
from dispatcher.log.serialization import LogEntry

__all__ = ["READ_ERRORS", "Row", "UntrustedLog", "opened"]

READ_ERRORS: Final = (sqlite3.Error, UnicodeDecodeError)
"""The errors that reading can raise. The second occurs when SQLite quotes damaged text that is no
longer UTF-8."""

_MOST_FAULTS: Final = 5
_MOST_LEVELS: Final = 63  # SQLite's integers count the leaves


class Row(NamedTuple):
    """A row of the events as SQLite returns it. Text is bytes, but any value may be there."""

    seq: Any
    time: Any
    type: Any
    version: Any
    actor: Any
    request_id: Any
    data: Any
    leaf_hash: Any

    def entry(self) -> LogEntry:
        """Return the entry in the row. Raises `ValueError` if a value is no text, or no number."""
        if not (isinstance(self.version, int) and isinstance(self.data, bytes)):
            raise ValueError("it holds no JSON, or no version of it")  # noqa: TRY004 - as for text
        request_id = None if self.request_id is None else _decoded(self.request_id)
        time, name, actor = map(_decoded, (self.time, self.type, self.actor))
        return LogEntry(self.seq, time, name, self.version, actor, request_id, self.data)


class UntrustedLog:
    """An open log; any method may raise `READ_ERRORS`. Use `opened` to create one."""

    def __init__(self, connection: sqlite3.Connection, schema: int) -> None:
        self._connection = connection
        columns = {row[1] for row in connection.execute("PRAGMA table_info(events)")}
        self.claimed_schema: Final = schema
        # A file that has a tree must agree with it, whatever schema it claims.
        self.has_tree: Final = schema >= FIRST_WITH_TREE or b"leaf_hash" in columns

    def sealed(self) -> list[Sealed]:
        """Return the segments that the file names. Raises `LogError` if no log could have them."""
        if self.claimed_schema < FIRST_WITH_SEGMENTS:
            return []
        found = list[Sealed]()
        for values in self._connection.execute(SEALED_AFTER, (-1,)):
            row = _sealed(values)
            if row is None or row.number != len(found) or row.first != _end(found) + 1:
                raise LogError(f"the table sealed has a row that no log has, number {len(found)}")
            found.append(row)
        return found

    def head(self) -> int:
        """Return the largest seq; 0 if there is none."""
        (head,) = self._connection.execute("SELECT coalesce(max(seq), 0) FROM events").fetchone()
        return head if isinstance(head, int) else 0

    def rows(self, after: int = 0) -> Iterator[Row]:
        """Yield the events in the file, those after a seq, in order of seq, and those before 1.

        Without a tree, their leaf hash is `None`.
        """
        without_tree = f"{COLUMNS[FIRST_WITH_TREE - 1]}, NULL"
        columns = f"{COLUMNS[SCHEMA_VERSION]}, leaf_hash" if self.has_tree else without_tree
        query = f"SELECT {columns} FROM events WHERE seq"  # noqa: S608 - constants
        before = self._connection.execute(f"{query} < 1 ORDER BY seq")
        rows = self._connection.execute(f"{query} > ? ORDER BY seq", (max(after, 0),))
        return map(Row._make, chain(before, rows))

    def subtrees(self) -> dict[Any, Any]:
        """Return the stored hashes of the tree, by level and number."""
        rows = self._connection.execute("SELECT level, number, hash FROM subtrees")
        return {(level, number): root for level, number, root in rows}

    def changes_of_layout(self) -> Iterator[str]:
        """Compare tables and triggers with those of a new log; yield the differences."""
        schema = max(self.claimed_schema, FIRST_WITH_TREE)
        yield from map(str, changes(self._connection.execute(LAYOUT), schema))

    def damage(self) -> Iterator[str]:
        """Yield what SQLite itself finds wrong with the file."""
        for (finding,) in self._connection.execute(f"PRAGMA integrity_check({_MOST_FAULTS})"):
            if finding != b"ok":
                yield finding.decode(errors="replace")


@contextmanager
def opened(path: Path) -> Iterator[UntrustedLog]:
    """Open the log at `path`. Raises `LogError` if there is none, or if it can't be read at all."""
    if (schema := check(path)) is None:
        raise LogError(f"{path}: there is no log here; name one with --db")
    with closing(_connected(path.resolve())) as connection:
        try:
            connection.text_factory = bytes
            connection.execute("BEGIN")
            log = UntrustedLog(connection, schema)
        except READ_ERRORS as error:
            raise _unreadable(path, error) from error
        yield log


def _connected(path: Path) -> sqlite3.Connection:
    """Connect read-only, even if the log's directory can't be written to.

    For a log in WAL mode, SQLite needs files beside it, and leaves them there empty, unless the log
    is opened as immutable. That is allowed only if the WAL file holds nothing of the log.
    """
    connection = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    try:
        connection.execute("SELECT 1 FROM sqlite_master").fetchone()
    except sqlite3.OperationalError as error:
        connection.close()
        wal = path.with_name(path.name + "-wal")
        if wal.exists() and wal.stat().st_size > 0:
            raise _unreadable(path, error) from error
        return sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)
    except READ_ERRORS as error:
        connection.close()
        raise _unreadable(path, error) from error
    return connection


def _unreadable(path: Path, error: Exception) -> LogError:
    return LogError(f"{path}: can't be read: {error}; restore it from a backup")


def _decoded(value: Any) -> str:
    if not isinstance(value, bytes):
        raise ValueError("it holds no text")  # noqa: TRY004 - as for bytes that are not UTF-8
    return value.decode()


def _sealed(values: tuple[Any, ...]) -> Sealed | None:
    """Return a row of the table `sealed`, if its values are those of one."""
    number, level, upto, root, earliest, sha256 = values
    match number, level, upto, root, earliest, sha256:
        case int(), int(), int(), bytes(), bytes(), bytes() if 0 <= level < _MOST_LEVELS:
            return Sealed(number, level, upto, root, _decoded(earliest), sha256)
        case _:
            return None


def _end(found: list[Sealed]) -> int:
    return found[-1].upto if found else 0
