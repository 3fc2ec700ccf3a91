"""What is wrong with a segment, an audit finds and places, and a backup does not take over."""

import asyncio
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from dispatcher.evidence.backup import backup
from dispatcher.log import LogError, serialization
from dispatcher.log.segments import folder_of
from dispatcher.log.sqlite import SqliteLog
from tests.support.audits import Genuine, audited
from tests.support.histories import genuine, roots, written
from tests.support.log_contents import entries_in
from tests.support.sealing import release_all, seal_all, seal_next
from tests.support.tampering import tampering

pytestmark = pytest.mark.anyio

SIZE: Final = 1_100


async def make(path: Path, seed: int, *, is_released: bool) -> Genuine:
    entries = await written(path, genuine(SIZE, seed))
    async with await SqliteLog.open(path) as log:
        if is_released:
            await seal_all(log)
        else:
            await seal_next(log)
            await release_all(log)
            await seal_next(log)
            await seal_next(log)
    return Genuine(path, len(entries), roots(entries))


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Genuine:
    """A log with four segments, and its newest events in the file."""
    path = tmp_path_factory.mktemp("sealed") / "events.db"
    return asyncio.run(make(path, 0, is_released=True))


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Genuine:
    path = tmp_path_factory.mktemp("foreign") / "events.db"
    return asyncio.run(make(path, 7, is_released=True))


def file(log: Path, number: int) -> Path:
    return folder_of(log) / f"{number:08}.jsonl.zst"


def findings(path: Path, of: Genuine | None = None, *known: int) -> list[str]:
    audit = audited(path, of.known(*known) if of is not None else ())
    return [str(finding) for finding in audit.findings]


def test_a_log_with_segments_is_sound(sealed: Genuine) -> None:
    audit = audited(sealed.path, sealed.known(1, 100, 256, 300, 1_024, sealed.size))
    assert [*audit.findings] == []
    assert (audit.tree.size, audit.tree.root()) == (sealed.size, sealed.roots[-1])
    assert audit.statistics.totals().events == sealed.size


def test_so_is_one_whose_rows_are_not_let_go_of_yet(tmp_path: Path) -> None:
    log = asyncio.run(make(tmp_path / "events.db", 3, is_released=False))
    audit = audited(log.path, log.known(300, 600, log.size))
    assert [*audit.findings] == []
    assert audit.tree.root() == log.roots[-1]


def test_any_flipped_byte_of_a_segment_is_found_and_placed(sealed: Genuine) -> None:
    with sealed.copy() as path:
        good = file(path, 1).read_bytes()
        for at in range(3, len(good), len(good) // 25):
            file(path, 1).write_bytes(good[:at] + bytes([good[at] ^ 4]) + good[at + 1 :])
            audit = audited(path, sealed.known(sealed.size))
            first = audit.findings.first_bad()
            assert "segment 1 (seq 257 to 512)" in str(next(iter(audit.findings)))
            assert first is None or (first.seq, first.upto) == (257, 512)
            assert [it for it in audit.findings if (it.seq or 300) not in range(257, 513)] == []
            assert audit.tree.root() == sealed.roots[-1]  # so the others are as they were


CANT: Final = "can't be used as segment 2 (seq 513 to 768)"


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda log, _: file(log, 2).unlink(), f"{CANT}: it can't be opened: No such file"),
        (lambda log, _: shutil.copy(file(log, 1), file(log, 2)), f"{CANT}: it has seq 257 to 512"),
        (
            lambda log, foreign: shutil.copy(file(foreign, 2), file(log, 2)),
            f"{CANT}: its root is not that of the log: it is of another log",
        ),
        (lambda log, _: os.truncate(file(log, 2), 100), f"{CANT}: it does not end with"),
    ],
)
def test_a_missing_a_swapped_and_a_foreign_segment_are_named(
    sealed: Genuine, foreign: Genuine, spoil: Callable[[Path, Path], object], told: str
) -> None:
    with sealed.copy() as path:
        spoil(path, foreign.path)
        audit = audited(path, sealed.known(700, sealed.size))
        first = audit.findings.first_bad()
        assert first is not None
        assert (first.seq, first.upto) == (513, 768)
        assert told in first.what


def test_two_segments_that_changed_places_are_both_named(sealed: Genuine) -> None:
    with sealed.copy() as path:
        aside = file(path, 0).rename(path.with_name("aside"))
        file(path, 3).rename(file(path, 0))
        aside.rename(file(path, 3))
        told = "\n".join(findings(path))
        assert "segment 0 (seq 1 to 256): it has seq 769 to 1,024" in told
        assert "segment 3 (seq 769 to 1,024): it has seq 1 to 256" in told


def test_a_segment_that_was_forged_with_its_row_is_found_by_the_tree(
    sealed: Genuine, foreign: Genuine
) -> None:
    """Its root is in the table of subtrees too, and under the roots of larger ones."""
    with sealed.copy() as path:
        shutil.copy(file(foreign.path, 1), file(path, 1))
        with closing(sqlite3.connect(foreign.path)) as other:
            (row,) = other.execute("SELECT * FROM sealed WHERE number = 1").fetchall()
        with tampering(path) as connection:
            connection.execute("DELETE FROM sealed WHERE number = 1")
            connection.execute("INSERT INTO sealed VALUES (?, ?, ?, ?, ?, ?)", row)
        found = [(it.seq, it.upto) for it in audited(path).findings]
        assert (257, 512) in found


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("DELETE FROM sealed WHERE number = 3", "seq 769 to 1024: missing"),
        ("DELETE FROM sealed WHERE number = 0", "seq 1: the table sealed has a row that no log"),
        ("UPDATE sealed SET level = 70", "seq 1: the table sealed has a row that no log has"),
        ("UPDATE sealed SET upto = upto + 1", "seq 1: the table sealed has a row that no log has"),
        ("UPDATE sealed SET sha256 = x'00' WHERE number = 0", "it is not what it was when it was"),
        ("UPDATE sealed SET root = x'00' WHERE number = 0", "its root is not that of the log"),
        ("DELETE FROM events", "missing: at least one event followed the segments"),
        ("DELETE FROM subtrees WHERE level = 8 AND number = 1", "the tree has no hash for them"),
        ("CREATE TRIGGER more AFTER INSERT ON sealed BEGIN SELECT 1; END", "the trigger more is"),
    ],
)
def test_what_is_done_to_the_rows_of_segments_is_found(
    sealed: Genuine, statement: str, told: str
) -> None:
    with sealed.copy() as path:
        with tampering(path) as connection:
            connection.execute(statement)
        assert told in "\n".join(findings(path))


# Backups


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    (tmp_path / "backups").mkdir()
    return tmp_path / "backups" / "monday.db"


def test_a_backup_has_the_segments(sealed: Genuine, dest: Path) -> None:
    tree = backup(sealed.path, dest)
    assert (tree.size, tree.root()) == (sealed.size, sealed.roots[-1])
    assert sorted(it.name for it in dest.parent.iterdir()) == ["monday.db", "monday.db.segments"]
    for number in range(4):
        assert file(dest, number).read_bytes() == file(sealed.path, number).read_bytes()
    assert findings(dest, sealed, sealed.size) == []


async def test_a_segment_is_copied_once(tmp_path: Path, dest: Path) -> None:
    log = await make(tmp_path / "events.db", 5, is_released=False)
    backup(log.path, dest)
    async with await SqliteLog.open(log.path) as opened:
        await seal_all(opened)
        tuesday = dest.with_name("tuesday.db")
        backup(log.path, tuesday)
        for number in range(3):
            assert file(tuesday, number).samefile(file(dest, number))
            assert not file(tuesday, number).samefile(file(log.path, number))
        assert file(tuesday, 3).stat().st_nlink == 1
        shutil.rmtree(folder_of(dest))
        dest.unlink()
        async with await SqliteLog.open_for_reading(tuesday) as copy:
            assert await entries_in(copy) == await entries_in(opened)


def test_a_file_of_another_backup_that_is_not_good_is_not_shared(
    sealed: Genuine, dest: Path
) -> None:
    backup(sealed.path, dest)
    os.truncate(file(dest, 1), 100)
    tuesday = dest.with_name("tuesday.db")
    backup(sealed.path, tuesday)
    assert file(tuesday, 1).read_bytes() == file(sealed.path, 1).read_bytes()
    assert file(tuesday, 0).samefile(file(dest, 0))


async def test_a_backup_is_restored_with_its_segments_and_grows(
    sealed: Genuine, dest: Path, tmp_path: Path
) -> None:
    backup(sealed.path, dest)
    restored = tmp_path / "events.db"
    backup(dest, restored)
    async with await SqliteLog.open(restored) as log:
        entries = await entries_in(log)
        assert [it.seq for it in entries] == list(range(1, sealed.size + 1))
        more = serialization.encode_all(genuine(1_600))[: log.head + 256]
        await log.append([*more[log.head :]], log.head)
        await seal_all(log)
    assert log.sealed_upto == 1_280


@pytest.mark.parametrize("how", ["gone", "changed"])
def test_a_log_whose_segment_is_not_good_is_not_backed_up(
    sealed: Genuine, dest: Path, how: str
) -> None:
    with sealed.copy() as path:
        if how == "gone":
            file(path, 1).unlink()
        else:
            content = file(path, 1).read_bytes()
            file(path, 1).write_bytes(content[:60] + b"x" + content[61:])
        with pytest.raises(LogError, match=r"segment 1 \(seq 257 to 512\)"):
            backup(path, dest)
    assert list(dest.parent.iterdir()) == []


def test_a_backup_is_not_put_beside_the_segments_of_another_log(
    sealed: Genuine, dest: Path
) -> None:
    folder_of(dest).mkdir()
    with pytest.raises(LogError, match="has the segments of a log that stood here"):
        backup(sealed.path, dest)
    assert not dest.exists()
