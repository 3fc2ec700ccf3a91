"""Migration of a log from an older schema to the present one.

Laws:
- Events stay as they were: seq, time, type, actor and data are carried over unchanged.
- A log is migrated in one transaction, by its one writer. It has either the old schema or the new.
- A log that is only read is never migrated.
"""

import asyncio
import logging
import re
import sqlite3
from contextlib import closing
from itertools import islice
from pathlib import Path
from threading import Event
from typing import Any, Final

from dispatcher.log import LogError
from dispatcher.log.merkle import Frontier, grow
from dispatcher.log.rows import COLUMNS, PAGE, inserts
from dispatcher.log.schema import FIRST_WITH_TREE, SCHEMA_VERSION, SCHEMAS
from dispatcher.log.serialization import LogEntry, line
from dispatcher.progress import Progress, silent

__all__ = ["migrate"]

_CREATED: Final = re.compile(r"^CREATE (TABLE|TRIGGER) (\w+)", re.MULTILINE)

logger = logging.getLogger(__name__)


class _CancelledError(Exception):
    """The caller of the migration was cancelled."""


async def migrate(path: Path, version: int, progress: Progress = silent) -> None:
    """Migrate the log at `path` from an older schema. The caller holds the lock.

    The migration runs in a thread, which calls `progress`. A caller that is cancelled returns when
    everything is undone.
    """
    is_cancelled = Event()

    def report(done: int, of: int) -> None:
        if is_cancelled.is_set():
            raise _CancelledError
        progress(done, of)

    migrating = asyncio.create_task(asyncio.to_thread(_migrate, path, version, report))
    try:
        await asyncio.shield(migrating)
    finally:
        is_cancelled.set()
        await asyncio.gather(migrating, return_exceptions=True)


def _migrate(path: Path, version: int, progress: Progress) -> None:
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous=FULL")
            with connection:  # commits, or rolls back
                connection.execute("BEGIN IMMEDIATE")
                if version < FIRST_WITH_TREE:
                    _rewrite(connection, version, progress)
                else:
                    _extend(connection, version)
                connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    except sqlite3.Error as error:
        raise LogError(
            f"{path}: can't be brought up from schema {version} to {SCHEMA_VERSION}, and is as it "
            f"was: {error}"
        ) from error
    logger.warning(
        "%s: was brought up from schema %d to %d; older dispatchers can't open it any more",
        path,
        version,
        SCHEMA_VERSION,
    )


def _extend(connection: sqlite3.Connection, version: int) -> None:
    """Replace the triggers that are others now, and add what is new. The events stay in place."""
    before, now = _statements_of(version), _statements_of(SCHEMA_VERSION)
    for kind_and_name, statement in before.items():
        if now.get(kind_and_name) != statement:
            connection.execute(f"DROP {kind_and_name}")
    for kind_and_name, statement in now.items():
        if before.get(kind_and_name) != statement:
            connection.execute(statement)


def _rewrite(connection: sqlite3.Connection, version: int, progress: Progress) -> None:
    triggers = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
    for (name,) in triggers.fetchall():
        connection.execute(f'DROP TRIGGER "{name}"')
    connection.execute("ALTER TABLE events RENAME TO former_events")
    for statement in _statements_of(SCHEMA_VERSION).values():
        connection.execute(statement)
    rows = connection.execute(f"SELECT {COLUMNS[version]} FROM former_events ORDER BY seq")  # noqa: S608
    ((head,),) = connection.execute("SELECT coalesce(max(seq), 0) FROM former_events").fetchall()
    frontier = Frontier()
    while page := list(islice(rows, PAGE)):
        frontier = _copy(connection, frontier, page)
        progress(frontier.size, head)
    connection.execute("DROP TABLE former_events")


def _copy(connection: sqlite3.Connection, frontier: Frontier, page: list[Any]) -> Frontier:
    growth = grow(frontier, [line(_entry(*columns)) for columns in page])
    rows = [(*columns, leaf) for columns, leaf in zip(page, growth.leaf_hashes, strict=True)]
    for statement, values in (*inserts("events", rows), *inserts("subtrees", growth.subtrees)):
        connection.execute(statement, values)
    return growth.frontier


def _entry(seq: int, time: str, *rest: Any) -> LogEntry:
    name, version, actor, request_id, data = rest
    return LogEntry(seq, time, name, version, actor, request_id, data.encode())


def _statements_of(schema: int) -> dict[str, str]:
    """Return the statements of a schema, by what they make: `executescript` would commit."""
    found, statement = dict[str, str](), ""
    for part in SCHEMAS[schema].splitlines(keepends=True):
        statement += part
        if sqlite3.complete_statement(statement):
            ((kind, name),) = _CREATED.findall(statement)
            found[f"{kind} {name}"] = statement.strip()
            statement = ""
    return found
