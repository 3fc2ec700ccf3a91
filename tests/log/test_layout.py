"""What a log's tables and triggers do is known, and what a write did is looked at."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from dispatcher.core.events import EngineSeen, Recorded
from dispatcher.evidence.audit import Audit
from dispatcher.log import LogError
from dispatcher.log.serialization import LogEntry
from dispatcher.log.sqlite import SqliteLog
from tests.support.given import START
from tests.support.log_contents import encoded, entries_in

pytestmark = pytest.mark.anyio

IGNORING: Final = (
    "CREATE TRIGGER more BEFORE INSERT ON events WHEN NEW.seq >= 5 BEGIN SELECT RAISE(IGNORE); END"
)
REMOVING: Final = (
    "DROP TRIGGER events_are_never_deleted; CREATE TRIGGER more AFTER INSERT ON events"
    " BEGIN DELETE FROM events WHERE seq = NEW.seq; END"
)
FOOLING: Final = (
    "PRAGMA writable_schema = ON; UPDATE sqlite_master SET sql = replace(sql, 'events are',"
    " 'events --'') WHERE 0; SELECT upper(''' || char(10) || 'are')"
    " WHERE name = 'events_are_never_deleted'"
)
"""A string ends behind what looks like a comment, and so the trigger refuses nothing any more."""


def seen(*seqs: int) -> list[LogEntry]:
    return encoded(*(Recorded(seq, START, "t", EngineSeen("e")) for seq in seqs))


def shell(path: Path, script: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)


@pytest.fixture
async def log(db: Path) -> AsyncIterator[SqliteLog]:
    async with await SqliteLog.open(db) as opened:
        await opened.append(seen(1, 2, 3), 0)
        yield opened


@pytest.mark.parametrize(
    ("last", "inserted", "rows"),
    [(5, 1, 2), (200, 1, 197), (256, 2, 254)],  # one statement, two, and with a subtree
)
async def test_rows_that_are_ignored_without_an_error_are_not_acknowledged(
    log: SqliteLog, last: int, inserted: int, rows: int
) -> None:
    shell(log.path, IGNORING)
    with pytest.raises(LogError) as told:
        await log.append(seen(*range(4, last + 1)), 3)
    assert str(told.value) == (
        f"{log.path}: took {inserted} of {rows} rows without an error; a trigger may have been "
        "added to it: see what `dispatcher audit` says"
    )
    assert log.head == 3


async def test_a_log_takes_no_writes_until_an_added_trigger_is_dropped(log: SqliteLog) -> None:
    shell(log.path, IGNORING)
    with pytest.raises(LogError):
        await log.append(seen(5), 3)
    with pytest.raises(LogError) as told:
        await log.recover()
    assert str(told.value) == (
        f"{log.path}: the trigger more is none of a log's. What is written might not be kept: "
        "drop what was added, or restore a backup (docs/restore.md)"
    )
    shell(log.path, "DROP TRIGGER more")
    await log.recover()
    await log.append(seen(log.head + 1), log.head)
    assert await entries_in(log) == seen(*range(1, log.head + 1))


@pytest.mark.parametrize(
    ("script", "told"),
    [
        (IGNORING, "the trigger more is none of a log's"),
        (REMOVING, "the trigger events_are_never_deleted was taken off the file; the trigger more"),
        (FOOLING, "the trigger events_are_never_deleted was changed"),
        ("ALTER TABLE subtrees ADD COLUMN more TEXT", "the table subtrees was changed"),
        ("CREATE TABLE more (x)", "the table more is none of a log's"),
        ("DROP TRIGGER subtrees_are_never_replaced", "was taken off the file"),
    ],
)
async def test_a_log_with_other_rules_is_not_opened_for_writing(
    log: SqliteLog, script: str, told: str
) -> None:
    await log.close()
    shell(log.path, script)
    for _ in range(2):
        with pytest.raises(LogError, match=told):
            await SqliteLog.open(log.path)


async def test_a_trigger_that_only_looks_as_it_did_is_found_by_the_audit(log: SqliteLog) -> None:
    await log.close()
    shell(log.path, FOOLING)
    shell(log.path, "DELETE FROM events WHERE seq = 3")  # which nothing refuses now
    audit = Audit(log.path)
    audit.run()
    told = "the trigger events_are_never_deleted was changed"
    assert told in [str(finding) for finding in audit.findings]


@pytest.mark.parametrize(
    "script", ["CREATE INDEX more ON events (actor)", "CREATE VIEW more AS SELECT 1", "ANALYZE"]
)
async def test_what_changes_no_write_keeps_no_log_from_being_served(
    log: SqliteLog, script: str
) -> None:
    await log.close()
    shell(log.path, script)
    async with await SqliteLog.open(log.path) as served:
        await served.append(seen(4), 3)
