"""Engines and a dispatcher with a film that is split: what each does when something goes wrong."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
from msgspec import UNSET

from dispatcher.client import Client
from dispatcher.engine.ffmpeg import Ffmpeg
from projections.jobs import JobView
from tests.support.engines import ANYWHERE, at_work, files_below, final
from tests.support.films import times_in
from tests.support.films_of_kinds import KINDS
from tests.support.plain_loop import anyio_backend  # noqa: F401 - the loop of an engine
from tests.support.relays import heard_but_not_answered
from tests.support.servers import KEY, Running, running
from tests.support.web import web

pytest_plugins = ["tests.support.engine_fixtures"]
pytestmark = pytest.mark.anyio

RECIPE: Final = {"split_s": 1, "speed": "fastest"}


@pytest.fixture
async def server(db: Path, tmp_path: Path) -> AsyncIterator[Running]:
    async with running(db, store=tmp_path / "store") as dispatcher:
        yield dispatcher


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return KINDS["h264 mp4"].made_in(tmp_path_factory.mktemp("films"), "film")


def warnings_of(job: JobView) -> list[str]:
    assert job.status == "completed"
    assert job.result is not UNSET
    return list(job.result.get("warnings", []))


async def test_an_engine_that_dies_when_its_plan_was_taken_makes_the_parts_in_its_next_life(
    server: Running, dispatcher: Client, ffmpeg: Ffmpeg, film: Path, tmp_path: Path
) -> None:
    sources = ANYWHERE._replace(dispatcher=dispatcher)
    async with (
        web(line := heard_but_not_answered(server.url, "/split")) as between,
        at_work(between.url, ffmpeg, tmp_path, sources=sources) as engine,
    ):
        submitted = await dispatcher.submit(film.as_uri(), "h264", recipe=RECIPE)
        await asyncio.wait_for(line.reached.wait(), 60)
        await engine.die()
    async with at_work(server.url, ffmpeg, tmp_path, sources=sources) as engine:
        job = await final(dispatcher, submitted.job_id)
    assert warnings_of(job) == ["joined from 3 segments"]
    assert job.parts is not UNSET
    assert len(job.parts) == 4
    [output] = files_below(tmp_path / "outputs")
    assert len(times_in(tmp_path / "outputs" / output)) == len(times_in(film))
    assert files_below(tmp_path / "work") == []


async def test_a_dispatcher_that_has_no_store_any_more_gets_the_whole_film(
    db: Path, ffmpeg: Ffmpeg, film: Path, tmp_path: Path
) -> None:
    async with running(db, store=tmp_path / "store") as server, Client(server.url, KEY) as before:
        submitted = await before.submit(film.as_uri(), "h264", recipe=RECIPE)
    async with running(db) as server, Client(server.url, KEY) as dispatcher:
        sources = ANYWHERE._replace(dispatcher=dispatcher)
        async with at_work(server.url, ffmpeg, tmp_path, sources=sources):
            job = await final(dispatcher, submitted.job_id)
    assert warnings_of(job)[0].startswith("encoded whole: the dispatcher does not split it")
    assert "store" in warnings_of(job)[0]
    assert (job.attempt, job.parts) == (1, UNSET)


async def test_a_film_of_which_a_picture_can_not_be_decoded_is_encoded_whole_in_the_end(
    server: Running, dispatcher: Client, ffmpeg: Ffmpeg, tmp_path: Path
) -> None:
    path = KINDS["mjpeg"].made_in(tmp_path, "film")
    pictures = path.read_bytes().split(b"\xff\xd8\xff")
    pictures[40] = bytes(500) + pictures[40][500:]
    path.write_bytes(b"\xff\xd8\xff".join(pictures))
    sources = ANYWHERE._replace(dispatcher=dispatcher)
    async with at_work(server.url, ffmpeg, tmp_path, sources=sources):
        submitted = await dispatcher.submit(path.as_uri(), "h264", recipe=RECIPE)
        job = await final(dispatcher, submitted.job_id)
    assert warnings_of(job)[0].startswith("encoded whole: "), warnings_of(job)
    assert job.whole is not UNSET, warnings_of(job)
    assert len(files_below(tmp_path / "outputs")) == 1
    assert files_below(tmp_path / "work") == []
