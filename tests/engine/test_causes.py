"""What an engine says is to blame, for each kind of failure."""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from dispatcher.client import Client
from dispatcher.engine.ffmpeg import Ffmpeg
from dispatcher.engine.sources import STREAM_FROM_MB, Sources
from tests.support.engines import ANYWHERE, at_work, final
from tests.support.media import Clips
from tests.support.plain_loop import anyio_backend  # noqa: F401 - the loop of an engine
from tests.support.servers import Running, events_in
from tests.support.sources import cut, make_good, make_mp4
from tests.support.web import Answer, answering, web

pytest_plugins = ["tests.support.engine_fixtures"]
pytestmark = pytest.mark.anyio

Failing = Callable[..., Awaitable[str]]


def cause_in(db: Path) -> str:
    """The cause of the only failure in a log."""
    failures = [json.loads(data) for _, name, data in events_in(db) if "failed" in name]
    (failure,) = failures
    assert failure["blames_engine"] is (failure["cause"] == "engine_at_fault")
    cause: str = failure["cause"]
    return cause


@pytest.fixture
def failing(
    server: Running, dispatcher: Client, ffmpeg: Ffmpeg, tmp_path: Path, db: Path
) -> Failing:
    async def fail(
        source: str, codec: str = "mpeg4", *, size_mb: float = 0.0, sources: Sources = ANYWHERE
    ) -> str:
        submitted = await dispatcher.submit(source, codec, job_size=size_mb, max_retries=1)
        async with at_work(server.url, ffmpeg, tmp_path, sources=sources):
            job = await final(dispatcher, submitted.job_id)
        assert job.status == "failed_permanently"
        return cause_in(db)

    return fail


@pytest.mark.parametrize("size_mb", [0.0, STREAM_FROM_MB], ids=["fetched", "streamed"])
@pytest.mark.parametrize(
    ("status", "cause"),
    [
        (404, "source_bad"),
        (410, "source_bad"),
        (403, "source_bad"),
        (500, "source_away"),
        (503, "source_away"),
        (429, "source_away"),
    ],
)
async def test_a_server_that_answers_with_an_error(
    status: int, cause: str, size_mb: float, failing: Failing
) -> None:
    async with web(answering(Answer(status))) as origin:
        assert await failing(f"{origin.url}/clip.mp4", size_mb=size_mb) == cause


@pytest.mark.parametrize("size_mb", [0.0, STREAM_FROM_MB], ids=["fetched", "streamed"])
async def test_a_server_that_is_not_there(size_mb: float, failing: Failing) -> None:
    assert await failing("http://127.0.0.1:1/clip.mp4", size_mb=size_mb) == "source_away"


@pytest.mark.parametrize("name", ["junk", "sound", "cover"])
async def test_a_source_in_which_there_is_no_film(
    name: str, clips: Clips, failing: Failing
) -> None:
    source: Path = getattr(clips, name)
    assert await failing(source.as_uri()) == "source_bad"


async def test_a_list_of_other_files_is_no_film(failing: Failing, tmp_path: Path) -> None:
    source = tmp_path / "list.mp4"
    source.write_text("ffconcat version 1.0\nfile clip.mp4\n")
    assert await failing(source.as_uri()) == "source_bad"


async def test_a_file_that_is_not_seen(tmp_path: Path, failing: Failing) -> None:
    assert await failing((tmp_path / "none.mp4").as_uri()) == "source_away"


async def test_a_file_that_this_engine_may_not_read(clips: Clips, failing: Failing) -> None:
    assert await failing(clips.plain.as_uri(), sources=Sources()) == "source_away"


async def test_what_is_no_url(failing: Failing) -> None:
    assert await failing("gopher://127.0.0.1/") == "source_bad"


async def test_a_directory_for_outputs_that_is_gone_is_the_engines_fault(
    server: Running,
    dispatcher: Client,
    ffmpeg: Ffmpeg,
    clips: Clips,
    tmp_path: Path,
    db: Path,
) -> None:
    async with at_work(server.url, ffmpeg, tmp_path) as engine:
        engine.outputs.rmdir()
        submitted = await dispatcher.submit(clips.plain.as_uri(), "mpeg4", max_retries=1)
        await final(dispatcher, submitted.job_id)
    assert cause_in(db) == "engine_at_fault"


async def test_a_source_that_was_cut_off(tmp_path: Path, failing: Failing) -> None:
    source = cut(make_mp4(tmp_path / "cut.mp4"), 0.6)
    assert await failing(source.as_uri()) == "source_bad"


@pytest.mark.parametrize("size_mb", [0.0, STREAM_FROM_MB], ids=["fetched", "streamed"])
async def test_a_server_that_breaks_off(size_mb: float, tmp_path: Path, failing: Failing) -> None:
    film = make_mp4(tmp_path / "film.mp4").read_bytes()
    half = Answer(body=film[: len(film) // 2], length=len(film))
    async with web(answering(half)) as origin:
        assert await failing(f"{origin.url}/film.mp4", size_mb=size_mb) == "source_away"


async def test_a_damaged_source_that_is_whole_is_completed_and_told(
    server: Running,
    dispatcher: Client,
    ffmpeg: Ffmpeg,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = make_good("damaged ts", tmp_path)
    async with at_work(server.url, ffmpeg, tmp_path):
        submitted = await dispatcher.submit(source.as_uri(), "mpeg4", max_retries=1)
        job = await final(dispatcher, submitted.job_id)
    assert job.status == "completed"
    (told,) = [it.getMessage() for it in caplog.records if "is whole, but" in it.getMessage()]
    assert "damaged packets or frames: " in told
