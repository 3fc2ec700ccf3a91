"""What is acknowledged is in the file that stands under the log's name."""

import asyncio
import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final

import aiosqlite
import pytest

from dispatcher.core.events import EngineSeen, Recorded
from dispatcher.log import LogError
from dispatcher.log import sqlite as sqlite_log
from dispatcher.log.serialization import LogEntry
from dispatcher.log.sqlite import SqliteLog
from tests.support.given import START
from tests.support.log_contents import encoded, entries_in
from torturing.disk_faults import failure_of

pytestmark = pytest.mark.anyio

AWAY = "away.db"


def seen(*seqs: int) -> list[LogEntry]:
    return encoded(*(Recorded(seq, START, "t", EngineSeen("e")) for seq in seqs))


@pytest.fixture
async def log(db: Path) -> AsyncIterator[SqliteLog]:
    async with await SqliteLog.open(db) as opened:
        await opened.append(seen(1, 2, 3), 0)
        yield opened


async def in_file(path: Path) -> list[LogEntry]:
    async with await SqliteLog.open_for_reading(path) as reader:
        return await entries_in(reader)


def deleted(path: Path) -> None:
    path.unlink()


def moved(path: Path) -> None:
    path.rename(path.with_name(AWAY))


def replaced_by_a_copy(path: Path) -> None:
    copy = path.with_name("copy")
    shutil.copy(path, copy)
    copy.replace(path)


def replaced_by_an_empty_file(path: Path) -> None:
    moved(path)
    path.touch()


def moved_with_its_folder(path: Path) -> None:
    path.parent.rename(path.parent.with_name("away"))


GONE = [deleted, moved, moved_with_its_folder]
REPLACED = [replaced_by_a_copy, replaced_by_an_empty_file]


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """A folder of its own, which can be moved."""
    (tmp_path / "farm").mkdir()
    return tmp_path / "farm" / "events.db"


@pytest.mark.parametrize(
    ("how", "told"),
    [
        *((how, "was moved or deleted while the dispatcher had it open") for how in GONE),
        *((how, "was replaced while the dispatcher had it open") for how in REPLACED),
    ],
)
@pytest.mark.parametrize("count", [1, 200])  # one statement, and two
async def test_nothing_is_acknowledged_that_is_not_under_the_logs_name(
    log: SqliteLog, how: Callable[[Path], None], told: str, count: int
) -> None:
    how(log.path)
    told = re.escape(f"{log.path}: {told}, and what it writes would be lost; put that file back")
    with pytest.raises(LogError, match=told):
        await log.append(seen(*range(4, 4 + count)), 3)
    assert log.head == 3
    for _ in range(2):
        with pytest.raises(LogError, match=told):
            await log.recover()


async def test_the_text_says_what_to_do(log: SqliteLog) -> None:
    moved(log.path)
    with pytest.raises(LogError) as told:
        await log.append(seen(4), 3)
    assert str(told.value) == (
        f"{log.path}: was moved or deleted while the dispatcher had it open, and what it writes "
        "would be lost; put that file back, and writes resume, or stop the dispatcher and see "
        "docs/restore.md before it starts again"
    )


async def test_when_the_file_is_put_back_writes_resume(log: SqliteLog) -> None:
    moved(log.path)
    with pytest.raises(LogError):
        await log.append(seen(4), 3)
    log.path.with_name(AWAY).rename(log.path)
    await log.recover()
    head = log.head  # what was refused may be there; only the log tells
    await log.append(seen(head + 1), head)
    assert await entries_in(log) == seen(*range(1, head + 2))


async def test_a_folder_that_is_put_back_is_as_good(log: SqliteLog) -> None:
    moved_with_its_folder(log.path)
    with pytest.raises(LogError):
        await log.append(seen(4), 3)
    log.path.parent.with_name("away").rename(log.path.parent)
    await log.recover()
    await log.append(seen(log.head + 1), log.head)


async def test_a_file_that_was_moved_has_all_that_was_acknowledged_when_the_log_is_closed(
    db: Path,
) -> None:
    async with await SqliteLog.open(db) as log:
        await log.append(seen(1, 2, 3), 0)
        moved(db)
    assert await in_file(db.with_name(AWAY)) == seen(1, 2, 3)


# The WAL


def wal(log: SqliteLog) -> Path:
    return log.path.with_name(f"{log.path.name}-wal")


@pytest.mark.parametrize(
    ("how", "told"),
    [
        (deleted, "was moved or deleted"),
        (moved, "was moved or deleted"),
        (replaced_by_a_copy, "was replaced"),
        (replaced_by_an_empty_file, "was replaced"),
    ],
)
async def test_nothing_is_acknowledged_that_is_in_no_wal(
    log: SqliteLog, how: Callable[[Path], None], told: str
) -> None:
    how(wal(log))
    with pytest.raises(LogError, match=re.escape(f"{wal(log)}: {told} while")):
        await log.append(seen(4), 3)
    with pytest.raises(LogError, match=re.escape(f"{wal(log)}: {told} while")):
        await log.recover()


async def test_when_the_wal_is_put_back_writes_resume(log: SqliteLog) -> None:
    moved(wal(log))
    with pytest.raises(LogError):
        await log.append(seen(4), 3)
    log.path.with_name(AWAY).rename(wal(log))
    await log.recover()
    await log.append(seen(log.head + 1), log.head)


async def test_what_was_in_a_deleted_wal_is_saved_when_the_log_is_closed(db: Path) -> None:
    async with await SqliteLog.open(db) as log:
        await log.append(seen(1, 2, 3), 0)
        deleted(wal(log))
    assert (await in_file(db)) == seen(1, 2, 3)


async def test_a_log_that_can_have_no_wal_is_not_opened(
    db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite's VFS without locks is like a file system without shared memory."""

    async def without_shared_memory(path: Path, *, read_only: bool) -> aiosqlite.Connection:
        assert not read_only
        return await aiosqlite.connect(
            f"{path.as_uri()}?vfs=unix-none", uri=True, isolation_level=None
        )

    monkeypatch.setattr(sqlite_log, "connect", without_shared_memory)
    with pytest.raises(LogError) as told:
        await SqliteLog.open(db)
    assert str(told.value) == (
        f"{db}: can't have a WAL beside it (the journal mode stays delete); put the log on a local "
        "file system"
    )


# Symbolic links


@pytest.mark.parametrize("linked", ["file", "folder"])
async def test_a_symbolic_link_that_leads_elsewhere_is_a_log_that_was_replaced(
    db: Path, linked: str
) -> None:
    other = db.parent.with_name("other")
    shutil.copytree(db.parent, other)
    for path in (db, other / db.name):
        await (await SqliteLog.open(path)).close()
    link = db.parent.with_name("link")
    link.symlink_to(db if linked == "file" else db.parent)
    given = link if linked == "file" else link / db.name
    async with await SqliteLog.open(given) as log:
        await log.append(seen(1, 2, 3), 0)
        link.unlink()
        link.symlink_to(other / db.name if linked == "file" else other)
        with pytest.raises(
            LogError, match=re.escape(f"{given}: was replaced while the dispatcher")
        ):
            await log.append(seen(4), 3)
        link.unlink()
        link.symlink_to(db if linked == "file" else db.parent)
        await log.recover()
        await log.append(seen(log.head + 1), log.head)


# Readers


async def test_a_reader_that_comes_when_the_file_was_replaced_reads_no_other_file(
    log: SqliteLog,
) -> None:
    replaced_by_a_copy(log.path)
    with pytest.raises(LogError, match="was replaced while the dispatcher had it open"):
        await log.page(0, 9)


async def test_a_batch_costs_one_look_at_each_file(
    log: SqliteLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked, look = list[str](), os.stat

    def watched(path: str) -> os.stat_result:
        looked.append(path)
        return look(path)

    monkeypatch.setattr(os, "stat", watched)
    await log.append(seen(*range(4, 204)), 3)
    assert looked == [str(log.path), str(wal(log))]


# One file, one name, one dispatcher


def hard_link(path: Path) -> Path:
    link = path.with_name("link.db")
    link.hardlink_to(path)
    return link


TWO_NAMES = "is one file with 2 names (hard links), but a log has one"


async def test_a_log_with_two_names_is_not_opened(log: SqliteLog) -> None:
    await log.close()
    link = hard_link(log.path)
    for path in (log.path, link):
        with pytest.raises(LogError, match=re.escape(f"{path}: {TWO_NAMES}")):
            await SqliteLog.open(path)
    link.unlink()
    await (await SqliteLog.open(log.path)).close()


async def test_a_log_that_gets_another_name_takes_no_writes_until_that_is_removed(
    log: SqliteLog,
) -> None:
    link = hard_link(log.path)
    with pytest.raises(LogError, match=re.escape(f"{log.path}: {TWO_NAMES}")):
        await log.append(seen(4), 3)
    with pytest.raises(LogError, match=re.escape(TWO_NAMES)):
        await log.recover()
    link.unlink()
    await log.recover()
    await log.append(seen(log.head + 1), log.head)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has locks of both kinds")
async def test_a_log_is_in_use_under_each_of_its_names(log: SqliteLog) -> None:
    with pytest.raises(LogError) as told:
        await SqliteLog.open(hard_link(log.path))
    assert str(told.value) == (
        f"{log.path.with_name('link.db')}: in use by another dispatcher, which has it under "
        "another name (a link, or a mount); stop that one, or give this one a log of its own with "
        "--db"
    )


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has locks of both kinds")
async def test_a_log_is_in_use_in_another_mount_too(log: SqliteLog, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "events.db").touch()
    if refusal := failure_of("mount", "--bind", str(log.path), str(elsewhere / "events.db")):
        pytest.skip(f"this machine does not let us mount: {refusal}")
    try:
        with pytest.raises(LogError, match="in use by another dispatcher, which has it under"):
            await SqliteLog.open(elsewhere / "events.db")
        await log.append(seen(4), 3)
    finally:
        assert not failure_of("umount", str(elsewhere / "events.db"))


READER: Final = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
print(connection.execute("SELECT count(*) FROM events").fetchone()[0])
connection.close()
"""


async def test_who_reads_and_goes_leaves_the_locks_and_the_wal_alone(log: SqliteLog) -> None:
    """SQLite's own locks are in force: or the other process would take itself for the last one,
    and delete the WAL."""
    for _ in range(2):
        found = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", READER, str(log.path)],
            capture_output=True,
            check=True,
            timeout=30,
        )
        assert found.stdout == b"3\n"
        assert wal(log).exists()
    await log.append(seen(4), 3)


async def test_the_file_is_let_go_when_the_log_is_closed_or_can_not_be_opened(db: Path) -> None:
    log = await SqliteLog.open(db)
    await log.close()
    link = hard_link(db)
    for _ in range(2):
        with pytest.raises(LogError, match=re.escape(TWO_NAMES)):
            await SqliteLog.open(link)
    link.unlink()
    await (await SqliteLog.open(db)).close()
