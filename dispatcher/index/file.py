"""The SQLite file of the index: its schema, and opening it.

Laws:
- Whoever could plant an index could change what the dispatcher shows and decides. So one that
  belongs to another user, or that every user can write, is not used.
- What can't be read as an index of this format and fold version is no index: it is made anew.
"""

import sqlite3
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

from dispatcher import files
from dispatcher.core.events import FINAL
from dispatcher.index import IndexFaultError

__all__ = [
    "COMPLETED",
    "ENGINE",
    "FORMAT",
    "JOB",
    "STATUSES",
    "About",
    "about",
    "connect",
    "index_path",
    "new",
    "set_about",
    "settle",
    "told",
]

FORMAT: Final = 1
_APPLICATION_ID: Final = 0x64737069
"""`dspi`; marks a SQLite file as the index of a dispatcher's log."""
_BUSY_S: Final = 30.0
_CACHE_KIB: Final = 8_192

JOB: Final = 1
ENGINE: Final = 2
"""The kinds of names."""
STATUSES: Final = tuple(sorted(FINAL))
"""A status is stored as its place in here."""

_SCHEMA: Final = """
CREATE TABLE about (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    fold TEXT NOT NULL,     -- the fold version that made it
    upto INTEGER NOT NULL,  -- the seq of the last event that it knows
    tree BLOB NOT NULL      -- the frontier of the log's tree at that seq
) STRICT;
CREATE TABLE names (
    id   INTEGER PRIMARY KEY,
    kind INTEGER NOT NULL,  -- 1: of a job, 2: of an engine
    name TEXT NOT NULL,
    UNIQUE (name, kind)
) STRICT;
-- The seqs of the events that concern a job or an engine, from the first on, as offsets.
CREATE TABLE history (
    name  INTEGER NOT NULL,
    first INTEGER NOT NULL,
    seqs  BLOB NOT NULL,
    PRIMARY KEY (name, first)
) STRICT, WITHOUT ROWID;
-- The jobs that are finished, by their number in the order of submission.
CREATE TABLE finished (
    number INTEGER PRIMARY KEY,
    ended  INTEGER NOT NULL,  -- the seq
    name   INTEGER NOT NULL,
    status INTEGER NOT NULL,
    engine INTEGER,           -- a name
    codec  TEXT NOT NULL,
    record BLOB NOT NULL
) STRICT;
CREATE INDEX finished_by_name ON finished (name);
CREATE INDEX finished_by_status ON finished (status, number) WHERE status <> 1;
-- The former ends of jobs that were retried.
CREATE TABLE former (
    number  INTEGER NOT NULL,
    ended   INTEGER NOT NULL,
    retried INTEGER NOT NULL,  -- the seq
    name    INTEGER NOT NULL,
    status  INTEGER NOT NULL,
    engine  INTEGER,
    codec   TEXT NOT NULL,
    record  BLOB NOT NULL,
    PRIMARY KEY (number, ended)
) STRICT, WITHOUT ROWID;
CREATE INDEX former_by_name ON former (name);
CREATE TABLE keys (
    key    TEXT PRIMARY KEY,  -- an Idempotency-Key
    number INTEGER NOT NULL   -- of the job that it belongs to
) STRICT, WITHOUT ROWID;
"""
COMPLETED: Final = STATUSES.index("completed")
assert COMPLETED == 1  # noqa: S101 - the schema names it by its number


class About(NamedTuple):
    """Up to which seq an index knows the log, and the frontier of the log's tree there."""

    upto: int
    tree: tuple[bytes, ...]


def index_path(log_path: Path) -> Path:
    """Return where the index of a log is."""
    return log_path.with_name(log_path.name + ".index")


def new(path: Path) -> None:
    """Remove what is at `path`, and make an empty index there. Raises `IndexFaultError`."""
    try:
        for suffix in ("", "-wal", "-shm", "-journal"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        with files.new(path, 0o644):
            pass  # SQLite itself would follow a link that another user puts there
    except OSError as error:
        raise IndexFaultError(f"{path}: can't be made anew: {error.strerror}") from error
    with told(path), _closing(_opened(path, "rw")) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.executescript(
            f"BEGIN; PRAGMA application_id = {_APPLICATION_ID}; PRAGMA user_version = {FORMAT};"
            f"{_SCHEMA} COMMIT;"
        )


def connect(path: Path, *, read_only: bool) -> sqlite3.Connection:
    """Open an index that is there. Raises `IndexFaultError` if it is none, or not to be trusted."""
    _refuse_planted(path)
    with told(path):
        connection = _opened(path, "ro" if read_only else "rw")
        try:
            found = [
                connection.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("application_id", "user_version")
            ]
            connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            if not read_only:
                connection.execute("PRAGMA synchronous = FULL")
        except BaseException:
            connection.close()
            raise
    if found != [_APPLICATION_ID, FORMAT]:
        connection.close()
        raise IndexFaultError(f"{path}: is no index of this version of the dispatcher")
    return connection


def settle(path: Path) -> None:
    """Move what is in the WAL of an index into its file, as far as that can be done now."""
    with (
        suppress(IndexFaultError),
        _closing(connect(path, read_only=False)) as connection,
        told(path),
    ):
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def about(path: Path, connection: sqlite3.Connection, fold: int) -> About:
    """Return what an index is about. Raises `IndexFaultError` if another fold made it."""
    with told(path):
        row = connection.execute("SELECT fold, upto, tree FROM about").fetchone()
    if row is None:
        return About(0, ())
    made_by, upto, tree = row
    if made_by != _stamp(fold):
        raise IndexFaultError(f"{path}: was made by another version of the dispatcher")
    return About(upto, tuple(tree[at : at + 32] for at in range(0, len(tree), 32)))


def set_about(connection: sqlite3.Connection, fold: int, it: About) -> None:
    """Say what an index is about, as the last statement of a step."""
    connection.execute(
        "INSERT OR REPLACE INTO about VALUES (1, ?, ?, ?)",
        (_stamp(fold), it.upto, b"".join(it.tree)),
    )


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Raise `IndexFaultError` for what SQLite raises in the block."""
    try:
        yield
    except sqlite3.Error as error:
        raise IndexFaultError(f"{path}: {error}") from error


def _stamp(fold: int) -> str:
    return f"{fold}-{sys.byteorder}"  # offsets have a byte order


def _opened(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{path.as_uri()}?mode={mode}",
        uri=True,
        isolation_level=None,
        timeout=_BUSY_S,
        check_same_thread=False,
    )


@contextmanager
def _closing(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    try:
        yield connection
    finally:
        with suppress(sqlite3.Error):
            connection.close()


def _refuse_planted(path: Path) -> None:
    try:
        status = path.lstat()
        owner = files.foreign_owner(status, path.parent)
    except OSError as error:
        raise IndexFaultError(f"{path}: there is none, or it can't be read") from error
    if not stat.S_ISREG(status.st_mode):
        raise IndexFaultError(f"{path}: is no regular file")
    if owner is not None or status.st_mode & stat.S_IWOTH:
        who = "every user" if owner is None else f"another user (uid {owner})"
        raise IndexFaultError(f"{path}: {who} can write to it")
