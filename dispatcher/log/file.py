"""The SQLite file of a log: its marks, its schema, and how it comes to be.

Laws:
- A file is looked at before it is opened, so that what is not ours is not touched.
- A new log is made whole under another name and then moved into place: there is no moment at
  which half a log stands there.
"""

import os
import sqlite3
import struct
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

import aiosqlite

from dispatcher.log import LogError

__all__ = ["APPLICATION_ID", "SCHEMA_VERSION", "check", "create", "write_header"]

APPLICATION_ID: Final = 0x64737063
"""`dspc`; marks a SQLite file as a dispatcher's log, also for file(1)."""
SCHEMA_VERSION: Final = 1

_MAGIC: Final = b"SQLite format 3\x00"
_HEADER_BYTES: Final = 100  # https://www.sqlite.org/fileformat2.html#the_database_header
_VERSION_AT: Final = 60
_APPLICATION_AT: Final = 68

_SCHEMA: Final = """
CREATE TABLE events (
    seq   INTEGER PRIMARY KEY,  -- 1, 2, 3 … without gaps
    time  TEXT NOT NULL,        -- when the request came in: RFC 3339, UTC, microseconds
    actor TEXT NOT NULL,        -- the name of the key that the request carried
    type  TEXT NOT NULL,        -- what happened
    data  TEXT NOT NULL         -- its fields, as JSON
) STRICT;
CREATE TRIGGER events_are_never_changed BEFORE UPDATE ON events
    BEGIN SELECT RAISE(ABORT, 'events are append-only: an event is never changed'); END;
CREATE TRIGGER events_are_never_deleted BEFORE DELETE ON events
    BEGIN SELECT RAISE(ABORT, 'events are append-only: an event is never deleted'); END;
-- This one also stops INSERT OR REPLACE, which gets past the trigger on DELETE.
CREATE TRIGGER events_follow_one_another BEFORE INSERT ON events
    WHEN NEW.seq IS NOT (SELECT coalesce(max(seq), 0) + 1 FROM events)
    BEGIN SELECT RAISE(ABORT, 'events are append-only: seq must be the next one'); END;
"""


def check(path: Path) -> bool:
    """Say whether a log stands at `path`; `False` if nothing (or an empty file) does.

    `LogError` if something else stands there, or there can't be a log there. Only reads.
    """
    if path.is_dir():
        raise LogError(f"{path}: is a directory; a log is a file in one, such as {path}/events.db")
    if path.exists() and not path.is_file():  # a device or a pipe: not even to be opened
        raise LogError(f"{path}: is no regular file, so it can be no log; name another with --db")
    if not path.parent.is_dir():
        raise LogError(f"{path}: the directory {path.parent} does not exist; make it first")
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise LogError(f"{path}: can't be read: {error.strerror}") from error
    if not header:
        return False
    if len(header) < _HEADER_BYTES or not header.startswith(_MAGIC):
        raise LogError(f"{path}: is no log: it is not a SQLite file; name another with --db")
    (application_id,) = struct.unpack_from(">I", header, _APPLICATION_AT)
    (version,) = struct.unpack_from(">I", header, _VERSION_AT)
    if application_id != APPLICATION_ID:
        raise LogError(f"{path}: is a SQLite file, but no dispatcher's log; name another with --db")
    if version > SCHEMA_VERSION:
        raise LogError(
            f"{path}: was written by a newer dispatcher (schema {version}; this one knows up to "
            f"{SCHEMA_VERSION}); use that one"
        )
    return True


def create(path: Path) -> None:
    """Make an empty log. Call it with the lock held."""
    draft = path.with_name(path.name + ".new")
    try:
        draft.unlink(missing_ok=True)
        with closing(sqlite3.connect(draft)) as connection:
            connection.executescript(
                f"BEGIN;"
                f"PRAGMA application_id = {APPLICATION_ID};"
                f"PRAGMA user_version = {SCHEMA_VERSION};"
                f"{_SCHEMA}"
                f"COMMIT;"
            )
        draft.replace(path)
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except (OSError, sqlite3.Error) as error:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise LogError(f"{path}: can't be made: {error}") from error


async def write_header(connection: aiosqlite.Connection) -> None:
    """Write what stands there already: the smallest real write, to see whether writes work."""
    await connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
