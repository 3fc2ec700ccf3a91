"""An audit may begin at a checkpoint that is trusted, and reads only what comes after."""

import asyncio
from pathlib import Path
from typing import Final

import pytest

from dispatcher.evidence.audit import Audit
from dispatcher.evidence.beginning import start_at
from dispatcher.evidence.hashes import Known
from dispatcher.log import LogError
from dispatcher.log.checkpoints import Checkpoint
from dispatcher.log.segments import SegmentError, folder_of
from dispatcher.log.sqlite import SqliteLog
from tests.support.audits import Genuine, made
from tests.support.sealing import seal_all
from tests.support.tampering import put, rows, tampering

pytestmark = pytest.mark.anyio

SIZE: Final = 1_100


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Genuine:
    """A log with four segments, and snapshots of its middle and its end."""

    async def make(path: Path) -> Genuine:
        log = await made(path, SIZE)
        async with await SqliteLog.open(path) as opened:
            await seal_all(opened)
        return log

    return asyncio.run(make(tmp_path_factory.mktemp("sealed") / "events.db"))


async def begun(path: Path, log: Genuine, size: int, *known: int) -> Audit:
    start = await start_at(path, log.known(size)[0])
    audit = Audit(path, log.known(*known), start=start)
    audit.run()
    return audit


@pytest.mark.parametrize("size", [0, 1, 255, 256, 300, 550, 551, 768, 1_024, 1_050, SIZE])
async def test_what_comes_after_is_found_to_be_sound(sealed: Genuine, size: int) -> None:
    with sealed.copy(with_snapshots=True) as path:
        audit = await begun(path, sealed, size, 900, SIZE)
        assert [*audit.findings] == []
        assert audit.tree.root() == sealed.roots[-1]
        half = sealed.size // 2
        assert audit.begin == (size if size < half else half if size < sealed.size else SIZE)
        assert audit.statistics.totals().events == (0 if 0 < size < half else SIZE - audit.begin)


async def test_without_a_snapshot_only_the_hashes_are_checked(sealed: Genuine) -> None:
    with sealed.copy() as path:
        audit = await begun(path, sealed, 600)
        assert [*audit.findings] == []
        assert audit.begin == 600
        assert audit.tree.root() == sealed.roots[-1]
        assert "there is no snapshot at or before seq 600" in " ".join(audit.notes)


async def test_damage_is_found_after_it_and_not_looked_for_before(sealed: Genuine) -> None:
    with sealed.copy(with_snapshots=True) as path:
        for number in (0, 3):
            file = folder_of(path) / f"{number:08}.jsonl.zst"
            content = file.read_bytes()
            file.write_bytes(content[:70] + b"x" + content[71:])
        first = (await begun(path, sealed, 600)).findings.first_bad()
        assert first is not None
        assert (first.seq, first.upto) == (769, 1_024)
    with sealed.copy(with_snapshots=True) as path:
        change_last(path)
        first = (await begun(path, sealed, 600)).findings.first_bad()
        assert first is not None
        assert first.seq == SIZE


async def test_damage_where_it_would_begin_is_told(sealed: Genuine) -> None:
    with sealed.copy() as path:
        file = folder_of(path) / "00000002.jsonl.zst"
        content = file.read_bytes()
        file.write_bytes(content[:70] + b"x" + content[71:])
        with pytest.raises(SegmentError, match="segment 2"):
            await start_at(path, sealed.known(768 - 100)[0])


def change_last(path: Path) -> None:
    with tampering(path) as connection:
        put(connection, rows(connection)[-1]._replace(actor=b"somebody else"))


async def test_another_log_is_refused(sealed: Genuine, tmp_path: Path) -> None:
    false = Known("note", Checkpoint("log", 300, sealed.roots[301]))
    with pytest.raises(LogError, match="is not the log that note was signed for"):
        await start_at(sealed.path, false)
    short = await made(tmp_path / "short.db", 40)
    with pytest.raises(LogError, match="ends at seq 40, but note 600 was signed for 600 events"):
        await start_at(short.path, sealed.known(600)[0])
