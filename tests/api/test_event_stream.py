"""`GET /events/stream`: resumed wherever it was cut, it has neither a gap nor a duplicate.

How many streams there are is known from the feed itself, so that no test has to guess.
"""

import asyncio
import random
import re
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest

from dispatcher.log import serialization
from dispatcher.log.sqlite import SqliteLog
from dispatcher.serving import feed as feed_module
from dispatcher.serving import service as service_module
from dispatcher.serving.feed import Feed
from dispatcher.serving.keys import ApiKeys, Key, Role
from dispatcher.serving.quotas import Quota, Shares
from dispatcher.sse import Block, Parser
from tests.support.farm import beat, submitted
from tests.support.flood import flood
from tests.support.in_flight import until
from tests.support.servers import ACTOR, KEY, Child, Running, child, client_of, running

pytestmark = pytest.mark.anyio

PATIENCE_S: Final = 90
MANY: Final = 500


@pytest.fixture
def feeds(monkeypatch: pytest.MonkeyPatch) -> list[Feed]:
    """The feeds of all servers that are made from now on."""
    made: list[Feed] = []

    def make(*args: Any, **named: Any) -> Feed:
        made.append(Feed(*args, **named))
        return made[-1]

    monkeypatch.setattr(service_module, "Feed", make)
    return made


async def logged(db: Path, of_type: str | None = None, engine: str | None = None) -> list[Block]:
    """Give what a stream of all that has happened must have shown, read past the dispatcher."""
    async with await SqliteLog.open_for_reading(db) as log:
        entries = await log.page(0, 100_000)
    return [
        Block(entry.seq, serialization.line(entry))
        for entry in entries
        if of_type in {None, entry.type}
        and engine in {None, getattr(serialization.decode(entry).event, "engine_id", None)}
    ]


async def shown(response: httpx2.Response, count: int) -> list[Block]:
    """Read a stream until it has shown so many events."""
    parser = Parser()
    found: list[Block] = []
    async with asyncio.timeout(PATIENCE_S):
        async for piece in response.aiter_bytes():
            found += (block for block in parser.feed(piece) if block.data is not None)
            if len(found) >= count:
                return found
    raise AssertionError(f"the stream ended after {len(found)} events")


class Unsteady:
    """A reader whose connection is cut after a random number of bytes, again and again."""

    def __init__(self, url: str, chance: random.Random, **query: str) -> None:
        self.got: list[Block] = []
        self.cuts = 0
        self._url = url
        self._chance = chance
        self._query = query

    async def run(self) -> None:
        """Read until cancelled."""
        async with httpx2.AsyncClient(
            base_url=self._url, headers={"X-API-Key": KEY}, timeout=30, trust_env=False
        ) as http:
            cursor = 0
            while True:
                try:
                    cursor = await self._read(http, cursor, self._chance.randrange(60_000))
                    self.cuts += 1
                except httpx2.TransportError:  # the server is being restarted
                    await asyncio.sleep(0.02)

    async def _read(self, http: httpx2.AsyncClient, cursor: int, end: int) -> int:
        """Read so many bytes; give where the next stream has to go on."""
        by_header = self._chance.random() < 0.5
        query = self._query | ({"after": "0"} if by_header else {"after": str(cursor)})
        headers = {"Last-Event-ID": str(cursor)} if by_header else {}
        parser = Parser()
        async with http.stream("GET", "/events/stream", params=query, headers=headers) as response:
            assert response.status_code == 200
            read = 0
            async for piece in response.aiter_bytes():
                for block in parser.feed(piece[: end - read]):
                    cursor = block.id or cursor
                    if block.data is not None:
                        self.got.append(block)
                if (read := read + len(piece)) >= end:
                    break
        return cursor


async def test_streams_that_are_cut_at_random_miss_nothing_and_repeat_nothing(
    db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_module, "PING_S", 0.05)
    monkeypatch.setattr(feed_module, "RING_EVENTS", 300)  # so that some have to go to the log
    chance = random.Random(7)  # the same cuts on every run
    queries = [{}, {}, {}, {"type": "engine_seen"}, {"engine": "e3"}, {"engine": "nobody"}]
    port = 0
    readers: list[Unsteady] = []
    async with AsyncExitStack() as reading:
        for _ in range(3):
            async with running(db, port=port) as server:
                port = server.port
                if not readers:
                    readers = [Unsteady(server.url, chance, **query) for query in queries]
                    tasks = [asyncio.create_task(reader.run()) for reader in readers]
                    reading.push_async_callback(ended, tasks)
                await flood(server, 700, [f"e{n}" for n in range(7)], a_second=1_000)
        async with running(db, port=port):
            expected = [await logged(db, q.get("type"), q.get("engine")) for q in queries]
            await until(
                lambda: all(len(r.got) >= len(e) for r, e in zip(readers, expected, strict=True))
            )
    assert [len(events) for events in expected] == [2_100, 2_100, 2_100, 2_093, 300, 0]
    for reader, events in zip(readers, expected, strict=True):
        assert reader.got == events
        assert reader.cuts > 3


async def ended(tasks: list[asyncio.Task[None]]) -> None:
    """Cancel tasks, which must have found no fault until then."""
    for task in tasks:
        task.cancel()
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(end, asyncio.CancelledError) for end in ends), ends


async def test_a_stream_is_what_browsers_take_for_one(
    client: httpx2.AsyncClient, server: Running
) -> None:
    await submitted(client)
    async with client.stream("GET", "/events/stream?after=0") as response:
        assert response.status_code == 200
        assert response.headers["content-type"] == "text/event-stream"
        assert response.headers["cache-control"] == "no-store"
        assert response.headers["x-accel-buffering"] == "no"
        (first,) = await logged(server.db)
        pieces = response.aiter_bytes()
        text = await anext(pieces)
        while not text.endswith(b"}\n\n"):
            text += await anext(pieces)
        assert text == b"retry: 1000\n\nid: 1\ndata: %b\n\n" % (first.data or b"")


async def test_the_last_event_id_wins_over_after(client: httpx2.AsyncClient) -> None:
    for _ in range(4):
        await beat(client, "e")
    for after, last, first in (("0", "2", 3), ("3", "", 4), ("3", "0", 1)):
        async with client.stream(
            "GET", f"/events/stream?after={after}", headers={"Last-Event-ID": last}
        ) as response:
            assert (await shown(response, 1))[0].id == first


async def test_a_place_in_another_log_is_refused(client: httpx2.AsyncClient) -> None:
    await beat(client, "e")
    text = "must be at most 1, the log's last seq; it is of another log."
    for query, headers, name in (
        ("?after=2", {}, "after"),
        ("", {"Last-Event-ID": "2"}, "Last-Event-ID"),
    ):
        response = await client.get(f"/events/stream{query}", headers=headers)
        assert (response.status_code, response.text) == (400, f"Bad Request: '{name}' {text}")
    response = await client.get("/events/stream", headers={"Last-Event-ID": "x"})
    assert response.text == "Bad Request: 'Last-Event-ID' must be an integer."


async def test_one_stream_too_many_is_told_to_come_back(
    feeds: list[Feed], client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares = Shares(1, 1, 1, 2)
    monkeypatch.setattr(feeds[0], "_places", Quota("streams are open", shares))
    async with client.stream("GET", "/events/stream"):
        await until(lambda: feeds[0].streams == 1)
        response = await client.get("/events/stream")
        assert (response.status_code, response.headers["Retry-After"]) == (429, "1")
        assert response.text == (
            f"Too Many Requests: 1 streams are open for the key '{ACTOR}', which is the most; "
            "try again later"
        )
    await until(lambda: feeds[0].streams == 0)
    async with client.stream("GET", "/events/stream") as response:
        assert response.status_code == 200


@asynccontextmanager
async def streaming(
    server: Running | Child, query: str = "", *, receive_bytes: int | None = None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Open a stream on a connection that can be cut, and read its first block."""
    opened = socket.create_connection(("127.0.0.1", server.port))
    if receive_bytes is not None:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    reader, writer = await asyncio.open_connection(sock=opened, limit=1 << 20)
    head = f"GET /events/stream{query} HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\n\r\n"
    writer.write(head.encode())
    try:
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        yield reader, writer
    finally:
        writer.transport.abort()


@pytest.mark.parametrize("query", ["", "?after=0", "?engine=nobody"])
async def test_whoever_hangs_up_is_forgotten_at_once(
    feeds: list[Feed], server: Running, client: httpx2.AsyncClient, query: str
) -> None:
    await beat(client, "e")
    async with AsyncExitStack() as streams:
        for _ in range(20):
            await streams.enter_async_context(streaming(server, query))
        await until(lambda: feeds[0].streams == 20)
    await until(lambda: feeds[0].streams == 0)


async def test_a_reader_that_never_reads_holds_nobody_up_and_is_gone_when_it_hangs_up(
    feeds: list[Feed], server: Running, client: httpx2.AsyncClient
) -> None:
    async with (
        streaming(server, "?after=0", receive_bytes=4096),
        client.stream("GET", "/events/stream?after=0") as response,
    ):
        for n in range(100):  # six megabytes, which no socket takes unread
            await beat(client, "e", news=f"{n}" + "x" * 60_000)
        assert [block.id for block in await shown(response, 100)] == list(range(1, 101))
        assert feeds[0].streams == 2
    await until(lambda: feeds[0].streams == 0)


async def test_a_reader_that_never_reads_does_not_keep_the_server_from_stopping(db: Path) -> None:
    async with (
        child(db) as server,
        streaming(server, "?after=0", receive_bytes=4096),
        client_of(server) as client,
    ):
        for n in range(100):
            await beat(client, "e", news=f"{n}" + "x" * 60_000)
        server.process.terminate()
        async with asyncio.timeout(PATIENCE_S):
            assert await server.process.wait() == 0


async def test_five_hundred_streams_see_the_same_and_end_with_the_server(db: Path) -> None:
    """In a process of its own, so that its memory is its own too."""
    async with child(db) as server, AsyncExitStack() as open_ones:
        await flood(server, 100)
        before_kib = memory_kib(server)
        streams = [
            (await open_ones.enter_async_context(streaming(server, "?after=90")))[0]
            for _ in range(MANY)
        ]
        reading = [asyncio.create_task(stream.readuntil(b"id: 300\ndata: ")) for stream in streams]
        await flood(server, 200)
        async with asyncio.timeout(PATIENCE_S):
            shown = await asyncio.gather(*reading)
            growth_kib = memory_kib(server) - before_kib
            server.process.terminate()
            rests = await asyncio.gather(*(stream.read() for stream in streams))
            await server.process.wait()
    seqs = [[int(seq) for seq in re.findall(rb"id: (\d+)\ndata: ", text)] for text in shown]
    assert seqs == [list(range(91, 301))] * MANY
    assert all(rest.endswith(b"}\n\n\r\n0\r\n\r\n") for rest in rests), "a body was broken off"
    assert growth_kib < 100 * MANY


def memory_kib(server: Child) -> int:
    """Give how much memory a server has in use."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    (found,) = re.findall(r"VmRSS:\s+(\d+) kB", status)
    return int(found)


async def test_a_client_is_shown_all_that_an_operator_is(db: Path) -> None:
    keys = ApiKeys([Key.of("olga", Role.OPERATOR, KEY), Key.of("anna", Role.CLIENT, "anna's")])
    async with running(db, keys=keys) as server, client_of(server) as olga:
        await beat(olga, "e")
        await submitted(olga)
        async with client_of(server, "anna's") as anna:
            seen = []
            for http in (olga, anna):
                async with http.stream("GET", "/events/stream?after=0") as response:
                    seen.append(await shown(response, 2))
            assert seen == [await logged(db)] * 2
            lists = [(await http.get("/events")).text for http in (olga, anna)]
    assert lists[0] == lists[1]
