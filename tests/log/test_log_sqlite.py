"""The log's file guards itself, and says clearly why it can't be used."""

import asyncio
import os
import resource
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiosqlite
import pytest

from dispatcher.core.events import EngineSeen, Recorded
from dispatcher.log import Log, LogError, serialization
from dispatcher.log.file import APPLICATION_ID
from dispatcher.log.schema import SCHEMA_VERSION
from dispatcher.log.serialization import LogEntry
from dispatcher.log.sqlite import SqliteLog
from tests.support.log_contents import entries_in, recorded_in

pytestmark = pytest.mark.anyio


def seen(*seqs: int) -> list[LogEntry]:
    at = datetime(2024, 1, 1, tzinfo=UTC)
    return [serialization.encode(Recorded(n, at, "t", EngineSeen("e"))) for n in seqs]


@pytest.fixture
async def log(db: Path) -> AsyncIterator[SqliteLog]:
    async with await SqliteLog.open(db) as opened:
        await opened.append(seen(1, 2, 3), 0)
        yield opened


@contextmanager
def files_of_at_most(size_bytes: int) -> Iterator[None]:
    """Let no file of this process grow beyond a size, for which SQLite tells of an I/O error."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def shell(log: SqliteLog) -> Iterator[sqlite3.Connection]:
    """Somebody at the sqlite3 shell, with no pragmas set."""
    with closing(sqlite3.connect(log.path)) as connection:
        yield connection


INSERT = (
    "INTO events VALUES "
    "({}, '2024-01-01T00:00:00.000000Z', 'engine_seen', 1, 't', NULL, '{{}}', x'00')"
)


@pytest.mark.parametrize(
    ("statement", "text"),
    [
        ("UPDATE events SET actor = 'x'", "an event is never changed"),
        ("UPDATE events SET seq = 9 WHERE seq = 3", "an event is never changed"),
        ("DELETE FROM events", "an event is never deleted"),
        ("DELETE FROM events WHERE seq = 3", "an event is never deleted"),
        ("INSERT OR REPLACE " + INSERT.format(2), "seq must be the next one"),
        ("INSERT OR REPLACE " + INSERT.format(3), "seq must be the next one"),
        ("REPLACE " + INSERT.format(1), "seq must be the next one"),
        ("INSERT " + INSERT.format(3), "seq must be the next one"),
        ("INSERT " + INSERT.format(5), "seq must be the next one"),
        ("INSERT " + INSERT.format(0), "seq must be the next one"),
        ("INSERT " + INSERT.format(-1), "seq must be the next one"),
        ("INSERT OR IGNORE " + INSERT.format(5), "seq must be the next one"),
        (
            "INSERT " + INSERT.format(1) + " ON CONFLICT (seq) DO UPDATE SET actor = 'x'",
            "seq must be the next one",
        ),
    ],
)
async def test_not_even_the_shell_can_rewrite_history(
    log: SqliteLog, shell: sqlite3.Connection, statement: str, text: str
) -> None:
    with pytest.raises(sqlite3.IntegrityError) as told:
        shell.execute(statement)
    assert str(told.value) == f"events are append-only: {text}"
    shell.rollback()
    assert await entries_in(log) == seen(1, 2, 3)


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO events VALUES (4, 't', 't', 1, 't', NULL, x'00', x'00')",
        "INSERT INTO events VALUES (4, 't', 't', 1, 't', NULL, '{}', '00')",
        "INSERT INTO events VALUES (4, 't', 't', 'one', 't', NULL, '{}', x'00')",
        "INSERT INTO events VALUES (4, 't', 't', 1, NULL, NULL, '{}', x'00')",
        "INSERT INTO events VALUES (4, 't', 't', 1, 't', NULL, '{}', NULL)",
        "INSERT INTO events VALUES ('four', 't', 't', 1, 't', NULL, '{}', x'00')",
        "INSERT INTO subtrees VALUES (8, 0, '00')",
        "INSERT INTO subtrees VALUES (8, 0, NULL)",
        "INSERT INTO subtrees VALUES ('eight', 0, x'00')",
    ],
)
async def test_the_table_is_strict(shell: sqlite3.Connection, statement: str) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        shell.execute(statement)


async def test_a_commit_is_on_disk_when_it_returns(log: SqliteLog) -> None:
    assert log._writer is not None
    assert await pragma_of(log, "synchronous") == 2  # FULL
    assert await pragma_of(log, "journal_mode") == "wal"
    assert await pragma_of(log, "recursive_triggers") == 1


async def pragma_of(log: SqliteLog, name: str) -> object:
    assert log._writer is not None
    ((value,),) = await log._writer.execute_fetchall(f"PRAGMA {name}")
    return value


@pytest.mark.parametrize("last", [4, 200, 256, 300])  # one statement, two, and with a subtree
async def test_an_append_that_is_broken_off_is_not_there_and_nothing_passes_it_unrecovered(
    log: SqliteLog, shell: sqlite3.Connection, last: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute = aiosqlite.Connection.execute

    async def broken_off(it: aiosqlite.Connection, sql: str, values: Any = ()) -> Any:
        if sql == "COMMIT":
            raise asyncio.CancelledError
        return await execute(it, sql, values)

    with monkeypatch.context() as patch:
        patch.setattr(aiosqlite.Connection, "execute", broken_off)
        with pytest.raises(asyncio.CancelledError):
            await log.append(seen(*range(4, last + 1)), 3)
    with pytest.raises(LogError, match="was broken off; recover before the next"):
        await log.append(seen(4), 3)
    await log.recover()
    await log.append(seen(4), 3)
    assert shell.execute("SELECT max(seq) FROM events").fetchone() == (4,)
    assert log.head == 4


@pytest.mark.parametrize("last", [4, 5, 130, 256])
@pytest.mark.parametrize("room_bytes", [0, 100, 4_000])
async def test_the_very_first_append_after_a_start_fails_aloud_if_there_is_no_room(
    log: SqliteLog, last: int, room_bytes: int
) -> None:
    await log.close()
    log = await SqliteLog.open(log.path)
    try:
        with files_of_at_most(room_bytes), pytest.raises(LogError, match="can't be written"):
            await log.append(seen(*range(4, last + 1)), 3)
        assert log.head == 3
        await log.recover()
        await log.append(seen(*range(4, last + 1)), 3)
        assert [entry.seq for entry in await entries_in(log)] == [*range(1, last + 1)]
    finally:
        await log.close()


async def test_the_file_is_marked_as_ours(shell: sqlite3.Connection) -> None:
    assert shell.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    assert APPLICATION_ID.to_bytes(4, "big") == b"dspc"
    assert shell.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)


async def test_a_closed_log_is_one_file_and_its_lock(db: Path) -> None:
    async with await SqliteLog.open(db) as log:
        await log.append(seen(1), 0)
    assert sorted(path.name for path in db.parent.iterdir()) == ["events.db", "events.db.lock"]


async def test_an_empty_file_becomes_a_log(db: Path) -> None:
    db.touch()
    async with await SqliteLog.open(db) as log:
        await log.append(seen(1), 0)


async def test_a_draft_left_by_a_crash_is_no_hindrance(db: Path) -> None:
    db.with_name("events.db.new").write_bytes(b"half a log")
    log = await SqliteLog.open(db)
    await log.close()
    assert sorted(path.name for path in db.parent.iterdir()) == ["events.db", "events.db.lock"]


async def test_a_symbolic_link_leads_to_the_same_log_and_lock(log: SqliteLog) -> None:
    link = log.path.with_name("link.db")
    link.symlink_to(log.path)
    with pytest.raises(LogError, match="in use by another dispatcher"):
        await SqliteLog.open(link)


# One writer


async def test_a_second_dispatcher_is_told_the_file_and_the_process(log: SqliteLog) -> None:
    with pytest.raises(LogError) as told:
        await SqliteLog.open(log.path)
    assert str(told.value) == (
        f"{log.path}: in use by another dispatcher (process {os.getpid()}); stop that one, "
        "or give this one a log of its own with --db"
    )


async def test_a_second_dispatcher_does_not_disturb_the_first(log: SqliteLog) -> None:
    with pytest.raises(LogError):
        await SqliteLog.open(log.path)
    await log.append(seen(4), 3)
    with pytest.raises(LogError, match="in use"):
        await SqliteLog.open(log.path)


async def test_the_lock_is_let_go_when_the_log_is_closed(log: SqliteLog) -> None:
    await log.close()
    async with await SqliteLog.open(log.path) as second:
        assert second.head == 3


async def test_the_lock_is_let_go_when_the_log_can_not_be_opened(db: Path) -> None:
    make_sqlite(
        db,
        f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION};"
        "CREATE TABLE other (x)",
    )
    for _ in range(2):
        with pytest.raises(LogError) as told:
            await SqliteLog.open(db)
        assert "in use" not in str(told.value)


# Readers


async def test_a_reader_sees_what_a_writer_has_written(log: SqliteLog) -> None:
    async with await SqliteLog.open_for_reading(log.path) as reader:
        assert reader.head == 3
        assert await entries_in(reader) == seen(1, 2, 3)
        await log.append(seen(4), 3)
        assert await entries_in(reader) == seen(1, 2, 3)
    async with await SqliteLog.open_for_reading(log.path) as reader:
        assert await entries_in(reader) == seen(1, 2, 3, 4)


async def test_a_reader_sees_what_a_closed_log_holds(log: SqliteLog) -> None:
    await log.close()
    async with await SqliteLog.open_for_reading(log.path) as reader:
        assert await entries_in(reader) == seen(1, 2, 3)


async def test_a_reader_can_not_write(log: SqliteLog) -> None:
    async with await SqliteLog.open_for_reading(log.path) as reader:
        with pytest.raises(LogError) as told:
            await reader.append(seen(4), 3)
    assert str(told.value) == f"{log.path}: was opened for reading only"


async def test_a_reader_takes_no_lock(log: SqliteLog) -> None:
    await log.close()
    async with await SqliteLog.open_for_reading(log.path):
        writer = await SqliteLog.open(log.path)
        await writer.close()


# Damage


def make_sqlite(path: Path, script: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)


def damage(path: Path, statement: str) -> None:
    make_sqlite(
        path,
        "DROP TRIGGER events_are_never_changed; DROP TRIGGER events_are_never_deleted;" + statement,
    )


async def reading(read: Callable[[Log], Awaitable[object]], path: Path) -> None:
    async with await SqliteLog.open_for_reading(path) as log:
        await read(log)


@pytest.mark.parametrize(
    ("missing", "between"),
    [("1", "seq 0 and seq 2"), ("2", "seq 1 and seq 3"), ("2, 3", "seq 1 and seq 4")],
)
async def test_a_gap_is_told_with_the_seqs_around_it(
    log: SqliteLog, missing: str, between: str
) -> None:
    await log.append(seen(4, 5), 3)
    await log.close()
    damage(log.path, f"DELETE FROM events WHERE seq IN ({missing})")
    with pytest.raises(LogError) as told:
        await reading(entries_in, log.path)
    assert str(told.value) == f"{log.path}: has a gap between {between}"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ("type = 'job_vanished'", "unknown event type 'job_vanished'"),
        ("data = '{}'", "engine_seen: Object missing required field `engine_id`"),
        ("data = 'half an ev'", "engine_seen: JSON is malformed: invalid character (byte 0)"),
        (
            "time = 'noon'",
            "'noon' is no time as the log has it, YYYY-MM-DDThh:mm:ss.ffffffZ",
        ),
        (
            "version = 2",
            (
                "engine_seen of version 2: this dispatcher knows versions up to 1; "
                "use the one that wrote it, or a newer one"
            ),
        ),
    ],
)
async def test_an_event_that_can_not_be_read_is_told_with_its_seq(
    log: SqliteLog, change: str, text: str
) -> None:
    await log.close()
    damage(log.path, f"UPDATE events SET {change} WHERE seq = 2")
    with pytest.raises(LogError) as told:
        await reading(recorded_in, log.path)
    assert str(told.value) == f"seq 2 can't be read: {text}; run `dispatcher audit`"


@pytest.mark.parametrize("column", ["time", "actor", "type", "request_id", "data"])
async def test_text_that_is_no_utf_8_is_told_with_its_seq(log: SqliteLog, column: str) -> None:
    await log.close()
    damage(log.path, f"UPDATE events SET {column} = CAST(x'ff' AS TEXT) WHERE seq = 2")
    with pytest.raises(LogError, match="seq 2 can't be read"):
        await reading(recorded_in, log.path)


async def test_a_log_whose_pages_are_damaged_is_told(log: SqliteLog) -> None:
    await log.close()
    whole = log.path.read_bytes()
    log.path.write_bytes(whole[:4096] + b"\xff" * (len(whole) - 4096))
    with pytest.raises(LogError, match="database disk image is malformed"):
        await reading(entries_in, log.path)
