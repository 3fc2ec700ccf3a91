"""An engine whose dispatcher is away, comes back, or is heard badly."""

import asyncio
from pathlib import Path

import pytest

from dispatcher.client import Client
from dispatcher.engine.ffmpeg import Ffmpeg
from tests.support.engines import at_work, eventually, files_below, final
from tests.support.media import Clips
from tests.support.plain_loop import anyio_backend  # noqa: F401 - the loop of an engine
from tests.support.servers import KEY, Running, events_in, running
from tests.support.web import Answer, Asked, answering, forwarding_to, web

pytest_plugins = ["tests.support.engine_fixtures"]
pytestmark = pytest.mark.anyio


class BadLine:
    """Passes requests on to a dispatcher, but loses the first answer on one route."""

    def __init__(self, url: str, route: str) -> None:
        self._url = url
        self._route = route
        self.lost = 0

    async def __call__(self, asked: Asked) -> Answer | None:
        answer = await forwarding_to(self._url, asked)
        wanted = asked.target.endswith(self._route) and answer.status == 200
        if wanted and not self.lost:
            self.lost += 1
            return None
        return answer


def count(db: Path, word: str) -> int:
    return sum(word in kind.lower() for _, kind, _ in events_in(db))


async def test_an_engine_that_comes_before_its_dispatcher_waits_for_it(
    ffmpeg: Ffmpeg, clips: Clips, db: Path, tmp_path: Path
) -> None:
    knocked = asyncio.Event()

    async def nobody_home(_: Asked) -> None:
        knocked.set()

    async with web(nobody_home) as closed:
        port = int(closed.url.rpartition(":")[2])
        waiting = at_work(closed.url, ffmpeg, tmp_path)
        await waiting.__aenter__()
        await knocked.wait()
    try:
        async with running(db, port=port) as server, Client(server.url, KEY) as client:
            submitted = await client.submit(clips.plain.as_uri(), "h264")
            assert (await final(client, submitted.job_id)).status == "completed"
    finally:
        await waiting.__aexit__(None, None, None)


async def test_an_idle_engine_lives_through_a_restart_of_its_dispatcher(
    ffmpeg: Ffmpeg, clips: Clips, db: Path, tmp_path: Path
) -> None:
    async with running(db) as first, Client(first.url, KEY) as client:
        waiting = at_work(first.url, ffmpeg, tmp_path)
        engine = await waiting.__aenter__()

        async def registered() -> bool | None:
            return True if await client.engines() else None

        await eventually(registered)
    assert not engine.life.done()
    async with running(db, port=first.port) as again, Client(again.url, KEY) as client:
        submitted = await client.submit(clips.plain.as_uri(), "h264")
        assert (await final(client, submitted.job_id)).status == "completed"
        await waiting.__aexit__(None, None, None)


async def test_a_job_that_ends_while_the_dispatcher_is_away_is_reported_later(
    ffmpeg: Ffmpeg, clips: Clips, db: Path, tmp_path: Path
) -> None:
    asked_for, go_on = asyncio.Event(), asyncio.Event()

    async def answer(_: Asked) -> Answer:
        asked_for.set()
        await go_on.wait()
        return Answer(body=clips.plain.read_bytes())

    async with web(answer) as origin:
        async with running(db) as first, Client(first.url, KEY) as client:
            submitted = await client.submit(f"{origin.url}/clip.mp4", "h264")
            waiting = at_work(first.url, ffmpeg, tmp_path)
            engine = await waiting.__aenter__()
            await asked_for.wait()
        go_on.set()

        async def delivered() -> bool | None:
            return True if files_below(engine.outputs) else None

        await eventually(delivered)
        async with running(db, port=first.port) as again, Client(again.url, KEY) as client:
            job = await final(client, submitted.job_id)
            await waiting.__aexit__(None, None, None)
    assert (job.status, job.attempt, job.retries) == ("completed", 1, 0)
    assert files_below(engine.outputs) == [f"clip-{job.job_id}.mp4"]


async def test_an_engine_that_its_dispatcher_does_not_know_any_more_registers_again(
    ffmpeg: Ffmpeg, clips: Clips, tmp_path: Path
) -> None:
    async with running(tmp_path / "one.db") as first, Client(first.url, KEY) as client:
        submitted = await client.submit(clips.plain.as_uri(), "mpeg4")
        waiting = at_work(first.url, ffmpeg, tmp_path)
        await waiting.__aenter__()
        await final(client, submitted.job_id)
    other = running(tmp_path / "other.db", port=first.port)
    async with other as second, Client(second.url, KEY) as client:
        submitted = await client.submit(clips.plain.as_uri(), "mpeg4")
        job = await final(client, submitted.job_id)
        (engine,) = await client.engines()
        await waiting.__aexit__(None, None, None)
    assert job.status == "completed"
    assert engine.benchmark_time is not None


async def test_when_the_answer_to_a_poll_is_lost_the_job_is_done_all_the_same(
    server: Running, dispatcher: Client, ffmpeg: Ffmpeg, clips: Clips, tmp_path: Path
) -> None:
    submitted = await dispatcher.submit(clips.plain.as_uri(), "h264")
    line = BadLine(server.url, "/assign_job/")
    async with web(line) as between, at_work(between.url, ffmpeg, tmp_path):
        job = await final(dispatcher, submitted.job_id)
    assert line.lost == 1
    assert (job.status, job.attempt) == ("completed", 1)


async def test_when_the_answer_to_a_completion_is_lost_it_is_reported_again_and_counts_once(
    server: Running, dispatcher: Client, ffmpeg: Ffmpeg, clips: Clips, tmp_path: Path
) -> None:
    submitted = await dispatcher.submit(clips.plain.as_uri(), "h264")
    line = BadLine(server.url, "/complete")
    async with web(line) as between, at_work(between.url, ffmpeg, tmp_path) as engine:
        job = await final(dispatcher, submitted.job_id)
    assert line.lost == 1
    assert job.status == "completed"
    assert count(server.db, "completed") == 1
    assert files_below(engine.outputs) == [f"plain-{job.job_id}.mp4"]
    assert [asked.target for asked in between.asked].count(f"/jobs/{job.job_id}/complete") == 2


async def test_when_the_answer_to_a_failure_is_lost_the_failure_counts_once(
    server: Running, dispatcher: Client, ffmpeg: Ffmpeg, clips: Clips, tmp_path: Path
) -> None:
    submitted = await dispatcher.submit(clips.plain.as_uri(), "mpeg4", max_retries=3)
    line = BadLine(server.url, "/fail")
    async with (
        web(answering(Answer(403))) as store,
        web(line) as between,
        at_work(between.url, ffmpeg, tmp_path, output=store.url),
    ):
        job = await final(dispatcher, submitted.job_id)
    assert line.lost == 1
    assert (job.status, job.retries) == ("failed_permanently", 3)
    assert job.attempt == 3  # as many attempts as failures


async def test_a_dispatcher_that_can_not_write_for_a_while_is_waited_for(
    server: Running, dispatcher: Client, ffmpeg: Ffmpeg, clips: Clips, tmp_path: Path
) -> None:
    refused: list[str] = []

    async def answer(asked: Asked) -> Answer:
        """Refuse every kind of request once."""
        kind = asked.target.rpartition("/")[2] or asked.target
        if kind not in refused:
            refused.append(kind)
            return Answer(503, b"Service Unavailable: disk full")
        return await forwarding_to(server.url, asked)

    submitted = await dispatcher.submit(clips.plain.as_uri(), "h264")
    async with web(answer) as between, at_work(between.url, ffmpeg, tmp_path):
        job = await final(dispatcher, submitted.job_id)
    assert (job.status, job.attempt) == ("completed", 1)
    assert sorted(refused) == [
        "/assign_job/",
        "/engines/",  # a last look whether a job was given just as the engine hung up
        "benchmark_result",
        "complete",
        "heartbeat",
    ]
