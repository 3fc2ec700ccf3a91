"""`dispatcher history` and `dispatcher tail`: the log, told to people and to scripts."""

import asyncio
import signal
from asyncio.subprocess import Process
from contextlib import AsyncExitStack
from pathlib import Path

import httpx2
import msgspec
import pytest
from msgspec import structs

from dispatcher.core.events import Recorded
from dispatcher.log.sqlite import SqliteLog
from tests.support.commands import command, ended, started
from tests.support.farm import assigned, beat, submitted
from tests.support.given import START, job
from tests.support.log_contents import encoded
from tests.support.servers import Running, client_of, running

pytestmark = pytest.mark.anyio


async def a_late_answer(client: httpx2.AsyncClient) -> str:
    """Have a job fail on `a` and be done by `b`, while `a` answers too late; six events of it."""
    job_id = await submitted(client, source_url="http://media/film.mov")
    for attempt, engine_id in enumerate("ab", 1):
        await beat(client, engine_id)
        await assigned(client, engine_id)
        if attempt == 1:
            failure = {"error_message": "out of\ndisk", "engine_id": "a", "attempt": 1}
            assert (await client.post(f"/jobs/{job_id}/fail", json=failure)).status_code == 200
    for engine_id, attempt, status in (("a", 1, 409), ("b", 2, 200)):
        done = {"output_url": "http://out", "engine_id": engine_id, "attempt": attempt}
        answer = await client.post(f"/jobs/{job_id}/complete", json=done)
        assert answer.status_code == status
    return job_id


async def test_a_history_tells_every_event_and_every_attempt(
    client: httpx2.AsyncClient, server: Running, tmp_path: Path
) -> None:
    job_id = await a_late_answer(client)
    done = await command(tmp_path, "history", job_id, server=server.url)
    assert (done.status, done.err) == (0, "")
    events, stages, sums = (part.splitlines() for part in done.out.split("\n\n"))
    told = [line.split("\t") for line in events]
    assert {row[3] for row in told} == {"tester"}
    for row, words in zip(
        told,
        (
            "submitted: http://media/film.mov to h264, 0 MB",
            "assigned to a, attempt 1: it asked for work",
            "attempt 1 on a failed: disk; re-queued, failures: 1",
            "assigned to b, attempt 2: it asked for work",
            "refused the late 'complete' of attempt 1 by a: Conflict:",
            "attempt 2 on b completed: http://out",
        ),
        strict=True,
    ):
        assert row[4].startswith(words)
    assert [(name, engine, end) for name, engine, _, end in (it.split("\t") for it in stages)] == [
        ("waiting", "", "assigned to a"),
        ("attempt 1", "a", "failed: disk"),
        ("waiting", "", "assigned to b"),
        ("attempt 2", "b", "completed: http://out"),
    ]
    assert sums[0].startswith("In all 0.")
    assert sums[0].endswith("late answers refused: 1")


async def test_a_history_is_the_same_from_the_log_alone(db: Path, tmp_path: Path) -> None:
    async with running(db) as server, client_of(server) as client:
        job_id = await a_late_answer(client)
        await submitted(client)
        asked = [
            await command(tmp_path, "history", job_id, *more, server=server.url)
            for more in ((), ("--json",))
        ]
        text = (await client.get(f"/jobs/{job_id}/events")).text
    for more, online in zip(((), ("--json",)), asked, strict=True):
        offline = await command(tmp_path, "history", job_id, "--db", str(db), *more)
        assert offline == online
    items = msgspec.json.decode(asked[1].out, type=list[msgspec.Raw])
    assert f"[{','.join(bytes(item).decode() for item in items)}]" == text


async def test_a_history_from_the_log_alone_has_what_this_version_does_not_know(
    db: Path, tmp_path: Path
) -> None:
    (known,) = encoded(Recorded(1, START, "t", job("j")))
    strange = [
        structs.replace(known, seq=seq, type=of_type, version=version, data=data)
        for seq, of_type, version, data in (
            (2, "job_teleported", 1, b'{"far":1,"job_id":"j"}'),
            (3, "job_assigned", 99, b'{"job_id":"j"}'),
            (4, "job_teleported", 1, b'{"job_id":"another"}'),
            (5, "farm_sold", 1, b'{"job_id":["j"]}'),
        )
    ]
    async with await SqliteLog.open(db) as log:
        await log.append([known, *strange], 0)
    done = await command(tmp_path, "history", "j", "--db", str(db))
    assert (done.status, done.err) == (0, "")
    assert "\tjob_teleported\n" in done.out
    assert "\tjob_assigned\n" in done.out
    done = await command(tmp_path, "history", "j", "--db", str(db), "--json")
    assert [event["seq"] for event in done.json] == [1, 2, 3]


async def test_a_job_that_is_not_there_has_no_history(db: Path, tmp_path: Path) -> None:
    async with running(db) as server:
        done = await command(tmp_path, "history", "nope", server=server.url)
        assert (done.status, done.out) == (4, "")
        unknown = "'nope' is no job's id, nor the beginning of one"
        assert done.err == f"dispatcher: Job not found: {unknown} (HTTP 404)\n"
    done = await command(tmp_path, "history", "nope", "--db", str(db))
    assert (done.status, done.out) == (1, "")
    assert done.err == f"dispatcher: {db}: there is no job 'nope' in this log\n"


async def lines_of(process: Process, count: int) -> list[str]:
    assert process.stdout is not None
    async with asyncio.timeout(30):
        return [(await process.stdout.readline()).decode().rstrip("\n") for _ in range(count)]


async def test_tail_tells_what_happens_until_ctrl_c_and_through_restarts(
    db: Path, tmp_path: Path
) -> None:
    stack = AsyncExitStack()
    async with running(db) as server, client_of(server) as client:
        job_id = await submitted(client)
        tail = started(tmp_path, "tail", "--after", "0", server=server.url)
        process = await stack.enter_async_context(tail)
        (first,) = await lines_of(process, 1)
        time, seq, what = first[:23], first[24:25], first[26:]
        assert (time[4], time[10], time[19], seq) == ("-", " ", ".", "1")
        assert what == f"tester job {job_id}: submitted: http://media/in.mp4 to h264, 0 MB"
        await beat(client, "e", status="idle")
        assert (await lines_of(process, 1))[0].endswith(' engine e: reported {"status":"idle"}')
    async with stack, running(db, port=server.port) as server, client_of(server) as client:
        await beat(client, "e")
        assert (await lines_of(process, 1))[0][24:] == "3 tester engine e: seen"
        process.send_signal(signal.SIGINT)
        done = await ended(process)
        assert (done.status, done.out, done.err) == (0, "", "")


async def test_tail_gives_scripts_the_lines_of_what_they_asked_for(
    client: httpx2.AsyncClient, server: Running, tmp_path: Path
) -> None:
    job_id = await a_late_answer(client)
    (event,) = (await client.get("/events?type=answer_refused")).json()
    for asked in (("--job", job_id), ("--engine", "a")):
        arguments = ("tail", "--after", "0", "--json", "--type", "answer_refused", *asked)
        async with started(tmp_path, *arguments, server=server.url) as process:
            assert [msgspec.json.decode(line) for line in await lines_of(process, 1)] == [event]


async def test_tail_says_what_it_can_not_do(
    client: httpx2.AsyncClient, server: Running, tmp_path: Path
) -> None:
    await beat(client, "e")
    done = await command(tmp_path, "tail", "--after", "2", server=server.url)
    assert (done.status, done.out) == (4, "")
    assert "'after' must be at most 1" in done.err
    done = await command(tmp_path, "tail", server="http://127.0.0.1:1")
    assert (done.status, done.out) == (3, "")
