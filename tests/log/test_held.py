"""What is acknowledged is in the file that stands under the log's name."""

import os
import re
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from dispatcher.core.events import EngineSeen, Recorded
from dispatcher.log import LogError
from dispatcher.log.serialization import LogEntry
from dispatcher.log.sqlite import SqliteLog
from tests.support.given import START
from tests.support.log_contents import encoded, entries_in

pytestmark = pytest.mark.anyio

AWAY = "away.db"


def seen(*seqs: int) -> list[LogEntry]:
    return encoded(*(Recorded(seq, START, "t", EngineSeen("e")) for seq in seqs))


@pytest.fixture
async def log(db: Path) -> AsyncIterator[SqliteLog]:
    opened = await SqliteLog.open(db)
    await opened.append(seen(1, 2, 3), 0)
    yield opened
    await opened.close()


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
    log = await SqliteLog.open(db)
    await log.append(seen(1, 2, 3), 0)
    moved(db)
    await log.close()
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
    log = await SqliteLog.open(db)
    await log.append(seen(1, 2, 3), 0)
    deleted(wal(log))
    await log.close()
    assert (await in_file(db)) == seen(1, 2, 3)


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
