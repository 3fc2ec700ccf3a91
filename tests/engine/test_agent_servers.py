"""An engine that knows several dispatchers, and loses the one that it works for."""

import asyncio
from functools import partial
from pathlib import Path

import pytest

from dispatcher.client import Client
from dispatcher.engine.ffmpeg import Ffmpeg
from tests.support.engines import at_work, final
from tests.support.in_order import in_order  # noqa: F401 - a fixture
from tests.support.media import Clips
from tests.support.plain_loop import anyio_backend  # noqa: F401 - the loop of an engine
from tests.support.servers import Running, events_in
from tests.support.web import Answer, Asked, answering, forwarding_to, web

pytest_plugins = ["tests.support.engine_fixtures"]
pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("in_order")]


async def test_an_engine_that_waits_for_work_goes_on_waiting_at_another_dispatcher(
    server: Running, dispatcher: Client, ffmpeg: Ffmpeg, clips: Clips, tmp_path: Path
) -> None:
    asks = asyncio.Event()

    async def forward(asked: Asked) -> Answer:
        if asked.target == "/assign_job/":
            asks.set()
        return await forwarding_to(server.url, asked)

    async with web(partial(forwarding_to, server.url)) as other:
        async with web(forward) as first:
            waiting = at_work(f"{first.url},{other.url}", ffmpeg, tmp_path, wait_s=60)
            await waiting.__aenter__()
            await asks.wait()
        try:
            job = await dispatcher.submit(clips.plain.as_uri(), "h264")
            assert (await final(dispatcher, job.job_id)).status == "completed"
        finally:
            await waiting.__aexit__(None, None, None)
    assert "/assign_job/" in {it.target for it in other.asked}
    told = [kind for _, kind, _ in events_in(server.db)]
    assert (told.count("job_assigned"), told.count("job_requeued")) == (1, 0)


async def test_an_engine_that_loses_its_dispatcher_in_a_job_reports_to_another(
    server: Running, dispatcher: Client, ffmpeg: Ffmpeg, clips: Clips, tmp_path: Path
) -> None:
    asked_for, go_on = asyncio.Event(), asyncio.Event()

    async def film(_: Asked) -> Answer:
        asked_for.set()
        await go_on.wait()
        return Answer(body=clips.plain.read_bytes())

    async with web(film) as origin, web(partial(forwarding_to, server.url)) as other:
        job = await dispatcher.submit(f"{origin.url}/clip.mp4", "h264")
        async with web(partial(forwarding_to, server.url)) as first:
            urls = f"{first.url},{other.url}"
            waiting = at_work(urls, ffmpeg, tmp_path, heartbeat_s=0.1, wait_s=20)
            await waiting.__aenter__()
            await asked_for.wait()
        go_on.set()
        try:
            done = await final(dispatcher, job.job_id)
        finally:
            await waiting.__aexit__(None, None, None)
    assert (done.status, done.attempt, done.retries) == ("completed", 1, 0)


async def test_an_engine_works_while_one_of_its_dispatchers_is_read_only(
    server: Running, dispatcher: Client, ffmpeg: Ffmpeg, clips: Clips, tmp_path: Path
) -> None:
    job = await dispatcher.submit(clips.plain.as_uri(), "h264")
    async with (
        web(answering(Answer(503, b"Service Unavailable: the disk is full"))) as full,
        at_work(f"{full.url},{server.url}", ffmpeg, tmp_path),
    ):
        done = await final(dispatcher, job.job_id)
    assert done.status == "completed"
    assert len(full.asked) == 1
