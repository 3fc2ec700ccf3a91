"""`wait` and `submit --wait`: until all is done, with bars, and what becomes of it after Ctrl-C."""

import asyncio
import signal
from pathlib import Path
from typing import Final

import pytest

from dispatcher.client import Client
from tests.support.commands import command, ended, said_by, started
from tests.support.servers import Running
from tests.support.terminals import Terminal

pytestmark = pytest.mark.anyio

SOURCE: Final = "http://media/holiday%20film.mp4"


async def submitted(dispatcher: Client, count: int) -> list[str]:
    return [(await dispatcher.submit(SOURCE, "h264", max_retries=1)).job_id for _ in range(count)]


async def test_it_exits_with_0_when_all_are_completed(
    dispatcher: Client, server: Running, tmp_path: Path
) -> None:
    ids = await submitted(dispatcher, 2)
    async with started(tmp_path, "wait", *ids, "--json", server=server.url) as waiting:
        await dispatcher.complete(ids[0], "o")
        told = await said_by(waiting, ids[0])
        await dispatcher.complete(ids[1], "o")
        done = await ended(waiting)
    assert told == f"{ids[0]} completed (1 of 2)\n"
    assert done.status == 0
    assert [job["status"] for job in done.json] == ["completed", "completed"]


async def test_it_exits_with_1_when_one_failed(
    dispatcher: Client, server: Running, tmp_path: Path
) -> None:
    ids = await submitted(dispatcher, 2)
    await dispatcher.complete(ids[0], "o")
    await dispatcher.fail(ids[1], "broke")
    done = await command(tmp_path, "wait", *ids, server=server.url)
    assert (done.status, done.err) == (1, "")
    assert [line.split("\t")[1] for line in done.out.splitlines()] == [
        "completed",
        "failed_permanently",
    ]


async def test_it_waits_no_longer_than_it_is_told(
    dispatcher: Client, server: Running, tmp_path: Path
) -> None:
    (job_id,) = await submitted(dispatcher, 1)
    done = await command(tmp_path, "wait", job_id, "--timeout", "0.2s", server=server.url)
    assert done.status == 124
    assert done.err == (
        "1 of 1 jobs are not done, and go on without you. "
        f"To follow them: dispatcher wait {job_id}; to stop them: dispatcher cancel {job_id}\n"
    )
    assert (await dispatcher.job(job_id)).status == "pending"


@pytest.mark.parametrize("text", ["soon", "-1", ""])
async def test_a_timeout_that_is_none_exits_with_2(tmp_path: Path, text: str) -> None:
    arguments = ("wait", "1_0", "--timeout", text)
    done = await command(tmp_path, *arguments, server="http://127.0.0.1:1")
    assert (done.status, done.out) == (2, "")


async def test_a_dispatcher_that_was_never_there_is_an_error(tmp_path: Path) -> None:
    done = await command(tmp_path, "wait", "1_0", server="http://127.0.0.1:1")
    assert done.status == 3


async def test_a_job_that_nobody_knows_is_named(server: Running, tmp_path: Path) -> None:
    done = await command(tmp_path, "wait", "1_0", server=server.url)
    assert (done.status, done.out) == (4, "")
    assert "Job not found: '1_0'" in done.err


async def test_after_ctrl_c_the_jobs_go_on_and_it_says_how_to_follow_them(
    dispatcher: Client, server: Running, tmp_path: Path
) -> None:
    arguments = ("submit", SOURCE, "--codec", "h264", "--wait")
    async with Terminal(tmp_path, *arguments, server=server.url, columns=120) as terminal:
        await terminal.shows("waits")
        terminal.types("\x03")
        assert await terminal.ended() == 130
    (job,) = await dispatcher.jobs()
    assert job.status == "pending"
    assert f"To follow them: dispatcher wait {job.job_id};" in terminal.text
    assert "Traceback" not in terminal.text


async def test_a_terminal_shows_a_bar_for_each_job(
    dispatcher: Client, server: Running, tmp_path: Path
) -> None:
    await dispatcher.heartbeat("farm-1")
    ids = await submitted(dispatcher, 2)
    held = await dispatcher.assign("farm-1")
    assert held is not None
    report = {"current_job": held.job_id, "progress": 42.0}
    await dispatcher.heartbeat("farm-1", report)
    async with Terminal(tmp_path, "wait", *ids, server=server.url, columns=120) as terminal:
        await terminal.shows("42 %")
        await terminal.shows("on farm-1")
        await terminal.shows("holiday film.mp4")
        await terminal.shows("0 of 2 done, 1 in work, 1 waiting")
        for job_id in ids:
            await dispatcher.complete(job_id, "o")
        assert await terminal.ended() == 0
    assert [line.split()[:2] for line in terminal.text.splitlines()[-2:]] == [
        [job_id, "completed"] for job_id in ids
    ]


async def test_ctrl_c_without_a_terminal_says_the_same(
    dispatcher: Client, server: Running, tmp_path: Path
) -> None:
    ids = await submitted(dispatcher, 2)
    async with started(tmp_path, "wait", *ids, server=server.url) as waiting:
        await dispatcher.complete(ids[0], "o")
        await said_by(waiting, ids[0])
        waiting.send_signal(signal.SIGINT)
        done = await ended(waiting)
    assert done.status == 130
    assert "Traceback" not in done.err
    assert f"dispatcher wait {ids[1]}" in done.err


async def test_many_jobs_are_followed_to_their_end(
    dispatcher: Client, server: Running, tmp_path: Path
) -> None:
    ids = await submitted(dispatcher, 30)
    waiting = asyncio.create_task(command(tmp_path, "wait", *ids, server=server.url))
    for job_id in ids:
        await dispatcher.complete(job_id, "o")
    done = await waiting
    assert (done.status, len(done.out.splitlines())) == (0, 30)
