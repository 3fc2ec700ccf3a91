"""Engines as processes that are killed or stopped under load: no job is lost, none done twice."""

import asyncio
import json
import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dispatcher.client import Client
from dispatcher.core.policy import Policy
from tests.support.commands import started
from tests.support.engines import eventually, files_below, final
from tests.support.media import FFMPEG, Clips
from tests.support.relays import Broken, deaf
from tests.support.servers import KEY, Running, events_in, running
from tests.support.web import Answer, Asked, serving, web

pytest_plugins = ["tests.support.engine_fixtures"]
pytestmark = pytest.mark.anyio

HASTE = ("--ffmpeg", str(FFMPEG), "--poll-s", "0.05", "--wait-s", "0", "--heartbeat-s", "0.3")
HERE = ("--source-networks", "loopback")


def engine(engine_id: str) -> tuple[str, ...]:
    return ("engine", "--id", engine_id, "--work-dir", "work", "--output", "out", *HASTE, *HERE)


@pytest.fixture
async def server(db: Path) -> AsyncIterator[Running]:
    """A dispatcher with short leases, which an engine that is slow to beat can yet keep."""
    async with running(db, policy=Policy(lease_s=4)) as dispatcher:
        yield dispatcher


def completions(db: Path) -> Counter[str]:
    return Counter(
        json.loads(data)["job_id"] for _, kind, data in events_in(db) if kind == "job_completed"
    )


async def test_a_stopped_engines_job_runs_elsewhere_and_its_late_answer_is_refused(
    server: Running, dispatcher: Client, clips: Clips, tmp_path: Path
) -> None:
    asked_for, go_on, late = asyncio.Event(), asyncio.Event(), asyncio.Event()
    answers: list[Answer] = []

    async def origin_answer(_: Asked) -> Answer:
        if not asked_for.is_set():
            asked_for.set()
            await go_on.wait()
        return Answer(body=clips.plain.read_bytes())

    async def answer(asked: Asked) -> Answer:
        told = await deaf(server.url, asked)  # so that it finishes what it was told to give up
        if asked.target.endswith("/complete"):
            answers.append(told)
            late.set()
        return told

    async with (
        web(origin_answer) as origin,
        web(answer) as between,
        started(tmp_path, *engine("stopped"), server=between.url) as stopped,
    ):
        held = await dispatcher.submit(f"{origin.url}/clip.mp4", "mpeg4")
        await asked_for.wait()
        others = [await dispatcher.submit(f"{origin.url}/clip.mp4", "mpeg4") for _ in range(4)]
        async with started(tmp_path, *engine("living"), server=server.url):
            stopped.send_signal(signal.SIGSTOP)
            try:
                elsewhere = await final(dispatcher, held.job_id)
            finally:
                stopped.send_signal(signal.SIGCONT)
            go_on.set()
            await asyncio.wait_for(late.wait(), 30)
            jobs = [await final(dispatcher, job.job_id) for job in (held, *others)]

            async def one_output_each() -> bool | None:
                return True if len(files_below(tmp_path / "out")) == len(jobs) else None

            await eventually(one_output_each)  # the late one is removed
    assert (elsewhere.status, elsewhere.assigned_engine) == ("completed", "living")
    assert (elsewhere.attempt, elsewhere.retries) == (2, 0)
    assert answers[0].status == 409
    assert f"this answer to job {held.job_id} comes too late".encode() in answers[0].body
    assert {job.status for job in jobs} == {"completed"}
    assert completions(server.db) == Counter(job.job_id for job in jobs)
    assert f"clip-{held.job_id}.mp4" in files_below(tmp_path / "out")


async def test_a_late_answer_while_another_engine_holds_the_job_is_a_conflict(
    server: Running, dispatcher: Client, clips: Clips, tmp_path: Path
) -> None:
    asked_for, go_on, late = asyncio.Event(), asyncio.Event(), asyncio.Event()
    answers: list[Answer] = []

    async def origin_answer(_: Asked) -> Answer:
        asked_for.set()
        await go_on.wait()
        return Answer(body=clips.plain.read_bytes())

    async def answer(asked: Asked) -> Answer:
        told = await deaf(server.url, asked)
        if asked.target.endswith("/complete") and not late.is_set():
            answers.append(told)
            late.set()
        return told

    async with (
        web(origin_answer) as origin,
        web(answer) as between,
        started(tmp_path, *engine("stopped"), server=between.url) as stopped,
    ):
        job = await dispatcher.submit(f"{origin.url}/clip.mp4", "mpeg4")
        await asked_for.wait()
        await dispatcher.heartbeat("living")
        stopped.send_signal(signal.SIGSTOP)
        try:

            async def taken_over() -> bool | None:
                await dispatcher.heartbeat("living")
                return True if await dispatcher.assign("living") else None

            await eventually(taken_over)
        finally:
            stopped.send_signal(signal.SIGCONT)
        beating = asyncio.create_task(_beating(dispatcher, "living", job.job_id))
        go_on.set()
        await asyncio.wait_for(late.wait(), 30)
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)
        await dispatcher.complete(job.job_id, "http://media/o.mp4", engine_id="living", attempt=2)

        async def tidied() -> bool | None:
            left = files_below(tmp_path / "out") + files_below(tmp_path / "work")
            return None if left else True

        await eventually(tidied)
    assert answers[0].status == 409
    assert b"engine living holds it now (attempt 2)" in answers[0].body
    assert completions(server.db) == {job.job_id: 1}


async def _beating(client: Client, engine_id: str, job_id: str) -> None:
    while True:
        await client.heartbeat(engine_id, {"current_job": job_id, "attempt": 2})
        await asyncio.sleep(0.2)


async def test_an_engine_killed_before_its_report_makes_it_in_its_next_life(
    db: Path, clips: Clips, tmp_path: Path
) -> None:
    async with (
        running(db) as server,  # with leases that last until the next life
        Client(server.url, KEY) as dispatcher,
        web(serving({"/clip.mp4": clips.plain})) as origin,
        web(line := Broken(server.url, "/complete")) as between,
    ):
        submitted = await dispatcher.submit(f"{origin.url}/clip.mp4", "mpeg4")
        async with started(tmp_path, *engine("e"), server=between.url) as process:
            await asyncio.wait_for(line.reached.wait(), 30)
            process.kill()
            await process.wait()
        line.mended.set()
        async with started(tmp_path, *engine("e"), server=between.url):
            job = await final(dispatcher, submitted.job_id)
    assert (job.status, job.attempt, job.retries) == ("completed", 1, 0)
    assert len(origin.asked) == 1
    assert completions(server.db) == {job.job_id: 1}
    assert files_below(tmp_path / "out") == [f"clip-{job.job_id}.mp4"]


async def test_a_killed_engines_job_runs_elsewhere(
    server: Running, dispatcher: Client, clips: Clips, tmp_path: Path
) -> None:
    asked_for = asyncio.Event()

    async def answer(_: Asked) -> Answer:
        if not asked_for.is_set():
            asked_for.set()
            return Answer(body=b"\0", then_silence=True)
        return Answer(body=clips.plain.read_bytes())

    async with web(answer) as origin:
        submitted = await dispatcher.submit(f"{origin.url}/clip.mp4", "mpeg4")
        async with started(tmp_path, *engine("killed"), server=server.url) as process:
            await asyncio.wait_for(asked_for.wait(), 30)
            process.kill()
            await process.wait()
        async with started(tmp_path, *engine("other"), server=server.url):
            job = await final(dispatcher, submitted.job_id)
    assert (job.status, job.assigned_engine, job.attempt) == ("completed", "other", 2)
    assert completions(server.db) == {job.job_id: 1}
