"""The feed: whatever a stream does, and whatever happens to the log, it misses and repeats nothing.

What a stream shows is compared with what stands in the log.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any

import pytest

from dispatcher.core.commands import Command, ReportHeartbeat
from dispatcher.log import LogError, serialization
from dispatcher.serving import feed as feed_module
from dispatcher.serving.feed import Feed
from dispatcher.serving.quotas import Asker, Quota, Shares, TooManyError
from dispatcher.serving.selection import EVERYTHING, Selection
from dispatcher.serving.service import Service
from dispatcher.sse import Block, Parser
from tests.support.in_flight import TESTER, asking, held_up, seqs, submit, turns_of_the_loop, until
from tests.support.watched_log import DISK_FULL, WatchedLog

pytestmark = pytest.mark.anyio

SELECTIONS = [
    EVERYTHING,
    Selection(type="engine_seen"),
    Selection(type="job_cancelled"),
    Selection(job="j3"),
    Selection(engine="e1"),
    Selection(type="engine_seen", engine="e1"),
    Selection(job="j3", engine="e1"),
    Selection(engine="nobody"),
]


async def happen(service: Service, count: int) -> None:
    """Submit jobs and send heartbeats of two engines, so many in all."""
    ways: list[Callable[[int], Command]] = [
        lambda n: submit(f"j{n}"),
        lambda n: ReportHeartbeat(f"e{n % 2}", {}),
    ]
    first = service.projections.seq
    commands = [ways[n % 2](n // 2) for n in range(first, first + count)]
    await asyncio.gather(*(asking(service, command) for command in commands))


async def lines_of(log: WatchedLog, selection: Selection, after: int = 0) -> list[Block]:
    """Give what a stream has to show: looked up one by one, without any of its machinery."""
    found = []
    for entry in await log.page(0, 100_000):
        event = serialization.decode(entry).event
        job, engine = getattr(event, "job_id", None), getattr(event, "engine_id", None)
        if entry.seq > after and selection.admits(entry.type, job, engine):
            found.append(Block(entry.seq, serialization.line(entry)))
    return found


class Reader:
    """Reads a stream bit by bit."""

    def __init__(self, stream: AsyncGenerator[bytes, None]) -> None:
        self._stream = stream
        self._parser = Parser()
        self.shown: list[Block] = []

    async def piece(self) -> bytes:
        async with asyncio.timeout(30):
            piece = await anext(self._stream)
        self.shown += self._parser.feed(piece)
        return piece

    @property
    def events(self) -> list[Block]:
        return [block for block in self.shown if block.data is not None]

    async def upto(self, count: int) -> list[Block]:
        """Read until so many events have been shown."""
        while len(self.events) < count:
            await self.piece()
        return self.events


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make everything so small that streams fall behind, and pages and pieces end, all the time."""
    for name, value in (("RING_EVENTS", 9), ("PIECE_EVENTS", 4), ("PIECE_BYTES", 700)):
        monkeypatch.setattr(feed_module, name, value)
    monkeypatch.setattr("dispatcher.serving.selection.SCANNED", 5)
    monkeypatch.setattr("dispatcher.serving.selection.CHAINED", 7)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("selection", SELECTIONS, ids=str)
async def test_every_selected_event_is_shown_once_and_in_order_from_wherever_it_is_read(
    service: Service, log: WatchedLog, selection: Selection
) -> None:
    await happen(service, 40)
    places = (0, 17, 40, 40)
    streams = [service.feed.stream(selection, after) for after in places]
    readers = [Reader(stream) for stream in streams]
    fast = readers[-1]
    for reader in readers:
        await reader.piece()
    for pace in (3, 30, 1, 2, 3, 2, 8, 8, 8):
        await happen(service, pace)
        assert len(service.feed._ring) <= 9
        for reader, after in zip(readers, places, strict=True):
            expected = await lines_of(log, selection, after)
            if reader is fast:
                await reader.upto(len(expected))
            elif len(expected) > len(reader.events):
                await reader.piece()  # one, whatever has piled up
    for reader, stream, after in zip(readers, streams, places, strict=True):
        expected = await lines_of(log, selection, after)
        assert await reader.upto(len(expected)) == expected
        await stream.aclose()


@pytest.mark.usefixtures("small")
async def test_a_stream_resumes_where_another_ended(service: Service, log: WatchedLog) -> None:
    shown: list[Block] = []
    after = 0
    while len(shown) < 60:
        await happen(service, 7)
        async with aclosing(service.feed.stream(EVERYTHING, after)) as stream:
            reader = Reader(stream)
            await reader.upto(1)
            shown += reader.events
            after = shown[-1].id or 0
    assert shown == (await lines_of(log, EVERYTHING))[: len(shown)]


async def test_without_a_place_to_resume_from_a_stream_begins_now(service: Service) -> None:
    await happen(service, 3)
    async with aclosing(service.feed.stream()) as stream:
        reader = Reader(stream)
        await reader.piece()
        assert reader.shown == [Block(3, None)]  # so that a cut before the first event is no gap
        await happen(service, 1)
        assert [block.id for block in await reader.upto(1)] == [4]


async def test_nothing_is_shown_before_it_is_durable(service: Service, log: WatchedLog) -> None:
    async with aclosing(service.feed.stream()) as stream:
        reader = Reader(stream)
        await reader.piece()
        request = await held_up(log, service, submit("j"))
        reading = asyncio.create_task(reader.piece())
        await turns_of_the_loop()
        assert not reading.done()
        log.gate.set()
        await request
        await reading
        assert [block.id for block in reader.events] == [1]


async def test_a_stream_goes_on_after_a_fault_of_the_log_with_what_became_durable(
    service: Service, log: WatchedLog
) -> None:
    await happen(service, 5)
    async with aclosing(service.feed.stream(EVERYTHING, 2)) as stream:
        reader = Reader(stream)
        await reader.upto(3)
        log.append_faults.append(LogError(DISK_FULL))
        await asyncio.gather(asking(service, submit("lost")), return_exceptions=True)
        await until(lambda: service.fault is None)
        await happen(service, 5)
        assert await reader.upto(8) == await lines_of(log, EVERYTHING, 2)


async def test_what_was_durable_though_the_commit_failed_is_shown_too(
    service: Service, log: WatchedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    await happen(service, 2)
    append = log.append

    async def append_and_fail(*args: Any, **kwargs: Any) -> None:
        await append(*args, **kwargs)
        monkeypatch.undo()
        raise LogError(DISK_FULL)

    async with aclosing(service.feed.stream(EVERYTHING, 1)) as stream:
        reader = Reader(stream)
        await reader.piece()
        await happen(service, 1)
        await reader.upto(2)
        monkeypatch.setattr(log, "append", append_and_fail)
        await asyncio.gather(asking(service, submit("kept")), return_exceptions=True)
        await until(lambda: service.fault is None)
        await happen(service, 1)
        assert [block.id for block in await reader.upto(4)] == [2, 3, 4, 5]


async def test_a_reader_that_takes_nothing_keeps_nothing_but_its_place(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = service.feed
    monkeypatch.setattr(feed_module, "RING_BYTES", 50_000)
    async with aclosing(feed.stream()) as stream:
        reader = Reader(stream)
        await reader.piece()
        for n in range(30):
            report = {"news": f"{n}" + "x" * 9_000}
            await service.execute(ReportHeartbeat("e", report), TESTER, seqs)
            assert sum(len(live.block) for live in feed._ring) <= 50_000
            assert len(feed._ring) <= 5
        assert [block.id for block in await reader.upto(30)] == list(range(1, 31))


async def test_while_nobody_listens_nothing_is_kept(service: Service) -> None:
    async with aclosing(service.feed.stream()) as stream:
        await anext(stream)
        await happen(service, 5)
        assert len(service.feed._ring) == 5
    await happen(service, 1)
    assert service.feed._ring == []
    async with aclosing(service.feed.stream(EVERYTHING, 0)) as stream:
        assert len(await Reader(stream).upto(6)) == 6


async def test_silence_is_broken_by_a_ping(service: Service, log: WatchedLog) -> None:
    feed = silent_feed(service, log)
    async with aclosing(feed.stream(EVERYTHING, feed.head)) as stream:
        assert await anext(stream) == b"retry: 1000\n\n"
        assert [await anext(stream) for _ in range(2)] == [b": ping\n\n"] * 2


async def test_a_ping_moves_a_client_on_past_what_it_did_not_ask_for(
    service: Service, log: WatchedLog
) -> None:
    await happen(service, 4)
    feed = silent_feed(service, log)
    async with aclosing(feed.stream(Selection(engine="nobody"), 0)) as stream:
        assert await anext(stream) == b"retry: 1000\n\n"
        assert await anext(stream) == b": ping\nid: 4\n\n"
        assert await anext(stream) == b": ping\n\n"
    async with aclosing(feed.stream(Selection(type="job_submitted"), 2)) as stream:
        reader = Reader(stream)
        assert [block.id for block in await reader.upto(1)] == [3]
        assert await reader.piece() == b": ping\nid: 4\n\n"


def silent_feed(service: Service, log: WatchedLog) -> Feed:
    """Make a feed over all that has happened, with little patience."""
    return Feed(log, lambda: service.projections, ping_s=0.01)


async def test_there_are_so_many_streams_and_no_more(service: Service, log: WatchedLog) -> None:
    places = Quota("streams are open", Shares(2, 2, 2, 2))
    feed = Feed(log, lambda: service.projections, places=places)
    open_ones = [feed.stream(), feed.stream()]
    for stream in open_ones:
        await anext(stream)
    with pytest.raises(TooManyError, match="2 streams are open"):
        await anext(feed.stream())
    assert feed.streams == 2
    await open_ones[0].aclose()
    async with aclosing(feed.stream()) as stream:
        await anext(stream)
        assert feed.streams == 2
    await open_ones[1].aclose()
    assert feed.streams == 0


async def test_a_key_leaves_streams_to_others(service: Service, log: WatchedLog) -> None:
    places = Quota("streams are open", Shares(1, 1, 1, 2))
    feed = Feed(log, lambda: service.projections, places=places)
    anna, ben = Asker("anna", is_operator=True), Asker("ben", is_operator=True)
    async with aclosing(feed.stream(asker=anna)) as first:
        await anext(first)
        with pytest.raises(TooManyError, match="1 streams are open for the key 'anna'"):
            await anext(feed.stream(asker=anna))
        async with aclosing(feed.stream(asker=ben)) as second:
            await anext(second)
            assert feed.streams == 2
    assert feed.streams == 0


async def test_a_stream_that_is_given_up_is_counted_no_more(service: Service) -> None:
    feed = service.feed
    await feed.stream().aclose()  # it had not even begun
    stream = feed.stream()
    await anext(stream)
    waiting = asyncio.create_task(anext(stream))
    await turns_of_the_loop()
    assert feed.streams == 1
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert feed.streams == 0


@pytest.mark.parametrize("after", [None, 0])
async def test_the_end_ends_streams_that_wait_and_those_that_have_much_to_read(
    service: Service, after: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_module, "PIECE_EVENTS", 2)
    await happen(service, 50)
    stream = service.feed.stream(EVERYTHING, after)
    await anext(stream)
    rest = asyncio.create_task(rest_of(stream))
    await turns_of_the_loop()
    service.feed.end()
    async with asyncio.timeout(30):
        assert len(await rest) < 25
    assert service.feed.streams == 0


async def rest_of(stream: AsyncGenerator[bytes, None]) -> Sequence[bytes]:
    return [piece async for piece in stream]
