"""Engines with tags, engines that rest, and several engines in one process."""

import asyncio
import signal
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from dispatcher.client import Client
from dispatcher.engine.ffmpeg import Ffmpeg
from dispatcher.engine.hours import Hours
from dispatcher.engine.resting import Resting
from dispatcher.engine.sandbox import Access, FfmpegLimits
from tests.support.commands import command, started
from tests.support.engines import at_work, eventually, final
from tests.support.media import FFMPEG, Clips
from tests.support.plain_loop import anyio_backend  # noqa: F401 - the loop of an engine
from tests.support.servers import Running, events_in
from tests.support.web import Answer, Asked, web

pytest_plugins = ["tests.support.engine_fixtures"]
pytestmark = pytest.mark.anyio

HASTE = ("--ffmpeg", str(FFMPEG), "--poll-s", "0.05", "--heartbeat-s", "0.3")


class Wall:
    """A clock on the wall that is set by hand."""

    def __init__(self, shows: str) -> None:
        self.shows = shows

    def __call__(self) -> datetime:
        return datetime.fromisoformat(self.shows)


def nights(wall: Wall) -> Resting:
    return Resting(Hours.parse(["19:00-07:00"]), wall=wall, check_s=0.05)


async def reported(client: Client, engine_id: str = "engine") -> dict[str, Any]:
    """Wait until an engine is there, and give what the wire says of it."""

    async def look() -> dict[str, Any] | None:
        found = {it.engine_id: it.wire() for it in await client.engines()}
        return found.get(engine_id)

    return await eventually(look)


async def rests(client: Client) -> dict[str, Any]:
    async def look() -> dict[str, Any] | None:
        found = await reported(client)
        return found if found.get("resting") else None

    return await eventually(look)


# Tags


async def test_a_job_goes_to_an_engine_with_all_its_tags(
    server: Running, dispatcher: Client, ffmpeg: Ffmpeg, clips: Clips, tmp_path: Path
) -> None:
    async with (
        at_work(server.url, ffmpeg, tmp_path, engine_id="plain", tags=("gpu",)),
        at_work(server.url, ffmpeg, tmp_path, engine_id="tagged", tags=("4k", "gpu")),
    ):
        asked = [
            await dispatcher.submit(clips.plain.as_uri(), "mpeg4", tags=["gpu", "4k"])
            for _ in range(3)
        ]
        done = [await final(dispatcher, job.job_id) for job in asked]
        assert [job.assigned_engine for job in done] == ["tagged"] * 3
        assert done[0].tags == ["4k", "gpu"]
        assert "tag:gpu" in (await reported(dispatcher, "plain"))["abilities"]
        waiting = await dispatcher.submit(clips.plain.as_uri(), "mpeg4", tags=["tape"])
        assert (await dispatcher.why(waiting.job_id)).because == "no engine has the tag tape"


# Rest


async def test_an_engine_takes_no_job_outside_its_hours_and_says_so(
    server: Running, dispatcher: Client, ffmpeg: Ffmpeg, clips: Clips, tmp_path: Path
) -> None:
    wall = Wall("2026-03-02 12:00")
    async with at_work(server.url, ffmpeg, tmp_path, heartbeat_s=0.1, resting=nights(wall)):
        shown = await rests(dispatcher)
        assert shown["status"] == "busy"
        assert shown["resting"].startswith("outside its hours until 2026-03-02T19:00")
        job = await dispatcher.submit(clips.plain.as_uri(), "mpeg4")
        assert await dispatcher.assign() is None  # nor is it given one that it did not ask for
        why = await dispatcher.why(job.job_id)
        assert why.because.endswith("the engines that could take it take no new jobs now")
        (answer,) = why.engines
        assert answer.obstacle == "busy"
        assert answer.because == f"it takes no new jobs now: {shown['resting']}"
        wall.shows = "2026-03-02 19:00"
        assert (await final(dispatcher, job.job_id)).status == "completed"
        assert (await reported(dispatcher))["resting"] is None


async def test_an_engine_that_waits_for_work_rests_at_once(
    server: Running, dispatcher: Client, ffmpeg: Ffmpeg, clips: Clips, tmp_path: Path
) -> None:
    wall = Wall("2026-03-02 06:59")
    async with at_work(server.url, ffmpeg, tmp_path, wait_s=60, resting=nights(wall)):
        await reported(dispatcher)
        wall.shows = "2026-03-02 07:00"
        await rests(dispatcher)
        job = await dispatcher.submit(clips.plain.as_uri(), "mpeg4")
        wall.shows = "2026-03-02 19:30"
        assert (await final(dispatcher, job.job_id)).attempt == 1


async def test_a_job_goes_on_when_its_engine_begins_to_rest(
    server: Running, dispatcher: Client, ffmpeg: Ffmpeg, clips: Clips, tmp_path: Path
) -> None:
    asked_for, go_on = asyncio.Event(), asyncio.Event()

    async def answer(_: Asked) -> Answer:
        asked_for.set()
        await go_on.wait()
        return Answer(body=clips.plain.read_bytes())

    wall = Wall("2026-03-02 06:59")
    async with web(answer) as origin:
        job = await dispatcher.submit(f"{origin.url}/clip.mp4", "mpeg4")
        async with at_work(server.url, ffmpeg, tmp_path, heartbeat_s=0.1, resting=nights(wall)):
            await asked_for.wait()
            wall.shows = "2026-03-02 07:00"
            await rests(dispatcher)
            later = await dispatcher.submit(clips.plain.as_uri(), "mpeg4")
            go_on.set()
            assert (await final(dispatcher, job.job_id)).status == "completed"
            wall.shows = "2026-03-02 19:00"
            assert (await final(dispatcher, later.job_id)).status == "completed"
    kinds = [kind for _, kind, _ in events_in(server.db)]
    assert kinds.count("job_assigned") == 2


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (("--hours", "never"), "--hours 'never': 'never' is no day"),
        (("--tag", "a b"), "--tag must be short names: 'a b' is not"),
    ],
)
async def test_an_engine_does_not_begin_with_what_it_can_not_understand(
    options: tuple[str, ...], fault: str, server: Running, tmp_path: Path
) -> None:
    ended = await command(tmp_path, "engine", *options, server=server.url)
    assert ended.status == 1
    assert fault in ended.err


# Several at once


async def test_one_process_does_several_jobs_at_once_each_by_an_engine_of_its_own(
    server: Running, dispatcher: Client, clips: Clips, tmp_path: Path
) -> None:
    here = ("--id", "farm", "--work-dir", "work", "--source-root", "/", "--tag", "pool")
    async with started(tmp_path, "engine", *here, *HASTE, "--jobs", "2", server=server.url) as it:
        for name in ("farm-1", "farm-2"):
            assert "tag:pool" in (await reported(dispatcher, name))["abilities"]
        jobs = [await dispatcher.submit(clips.plain.as_uri(), "mpeg4") for _ in range(6)]
        done = [await final(dispatcher, job.job_id) for job in jobs]
        assert {job.status for job in done} == {"completed"}
        assert {job.assigned_engine for job in done} == {"farm-1", "farm-2"}
        it.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(it.wait(), 90) == 0
    again = await command(tmp_path, "engine", *here, *HASTE, "--jobs", "0", server=server.url)
    assert again.status == 2


async def test_if_one_of_several_is_replaced_the_others_finish_and_the_process_ends(
    server: Running, dispatcher: Client, tmp_path: Path
) -> None:
    here = ("--id", "farm", "--work-dir", "work")
    async with started(tmp_path, "engine", *here, *HASTE, "--jobs", "2", server=server.url) as it:
        await reported(dispatcher, "farm-1")
        await reported(dispatcher, "farm-2")
        await dispatcher.heartbeat("farm-1", {"instance": "elsewhere"})
        assert await asyncio.wait_for(it.wait(), 90) == 5


# What ffmpeg may use


async def test_ffmpeg_has_so_many_threads_and_this_priority(
    server: Running, dispatcher: Client, clips: Clips, tmp_path: Path
) -> None:
    ffmpeg = await Ffmpeg.probe(FFMPEG, FfmpegLimits(nice=15, threads=1))
    assert "nice=15" in ffmpeg.sandbox.around(["true"], Access())
    async with at_work(server.url, ffmpeg, tmp_path) as engine:
        for codec in ("h264", "hevc"):
            job = await dispatcher.submit(clips.plain.as_uri(), codec)
            assert (await final(dispatcher, job.job_id)).status == "completed"
            (output,) = engine.outputs.glob(f"*{job.job_id}*")
            text = output.read_bytes()
            if codec == "h264":  # x264 writes its settings into what it makes
                assert b" threads=1 " in text
            output.unlink()
    assert all(kind != "job_requeued" for _, kind, _ in events_in(server.db))
