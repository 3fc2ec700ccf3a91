"""A log of an older schema becomes one of the present schema, or stays as it was."""

import asyncio
import shutil
import signal
import sqlite3
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pytest

from dispatcher.evidence.audit import Audit
from dispatcher.log import LogError, serialization
from dispatcher.log.file import check
from dispatcher.log.schema import SCHEMA_VERSION
from dispatcher.log.serialization import LogEntry
from dispatcher.log.sqlite import SqliteLog
from dispatcher.state.replay import replay
from tests.support.given import START
from tests.support.in_flight import turns_of_the_loop
from tests.support.log_contents import entries_in, naive_root

pytestmark = pytest.mark.anyio

GOLDEN: Final = Path(__file__).parent / "golden" / "schema-1.db"
ROW: Final = "seq, time, type, actor, data"
KILLED_ON_ITS_WAY: Final = """
import asyncio, os, signal, sys
from pathlib import Path
from dispatcher.log import migration

def grow(frontier, lines, whole=migration.grow):
    if frontier.size > 6_000:
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(frontier, lines)

migration.grow = grow
asyncio.run(migration.migrate(Path(sys.argv[1]), 1))
"""


@pytest.fixture
def old(db: Path) -> Callable[[int], Path]:
    """Makes a log of schema 1 with so many events, in pages that don't all fit into a cache."""

    def make(count: int) -> Path:
        with closing(sqlite3.connect(GOLDEN)) as golden:
            words = "SELECT sql FROM sqlite_master WHERE sql NOT NULL ORDER BY type"
            statements = [sql for (sql,) in golden.execute(words)]
            (mark,) = golden.execute("PRAGMA application_id").fetchone()
        with closing(sqlite3.connect(db)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(
                f"PRAGMA application_id = {mark}; PRAGMA user_version = 1; {';'.join(statements)}"
            )
            connection.executemany(
                f"INSERT INTO events ({ROW}) VALUES (?, ?, ?, ?, ?)",
                map(row, range(1, count + 1)),
            )
            connection.commit()
        return db

    return make


def row(seq: int) -> tuple[Any, ...]:
    data = f'{{"engine_id":"é{seq}","report":{{"{"x" * 300}":{seq}.0}}}}'
    return seq, serialization.encode_time(START), "engine_reported", "ключ", data


def rows_in(path: Path) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
        return connection.execute(f"SELECT {ROW} FROM events ORDER BY seq").fetchall()


def execute(path: Path, script: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(script)


def former(seq: int) -> LogEntry:
    """Give an entry of schema 1, as it stands in the present schema."""
    _, time, name, actor, data = row(seq)
    return LogEntry(seq, time, name, 1, actor, None, data.encode())


# It becomes one


@pytest.mark.parametrize("count", [0, 1, 255, 256, 257, 4_513])
async def test_a_log_of_schema_1_becomes_one_of_the_present_schema(
    old: Callable[[int], Path], count: int
) -> None:
    path = old(count)
    entries = [former(seq) for seq in range(1, count + 1)]
    for _ in range(2):  # it is migrated, then merely opened
        async with await SqliteLog.open(path) as log:
            assert log.head == count
            assert await entries_in(log) == entries
            assert log.tree.root() == naive_root([serialization.line(entry) for entry in entries])
        assert check(path) == SCHEMA_VERSION


async def test_a_migrated_log_is_like_a_new_one_inside(
    old: Callable[[int], Path], tmp_path: Path
) -> None:
    new = tmp_path / "new.db"
    for path in (old(300), new):
        await (await SqliteLog.open(path)).close()
    insides = []
    for path in (old_path := new.with_name("events.db"), new):
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            marks = [
                connection.execute(f"PRAGMA {name}").fetchone()
                for name in ("application_id", "user_version", "journal_mode")
            ]
            words = "SELECT type, name, sql FROM sqlite_master ORDER BY type, name"
            insides.append((marks, connection.execute(words).fetchall()))
    assert insides[0] == insides[1]
    assert [path.name for path in sorted(tmp_path.glob("events.db*"))] == [
        old_path.name,
        f"{old_path.name}.lock",
    ]


async def test_a_log_that_is_only_read_is_not_migrated(old: Callable[[int], Path]) -> None:
    path = old(3)
    before = path.read_bytes()
    async with await SqliteLog.open_for_reading(path) as reader:
        assert await entries_in(reader) == [former(seq) for seq in (1, 2, 3)]
        assert await reader.page(1, 1) == [former(2)]
        assert await reader.pick([3, 1]) == [former(1), former(3)]
        assert await reader.seq_at(START) == 3
        assert (await replay(reader)).seq == 3
        with pytest.raises(LogError) as told:
            _ = reader.tree
        assert str(told.value) == f"{path}: is of an older schema, which has no tree; serve it once"
    assert path.read_bytes() == before
    assert check(path) == 1


async def test_who_reads_meanwhile_goes_on_reading(old: Callable[[int], Path]) -> None:
    path = old(3)
    async with await SqliteLog.open_for_reading(path) as reader:
        log = await SqliteLog.open(path)
        await log.append([former(4)], 3)
        assert await entries_in(reader) == [former(seq) for seq in (1, 2, 3)]
    await log.close()


async def test_a_migration_that_stands_in_the_wal_alone_is_not_done_again(
    old: Callable[[int], Path], tmp_path: Path
) -> None:
    """As after a power failure: the header of the file itself still tells of the old schema."""
    path = old(3)
    with closing(sqlite3.connect(path)) as another:
        another.execute("SELECT * FROM events").fetchall()
        another.execute("BEGIN")
        another.execute("SELECT * FROM events").fetchall()  # so nobody folds the WAL
        async with await SqliteLog.open(path) as log:
            await log.append([LogEntry(4, *("", "t", 1, "a", "its request", b"{}"))], 3)
            survivor = tmp_path / "survivor.db"
            for suffix in ("", "-wal"):
                shutil.copy(f"{path}{suffix}", f"{survivor}{suffix}")
    assert int.from_bytes(survivor.read_bytes()[60:64], "big") == 1, "it is no such case"
    assert check(survivor) == SCHEMA_VERSION
    async with await SqliteLog.open_for_reading(survivor) as reader:
        assert (await reader.page(3, 1))[0].request_id == "its request"
    async with await SqliteLog.open(survivor) as log:
        assert (log.head, (await log.page(3, 1))[0].request_id) == (4, "its request")


async def test_it_is_told_how_far_a_migration_has_come(old: Callable[[int], Path]) -> None:
    done = list[tuple[int, int]]()
    log = await SqliteLog.open(old(4_513), lambda *so_far: done.append(so_far))
    await log.close()
    assert done == [(2_000, 4_513), (4_000, 4_513), (4_513, 4_513)]


# Or it stays as it was


async def test_a_migration_that_is_given_up_leaves_the_log_as_it_was_and_the_lock_free(
    old: Callable[[int], Path],
) -> None:
    path = old(9_000)
    before = rows_in(path)
    loop, has_begun, may_go_on = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

    def tell(_done: int, _of: int) -> None:
        loop.call_soon_threadsafe(has_begun.set)
        may_go_on.wait(timeout=30)

    opening = asyncio.create_task(SqliteLog.open(path, tell))
    await has_begun.wait()
    opening.cancel()
    await turns_of_the_loop()
    may_go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert check(path) == 1
    assert rows_in(path) == before
    await (await SqliteLog.open(path)).close()
    assert check(path) == SCHEMA_VERSION


BROKEN: Final = [
    pytest.param(
        "DELETE FROM events WHERE seq = 4200",
        "events are append-only: seq must be the next one",
        id="gap",
    ),
    pytest.param(
        "UPDATE events SET actor = CAST(x'ff' AS TEXT) WHERE seq = 4200",
        "Could not decode to UTF-8",
        id="no text",
    ),
    pytest.param(
        "CREATE TABLE subtrees (x)", "table subtrees already exists", id="table in the way"
    ),
]


@pytest.mark.parametrize(("breaking", "text"), BROKEN)
async def test_a_migration_that_fails_leaves_the_log_as_it_was(
    old: Callable[[int], Path], breaking: str, text: str
) -> None:
    path = old(4_513)
    for verb in ("changed", "deleted"):
        execute(path, f"DROP TRIGGER events_are_never_{verb}")
    execute(path, breaking)
    before = path.read_bytes()
    for _ in range(2):
        with pytest.raises(LogError) as told:
            await SqliteLog.open(path)
        assert str(told.value).startswith(
            f"{path}: can't be brought up from schema 1 to {SCHEMA_VERSION}, and is as it was: "
        )
        assert text in str(told.value)
        assert check(path) == 1
        assert path.read_bytes() == before


async def test_a_migration_that_is_killed_leaves_the_log_as_it_was(
    old: Callable[[int], Path],
) -> None:
    path = old(9_000)
    before = rows_in(path)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", KILLED_ON_ITS_WAY, str(path)
    )
    assert await process.wait() == -signal.SIGKILL
    assert path.with_name("events.db-wal").stat().st_size > 0, "it had not begun to write"
    assert check(path) == 1
    assert rows_in(path) == before
    async with await SqliteLog.open(path) as log:
        assert rows_in(path) == before
        lines = [serialization.line(former(seq)) for seq in range(1, 9_001)]
        assert log.tree.root() == naive_root(lines)


# From schema 2


@pytest.fixture
def of_schema_2(db: Path) -> Path:
    shutil.copy(GOLDEN.with_name("schema-2.db"), db)
    return db


async def test_a_log_of_schema_2_is_like_a_new_one_inside(of_schema_2: Path) -> None:
    words = "SELECT type, name, sql FROM sqlite_master ORDER BY type, name"
    await (await SqliteLog.open(of_schema_2)).close()
    await (await SqliteLog.open(new := of_schema_2.with_name("new.db"))).close()
    with closing(sqlite3.connect(of_schema_2)) as one, closing(sqlite3.connect(new)) as other:
        assert one.execute(words).fetchall() == other.execute(words).fetchall()


async def test_a_log_of_schema_2_that_lacks_a_trigger_stays_as_it_was(of_schema_2: Path) -> None:
    execute(of_schema_2, "DROP TRIGGER events_are_never_deleted")
    before = of_schema_2.read_bytes()
    with pytest.raises(LogError, match="can't be brought up from schema 2 to 3, and is as it was"):
        await SqliteLog.open(of_schema_2)
    assert of_schema_2.read_bytes() == before


async def test_a_log_of_schema_2_with_another_trigger_is_not_opened(of_schema_2: Path) -> None:
    execute(of_schema_2, "DROP TRIGGER subtrees_are_never_replaced")
    with pytest.raises(LogError, match="the trigger subtrees_are_never_replaced was taken off"):
        await SqliteLog.open(of_schema_2)


def test_an_audit_finds_nothing_wrong_with_a_log_of_schema_2(of_schema_2: Path) -> None:
    audit = Audit(of_schema_2)
    audit.run()
    assert [*audit.findings] == []
