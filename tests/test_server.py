"""Starting, stopping and being killed."""

import asyncio
import json
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import httpx2
import pytest

from dispatcher import server as server_module
from dispatcher.log import LogError
from dispatcher.log.sqlite import SqliteLog
from dispatcher.server import ListenError
from dispatcher.serving.keys import ApiKeys, Role
from dispatcher.serving.keys_file import new_key
from tests.support.in_flight import until
from tests.support.servers import KEY, Child, Running, child, client_of, events_in, running
from tests.support.watched_log import DISK_FULL

pytestmark = pytest.mark.anyio

JOB = {"source_url": "http://media/in.mp4", "target_codec": "h264"}


async def shown(client: httpx2.AsyncClient) -> list[bytes]:
    return [(await client.get(path)).content for path in ("/jobs/", "/engines/", "/health")]


async def some_life(client: httpx2.AsyncClient) -> None:
    job_ids = [(await client.post("/jobs/", json=JOB)).json()["job_id"] for _ in range(4)]
    for engine_id in ("e", "f"):
        beat = {"engine_id": engine_id, "hostname": "ü", "benchmark_time": 2}
        await client.post("/engines/heartbeat", json=beat)
        await client.post("/assign_job/", json={"engine_id": engine_id})
    await client.post(f"/jobs/{job_ids[0]}/complete", json={"output_url": "o"})
    await client.post(f"/jobs/{job_ids[1]}/fail", json={"error_message": "broke"})
    await client.post("/assign_job/", json={"engine_id": "f"})


async def test_a_restart_keeps_everything(db: Path) -> None:
    async with running(db) as server, client_of(server) as client:
        await some_life(client)
        before = await shown(client)
    async with running(db) as server, client_of(server) as client:
        assert await shown(client) == before
        assert (await client.post("/assign_job/", json={"engine_id": "e"})).status_code == 200


async def test_the_server_says_where_it_is_and_where_it_stopped(db: Path) -> None:
    async with running(db) as server, client_of(server) as client:
        await client.post("/jobs/", json=JOB)
    assert server.said == [
        f"Dispatcher ready on {server.url}, log {db} at seq 0.",
        f"Stopped; {db} stands at seq 1.",
    ]


async def test_a_server_can_start_where_another_has_just_stopped(db: Path) -> None:
    async with running(db) as server:
        port = server.port
    async with running(db, port=port) as server, client_of(server) as client:
        assert (await client.get("/health")).status_code == 200


async def test_a_port_in_use_is_told_and_the_log_not_touched(db: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ListenError) as told:
            async with running(db, port=port):
                pass
    assert str(told.value).startswith(
        f"can't listen on 127.0.0.1 port {port}: [Errno 98] Address already in use"
    )
    assert str(told.value).endswith("; choose others with --host and --port")
    assert list(tmp_path.iterdir()) == []


async def test_a_log_that_can_not_be_opened_stops_the_start_and_frees_the_port(
    tmp_path: Path,
) -> None:
    with pytest.raises(LogError, match="is a directory"):
        async with running(tmp_path):
            pass


async def test_a_second_server_on_the_same_log_does_not_start(db: Path) -> None:
    async with running(db) as server, client_of(server) as client:
        with pytest.raises(LogError, match="in use by another dispatcher"):
            async with running(db):
                pass
        assert (await client.post("/jobs/", json=JOB)).status_code == 200


def test_the_second_half_of_an_answer_does_not_wait_for_the_first() -> None:
    """With Nagle's algorithm on, each answer on a kept-alive connection takes 40 ms more.

    uvloop turns it off by itself, asyncio's own event loop only for a socket that says it is TCP.
    """
    assert asyncio.run(no_delay_of_an_accepted_connection()) == 1


async def no_delay_of_an_accepted_connection() -> int:
    accepted: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection: socket.socket = writer.get_extra_info("socket")
        accepted.set_result(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()
        await writer.wait_closed()

    with server_module._listen("127.0.0.1", 0) as listener:
        async with await asyncio.start_server(accept, sock=listener):
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            await reader.read()
            writer.close()
            await writer.wait_closed()
    return await accepted


async def test_the_limit_can_be_set(db: Path) -> None:
    async with running(db, body_limit_bytes=200) as server, client_of(server) as client:
        for size, status in ((200, 200), (201, 413)):
            response = await client.post("/jobs/", content=json.dumps(JOB).encode().ljust(size))
            assert response.status_code == status


async def test_while_the_log_fails_writes_are_503_and_reads_go_on(
    client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await client.post("/jobs/", json=JOB)).status_code == 200
    mended = asyncio.Event()
    recover = SqliteLog.recover

    async def fail(*_: object, expected_head: int) -> None:
        assert expected_head == 1
        raise LogError(DISK_FULL)

    async def recover_when_mended(log: SqliteLog) -> None:
        await mended.wait()
        await recover(log)

    with monkeypatch.context() as patched:
        patched.setattr(SqliteLog, "append", fail)
        patched.setattr(SqliteLog, "recover", recover_when_mended)
        for undone in (None, "true"):  # of the first, only the log can show whether it was done
            refused = await client.post("/jobs/", json=JOB)
            assert (refused.status_code, refused.text) == (
                503,
                f"Service Unavailable: {DISK_FULL}. Nothing was acknowledged; try again.",
            )
            assert refused.headers["retry-after"] == "1"
            assert refused.headers.get("x-dispatcher-undone") == undone
            assert refused.headers["content-type"].startswith("text/plain")
        health = await client.get("/health")
        assert health.status_code == 503
        assert health.json() == {"status": "read-only", "seq": 1, "fault": DISK_FULL}
        assert len((await client.get("/jobs/")).json()) == 1
    mended.set()
    async with asyncio.timeout(30):
        while (await client.post("/jobs/", json=JOB)).status_code == 503:
            pass
    assert (await client.get("/health")).json() == {"status": "ok", "seq": 2, "fault": None}


# Reading the keys again


async def hung_up(server: Running) -> str:
    """Send SIGHUP, and give what the server says of it."""
    before = len(server.said)
    os.kill(os.getpid(), signal.SIGHUP)
    await until(lambda: len(server.said) > before)
    return server.said[-1]


async def test_a_key_comes_into_force_and_out_of_it_with_sighup(db: Path, tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    anna = new_key(path, "anna", Role.CLIENT)
    async with running(db, keys=ApiKeys(path=path)) as server:
        bert = new_key(path, "bert", Role.CLIENT)
        async with client_of(server, anna) as as_anna, client_of(server, bert) as as_bert:
            assert (await as_bert.post("/jobs/", json=JOB)).status_code == 401
            assert await hung_up(server) == f"Read {path} again; keys in force: 2."
            assert (await as_bert.post("/jobs/", json=JOB)).status_code == 200
            path.write_text(path.read_text().replace('"client"', '"engine"', 1))
            await hung_up(server)
            assert (await as_anna.post("/jobs/", json=JOB)).status_code == 403
            path.write_text("[[key]]" + path.read_text().rpartition("[[key]]")[2])
            await hung_up(server)
            assert (await as_anna.get("/jobs/")).status_code == 401
            assert (await as_bert.get("/jobs/")).status_code == 200


def errors_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [it.getMessage() for it in caplog.records if it.levelno >= logging.ERROR]


async def test_a_bad_keys_file_is_told_and_the_keys_stay_in_force(
    db: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "keys.toml"
    anna = new_key(path, "anna", Role.CLIENT)
    async with running(db, keys=ApiKeys(path=path)) as server, client_of(server, anna) as client:
        path.write_text(path.read_text().replace("client", "boss"))
        os.kill(os.getpid(), signal.SIGHUP)
        await until(lambda: bool(errors_in(caplog)))
        assert (await client.post("/jobs/", json=JOB)).status_code == 200
        (message,) = errors_in(caplog)  # on a busy machine there are warnings beside it
        assert message.startswith(f"{path}: key 'anna': 'role' must be one of ")
        assert message.endswith("; the keys in force stay what they were")


async def test_without_a_keys_file_sighup_changes_nothing(
    server: Running, client: httpx2.AsyncClient
) -> None:
    told = "SIGHUP changes nothing: there is no keys file and no file of recipes to read again."
    assert await hung_up(server) == told
    assert (await client.get("/jobs/")).status_code == 200


# A process of its own


HEADERS = f"Host: x\r\nX-API-Key: {KEY}\r\n"
IDLE = f"GET /jobs/ HTTP/1.1\r\n{HEADERS}\r\n"
HALF_HEADERS = "POST /jobs/ HTTP/1.1\r\nHost:"
WAITS = f'POST /assign_job/ HTTP/1.1\r\n{HEADERS}Content-Length: 14\r\n\r\n{{"wait_s": 60}}'
HALF_BODY = f"POST /jobs/ HTTP/1.1\r\n{HEADERS}Content-Length: 99\r\n\r\n{{"
PATIENCE_S = 30
"""More than the slowest machine needs, and less than any client stays that only waits."""


@pytest.fixture
async def process(db: Path) -> AsyncIterator[Child]:
    async with child(db, "--receive-timeout-s", "60") as dispatcher:
        yield dispatcher


@pytest.mark.parametrize(
    ("signum", "requests"),
    [
        pytest.param(signal.SIGTERM, [], id="SIGTERM, nobody there"),
        pytest.param(signal.SIGINT, [], id="SIGINT, nobody there"),
        pytest.param(signal.SIGTERM, [IDLE], id="SIGTERM, an idle connection"),
        pytest.param(signal.SIGTERM, [HALF_HEADERS], id="SIGTERM, half the headers"),
        pytest.param(signal.SIGTERM, [HALF_BODY], id="SIGTERM, half a body"),
        pytest.param(signal.SIGTERM, [WAITS], id="SIGTERM, a long-poll"),
        pytest.param(signal.SIGINT, [WAITS] * 20, id="SIGINT, many long-polls"),
        pytest.param(
            signal.SIGTERM, [IDLE, HALF_HEADERS, HALF_BODY, WAITS] * 5, id="SIGTERM, all these"
        ),
    ],
)
async def test_a_signal_stops_the_server_and_it_waits_for_no_client(
    process: Child, db: Path, signum: signal.Signals, requests: list[str]
) -> None:
    async with client_of(process) as client:
        await client.post("/jobs/", json=JOB)
        async with AsyncExitStack() as connections:
            for request in requests:
                await connections.enter_async_context(opened(process, request))
            # By the time this is answered the requests before it have come in.
            assert (await client.get("/health")).status_code == 200
            process.process.send_signal(signum)
            async with asyncio.timeout(PATIENCE_S):
                assert await process.process.wait() == 0
    assert len(events_in(db)) == 1


@asynccontextmanager
async def opened(server: Child, request: str) -> AsyncIterator[None]:
    """Keep a connection open on which this was sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(request.encode())
    await writer.drain()
    if request == IDLE:
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    yield
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


@pytest.mark.parametrize("path", ["/jobs/", "/jobs/batch"])
async def test_a_request_that_the_end_of_the_server_cuts_off_is_told_to_try_again(
    process: Child, path: str
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", process.port)
    writer.write(HALF_BODY.replace("/jobs/", path).encode())
    await writer.drain()
    async with client_of(process) as client:
        assert (await client.get("/health")).status_code == 200
    process.process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(PATIENCE_S):
        answer = (await reader.read()).decode().lower()
        assert await process.process.wait() == 0
    writer.close()
    assert answer.startswith("http/1.1 503")
    assert "retry-after: 1" in answer
    assert "x-dispatcher-undone" not in answer
    assert "the dispatcher is stopping" in answer


async def test_what_was_acknowledged_survives_sigkill(db: Path) -> None:
    acknowledged: set[str] = set()
    enough = asyncio.Event()

    async def submit_until_it_dies(client: httpx2.AsyncClient) -> None:
        try:
            while True:
                response = await client.post("/jobs/", json=JOB)
                assert response.status_code == 200
                acknowledged.add(response.json()["job_id"])
                if len(acknowledged) >= 300:
                    enough.set()
        except httpx2.TransportError:
            assert enough.is_set(), "the dispatcher died by itself"

    async with child(db) as server, client_of(server) as client:
        load = [asyncio.create_task(submit_until_it_dies(client)) for _ in range(20)]
        await enough.wait()
        server.process.kill()
        await server.process.wait()
        await asyncio.gather(*load)
    async with running(db) as restarted, client_of(restarted) as client:
        there = {job["job_id"] for job in (await client.get("/jobs/")).json()}
        assert acknowledged <= there
        assert len(there) <= len(acknowledged) + len(load)
        assert (await client.post("/jobs/", json=JOB)).status_code == 200


async def test_a_log_in_use_by_another_process_is_told_with_its_pid(
    process: Child, db: Path
) -> None:
    pid = process.process.pid
    with pytest.raises(LogError, match=rf"in use by another dispatcher \(process {pid}\)"):
        async with running(db):
            pass


async def test_a_log_can_be_looked_at_while_another_process_writes_it(
    process: Child, db: Path
) -> None:
    async with client_of(process) as client:
        await client.post("/jobs/", json=JOB)
    assert [name for _, name, _ in events_in(db)] == ["job_submitted"]
