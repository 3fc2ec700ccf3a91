"""The SQLite file of a log: its identification and its creation.

Laws:
- A file is examined before it is opened, so that a file of another program is not touched.
- A new log is completed under another name and then moved into place. There is never half a log
  under the final name.
"""

import sqlite3
import struct
from contextlib import closing
from pathlib import Path
from typing import Final

import aiosqlite

from dispatcher import files
from dispatcher.log import LogError
from dispatcher.log.schema import SCHEMA_VERSION, SCHEMAS

__all__ = ["APPLICATION_ID", "check", "create", "write_header"]

APPLICATION_ID: Final = 0x64737063
"""`dspc`; marks a SQLite file as a dispatcher's log, also for file(1)."""

_MAGIC: Final = b"SQLite format 3\x00"
_HEADER_BYTES: Final = 100  # https://www.sqlite.org/fileformat2.html#the_database_header
_VERSION_AT: Final = 60
_APPLICATION_AT: Final = 68


def check(path: Path) -> int | None:
    """Return the schema version of the log at `path`; `None` for no file or an empty one.

    Raises `LogError` if something else is there, or if no log can be there. Only reads.
    """
    if path.is_dir():
        raise LogError(f"{path}: is a directory; a log is a file in one, such as {path}/events.db")
    if path.exists() and not path.is_file():  # a device or a pipe must not be opened
        raise LogError(f"{path}: is no regular file, so it can be no log; name another with --db")
    if not path.parent.is_dir():
        raise LogError(f"{path}: the directory {path.parent} does not exist; make it first")
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LogError(f"{path}: can't be read: {error.strerror}") from error
    if not header:
        return None
    if len(header) < _HEADER_BYTES or not header.startswith(_MAGIC):
        raise LogError(f"{path}: is no log: it is not a SQLite file; name another with --db")
    (application_id,) = struct.unpack_from(">I", header, _APPLICATION_AT)
    version: int
    (version,) = struct.unpack_from(">I", header, _VERSION_AT)
    if application_id != APPLICATION_ID or version < 1:
        raise LogError(f"{path}: is a SQLite file, but no dispatcher's log; name another with --db")
    version = _committed_version(path, version)
    if version > SCHEMA_VERSION:
        raise LogError(
            f"{path}: was written by a newer dispatcher (schema {version}; this one knows up to "
            f"{SCHEMA_VERSION}); use that one"
        )
    return version


def _committed_version(path: Path, version: int) -> int:
    """Return the schema version, including commits that are still in the WAL."""
    path = path.resolve()
    if not path.with_name(path.name + "-wal").exists():
        return version
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            return version
    except sqlite3.Error as error:
        raise LogError(f"{path}: can't be opened: {error}") from error


def create(path: Path) -> None:
    """Create an empty log. The caller holds the lock."""
    draft = path.with_name(path.name + ".new")
    try:
        with files.drafted(path, draft):
            with files.new(draft):
                pass  # SQLite itself would follow a link that another user puts there
            with closing(sqlite3.connect(draft)) as connection:
                connection.executescript(
                    f"BEGIN;"
                    f"PRAGMA application_id = {APPLICATION_ID};"
                    f"PRAGMA user_version = {SCHEMA_VERSION};"
                    f"{SCHEMAS[SCHEMA_VERSION]}"
                    f"COMMIT;"
                )
    except (OSError, sqlite3.Error) as error:
        raise LogError(f"{path}: can't be made: {error}") from error


async def write_header(connection: aiosqlite.Connection) -> None:
    """Rewrite the present value: the smallest real write, to test whether writes work."""
    await connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
