"""A log is the same log, wherever its events are: in rows, in segments, or on their way."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import aclosing, closing
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Final

import pytest

from dispatcher.log import LogError, serialization
from dispatcher.log.merkle import Subtree, subtrees
from dispatcher.log.releasing import RELEASED_ROWS
from dispatcher.log.segments import SegmentError, folder_of
from dispatcher.log.serialization import LogEntry
from dispatcher.log.sqlite import SqliteLog
from dispatcher.state.replay import replay
from tests.support.given import START
from tests.support.histories import genuine, written
from tests.support.log_contents import entries_in, naive_root
from tests.support.sealing import release_all, seal_all, seal_next

pytestmark = pytest.mark.anyio

SIZE: Final = 1_900
SEEN: Final = b'{"engine_id":"x"}'
SEALING: Final = "INSERT INTO sealed SELECT"
ENTRIES: Final = [serialization.encode(it) for it in genuine(SIZE)]


@pytest.fixture
async def log(db: Path) -> AsyncIterator[SqliteLog]:
    await written(db, genuine(SIZE))
    async with await SqliteLog.open(db) as opened:
        yield opened


@pytest.fixture
async def twin(tmp_path: Path) -> AsyncIterator[SqliteLog]:
    """The same log, of which nothing is sealed."""
    await written(tmp_path / "twin.db", genuine(SIZE))
    async with await SqliteLog.open(tmp_path / "twin.db") as opened:
        yield opened


async def check_same(one: SqliteLog, other: SqliteLog, random: Random) -> None:
    """Read in every way that there is."""
    head = one.head
    assert head == other.head
    after = random.randrange(head)
    upto = random.randint(after, head)
    kind = random.choice([None, "engine_seen", "job_submitted", "engine_drained", 'none"\\'])
    most = random.choice([None, 1, 500, 50_000])
    limit = random.choice([1, 10, 300, 5_000])
    seqs = [random.randint(0, head + 3) for _ in range(random.choice([1, 5, 700]))]
    at = START + timedelta(seconds=random.randint(-10, 9_000))
    subtree = random.choice(subtrees(0, random.randint(1, head)))
    within = Subtree(
        level := random.randint(0, subtree.level), subtree.number << subtree.level - level
    )

    async def read(log: SqliteLog) -> list[object]:
        pages = [page async for page in log.entries(after, upto)]
        return [
            [entry for page in pages for entry in page],
            await log.page(after, limit, upto=upto, event_type=kind, at_most_bytes=most),
            await log.pick(seqs, at_most_bytes=most),
            await log.seq_at(at),
            await log.subtree_hashes([subtree, within]),
            log.tree.root(),
        ]

    assert await read(one) == await read(other)


@pytest.mark.parametrize("seed", range(6))
async def test_readers_see_the_same_wherever_the_events_are(
    log: SqliteLog, twin: SqliteLog, seed: int
) -> None:
    random = Random(seed)
    async with await SqliteLog.open_for_reading(log.path) as stale:
        while True:
            for one in (log, stale):
                for _ in range(3):
                    await check_same(one, twin, random)
            if random.random() < 0.4:
                sealed = await seal_next(log, random.choice([256, 512, 1024]))
                if sealed is None:
                    break
            for _ in range(random.randrange(5)):
                await log.release()
        await release_all(log)
        for one in (log, stale):
            for _ in range(10):
                await check_same(one, twin, random)
    async with await SqliteLog.open_for_reading(log.path) as fresh:
        for _ in range(10):
            await check_same(fresh, twin, random)
    assert [row.number for row in log.sealed] == list(range(len(log.sealed)))


async def test_a_reader_goes_on_while_what_it_reads_is_sealed_and_let_go_of(
    log: SqliteLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dispatcher.log.reading.PAGE", 100)
    async with await SqliteLog.open_for_reading(log.path) as reader:
        for one in (log, reader):
            read = list[LogEntry]()
            async with aclosing(one.entries()) as pages:
                async for page in pages:
                    read += page
                    if len(read) % 300 == 0:
                        await seal_next(log)
                        await release_all(log)
            assert read == ENTRIES


async def test_many_read_while_it_is_sealed(log: SqliteLog, twin: SqliteLog) -> None:
    async def reading(seed: int) -> None:
        random = Random(seed)
        async with await SqliteLog.open_for_reading(log.path) as reader:
            for _ in range(12):
                await check_same(random.choice([log, reader]), twin, random)

    async with asyncio.TaskGroup() as tasks:
        for seed in range(4):
            tasks.create_task(reading(seed))
        for _ in range(7):
            await seal_next(log)
            await release_all(log)


async def test_it_replays_and_grows_as_if_nothing_had_been_sealed(
    log: SqliteLog, twin: SqliteLog
) -> None:
    await seal_all(log)
    await log.close()
    async with await SqliteLog.open(log.path) as reopened:
        assert await entries_in(reopened) == ENTRIES
        assert (await replay(reopened)).projections.state() == (
            await replay(twin)
        ).projections.state()
        more = [
            LogEntry(
                seq,
                "2026-01-01T00:00:00.000000Z",
                "engine_seen",
                1,
                "t",
                None,
                b'{"engine_id":"x"}',
            )
            for seq in range(reopened.head + 1, reopened.head + 701)
        ]
        await reopened.append(more, reopened.head)
        await seal_all(reopened)
        lines = [*map(serialization.line, [*ENTRIES, *more])]
        assert reopened.tree.root() == naive_root(lines)
        assert await entries_in(reopened) == [*ENTRIES, *more]


async def test_what_is_let_go_of_leaves_the_file_and_the_tree_stays_whole(log: SqliteLog) -> None:
    assert await seal_next(log, 1_024) is not None
    await release_all(log)
    with closing(sqlite3.connect(log.path)) as connection:
        assert connection.execute("SELECT min(seq), max(seq) FROM events").fetchone() == (
            1_025,
            log.head,
        )
        kept = connection.execute("SELECT level, number FROM subtrees").fetchall()
    assert sorted(kept) == [(8, 4), (8, 5), (8, 6), (9, 2), (10, 0)]
    await log.recover()
    assert log.tree.root() == naive_root([*map(serialization.line, ENTRIES)])


async def test_few_rows_are_let_go_of_at_a_time(log: SqliteLog) -> None:
    assert await seal_next(log, 1_024) is not None
    counts = list[int]()
    while await log.release():
        with closing(sqlite3.connect(log.path)) as connection:
            (left,) = connection.execute("SELECT count(*) FROM events").fetchone()
        counts.append(log.head - left)
    assert counts[-1] == 1_024
    steps = [after - before for before, after in zip([0, *counts], counts, strict=False)]
    assert max(steps) <= RELEASED_ROWS


async def test_the_newest_event_always_stays(log: SqliteLog) -> None:
    assert await log.unsealed(256, log.head - 255) is None
    for _ in range(9):
        await seal_next(log)
    assert log.sealed[-1].upto < log.head
    assert await log.unsealed(256, 0) is None


async def test_a_segment_has_another_size_as_soon_as_its_place_in_the_tree_admits_it(
    log: SqliteLog,
) -> None:
    sizes = [256, 1_024, 1_024, 1_024, 512]
    levels = [row.level for size in sizes if (row := await seal_next(log, size)) is not None]
    assert levels == [8, 8, 9, 9]
    assert [row.upto for row in log.sealed] == [256, 512, 1_024, 1_536]


# The guards of the file


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM events WHERE seq = 257",
        "DELETE FROM events",
        "DELETE FROM events WHERE seq >= 256",
        "UPDATE events SET actor = 'x' WHERE seq = 1",
        "DELETE FROM subtrees WHERE level = 9",
        "DELETE FROM subtrees",
        "DELETE FROM subtrees WHERE number = 2",
        "DELETE FROM sealed",
        "UPDATE sealed SET upto = 512",
        f"{SEALING} 512, number + 1, level, root, '', sha256 FROM sealed",
        "INSERT OR REPLACE INTO sealed SELECT * FROM sealed",
        f"{SEALING} 512, 2, 8, hash, '', x'' FROM subtrees WHERE level = 8 AND number = 1",
        f"{SEALING} 768, 1, 9, hash, '', x'' FROM subtrees WHERE level = 9 AND number = 0",
        f"{SEALING} 1024, 1, 8, hash, '', x'' FROM subtrees WHERE level = 8 AND number = 3",
    ],
)
async def test_not_even_the_shell_deletes_what_is_in_no_segment(
    log: SqliteLog, statement: str
) -> None:
    assert await seal_next(log) is not None
    with closing(sqlite3.connect(log.path)) as connection:
        before = [*connection.iterdump()]
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            connection.execute(statement)
        assert [*connection.iterdump()] == before


async def test_a_segment_that_would_leave_no_event_is_refused(db: Path) -> None:
    await written(db, genuine(SIZE)[:512])
    async with await SqliteLog.open(db) as log:
        assert await seal_next(log) is not None
        assert await seal_next(log) is None
    with closing(sqlite3.connect(db)) as connection, pytest.raises(sqlite3.IntegrityError):
        connection.execute(
            "INSERT INTO sealed SELECT 512, 1, 8, hash, '', x'00' FROM subtrees"
            " WHERE level = 8 AND number = 1"
        )


async def test_a_log_that_lost_what_comes_after_its_segments_is_not_opened(log: SqliteLog) -> None:
    await seal_all(log)
    await log.close()
    with closing(sqlite3.connect(log.path)) as connection:
        connection.executescript("DROP TRIGGER events_are_never_deleted; DELETE FROM events")
    for opened in (SqliteLog.open, SqliteLog.open_for_reading):
        with pytest.raises(LogError, match="has segments up to seq 1792, but not the events after"):
            await opened(log.path)


# What goes wrong


async def test_a_missing_segment_is_told_to_who_needs_it_and_to_nobody_else(log: SqliteLog) -> None:
    await seal_all(log)
    path = folder_of(log.path) / log.sealed[2].file_name
    aside = path.rename(path.with_name("aside"))
    for read in (
        lambda: log.page(600, 1),
        lambda: log.pick([5, 600]),
        lambda: log.subtree_hashes([Subtree(0, 600)]),
        lambda: entries_in(log),
    ):
        with pytest.raises(SegmentError, match=r"can't be used as segment 2 \(seq 513 to 768\)"):
            await read()
    assert await log.page(100, 1) == ENTRIES[100:101]
    assert await log.page(1_800, 1) == ENTRIES[1_800:1_801]
    assert await entries_in(log, 768) == ENTRIES[768:]
    await log.append([LogEntry(log.head + 1, "", "t", 1, "", None, b"{}")], log.head)
    aside.rename(path)
    assert await log.page(600, 1) == ENTRIES[600:601]


async def test_a_damaged_segment_can_be_replaced_by_a_good_one(log: SqliteLog) -> None:
    await seal_all(log)
    path = folder_of(log.path) / log.sealed[0].file_name
    good = path.read_bytes()
    path.write_bytes(good[:50] + bytes(8) + good[58:])
    with pytest.raises(SegmentError, match="seq 1 to 256: it can't be unpacked"):
        await log.page(0, 1)
    draft = path.with_name("good")
    draft.write_bytes(good)
    draft.replace(path)
    assert await log.page(0, 1) == ENTRIES[:1]


@pytest.mark.parametrize("how", ["gone", "changed"])
async def test_rows_stay_if_the_file_of_their_segment_is_not_what_it_was(
    log: SqliteLog, how: str
) -> None:
    row = await seal_next(log)
    assert row is not None
    path = folder_of(log.path) / row.file_name
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes().replace(b'"x":[', b'"w":['))
    for _ in range(2):
        with pytest.raises(SegmentError):
            await log.release()
    with closing(sqlite3.connect(log.path)) as connection:
        assert connection.execute("SELECT count(*) FROM events").fetchone() == (log.head,)


async def test_a_segment_with_another_root_is_refused_and_events_are_recorded(
    log: SqliteLog,
) -> None:
    row = await seal_next(log)
    assert row is not None
    with pytest.raises(LogError, match="a segment must be the next one"):
        await log.seal(row)
    await log.append([LogEntry(log.head + 1, "", "t", 1, "", None, b"{}")], log.head)


async def test_a_log_opened_for_reading_seals_nothing(log: SqliteLog) -> None:
    row = await seal_next(log)
    assert row is not None
    async with await SqliteLog.open_for_reading(log.path) as reader:
        for refused in (lambda: reader.seal(row), reader.release):
            with pytest.raises(LogError, match="opened for reading only"):
                await refused()
