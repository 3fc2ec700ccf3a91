"""Connections that read are lent, kept for the next, and gone when the log is closed."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

import aiosqlite
import pytest

from dispatcher.log import LogError
from dispatcher.log.readers import READERS, Readers
from dispatcher.log.sqlite import SqliteLog

pytestmark = pytest.mark.anyio


@pytest.fixture
async def readers(db: Path) -> AsyncIterator[Readers]:
    await (await SqliteLog.open(db)).close()
    made = Readers(db)
    yield made
    await made.close()


async def tables_seen_by(reader: aiosqlite.Connection) -> int:
    ((count,),) = await reader.execute_fetchall("SELECT count(*) FROM sqlite_schema")
    return int(count)


@contextmanager
def no_thread_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(timeout=30)
        assert not thread.is_alive()


async def test_a_connection_that_was_given_back_is_lent_again_the_newest_first(
    readers: Readers,
) -> None:
    async with readers.lend() as first, readers.lend() as second:
        assert first is not second
    async with readers.lend() as third, readers.lend() as fourth:
        assert [third, fourth] == [first, second]  # `first` was given back last
        assert await tables_seen_by(third) == await tables_seen_by(fourth) > 0


async def test_no_more_are_lent_at_once_than_may_be(readers: Readers) -> None:
    async with AsyncExitStack() as lent:
        for _ in range(READERS):
            await lent.enter_async_context(readers.lend())
        one_more = asyncio.create_task(lent.enter_async_context(readers.lend()))
        assert not (await asyncio.wait([one_more], timeout=0.05))[0]
        one_more.cancel()


async def test_one_on_which_a_read_failed_is_not_lent_again(readers: Readers) -> None:
    with pytest.raises(LogError, match="can't be read: no such table: nowhere"):
        async with readers.lend() as failed:
            await failed.execute("SELECT * FROM nowhere")
    async with readers.lend() as another:
        assert another is not failed
    with pytest.raises(ValueError, match="no active connection"):
        await failed.execute("SELECT 1")


async def test_one_that_is_given_up_in_the_middle_of_a_read_is_not_lent_again(
    readers: Readers,
) -> None:
    is_reading = asyncio.Event()
    lent = list[aiosqlite.Connection]()

    async def read() -> None:
        async with readers.lend() as reader:
            lent.append(reader)
            is_reading.set()
            await asyncio.Event().wait()

    reading = asyncio.create_task(read())
    await is_reading.wait()
    reading.cancel()
    await asyncio.wait([reading])
    async with readers.lend() as another:
        assert another not in lent


async def test_it_can_not_be_written_to(readers: Readers) -> None:
    with pytest.raises(LogError, match="attempt to write a readonly database"):
        async with readers.lend() as reader:
            await reader.execute("CREATE TABLE more (x)")


async def test_once_closed_no_connection_and_no_thread_is_left(db: Path) -> None:
    await (await SqliteLog.open(db)).close()
    with no_thread_left():
        readers = Readers(db)
        async with readers.lend():
            pass
        async with readers.lend(), readers.lend():
            await readers.close()
        async with readers.lend() as late:
            assert await tables_seen_by(late) > 0


async def test_a_log_reads_its_pages_on_one_thread_and_ends_it_when_it_is_closed(db: Path) -> None:
    with no_thread_left():
        async with await SqliteLog.open(db) as log:
            for _ in range(3):
                await log.page(0, 10)
            threads = set(threading.enumerate())
            for _ in range(3):
                await log.page(0, 10)
            assert set(threading.enumerate()) == threads
    assert sorted(path.name for path in db.parent.iterdir()) == ["events.db", "events.db.lock"]


@pytest.mark.parametrize("turns", [1, 2, 3, 5, 8])
async def test_a_log_whose_closing_is_cancelled_has_no_thread_and_no_lock(
    db: Path, turns: int
) -> None:
    with no_thread_left():
        log = await SqliteLog.open(db)
        async with log._readers.lend(), log._readers.lend():
            pass
        closing = asyncio.create_task(log.close())
        for _ in range(turns):
            await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait([closing])
    await (await SqliteLog.open(db)).close()


async def test_what_is_written_meanwhile_is_seen_on_a_connection_that_was_kept(
    readers: Readers, db: Path
) -> None:
    async with readers.lend() as reader:
        before = await tables_seen_by(reader)
    with sqlite3.connect(db) as another:
        another.execute("CREATE TABLE more (x)")
    another.close()
    async with readers.lend() as reader:
        assert await tables_seen_by(reader) == before + 1
