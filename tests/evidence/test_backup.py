"""A backup: the log of one moment in one file, taken while it is written to."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Final

import pytest

from dispatcher.core.commands import ReportHeartbeat
from dispatcher.core.events import EngineSeen, Recorded
from dispatcher.evidence import backup as backups
from dispatcher.evidence.backup import backup, check_copy
from dispatcher.log import LogError
from dispatcher.log.sqlite import SqliteLog
from dispatcher.serving.service import Service
from tests.support.given import START
from tests.support.in_flight import asking, until
from tests.support.log_contents import encoded, entries_in

pytestmark = pytest.mark.anyio

GOLDEN: Final = Path(__file__).parents[1] / "log" / "golden" / "schema-1.db"


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    """Where a backup may be made; nothing stands there yet."""
    directory = tmp_path / "backups"
    directory.mkdir()
    return directory / "copy.db"


@pytest.fixture
async def log(db: Path) -> AsyncIterator[SqliteLog]:
    """A log of a few hundred events, so that its tree has subtrees that are kept."""
    async with await SqliteLog.open(db) as opened:
        await opened.append(
            encoded(*(Recorded(n, START, "t", EngineSeen(f"e{n}")) for n in range(1, 601))), 0
        )
        yield opened


def change(db: Path, *statements: str) -> None:
    """Change a log as somebody would who knows of the triggers."""
    with closing(sqlite3.connect(db)) as connection:
        triggers = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        for (name,) in triggers.fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.executescript(";".join(statements))


# The copy


async def test_a_backup_is_the_log_in_one_file(log: SqliteLog, db: Path, dest: Path) -> None:
    tree = backup(db, dest)
    assert (tree.size, tree.root()) == (log.head, log.tree.root())
    assert [path.name for path in dest.parent.iterdir()] == ["copy.db"]
    with closing(sqlite3.connect(dest)) as copy:
        assert copy.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    async with await SqliteLog.open_for_reading(dest) as copied:
        assert await entries_in(copied) == await entries_in(log)
    assert [path.name for path in dest.parent.iterdir()] == ["copy.db"]


async def test_a_backup_is_put_back_in_the_same_way(log: SqliteLog, db: Path, dest: Path) -> None:
    backup(db, dest)
    restored = dest.with_name("events.db")
    backup(dest, restored)
    async with await SqliteLog.open(restored) as served:
        assert (served.head, served.tree.root()) == (600, log.tree.root())
        await served.append(encoded(Recorded(601, START, "t", EngineSeen("e"))), 600)


async def test_a_log_without_events_can_be_backed_up(db: Path, dest: Path) -> None:
    await (await SqliteLog.open(db)).close()
    assert backup(db, dest).size == 0


async def test_a_log_of_an_older_schema_is_backed_up_as_it_is(tmp_path: Path, dest: Path) -> None:
    old = tmp_path / "old.db"
    old.write_bytes(GOLDEN.read_bytes())
    tree = backup(old, dest)
    async with await SqliteLog.open(dest) as log:  # which brings it up
        assert (log.head, log.tree.root()) == (tree.size, tree.root())


async def test_nobody_may_read_a_backup_who_may_not_read_the_log(
    log: SqliteLog, db: Path, dest: Path
) -> None:
    db.chmod(0o640)
    backup(db, dest)
    assert log.head == 600
    assert dest.stat().st_mode & 0o777 == 0o640


# Under load


@asynccontextmanager
async def busy(service: Service) -> AsyncIterator[list[int]]:
    """Have events appended, one after the other in eight lines, until the block ends.

    Gives the seqs that were acknowledged. An append that fails fails the block.
    """
    acknowledged = list[int]()
    is_over = asyncio.Event()

    async def keep_on(name: str) -> None:
        while not is_over.is_set():
            acknowledged.extend(await asking(service, ReportHeartbeat(name, {})))

    async with asyncio.TaskGroup() as lines:
        for n in range(8):
            lines.create_task(keep_on(f"engine {n}"))
        await until(lambda: len(acknowledged) >= 1_000)
        yield acknowledged
        is_over.set()


async def has_heard_of(log: SqliteLog, seq: int) -> None:
    """Wait until a log knows of a commit: one that is in the file may not be told of yet."""
    await until(lambda: log.head >= seq)


async def test_a_backup_under_load_has_all_that_was_acknowledged_before_it_began(
    db: Path, dest: Path
) -> None:
    async with await SqliteLog.open(db) as log:
        service = Service(log)
        await service.start()
        async with busy(service) as acknowledged:
            for n in range(3):
                copy = dest.with_name(f"copy-{n}.db")
                before = max(acknowledged)
                tree = await asyncio.to_thread(backup, db, copy)
                assert before <= tree.size
                await has_heard_of(log, tree.size)
                async with await SqliteLog.open_for_reading(copy) as copied:
                    assert copied.tree.root() == tree.root()
                    assert await entries_in(copied) == (await entries_in(log))[: tree.size]
        assert service.fault is None
        await service.close()


async def test_commits_between_the_steps_of_a_copy_neither_change_nor_prolong_it(
    log: SqliteLog, db: Path, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backups, "STEP_PAGES", 1)
    root = log.tree.root()
    loop = asyncio.get_running_loop()
    steps = list[tuple[int, int]]()

    async def append() -> None:
        recorded = Recorded(log.head + 1, START, "t", EngineSeen("meanwhile"))
        await log.append(encoded(recorded), log.head)

    def between_steps(done: int, of: int) -> None:
        steps.append((done, of))
        asyncio.run_coroutine_threadsafe(append(), loop).result(timeout=30)

    tree = await asyncio.to_thread(backup, db, dest, between_steps)
    assert (tree.size, tree.root()) == (600, root)
    assert steps == [(done, len(steps)) for done in range(1, len(steps) + 1)]
    assert log.head == 600 + len(steps)


# What is found


WRONG: Final = [
    pytest.param(
        "UPDATE events SET actor = 'x' WHERE seq = 7",
        "seq 7 is not as it was: its leaf_hash is of another line",
        id="changed",
    ),
    pytest.param(
        "DELETE FROM events WHERE seq = 7", "it has a gap between seq 6 and seq 8", id="gap"
    ),
    pytest.param(
        "DELETE FROM events WHERE seq = 1", "it has a gap between seq 0 and seq 2", id="beginning"
    ),
    pytest.param(
        "DELETE FROM events WHERE seq > 300",
        "the tree has subtrees of events that are not there",
        id="end",
    ),
    pytest.param(
        "UPDATE subtrees SET hash = zeroblob(32) WHERE level = 8 AND number = 1",
        "the tree lacks subtree 1 of level 8, or has another",
        id="subtree",
    ),
    pytest.param(
        "DELETE FROM subtrees WHERE level = 9",
        "the tree lacks subtree 0 of level 9, or has another",
        id="no subtree",
    ),
    pytest.param(
        "UPDATE events SET type = 'engine_spied' WHERE seq = 7",
        "seq 7 can't be read: unknown event type 'engine_spied'",
        id="unknown event",
    ),
    pytest.param(
        "UPDATE events SET actor = CAST(x'ff' AS TEXT) WHERE seq = 7",
        "seq 7 can't be read: 'utf-8' codec can't decode",
        id="no UTF-8",
    ),
]


@pytest.mark.parametrize(("statement", "why"), WRONG)
async def test_a_log_that_is_not_whole_is_told_and_no_backup_made(
    log: SqliteLog, db: Path, dest: Path, statement: str, why: str
) -> None:
    await log.close()
    change(db, statement)
    with pytest.raises(LogError) as told:
        backup(db, dest)
    assert str(told.value).startswith(f"{db}: its copy is not good, and is not kept: {why}")
    assert str(told.value).endswith("; run `dispatcher audit`")
    assert list(dest.parent.iterdir()) == []


@pytest.mark.parametrize("page", [2, 5])
async def test_damaged_pages_are_told_and_no_backup_made(
    log: SqliteLog, db: Path, dest: Path, page: int
) -> None:
    await log.close()
    content = bytearray(db.read_bytes())
    content[page * 4096 : (page + 1) * 4096] = b"\xff" * 4096
    db.write_bytes(content)
    with pytest.raises(LogError, match=r"damaged|malformed"):
        backup(db, dest)
    assert list(dest.parent.iterdir()) == []


async def test_a_copy_that_is_good_passes_the_check(log: SqliteLog, db: Path) -> None:
    await log.close()
    done = list[tuple[int, int]]()
    assert check_copy(db, lambda *args: done.append(args)).size == 600
    assert done == [(600, 600)]


# Where no backup can be made


async def test_what_stands_at_its_place_is_not_replaced(
    log: SqliteLog, db: Path, dest: Path
) -> None:
    dest.write_text("somebody's")
    with pytest.raises(LogError) as told:
        backup(db, dest)
    assert str(told.value) == (
        f"{dest}: is there already, and is not replaced; name another, or move it"
    )
    with pytest.raises(LogError, match="is there already"):
        backup(db, db)
    assert dest.read_text() == "somebody's"
    assert log.head == 600


async def test_a_directory_at_its_place_is_told(dest: Path, log: SqliteLog) -> None:
    with pytest.raises(LogError) as told:
        backup(log.path, dest.parent)
    assert str(told.value) == (
        f"{dest.parent}: is a directory; name a file in it, such as {dest.parent}/events.db"
    )
    assert list(dest.parent.iterdir()) == []


async def test_a_missing_log_is_told_and_nothing_made(db: Path, dest: Path) -> None:
    with pytest.raises(LogError) as told:
        backup(db, dest)
    assert str(told.value) == f"{db}: there is no log here; name one with --db"
    assert list(dest.parent.iterdir()) == []


async def test_a_backup_that_is_interrupted_leaves_nothing_behind(
    log: SqliteLog, dest: Path
) -> None:
    def interrupt(_done: int, _of: int) -> None:
        raise KeyboardInterrupt

    for when in ({"copying": interrupt}, {"checking": interrupt}):
        with pytest.raises(KeyboardInterrupt):
            backup(log.path, dest, **when)
        assert list(dest.parent.iterdir()) == []
