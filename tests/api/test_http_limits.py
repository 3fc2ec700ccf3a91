"""Strangers who use up what they can before a key is asked for, and honest clients beside them."""

import asyncio
import itertools
import json
import logging
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest

from dispatcher import server as server_module
from dispatcher.http_limits import SAY_EVERY, Entrance, HttpLimits, Refusal
from dispatcher.http_protocol import PIECE, LimitedProtocol
from tests.support.in_flight import until
from tests.support.servers import KEY, Running, client_of, events_in, running

pytestmark = pytest.mark.anyio

MIB = 1 << 20
JOB = b'{"source_url":"http://media/in.mp4","target_codec":"h264"}'
HEAD = f"Host: x\r\nX-API-Key: {KEY}\r\n".encode()
CHUNKED = b"POST /jobs/ HTTP/1.1\r\n" + HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
POST = b"POST /jobs/ HTTP/1.1\r\n" + HEAD + b"Content-Length: %d\r\n" % len(JOB)
LATER = 1_000
"""More sweeps than any time limit has seconds."""


class Watched:
    """The entrance and the connections of the newest server in this process."""

    def __init__(self) -> None:
        self.entrance = Entrance()
        self.connections: set[LimitedProtocol] = set()
        self.most_waiting = 0

    async def pass_seconds(self, count: int = LATER) -> None:
        """Let them pass, and see those off whose connections end."""
        for _ in range(count):
            self.entrance.sweep(self.connections)
        await until(lambda: not any(it.transport.is_closing() for it in self.connections))


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    """What passes the entrance from now on; time passes for it only in `pass_seconds`."""
    watched = Watched()

    class WatchedEntrance(Entrance):
        def __init__(self, limits: HttpLimits) -> None:
            super().__init__(limits)
            watched.entrance = self

    class WatchedProtocol(LimitedProtocol):
        def __init__(self, entrance: Entrance, **given: Any) -> None:
            super().__init__(entrance, **given)
            watched.connections = self.connections  # type: ignore[assignment]

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            watched.most_waiting = max(watched.most_waiting, len(self.pipeline))

    monkeypatch.setattr(server_module, "Entrance", WatchedEntrance)
    monkeypatch.setattr(server_module, "LimitedProtocol", WatchedProtocol)
    monkeypatch.setattr(server_module, "TICKS_A_SECOND", 1 << 40)
    return watched


@pytest.fixture
async def server(watched: Watched, db: Path) -> AsyncIterator[Running]:
    assert watched.most_waiting == 0, "whatever is to be watched is watched from the start"
    async with running(db) as dispatcher:
        yield dispatcher


class Connection:
    """A connection of somebody who writes HTTP by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def send(self, data: bytes) -> None:
        if self._writer.is_closing():
            raise ConnectionResetError
        self._writer.write(data)
        await self._writer.drain()

    async def answer(self) -> tuple[int, bytes]:
        """Read one answer of a known length."""
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head)
        body = await self._reader.readexactly(int(length[1])) if length else b""
        return int(head.split()[1]), body

    async def end(self) -> bytes:
        """Read until the server closes the connection."""
        said = b""
        with suppress(ConnectionError):
            while more := await self._reader.read(1 << 16):
                said += more
        return said


@asynccontextmanager
async def connected(server: Running) -> AsyncIterator[Connection]:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        yield Connection(reader, writer)
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def serves(client: httpx2.AsyncClient) -> None:
    """An honest client is answered, and what it submits is there."""
    job_id = (await client.post("/jobs/", content=JOB)).json()["job_id"]
    assert (await client.get(f"/jobs/{job_id}")).status_code == 200


# Sizes


@pytest.mark.parametrize(
    "begun",
    [
        pytest.param(b"GET /", id="a path"),
        pytest.param(b"GET / HTTP/1.1\r\n", id="the name of a header"),
        pytest.param(b"GET / HTTP/1.1\r\nX: ", id="the value of a header"),
    ],
)
async def test_a_head_over_the_limit_is_431(
    server: Running, client: httpx2.AsyncClient, begun: bytes
) -> None:
    async with connected(server) as stranger:
        await stranger.send(begun.ljust(66_000, b"x"))
        answer = await stranger.end()
    assert answer.startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")
    assert answer.endswith(
        b"\r\n\r\nRequest Header Fields Too Large: the request's head is over 65536 bytes"
    )
    await serves(client)


@pytest.mark.parametrize(("headers", "status"), [(100, 200), (101, 431)])
async def test_a_request_has_at_most_100_headers(
    server: Running, client: httpx2.AsyncClient, headers: int, status: int
) -> None:
    async with connected(server) as stranger:
        lines = b"".join(b"X-%d: y\r\n" % number for number in range(headers))
        await stranger.send(b"GET /health HTTP/1.1\r\n" + lines + b"\r\n")
        assert (await stranger.answer())[0] == status
    await serves(client)


@pytest.mark.parametrize("split", [1, 30_000])
async def test_a_path_of_60000_bytes_passes(server: Running, split: int) -> None:
    request = b"GET /jobs/" + b"9" * 60_000 + b" HTTP/1.1\r\n" + HEAD + b"\r\n"
    async with connected(server) as client:
        await client.send(request[:split])
        await client.send(request[split:])
        assert (await client.answer())[0] == 404


async def test_heads_in_a_row_are_not_added_up(server: Running) -> None:
    async with connected(server) as client:
        for _ in range(5):
            await client.send(b"GET /health HTTP/1.1\r\nX: " + b"x" * 30_000 + b"\r\n\r\n")
            assert (await client.answer())[0] == 200


def endless(piece: bytes) -> Iterator[bytes]:
    return itertools.repeat(piece * (MIB // len(piece)))


@pytest.mark.parametrize(
    ("begun", "piece"),
    [
        pytest.param(b"GET / HTTP/1.1\r\nX: ", b"x", id="a value of 64 MB"),
        pytest.param(b"GET / HTTP/1.1\r\n", b"x", id="a name of 64 MB"),
        pytest.param(b"GET /", b"x", id="a path of 64 MB"),
        pytest.param(b"GET / HTTP/1.1\r\n", b"A: b\r\n", id="very many headers"),
        pytest.param(b"", b"\r\n", id="blank lines"),
        pytest.param(CHUNKED + b"0\r\n", b"A: b\r\n", id="trailers"),
        pytest.param(CHUNKED + b"0\r\nA: ", b"x", id="a trailer"),
        pytest.param(CHUNKED + b"1;", b"x", id="the extension of a chunk"),
        pytest.param(CHUNKED + b"1", b";a=b", id="extensions of a chunk"),
        pytest.param(
            b"GET /health HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
            b"A: b\r\n",
            id="trailers after the answer",
        ),
    ],
)
async def test_what_never_ends_is_ended(
    server: Running, client: httpx2.AsyncClient, begun: bytes, piece: bytes
) -> None:
    sent = 0
    async with connected(server) as stranger:
        with suppress(ConnectionError):
            await stranger.send(begun)
            for data in itertools.islice(endless(piece), 64):
                await stranger.send(data)
                sent += len(data)
                await serves(client)
    # The rest is what the sockets of both sides hold.
    assert sent < 32 * MIB


async def test_a_key_in_a_trailer_is_none(server: Running, db: Path) -> None:
    request = b"POST /jobs/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = b"%x\r\n%b\r\n0\r\nX-API-Key: %b\r\n\r\n" % (len(JOB), JOB, KEY.encode())
    async with connected(server) as stranger:
        await stranger.send(request + chunks)
        assert await stranger.answer() == (401, b"Unauthorized: Missing 'X-API-Key' header.")
        await stranger.send(b"GET /health HTTP/1.1\r\n\r\n")
        assert (await stranger.answer())[0] == 200
    assert events_in(db) == []


@pytest.mark.parametrize("order", [1, -1])
async def test_two_lengths_of_a_body_are_400(server: Running, db: Path, order: int) -> None:
    lengths = [b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n"][::order]
    async with connected(server) as stranger:
        await stranger.send(
            b"POST /jobs/ HTTP/1.1\r\n" + HEAD + b"".join(lengths) + b"\r\n0\r\n\r\n"
        )
        assert (await stranger.end()).startswith(b"HTTP/1.1 400 ")
    assert events_in(db) == []


# Time


SILENT_STAGES = {
    "nothing": b"",
    "a blank line": b"\r\n",
    "half a head": b"POST /jobs/ HTTP/1.1\r\nHost:",
    "half a body": POST + b"\r\n" + JOB[:9],
    "half a body in chunks": CHUNKED + b"5\r\nab",
    "half the trailers": CHUNKED + b"0\r\nA: b\r\n",
    "half a body without a key": b"POST /jobs/ HTTP/1.1\r\nContent-Length: 9\r\n\r\n{",
    "half a second head": POST + b"\r\n" + JOB + b"POST /jobs/ HTTP/1.1\r\n",
    "a blank line after an answer": POST + b"\r\n" + JOB + b"\r\n",
}


@pytest.mark.parametrize("stage", SILENT_STAGES)
async def test_who_falls_silent_is_ended(
    server: Running, client: httpx2.AsyncClient, watched: Watched, stage: str
) -> None:
    async with connected(server) as stranger:
        await stranger.send(SILENT_STAGES[stage])
        await serves(client)
        await watched.pass_seconds(1)
        await serves(client)
        await watched.pass_seconds(11)
        answer = await stranger.end()
    last = answer.rpartition(b"HTTP/1.1 ")[2]
    if stage.startswith("half") and "without" not in stage:
        assert last.startswith(b"408 Request Timeout\r\n")
        assert last.endswith(b"Request Timeout: the request did not arrive within 10 s")
    else:
        assert b"HTTP/1.1 408" not in answer
    await serves(client)


async def test_the_time_is_10_seconds(server: Running, watched: Watched) -> None:
    async with connected(server) as stranger:
        await stranger.send(b"GET /")
        await until(lambda: any(it._size for it in watched.connections))
        await watched.pass_seconds(10)
        await stranger.send(b"health HTTP/1.1\r\n\r\n")
        assert (await stranger.answer())[0] == 200


async def test_a_connection_is_kept_for_5_seconds(server: Running, watched: Watched) -> None:
    async with connected(server) as client:
        for _ in range(3):
            await client.send(b"GET /health HTTP/1.1\r\n\r\n")
            assert (await client.answer())[0] == 200
            await watched.pass_seconds(5)
        await client.send(b"\r\n")
        await watched.pass_seconds(1)
        assert await client.end() == b""
    watched.entrance.log_refusals()
    assert not watched.entrance._refused


async def test_a_server_sweeps_by_itself(db: Path) -> None:
    async with running(db, http_limits=HttpLimits(receive_s=0.1)) as server:
        async with connected(server) as stranger:
            assert await stranger.end() == b""
        async with connected(server) as stranger:
            await stranger.send(b"GET ")
            assert (await stranger.end()).startswith(b"HTTP/1.1 408 ")


async def test_a_long_poll_may_wait(
    server: Running, client: httpx2.AsyncClient, watched: Watched
) -> None:
    await client.post("/engines/heartbeat", json={"engine_id": "e"})
    body = b'{"engine_id":"e","wait_s":60}'
    ask = b"POST /assign_job/ HTTP/1.1\r\n" + HEAD + b"Content-Length: %d\r\n\r\n" % len(body)
    async with connected(server) as engine:
        await engine.send(ask + body + b"\r\n")
        await serves_health(client)
        await watched.pass_seconds()
        await client.post("/jobs/", content=JOB)
        assert (await engine.answer())[0] == 200


async def serves_health(client: httpx2.AsyncClient) -> None:
    """By the time this is answered, what others sent before has come in."""
    assert (await client.get("/health")).status_code == 200


async def test_a_stream_may_go_on(client: httpx2.AsyncClient, watched: Watched) -> None:
    async with client.stream("GET", "/events/stream") as stream:
        lines = stream.aiter_lines()
        for _ in range(3):
            await watched.pass_seconds()
            await client.post("/jobs/", content=JOB)
            async for line in lines:
                if line.startswith("data:"):
                    break
            else:
                raise AssertionError("the stream has ended")


async def test_who_reads_nothing_of_an_answer_is_ended(
    server: Running, client: httpx2.AsyncClient, watched: Watched
) -> None:
    for _ in range(40):
        job = {"source_url": "http://media/" + "x" * 50_000, "target_codec": "h264"}
        assert (await client.post("/jobs/", content=json.dumps(job).encode())).status_code == 200
    ask = b"GET /jobs/ HTTP/1.1\r\n" + HEAD + b"\r\n"
    _, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1)
    writer.write(ask * 20)
    await until(lambda: any(it.flow.write_paused for it in watched.connections))
    await serves(client)
    await watched.pass_seconds(62)
    assert watched.entrance._refused[Refusal.UNREAD] == 1
    await until(lambda: not any(it.flow.write_paused for it in watched.connections))
    await serves(client)
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


# Pipelines


async def test_pipelined_requests_are_answered_in_their_order(server: Running) -> None:
    ids = [f"number-{number}" for number in range(1_500)]
    asks = [f"GET /health HTTP/1.1\r\nX-Request-ID: {it}\r\n\r\n".encode() for it in ids]
    async with connected(server) as client:
        sending = asyncio.create_task(client.send(b"".join(asks)))
        for request_id in ids:
            head = await client._reader.readuntil(b"\r\n\r\n")
            assert f"x-request-id: {request_id}\r\n".encode() in head
            length = re.search(rb"content-length: (\d+)", head)
            assert length is not None
            await client._reader.readexactly(int(length[1]))
        await sending


async def test_a_pipeline_with_bodies_loses_none(server: Running, db: Path) -> None:
    async with connected(server) as client:
        sending = asyncio.create_task(client.send((POST + b"\r\n" + JOB) * 300))
        for _ in range(300):
            assert (await client.answer())[0] == 200
        await sending
    assert len(events_in(db)) == 300


async def test_of_a_flood_of_pipelined_requests_few_are_parsed(
    server: Running, client: httpx2.AsyncClient, watched: Watched
) -> None:
    async def flood() -> None:
        async with connected(server) as stranger:
            with suppress(ConnectionError, TimeoutError):
                await stranger.send(b"GET / HTTP/1.1\r\n\r\n" * 20_000)

    floods = [asyncio.create_task(flood()) for _ in range(20)]
    try:
        for _ in range(20):
            await serves(client)
    finally:
        for task in floods:
            task.cancel()
        await asyncio.gather(*floods, return_exceptions=True)
    assert 0 < watched.most_waiting <= PIECE // 18
    await serves(client)


async def test_what_waits_behind_a_long_poll_is_not_parsed(
    server: Running, client: httpx2.AsyncClient, watched: Watched
) -> None:
    await client.post("/engines/heartbeat", json={"engine_id": "e"})
    body = b'{"engine_id":"e","wait_s":60}'
    ask = b"POST /assign_job/ HTTP/1.1\r\n" + HEAD + b"Content-Length: %d\r\n\r\n" % len(body)
    async with connected(server) as engine:
        await engine.send(ask + body + b"GET /health HTTP/1.1\r\n\r\n" * 2_000)
        await until(lambda: watched.most_waiting > 0)
        await watched.pass_seconds()
        await client.post("/jobs/", content=JOB)
        for _ in range(2_001):
            assert (await engine.answer())[0] == 200
    assert watched.most_waiting <= PIECE // 18


async def test_nonsense_behind_a_request_does_not_get_into_its_answer(
    server: Running, client: httpx2.AsyncClient
) -> None:
    await client.post("/engines/heartbeat", json={"engine_id": "e"})
    body = b'{"engine_id":"e","wait_s":60}'
    ask = b"POST /assign_job/ HTTP/1.1\r\n" + HEAD + b"Content-Length: %d\r\n\r\n" % len(body)
    async with connected(server) as engine:
        await engine.send(ask + body)
        await serves_health(client)
        await engine.send(b"\x00\x01")
        assert await engine.end() == b""
    # Nobody waits for work any more.
    job_id = (await client.post("/jobs/", content=JOB)).json()["job_id"]
    assert (await client.get(f"/jobs/{job_id}")).json()["status"] == "pending"


# Another protocol


H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
SMUGGLED = b"DELETE /engines/e HTTP/1.1\r\n" + HEAD + b"\r\n"


@pytest.mark.parametrize("upgrade", [H2C, b"Connection: upgrade\r\nUpgrade: websocket\r\n"])
@pytest.mark.parametrize("packets", [1, 2])
async def test_who_asks_for_another_protocol_is_answered_in_this_one(
    server: Running, client: httpx2.AsyncClient, db: Path, upgrade: bytes, packets: int
) -> None:
    head = POST + upgrade + b"\r\n"
    async with connected(server) as java:
        for _ in range(2):
            for part in [head + JOB] if packets == 1 else [head, JOB]:
                await java.send(part)
                await serves_health(client)
            status, body = await java.answer()
            assert (status, json.loads(body)["status"]) == (200, "pending")
        await java.send(b"GET /health HTTP/1.1\r\n" + upgrade + b"\r\n")
        assert (await java.answer())[0] == 200
    assert [name for _, name, _ in events_in(db)] == ["job_submitted"] * 2


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_the_body_of_such_a_request_is_not_parsed_as_the_next(
    server: Running, client: httpx2.AsyncClient, split: bool, framing: str
) -> None:
    await client.post("/engines/heartbeat", json={"engine_id": "e"})
    head = b"POST /jobs/ HTTP/1.1\r\n" + HEAD + H2C
    if framing == "length":
        head += b"Content-Length: %d\r\n\r\n" % len(SMUGGLED)
        body = SMUGGLED
    else:
        head += b"Transfer-Encoding: chunked\r\n\r\n"
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED)
    async with connected(server) as java:
        await java.send(head if split else head + body)
        await serves_health(client)
        if split:
            await java.send(body)
        assert (await java.answer())[0] == 400  # it is no JSON
        await java.send(b"GET /health HTTP/1.1\r\n\r\n")
        assert (await java.answer())[0] == 200
    assert [it["engine_id"] for it in (await client.get("/engines/")).json()] == ["e"]


async def test_such_requests_may_be_pipelined(server: Running, db: Path) -> None:
    async with connected(server) as java:
        sending = asyncio.create_task(java.send((POST + H2C + b"\r\n" + JOB) * 100))
        for _ in range(100):
            assert (await java.answer())[0] == 200
        await sending
    assert len(events_in(db)) == 100


async def test_such_a_request_that_closes_is_the_last(server: Running) -> None:
    async with connected(server) as java:
        closing = H2C.replace(b"Upgrade, ", b"close, Upgrade, ", 1)
        await java.send(POST + closing + b"\r\n" + JOB)
        assert (await java.end()).startswith(b"HTTP/1.1 200 ")


# Connections


async def test_connections_over_the_limit_are_closed_and_the_others_served(
    watched: Watched, db: Path
) -> None:
    limits = HttpLimits(connections=5)
    async with running(db, http_limits=limits) as server, client_of(server) as client:
        await serves(client)
        strangers = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(20)]
        ended = [asyncio.create_task(reader.read()) for reader, _ in strangers]
        await until(lambda: sum(task.done() for task in ended) == 16)
        await serves(client)
        assert len(watched.connections) == 5
        for _, writer in strangers:
            writer.close()
        await asyncio.gather(*ended)
        await until(lambda: len(watched.connections) == 1)
        async with connected(server) as late:
            await late.send(b"GET /health HTTP/1.1\r\n\r\n")
            assert (await late.answer())[0] == 200


async def test_an_address_has_so_many_connections_and_others_have_theirs(
    watched: Watched, db: Path
) -> None:
    async with running(db, http_limits=HttpLimits(connections_per_address=3)) as server:
        strangers = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(20)]
        ended = [asyncio.create_task(reader.read()) for reader, _ in strangers]
        await until(lambda: sum(task.done() for task in ended) == 17)
        honest = await asyncio.open_connection(
            "127.0.0.1", server.port, local_addr=("127.0.0.2", 0)
        )
        connection = Connection(*honest)
        await connection.send(b"GET /health HTTP/1.1\r\n\r\n")
        assert (await connection.answer())[0] == 200
        for writer in [writer for _, writer in strangers] + [honest[1]]:
            writer.close()
        await asyncio.gather(*ended)
        await until(lambda: not watched.entrance._by_address)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("10.0.0.1", "10.0.0.2", False),
        ("2001:db8::1", "2001:db8::2:3", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.2", False),
        ("", "", True),
    ],
)
def test_an_address_is_what_one_client_has(one: str, other: str, same: bool) -> None:
    entrance = Entrance(HttpLimits(connections_per_address=1))
    assert entrance.admit(one, 0)
    assert entrance.admit(other, 1) is not same
    entrance.leave(one)
    assert entrance.admit(one, 0)


@pytest.mark.parametrize(
    ("files", "connections"), [(None, 10_000), (20_000, 10_000), (4_096, 3_840), (100, 50)]
)
def test_there_are_no_more_connections_than_files_permit(
    files: int | None, connections: int
) -> None:
    assert server_module._within(files, HttpLimits()).connections == connections


# The log


def test_the_refusals_of_a_minute_are_one_line(caplog: pytest.LogCaptureFixture) -> None:
    entrance = Entrance()
    with caplog.at_level(logging.WARNING):
        for _ in range(2_000):
            entrance.refuse(Refusal.SILENT)
        entrance.refuse(Refusal.TOO_LARGE)
        for _ in range(SAY_EVERY * 3):
            entrance.sweep([])
    assert caplog.messages == [
        f"Refused within the last minute: 1 {Refusal.TOO_LARGE}, 2,000 silent connections"
    ]


async def test_refusals_are_logged_at_the_latest_when_the_server_stops(
    db: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(db) as server:
        for _ in range(3):
            async with connected(server) as stranger:
                await stranger.send(b"\x00\x01\x02\r\n\r\n")
                assert (await stranger.end()).startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert caplog.messages == ["Refused within the last minute: 3 requests that are not HTTP"]
