"""What an engine is told: to give a job up, to take no more, to end; and what it tells."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import pytest

from dispatcher.client import Client
from dispatcher.engine.agent import EngineReplacedError
from dispatcher.engine.ffmpeg import Ffmpeg
from dispatcher.engine.sources import STREAM_FROM_MB
from tests.support.engines import at_work, eventually, files_below, final
from tests.support.media import Clips, make_long_clip
from tests.support.plain_loop import anyio_backend  # noqa: F401 - the loop of an engine
from tests.support.servers import Running, events_in
from tests.support.web import Answer, Asked, answering, forwarding_to, serving, web

pytest_plugins = ["tests.support.engine_fixtures"]
pytestmark = pytest.mark.anyio

LITTLE_BYTES = 2_000
"""About a frame of the long clip."""


class Held:
    """A clip that is asked for, and comes when it is let go."""

    def __init__(self, clip: Path) -> None:
        self._clip = clip
        self.asked_for = asyncio.Event()
        self.go_on = asyncio.Event()

    async def __call__(self, _: Asked) -> Answer:
        self.asked_for.set()
        await self.go_on.wait()
        return Answer(body=self._clip.read_bytes())


# Cancelling


@pytest.mark.parametrize("size_mb", [0.0, STREAM_FROM_MB], ids=["while fetching", "in ffmpeg"])
async def test_a_cancelled_job_is_stopped_within_two_heartbeats_and_leaves_nothing(
    size_mb: float,
    server: Running,
    dispatcher: Client,
    ffmpeg: Ffmpeg,
    clips: Clips,
    tmp_path: Path,
) -> None:
    cancelled = asyncio.Event()
    beats = 0

    async def answer(asked: Asked) -> Answer:
        nonlocal beats
        if asked.target == "/engines/heartbeat" and cancelled.is_set():
            beats += 1
            if beats > 2:  # there is no third one before the source is let go
                await origin.left.wait()
        return await forwarding_to(server.url, asked)

    async with (
        web(answering(Answer(body=b"\0", then_silence=True))) as origin,
        web(answer) as between,
    ):
        submitted = await dispatcher.submit(f"{origin.url}/clip.mkv", "mpeg4", job_size=size_mb)
        async with at_work(between.url, ffmpeg, tmp_path, heartbeat_s=0.1) as engine:
            await origin.held.wait()
            await dispatcher.cancel(submitted.job_id)
            cancelled.set()
            await asyncio.wait_for(origin.left.wait(), 30)
            following = await dispatcher.submit(clips.plain.as_uri(), "mpeg4")
            assert (await final(dispatcher, following.job_id)).status == "completed"
        told = [asked.target for asked in between.asked if submitted.job_id in asked.target]
    assert told == []
    job = await dispatcher.job(submitted.job_id)
    assert (job.status, job.retries, job.error_message) == ("cancelled", 0, None)
    assert files_below(engine.workspace.path) == []
    assert files_below(engine.outputs) == [f"plain-{following.job_id}.mp4"]


async def test_an_order_for_another_job_stops_nothing(
    server: Running, dispatcher: Client, ffmpeg: Ffmpeg, clips: Clips, tmp_path: Path
) -> None:
    heard = 0
    enough = asyncio.Event()

    async def answer(asked: Asked) -> Answer:
        nonlocal heard
        given = await forwarding_to(server.url, asked)
        if asked.target != "/engines/heartbeat" or not held.asked_for.is_set():
            return given
        heard += 1
        if heard == 3:
            enough.set()
        return Answer(200, given.body, {"X-Dispatcher-Order": "cancel another%2Cjob, mow lawn"})

    held = Held(clips.plain)
    async with web(held) as origin, web(answer) as between:
        submitted = await dispatcher.submit(f"{origin.url}/clip.mp4", "mpeg4")
        async with at_work(between.url, ffmpeg, tmp_path, heartbeat_s=0.05):
            await asyncio.wait_for(enough.wait(), 30)
            held.go_on.set()
            job = await final(dispatcher, submitted.job_id)
    assert (job.status, job.attempt) == ("completed", 1)


# Draining


async def test_a_drained_engine_finishes_its_job_and_takes_nothing_until_it_is_resumed(
    server: Running, dispatcher: Client, ffmpeg: Ffmpeg, clips: Clips, tmp_path: Path
) -> None:
    beats_drained = 0
    enough = asyncio.Event()

    async def answer(asked: Asked) -> Answer:
        nonlocal beats_drained
        given = await forwarding_to(server.url, asked)
        if given.headers.get("X-Dispatcher-Order") == "drain" and held.go_on.is_set():
            beats_drained += 1
            if beats_drained == 3:
                enough.set()
        return given

    held = Held(clips.plain)
    async with web(held) as origin, web(answer) as between:
        first = await dispatcher.submit(f"{origin.url}/clip.mp4", "mpeg4")
        async with at_work(between.url, ffmpeg, tmp_path, heartbeat_s=0.05):
            await held.asked_for.wait()
            await dispatcher.drain_engine("engine")
            second = await dispatcher.submit(clips.plain.as_uri(), "mpeg4")
            held.go_on.set()
            assert (await final(dispatcher, first.job_id)).status == "completed"
            await asyncio.wait_for(enough.wait(), 30)
            assert (await dispatcher.job(second.job_id)).attempt == 0
            await dispatcher.resume_engine("engine")
            assert (await final(dispatcher, second.job_id)).status == "completed"


async def test_an_engine_told_to_drain_finishes_its_job_and_ends(
    server: Running, dispatcher: Client, ffmpeg: Ffmpeg, clips: Clips, tmp_path: Path
) -> None:
    held = Held(clips.plain)
    async with web(held) as origin:
        first = await dispatcher.submit(f"{origin.url}/clip.mp4", "mpeg4")
        second = await dispatcher.submit(clips.plain.as_uri(), "mpeg4")
        async with at_work(server.url, ffmpeg, tmp_path) as engine:
            await held.asked_for.wait()
            engine.agent.drain()
            held.go_on.set()
            await asyncio.wait_for(engine.life, 30)
    assert (await dispatcher.job(first.job_id)).status == "completed"
    assert (await dispatcher.job(second.job_id)).attempt == 0


async def test_an_engine_told_to_drain_while_it_waits_for_work_ends_at_once(
    server: Running, dispatcher: Client, ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    polling = asyncio.Event()

    async def answer(asked: Asked) -> Answer:
        if asked.target == "/assign_job/":
            polling.set()
            await asyncio.Event().wait()
        return await forwarding_to(server.url, asked)

    async with web(answer) as between, at_work(between.url, ffmpeg, tmp_path, wait_s=60) as engine:
        await polling.wait()
        engine.agent.drain()
        await asyncio.wait_for(engine.life, 30)
    assert [one.engine_id for one in await dispatcher.engines()] == ["engine"]


async def test_a_job_given_to_an_engine_just_as_it_hung_up_is_done_before_it_ends(
    server: Running, dispatcher: Client, ffmpeg: Ffmpeg, clips: Clips, tmp_path: Path
) -> None:
    given = asyncio.Event()

    async def answer(asked: Asked) -> Answer:
        told = await forwarding_to(server.url, asked)
        if asked.target == "/assign_job/" and told.status == 200:
            given.set()
            await asyncio.Event().wait()
        return told

    submitted = await dispatcher.submit(clips.plain.as_uri(), "mpeg4")
    async with web(answer) as between, at_work(between.url, ffmpeg, tmp_path, wait_s=60) as engine:
        await given.wait()
        engine.agent.drain()
        await asyncio.wait_for(engine.life, 30)
    job = await dispatcher.job(submitted.job_id)
    assert (job.status, job.attempt, job.retries) == ("completed", 1, 0)


# Stopping


async def test_an_engine_that_is_stopped_reports_its_job_as_its_holder(
    server: Running, dispatcher: Client, ffmpeg: Ffmpeg, clips: Clips, tmp_path: Path
) -> None:
    held = Held(clips.plain)

    async def answer(asked: Asked) -> Answer:
        return await forwarding_to(server.url, asked)

    async with web(held) as origin, web(answer) as between:
        submitted = await dispatcher.submit(f"{origin.url}/clip.mp4", "mpeg4")
        async with at_work(between.url, ffmpeg, tmp_path) as engine:
            await held.asked_for.wait()
            engine.agent.stop()
            await asyncio.wait_for(engine.life, 30)
        (report,) = (one for one in between.asked if one.target.endswith("/fail"))
    told = json.loads(report.body)
    assert told.pop("instance").startswith(f"{socket.gethostname()}-")
    assert told == {
        "error_message": "engine engine was stopped during the job",
        "engine_id": "engine",
        "attempt": 1,
        "given_back": True,
    }
    job = await dispatcher.job(submitted.job_id)
    assert (job.status, job.retries) == ("pending", 0), "it costs the job nothing"
    assert files_below(engine.workspace.path) == []


async def test_an_engine_that_is_stopped_while_it_delivers_does_not_wait_for_the_store(
    server: Running, dispatcher: Client, ffmpeg: Ffmpeg, clips: Clips, tmp_path: Path
) -> None:
    delivering = asyncio.Event()

    async def answer(_: Asked) -> Answer:
        delivering.set()
        await asyncio.Event().wait()
        raise AssertionError

    async with web(answer) as store:
        submitted = await dispatcher.submit(clips.plain.as_uri(), "mpeg4")
        async with at_work(server.url, ffmpeg, tmp_path, output=store.url) as engine:
            await delivering.wait()
            engine.agent.stop()
            await asyncio.wait_for(engine.life, 10)
    job = await dispatcher.job(submitted.job_id)
    assert (job.status, job.retries) == ("pending", 0)


async def test_of_two_machines_with_one_id_the_newest_works_and_the_other_ends_with_the_reason(
    server: Running, dispatcher: Client, ffmpeg: Ffmpeg, clips: Clips, tmp_path: Path
) -> None:
    held = Held(clips.plain)
    async with web(held) as origin:
        submitted = await dispatcher.submit(f"{origin.url}/clip.mp4", "mpeg4", max_retries=1)
        async with at_work(server.url, ffmpeg, tmp_path / "first", heartbeat_s=0.05) as first:
            await held.asked_for.wait()
            first.dead = True  # it ends by itself
            async with at_work(server.url, ffmpeg, tmp_path / "clone") as clone:
                with pytest.raises(EngineReplacedError, match="took over engine engine") as told:
                    await asyncio.wait_for(first.life, 30)
                held.go_on.set()
                job = await final(dispatcher, submitted.job_id)
                assert not clone.life.done()
        first.workspace.release()
    assert (job.status, job.retries, job.attempt) == ("completed", 0, 2)
    assert told.value.exit_code == 5
    (engine,) = await dispatcher.engines()
    assert len(engine.fenced_instances) == 1


async def test_a_finished_job_is_reported_although_the_journal_can_not_be_written(
    server: Running, dispatcher: Client, ffmpeg: Ffmpeg, clips: Clips, tmp_path: Path
) -> None:
    held = Held(clips.plain)
    async with web(held) as origin:
        submitted = await dispatcher.submit(f"{origin.url}/clip.mp4", "mpeg4", max_retries=1)
        async with at_work(server.url, ffmpeg, tmp_path) as engine:
            await held.asked_for.wait()
            (engine.workspace.path / "journal.new").mkdir()  # where the next note is drafted
            held.go_on.set()
            job = await final(dispatcher, submitted.job_id)
    assert (job.status, job.error_message) == ("completed", None)


# Waiting for work


async def test_a_job_reaches_a_waiting_engine_without_another_poll(
    server: Running, dispatcher: Client, ffmpeg: Ffmpeg, clips: Clips, tmp_path: Path
) -> None:
    polling = asyncio.Event()

    async def answer(asked: Asked) -> Answer:
        if asked.target == "/assign_job/":
            polling.set()
        return await forwarding_to(server.url, asked)

    async with web(answer) as between, at_work(between.url, ffmpeg, tmp_path, wait_s=60):
        await polling.wait()
        submitted = await dispatcher.submit(clips.plain.as_uri(), "mpeg4")
        assert (await final(dispatcher, submitted.job_id)).status == "completed"
        targets = [asked.target for asked in between.asked]
    before = targets[: targets.index(f"/jobs/{submitted.job_id}/complete")]
    assert before.count("/assign_job/") == 1


# Progress


async def test_the_progress_of_ffmpeg_is_shown_and_only_grows(
    server: Running, dispatcher: Client, each_ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    """Each look lets a little more of the clip go: ffmpeg 5 tells nothing while it waits for it."""
    clip = make_long_clip(tmp_path / "long.mkv")
    whole = clip.read_bytes()
    looked, seen_enough = asyncio.Event(), asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        sent = len(whole) // 10
        yield whole[:sent]
        while not seen_enough.is_set() and sent < len(whole) * 0.9:
            looked.clear()
            await looked.wait()
            yield whole[sent : sent + LITTLE_BYTES]
            sent += LITTLE_BYTES
        await seen_enough.wait()
        yield whole[sent:]

    async with web(serving({"/long.mkv": Answer(pieces=pieces, length=len(whole))})) as origin:
        submitted = await dispatcher.submit(
            f"{origin.url}/long.mkv", "mpeg4", job_size=STREAM_FROM_MB, max_retries=1
        )
        async with at_work(server.url, each_ffmpeg, tmp_path, heartbeat_s=0.05):
            shown = 0.0
            for _ in range(2):

                async def further(last: float = shown) -> float | None:
                    looked.set()
                    job = await dispatcher.job(submitted.job_id)
                    assert not job.final, job.error_message
                    return job.progress if (job.progress or 0.0) > last else None

                shown = await eventually(further)
            seen_enough.set()
            looked.set()
            job = await final(dispatcher, submitted.job_id)
    assert 0 < shown < 100
    assert (job.status, job.progress) == ("completed", None)
    told = [json.loads(data) for _, kind, data in events_in(server.db) if kind == "job_progressed"]
    assert len(told) >= 2
    assert all(one["progress"] < next_["progress"] for one, next_ in pairwise(told))
