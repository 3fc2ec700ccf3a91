"""The WAL does not grow because a reader is open, and who keeps it from shrinking is named."""

import logging
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from subprocess import PIPE, Popen

import pytest

from dispatcher.log import sqlite, wal
from dispatcher.log.serialization import LogEntry
from dispatcher.log.sqlite import SqliteLog
from dispatcher.log.wal import WalWatch, readers_of

pytestmark = pytest.mark.anyio

LIMIT = 200_000
HOLDS_A_TRANSACTION = """
import sqlite3, sys
reader = sqlite3.connect(sys.argv[1], isolation_level=None)
reader.execute("BEGIN")
reader.execute("SELECT count(*) FROM events").fetchall()
print("holds", flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _small_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "WAL_LIMIT_BYTES", LIMIT)
    monkeypatch.setattr(wal, "WAL_LIMIT_BYTES", LIMIT)


@contextmanager
def other_process(db: Path) -> Iterator[Popen[str]]:
    """A process that reads the log in a transaction which it keeps open."""
    arguments = [sys.executable, "-c", HOLDS_A_TRANSACTION, str(db)]
    with Popen(arguments, stdin=PIPE, stdout=PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "holds\n"
        yield process
        process.communicate()


def wal_bytes(db: Path) -> int:
    return db.with_name(f"{db.name}-wal").stat().st_size


async def write(log: SqliteLog, events: int) -> None:
    for _ in range(events // 500):
        seqs = range(log.head + 1, log.head + 501)
        time, data = "2026-01-01T00:00:00.000000Z", b'{"engine_id":"e"}'
        batch = [LogEntry(seq, time, "engine_seen", 1, "a", None, data) for seq in seqs]
        await log.append(batch, log.head)


async def test_the_wal_is_cut_when_the_reader_that_kept_it_has_ended(db: Path) -> None:
    async with await SqliteLog.open(db) as log:
        await write(log, 500)
        with closing(sqlite3.connect(db, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM events").fetchall()
            await write(log, 20_000)
            assert wal_bytes(db) > 4 * LIMIT
        await write(log, 10_000)
        assert wal_bytes(db) < wal_limit_with_one_checkpoint()


def wal_limit_with_one_checkpoint() -> int:
    """What is written between two checkpoints of SQLite's own: 1,000 pages, and a batch."""
    return LIMIT + 1_400 * 4_120


async def test_the_logs_own_readers_keep_nothing(db: Path) -> None:
    async with await SqliteLog.open(db) as log:
        await write(log, 5_000)
        pages = log.entries()
        assert await anext(pages)
        assert readers_of(db.with_name(f"{db.name}-shm")) == []
        await write(log, 30_000)
        await pages.aclose()
        assert wal_bytes(db) < wal_limit_with_one_checkpoint()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who holds a lock")
async def test_a_warning_names_the_process_that_reads(
    db: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with await SqliteLog.open(db) as log:
        await write(log, 500)
        with other_process(db) as process, caplog.at_level(logging.WARNING):
            await write(log, 20_000)
        warnings = [it.getMessage() for it in caplog.records]
        assert len(warnings) == 1  # in a minute
        assert f"read transactions are open in process {process.pid} (" in warnings[0]
        assert f"{db}-wal has " in warnings[0]
        caplog.clear()
        await write(log, 10_000)
        assert not caplog.records


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who holds a lock")
async def test_a_transaction_of_its_own_is_named_too(db: Path) -> None:
    async with await SqliteLog.open(db) as log:
        await write(log, 500)
        with closing(sqlite3.connect(db, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM events").fetchall()
            assert readers_of(db.with_name(f"{db.name}-shm")) == ["this dispatcher itself"]


def test_it_warns_again_after_a_minute_and_only_while_the_wal_is_large(
    db: Path, caplog: pytest.LogCaptureFixture
) -> None:
    now_s = [0.0]
    watch = WalWatch(db, lambda: now_s[0])
    for at_s, size, warnings in ((0, LIMIT, 0), (1, 9 * LIMIT, 1), (30, 9 * LIMIT, 1)):
        now_s[0] = at_s
        watch.notice(size)
        assert len(caplog.records) == warnings
    assert "in a process that can't be seen from here" in caplog.text
    now_s[0] = 62.0
    watch.notice(LIMIT)
    assert len(caplog.records) == 1
    watch.notice(9 * LIMIT)
    assert len(caplog.records) == 2
