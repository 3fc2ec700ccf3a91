"""What `dispatcher cluster status` finds, and the commands as a user has them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from dispatcher.cluster.log import JetStreamLog
from dispatcher.cluster.status import Status, status_of
from dispatcher.cluster.stream import Stream
from dispatcher.log.sqlite import SqliteLog
from tests.log.test_log_contract import events, root_of
from tests.support.commands import command
from tests.support.dispatchers import leading, members
from tests.support.in_flight import TESTER, seqs, submit
from tests.support.nats import Nats

pytestmark = pytest.mark.anyio


@pytest.fixture
async def stream(nats: Nats) -> AsyncIterator[Stream]:
    opened = await Stream.connect(nats.address(), "test")
    await opened.prepare(lambda _known: None)
    yield opened
    await opened.close()


def monitors(nats: Nats) -> list[str]:
    return [node.monitor_url for node in nats.nodes]


async def test_dispatchers_nodes_and_positions_are_shown(
    nats: Nats, stream: Stream, tmp_path: Path
) -> None:
    async with members(stream.address, tmp_path, 2) as pair:
        await leading(pair).execute(submit("job"), TESTER, seqs)
        found = await status_of(stream, monitors(nats))
        assert found.alarms == []
        assert [it.member for it in found.dispatchers] == sorted(it._cluster.member for it in pair)
        assert [it.leads for it in found.dispatchers].count(True) == 1
        assert {it.position for it in found.dispatchers} == {found.last_sequence}
        assert [it.is_leader for it in found.nodes[:3]] == [True, False, False]
        assert {it.messages for it in found.nodes[3:]} == {found.messages}


async def test_nobody_at_work_is_an_alarm(stream: Stream) -> None:
    assert (await status_of(stream)).alarms == ["no dispatcher is heard"]


@asynccontextmanager
async def monitored(name: str, **state: int) -> AsyncIterator[str]:
    """Answer as the monitoring port of a node does that has this state of the stream."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1]
        told = {"server_name": "n9"}
        if asked.startswith(b"/jsz?streams=true"):
            stream = {"name": name, "state": state}
            told = {"account_details": [{"stream_detail": [stream]}]}  # type: ignore[dict-item]
        body = msgspec.json.encode(told)
        writer.write(b"HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


@pytest.mark.parametrize(
    ("state", "alarm"),
    [
        ({"messages": 2, "last_seq": 2}, None),
        ({"messages": 3, "last_seq": 3}, None),  # more has come since
        ({"messages": 1, "last_seq": 2, "num_deleted": 1}, "has 1 messages of 2: it is damaged."),
        ({"messages": 1, "last_seq": 2}, "has 1 messages of 2: it is damaged."),
        ({"messages": 1, "last_seq": 1}, "ends at message 1, though the leader had 2 before"),
    ],
)
async def test_a_node_that_lacks_messages_is_an_alarm_though_it_calls_itself_healthy(
    stream: Stream, tmp_path: Path, state: dict[str, int], alarm: str | None
) -> None:
    log = await JetStreamLog.open(stream.address, tmp_path / "a.db")
    assert await log.claim()
    await log.append(events(1, 1), 0)
    await log.close()
    async with monitored(stream.address.name, **state) as url:
        found = await status_of(stream, [url])
    told = [it for it in found.alarms if it.startswith("node n9 ")]
    if alarm is None:
        assert told == []
    else:
        assert alarm in told[0]
        assert "empty its JetStream folder and start it again" in told[0]


async def test_a_node_that_does_not_answer_is_an_alarm(stream: Stream) -> None:
    found = await status_of(stream, ["http://127.0.0.1:1"])
    assert any(it.startswith("node http://127.0.0.1:1: ConnectError") for it in found.alarms)


async def test_the_commands_move_a_log_and_tell_of_it(nats: Nats, tmp_path: Path, db: Path) -> None:
    async with await SqliteLog.open(db) as log:
        await log.append(events(1, 100), 0)
    root = root_of(events(1, 100)).hex()
    address = str(nats.address())
    done = await command(tmp_path, "log", "publish", "--log", address, "--db", str(db))
    assert done.status == 0
    assert f"100 events in 2 messages; its root is that of {db}, {root}" in done.out
    done = await command(tmp_path, "log", "verify", "--log", address, "--db", str(db))
    assert done.status == 0
    assert "all 2 messages are sound, with 100 events" in done.out
    assert f"{db} has the same up to seq 100, of 100" in done.out
    done = await command(tmp_path, "log", "verify", "--log", address)
    assert (done.status, root in done.out) == (0, True)
    done = await command(tmp_path, "cluster", "status", "--log", address, "--json")
    assert done.status == 1
    told = msgspec.json.decode(done.out, type=Status)
    assert (told.messages, told.alarms) == (2, ["no dispatcher is heard"])
    done = await command(tmp_path, "cluster", "status", "--log", address)
    assert "no dispatcher is heard" in done.err
    missing = tmp_path / "none.db"
    done = await command(tmp_path, "log", "publish", "--log", address, "--db", str(missing))
    assert (done.status, missing.exists()) == (2, False)
    done = await command(tmp_path, "cluster", "status", "--log", "nats://a")
    assert (done.status, "is no address of a log" in done.err) == (1, True)
