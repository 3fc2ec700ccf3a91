"""An engine at work: real dispatcher, real ffmpeg, real HTTP."""

import asyncio
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import pytest

from dispatcher.client import Client, RequestRefusedError
from dispatcher.engine.agent import Agent, Settings
from dispatcher.engine.delivery import delivery_to
from dispatcher.engine.ffmpeg import Ffmpeg
from dispatcher.engine.sources import STREAM_FROM_MB, Sources
from dispatcher.engine.workspace import Workspace
from projections.jobs import JobView
from tests.support.engines import ANYWHERE, at_work, eventually, files_below, final
from tests.support.media import Clips, found_in, playlist_of
from tests.support.plain_loop import anyio_backend  # noqa: F401 - the loop of an engine
from tests.support.servers import Running, events_in
from tests.support.web import Answer, Asked, answering, forwarding_to, serving, web

pytest_plugins = ["tests.support.engine_fixtures"]
pytestmark = pytest.mark.anyio

STOPPED: Final = "engine engine was stopped during the job"


def output_of(job: JobView) -> Path:
    assert job.output_url is not None
    return Path(unquote(urlsplit(job.output_url).path))


# From a source to an output


@pytest.mark.parametrize(
    ("codec", "name", "video"), [("h264", ".mp4", "h264"), ("vp9", ".webm", "vp9")]
)
async def test_a_job_becomes_a_playable_output_of_its_codec(
    codec: str,
    name: str,
    video: str,
    server: Running,
    dispatcher: Client,
    ffmpeg: Ffmpeg,
    clips: Clips,
    tmp_path: Path,
) -> None:
    submitted = await dispatcher.submit(clips.plain.as_uri(), codec)
    async with at_work(server.url, ffmpeg, tmp_path) as engine:
        job = await final(dispatcher, submitted.job_id)
    assert (job.status, job.assigned_engine, job.retries) == ("completed", "engine", 0)
    assert output_of(job) == engine.outputs / f"plain-{job.job_id}{name}"
    found = found_in(output_of(job))
    assert found.video == video
    assert found.audio is not None
    assert files_below(engine.workspace.path) == []


async def test_a_job_goes_from_one_web_server_to_another(
    server: Running, dispatcher: Client, ffmpeg: Ffmpeg, clips: Clips, tmp_path: Path
) -> None:
    async with (
        web(serving({"/clip.mp4": clips.plain})) as origin,
        web(answering(Answer(201))) as store,
    ):
        submitted = await dispatcher.submit(f"{origin.url}/clip.mp4", "h264", job_size=10)
        async with at_work(server.url, ffmpeg, tmp_path, output=f"{store.url}/videos"):
            job = await final(dispatcher, submitted.job_id)
    (put,) = store.asked
    assert job.output_url == store.url + put.target
    stored = tmp_path / "stored.mp4"
    stored.write_bytes(put.body)
    assert found_in(stored).video == "h264"


async def test_large_videos_and_playlists_are_streamed(
    server: Running, dispatcher: Client, ffmpeg: Ffmpeg, clips: Clips, tmp_path: Path
) -> None:
    pages: dict[str, Path | str | Answer] = {
        "/clip.mkv": clips.surround,
        "/list.m3u8": playlist_of("clip.ts"),
    }
    async with web(serving(pages)) as origin, at_work(server.url, ffmpeg, tmp_path):
        large = await dispatcher.submit(
            f"{origin.url}/clip.mkv", "h264", job_size=STREAM_FROM_MB, max_retries=1
        )
        assert (await final(dispatcher, large.job_id)).status == "completed"
        listed = await dispatcher.submit(f"{origin.url}/list.m3u8", "h264", max_retries=1)
        await final(dispatcher, listed.job_id)
    assert {asked.headers["user-agent"].partition("/")[0] for asked in origin.asked} == {"Lavf"}
    assert "/clip.ts" in [asked.target for asked in origin.asked]


async def test_two_engines_do_ten_jobs_once_each(
    server: Running, dispatcher: Client, ffmpeg: Ffmpeg, clips: Clips, tmp_path: Path
) -> None:
    submitted = [await dispatcher.submit(clips.plain.as_uri(), "mpeg4") for _ in range(10)]
    async with (
        at_work(server.url, ffmpeg, tmp_path, engine_id="one") as engine,
        at_work(server.url, ffmpeg, tmp_path, engine_id="two"),
    ):
        jobs = [await final(dispatcher, job.job_id) for job in submitted]
    assert {job.status for job in jobs} == {"completed"}
    assert files_below(engine.outputs) == sorted(f"plain-{job.job_id}.mp4" for job in jobs)
    types = [kind for _, kind, _ in events_in(server.db)]
    assert sum("assigned" in kind.lower() for kind in types) == 10
    assert sum("completed" in kind.lower() for kind in types) == 10


# Failing


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("junk", "the source is no media file"),
        ("sound", "the source has sound only"),
        ("cover", "the source has sound with a cover picture"),
    ],
)
async def test_a_job_whose_source_is_no_film_fails_at_once_in_one_sentence(
    name: str,
    reason: str,
    server: Running,
    dispatcher: Client,
    ffmpeg: Ffmpeg,
    clips: Clips,
    tmp_path: Path,
) -> None:
    source: Path = getattr(clips, name)
    submitted = await dispatcher.submit(source.as_uri(), "h264", max_retries=2)
    async with at_work(server.url, ffmpeg, tmp_path) as engine:
        job = await final(dispatcher, submitted.job_id)
    assert (job.status, job.retries, job.attempt) == ("failed_permanently", 1, 1), "no retry helps"
    assert job.error_message == f"no video stream: {reason}"
    assert files_below(engine.outputs) == []
    assert files_below(engine.workspace.path) == []


async def test_an_output_that_can_not_be_delivered_fails_the_job_with_the_reason(
    server: Running, dispatcher: Client, ffmpeg: Ffmpeg, clips: Clips, tmp_path: Path
) -> None:
    async with (
        web(answering(Answer(403))) as store,
        at_work(server.url, ffmpeg, tmp_path, output=store.url) as engine,
    ):
        submitted = await dispatcher.submit(clips.plain.as_uri(), "h264", max_retries=1)
        job = await final(dispatcher, submitted.job_id)
    assert job.status == "failed_permanently"
    assert job.error_message == f"PUT {store.url}/plain-{job.job_id}-1.mp4: the server answered 403"
    assert files_below(engine.workspace.path) == []


@pytest.mark.parametrize(
    ("source", "size_mb"),
    [
        ("file:///no/such/file.mp4", 0),
        ("gopher://127.0.0.1/", 0),
        ("http://127.0.0.1:1/clip.mp4", 0),
        ("http://127.0.0.1:99999/clip.mp4", 0),
        ("http://127.0.0.1:99999/clip.mp4", STREAM_FROM_MB),
        ("http://127.0.0.1:1/\0", 0),
        ("http://127.0.0.1:1/\0", STREAM_FROM_MB),
        ("http://[", STREAM_FROM_MB),
        ("-i", STREAM_FROM_MB),
    ],
)
async def test_no_source_can_end_the_engine(
    source: str,
    size_mb: float,
    server: Running,
    dispatcher: Client,
    ffmpeg: Ffmpeg,
    tmp_path: Path,
) -> None:
    submitted = await dispatcher.submit(source, "h264", job_size=size_mb, max_retries=1)
    async with at_work(server.url, ffmpeg, tmp_path) as engine:
        waiting = asyncio.create_task(final(dispatcher, submitted.job_id))
        await asyncio.wait([waiting, engine.life], return_when=asyncio.FIRST_COMPLETED)
        if engine.life.done():
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            await engine.life
        job = await waiting
    assert job.status == "failed_permanently"
    assert job.error_message


async def test_an_engine_reads_no_files_and_asks_nothing_inside_unless_it_is_told_to(
    server: Running, dispatcher: Client, ffmpeg: Ffmpeg, clips: Clips, tmp_path: Path
) -> None:
    async with web(serving({"/clip.mp4": clips.plain})) as inner:
        urls = (clips.plain.as_uri(), f"{inner.url}/clip.mp4", f"{inner.url}/list.m3u8")
        submitted = [await dispatcher.submit(url, "mpeg4", max_retries=1) for url in urls]
        async with at_work(server.url, ffmpeg, tmp_path, sources=Sources()) as engine:
            file, fetched, streamed = [await final(dispatcher, job.job_id) for job in submitted]
        assert inner.asked == []
    assert {file.status, fetched.status, streamed.status} == {"failed_permanently"}
    assert "--source-root" in str(file.error_message)
    for job in (fetched, streamed):
        assert job.error_message == (
            f"{job.source_url}: 127.0.0.1 is a loopback address, and this engine fetches nothing "
            "from there; its operator can permit it with --source-networks"
        )
    assert files_below(engine.workspace.path) == []


async def test_an_engine_whose_key_is_refused_ends_and_says_so(
    server: Running, ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    workspace = Workspace.claim(tmp_path, "engine")
    async with Client(server.url, "another key") as client:
        delivery = delivery_to(str(tmp_path))
        agent = Agent(client, ffmpeg, workspace, delivery, Settings(), ANYWHERE)
        with pytest.raises(RequestRefusedError) as told:
            await agent.run()
    workspace.release()
    assert told.value.status == 401


# Being stopped


@pytest.mark.parametrize("size_mb", [0.0, STREAM_FROM_MB], ids=["while fetching", "in ffmpeg"])
async def test_a_job_of_an_engine_that_is_stopped_is_reported_and_leaves_nothing(
    size_mb: float, server: Running, dispatcher: Client, ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    async with web(answering(Answer(body=b"\0", then_silence=True))) as origin:
        submitted = await dispatcher.submit(f"{origin.url}/clip.mp4", "h264", job_size=size_mb)
        async with at_work(server.url, ffmpeg, tmp_path) as engine:
            await origin.held.wait()
            engine.agent.stop()
            await engine.life
        await origin.left.wait()
    job = await dispatcher.job(submitted.job_id)
    assert (job.status, job.retries, job.error_message) == ("pending", 0, STOPPED)
    assert files_below(tmp_path / "work") == []
    assert files_below(engine.outputs) == []


async def test_an_engine_that_is_stopped_without_a_job_just_ends(
    server: Running, dispatcher: Client, ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    async with at_work(server.url, ffmpeg, tmp_path) as engine:
        engine.agent.stop()
        await engine.life
    assert await dispatcher.jobs() == []


# Between jobs and beside them


async def test_heartbeats_go_on_while_ffmpeg_works(
    server: Running, dispatcher: Client, ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    beats = 0
    enough = asyncio.Event()

    async def answer(asked: Asked) -> Answer:
        nonlocal beats
        if asked.target == "/engines/heartbeat" and origin.held.is_set():
            beats += 1
            if beats == 3:
                enough.set()
        return await forwarding_to(server.url, asked)

    async with (
        web(answering(Answer(body=b"\0", then_silence=True))) as origin,
        web(answer) as between,
    ):
        await dispatcher.submit(f"{origin.url}/clip.mp4", "h264", job_size=STREAM_FROM_MB)
        async with at_work(between.url, ffmpeg, tmp_path, heartbeat_s=0.05):
            await asyncio.wait_for(enough.wait(), 30)
            (engine,) = await dispatcher.engines()
            assert engine.status == "busy"


async def test_an_engine_registers_with_what_it_can_do(
    server: Running, dispatcher: Client, ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    async def look() -> float | None:
        engines = await dispatcher.engines()
        return engines[0].benchmark_time if engines else None

    async with at_work(server.url, ffmpeg, tmp_path, engine_id="farm-1"):
        assert await eventually(look) > 0
    (engine,) = await dispatcher.engines()
    assert engine.engine_id == "farm-1"
    assert engine.engine_type == "transcoder"
    assert engine.supported_codecs == list(ffmpeg.encoders)
    assert engine.streaming_support == ffmpeg.streams
    assert engine.storage_capacity_gb is not None


async def test_an_engine_that_does_not_know_of_the_job_that_its_id_held_has_lost_it(
    server: Running, dispatcher: Client, ffmpeg: Ffmpeg, clips: Clips, tmp_path: Path
) -> None:
    await dispatcher.heartbeat("engine", {"instance": "the one before"})
    submitted = await dispatcher.submit(clips.plain.as_uri(), "h264")
    assert await dispatcher.assign("engine") is not None
    async with at_work(server.url, ffmpeg, tmp_path):
        job = await final(dispatcher, submitted.job_id)
    assert (job.status, job.attempt, job.retries) == ("completed", 2, 0)


async def test_an_output_that_is_not_wanted_any_more_is_removed(
    server: Running, dispatcher: Client, ffmpeg: Ffmpeg, clips: Clips, tmp_path: Path
) -> None:
    asked_for = asyncio.Event()
    go_on = asyncio.Event()

    async def answer(_: Asked) -> Answer:
        asked_for.set()
        await go_on.wait()
        return Answer(body=clips.plain.read_bytes())

    async with web(answer) as origin, at_work(server.url, ffmpeg, tmp_path) as engine:
        taken = await dispatcher.submit(f"{origin.url}/clip.mp4", "h264")
        await asked_for.wait()
        await dispatcher.complete(taken.job_id, "http://elsewhere/out.mp4")
        following = await dispatcher.submit(clips.plain.as_uri(), "h264")
        go_on.set()
        await final(dispatcher, following.job_id)  # so the first has been reported
    assert (await dispatcher.job(taken.job_id)).output_url == "http://elsewhere/out.mp4"
    assert files_below(engine.outputs) == [f"plain-{following.job_id}.mp4"]
