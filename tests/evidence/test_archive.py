"""Segments are moved to an archive and read from there; nothing is ever without a place."""

import asyncio
import shutil
from pathlib import Path
from typing import Final

import pytest

from dispatcher import files
from dispatcher.evidence import archive as archives
from dispatcher.evidence.archive import Moved, archive, bring_back
from dispatcher.evidence.backup import backup
from dispatcher.log import LogError, serialization
from dispatcher.log.segments import SegmentError, folder_of
from dispatcher.log.sqlite import SqliteLog
from tests.support.audits import audited
from tests.support.histories import genuine, written
from tests.support.log_contents import entries_in
from tests.support.sealing import seal_all

pytestmark = pytest.mark.anyio

SIZE: Final = 1_100
ENTRIES: Final = [serialization.encode(it) for it in genuine(SIZE)]


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log with four segments."""

    async def make(path: Path) -> None:
        await written(path, genuine(SIZE))
        async with await SqliteLog.open(path) as log:
            await seal_all(log)

    path = tmp_path_factory.mktemp("sealed") / "events.db"
    asyncio.run(make(path))
    return path


@pytest.fixture
def log(sealed: Path, db: Path) -> Path:
    shutil.copy(sealed, db)
    shutil.copytree(folder_of(sealed), folder_of(db))
    return db


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    (tmp_path / "archive").mkdir()
    return tmp_path / "archive"


def file(log: Path, number: int) -> Path:
    return folder_of(log) / f"{number:08}.jsonl.zst"


def archived(log: Path) -> list[int]:
    return [number for number in range(4) if file(log, number).is_symlink()]


async def test_what_is_archived_is_read_from_there(log: Path, dest: Path) -> None:
    sizes = sum(file(log, number).stat().st_size for number in range(4))
    async with await SqliteLog.open_for_reading(log) as reader:
        assert await reader.page(0, 1) == ENTRIES[:1]
        assert archive(log, dest) == Moved(4, sizes)
        assert await entries_in(reader) == ENTRIES
    assert archived(log) == [0, 1, 2, 3]
    assert sorted(it.name for it in dest.iterdir()) == [file(log, n).name for n in range(4)]
    async with await SqliteLog.open(log) as opened:
        assert await entries_in(opened) == ENTRIES
    assert [*audited(log).findings] == []


async def test_the_newest_can_be_left(log: Path, dest: Path) -> None:
    assert archive(log, dest, keep=3).segments == 1
    assert archive(log, dest, keep=1).segments == 2
    assert archived(log) == [0, 1, 2]
    assert archive(log, dest, keep=9).segments == 0


async def test_they_can_be_brought_back(log: Path, dest: Path) -> None:
    moved = archive(log, dest, keep=1)
    assert bring_back(log) == moved
    assert archived(log) == []
    shutil.rmtree(dest)
    assert [*audited(log).findings] == []
    assert bring_back(log) == Moved(0, 0)


async def test_a_command_that_was_killed_is_given_again(
    log: Path, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    for where, step in ((archives, "copy_segment"), (Path, "symlink_to"), (files, "sync_folder")):
        with monkeypatch.context() as patched:
            patched.setattr(where, step, killed)
            with pytest.raises(KeyboardInterrupt):
                archive(log, dest)
        assert [*audited(log).findings] == []
    archive(log, dest)
    assert archived(log) == [0, 1, 2, 3]
    assert [*audited(log).findings] == []
    names = [file(log, number).name for number in range(4)]
    assert sorted(it.name for it in folder_of(log).iterdir()) == names


async def test_a_file_of_another_log_is_not_taken_for_the_copy(log: Path, dest: Path) -> None:
    (dest / file(log, 0).name).write_bytes(b"something else")
    with pytest.raises(SegmentError, match="is there already, and is no good copy of segment 0"):
        archive(log, dest)
    assert archived(log) == []
    assert (dest / file(log, 0).name).read_bytes() == b"something else"


async def test_a_damaged_segment_is_not_archived(log: Path, dest: Path) -> None:
    content = file(log, 1).read_bytes()
    file(log, 1).write_bytes(content[:70] + b"x" + content[71:])
    with pytest.raises(SegmentError, match="segment 1"):
        archive(log, dest)
    assert archived(log) == [0]
    assert [it.name for it in dest.iterdir()] == [file(log, 0).name]


async def test_an_archive_that_is_away_is_told_to_who_needs_it(log: Path, dest: Path) -> None:
    archive(log, dest, keep=1)
    dest.rename(dest.with_name("away"))
    async with await SqliteLog.open(log) as opened:
        with pytest.raises(SegmentError, match=f"it is archived in {dest}.*, which is not there"):
            await opened.page(300, 1)
        assert await opened.page(800, 1) == ENTRIES[800:801]
    dest.with_name("away").rename(dest)
    assert [*audited(log).findings] == []


async def test_a_backup_refers_to_the_archive(log: Path, dest: Path, tmp_path: Path) -> None:
    archive(log, dest, keep=1)
    backup(log, tmp_path / "copy.db")
    assert archived(tmp_path / "copy.db") == [0, 1, 2]
    assert [*audited(tmp_path / "copy.db").findings] == []


async def test_where_nothing_can_be_moved_is_told(log: Path, dest: Path, db: Path) -> None:
    with pytest.raises(LogError, match="is no folder; make it first"):
        archive(log, dest / "none")
    with pytest.raises(LogError, match="is where the segments are"):
        archive(log, folder_of(log))
    with pytest.raises(LogError, match="there is no log here"):
        archive(db.with_name("none.db"), dest)


async def test_a_log_without_segments_has_nothing_to_move(tmp_path: Path, dest: Path) -> None:
    await written(tmp_path / "short.db", genuine(20))
    assert archive(tmp_path / "short.db", dest) == Moved(0, 0)
