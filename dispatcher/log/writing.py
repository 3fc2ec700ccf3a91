"""What the one connection that writes a log does, and checks that it was done.

Law: that SQLite reports no error is no proof. A trigger can have rows ignored, and a mode that it
can't set stays what it was.
"""

import asyncio
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import aiosqlite

from dispatcher.log import LogError
from dispatcher.log.layout import LAYOUT, changes_of_rules
from dispatcher.log.rows import Statement

__all__ = ["NotInsertedError", "check_rules", "sync_wal", "transact", "use_wal"]


class NotInsertedError(Exception):
    """SQLite reported success, but not all rows were inserted."""


async def transact(
    writer: aiosqlite.Connection, statements: Sequence[Statement], rows: int
) -> None:
    """Execute statements that insert so many rows in one transaction.

    Raises `NotInsertedError` if they insert fewer. After any exception, `recover` must be called.
    BEGIN and COMMIT are explicit. While another statement has not been read to its end, SQLite
    postpones an automatic commit, and never reports an error in it.
    """
    if len(statements) == 1:  # queue all three at once: one round trip to the thread
        (only,) = statements
        cursors = []
        for result in await asyncio.gather(
            writer.execute("BEGIN"),
            writer.execute(*only),
            writer.execute("COMMIT"),  # commits nothing if the statement failed
            return_exceptions=True,
        ):
            if isinstance(result, BaseException):
                raise result
            cursors.append(result)
        _check_inserted(cursors[1].rowcount, rows)
        return
    await writer.execute("BEGIN")
    inserted = 0
    for statement, values in statements:
        inserted += (await writer.execute(statement, values)).rowcount
    _check_inserted(inserted, rows)
    await writer.execute("COMMIT")


def _check_inserted(inserted: int, rows: int) -> None:
    """Count what was inserted: a trigger can have a row ignored, which is no error."""
    if inserted != rows:
        raise NotInsertedError(
            f"took {inserted} of {rows} rows without an error; a trigger may have been added to "
            "it: see what `dispatcher audit` says"
        )


async def check_rules(path: Path, connection: aiosqlite.Connection) -> None:
    """Raise `LogError` unless the tables and triggers are those that a log is made with."""
    if found := list(changes_of_rules(await connection.execute_fetchall(LAYOUT))):
        raise LogError(
            f"{path}: {'; '.join(map(str, found))}. What is written might not be kept: drop what "
            "was added, or restore a backup (docs/restore.md)"
        )


async def use_wal(path: Path, writer: aiosqlite.Connection) -> None:
    """Set the journal mode. Where SQLite can't, it reports no error, but the mode that stays."""
    ((mode,),) = await writer.execute_fetchall("PRAGMA journal_mode=WAL")
    if mode != "wal":
        raise LogError(
            f"{path}: can't have a WAL beside it (the journal mode stays {mode}); put the log on a "
            "local file system"
        )


async def sync_wal(writer: aiosqlite.Connection) -> None:
    """Ensure that the content of the WAL is on disk before it is shown to anyone.

    A dispatcher that was killed during a commit may have left events there that are only in the
    kernel's cache. A checkpoint syncs the WAL first. If it then lacks room, that does no harm.
    """
    try:
        await writer.execute_fetchall("PRAGMA wal_checkpoint(PASSIVE)")
    except sqlite3.OperationalError as error:
        if "full" not in str(error):
            raise
