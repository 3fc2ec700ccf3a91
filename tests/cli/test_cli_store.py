"""Films that travel: from `submit` to `fetch`, with no folder that two machines share."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import pytest

from dispatcher.client import Client
from dispatcher.store_urls import StoreUrl, sha256_of
from tests.support.commands import command, ended, said_by, started
from tests.support.media import FFMPEG, Clips, found_in
from tests.support.servers import KEY, Running, events_in, running
from tests.support.stored import FILM, SHA256

pytest_plugins = ["tests.support.engine_fixtures"]
pytestmark = pytest.mark.anyio

WARNING: Final = "Warning: no engine that is known encodes 'h264'; the job waits until one does.\n"
URL: Final = f"store:{SHA256}/a%20film.mov"


@pytest.fixture
async def server(db: Path, tmp_path: Path) -> AsyncIterator[Running]:
    async with running(db, store=tmp_path / "store") as dispatcher:
        yield dispatcher


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """The folder of somebody with a film."""
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "a film.mov").write_bytes(FILM)
    return folder


async def completed(client: Client, **result: Any) -> str:
    """Have a job done whose output is the film itself."""
    job = await client.submit(URL, "h264")
    await client._connection.call(
        "POST", f"/jobs/{job.job_id}/complete", {"output_url": URL, **result}
    )
    return job.job_id


# Submitting


async def test_submit_takes_a_local_file_along(
    server: Running, dispatcher: Client, here: Path
) -> None:
    arguments = ("submit", "a film.mov", "http://media/b.mp4", "--codec", "h264")
    for _ in range(2):
        done = await command(here, *arguments, server=server.url)
        assert (done.status, done.err.replace(WARNING, "")) == (0, "")
    jobs = await dispatcher.jobs()
    assert [job.source_url for job in jobs] == [URL, "http://media/b.mp4"] * 2
    assert jobs[0].job_size == len(FILM) / 1_000_000
    assert [it.name for it in (server.db.parent / "store" / "files").iterdir()] == [SHA256]


async def test_submit_leaves_a_shared_file_where_it_is(
    server: Running, dispatcher: Client, here: Path
) -> None:
    done = await command(
        here, "submit", "a film.mov", "--codec", "h264", "--shared", server=server.url
    )
    assert (done.status, done.err.replace(WARNING, "")) == (0, "")
    (job,) = await dispatcher.jobs()
    assert job.source_url == (here / "a film.mov").as_uri()


async def test_without_a_store_submit_says_that_the_file_stays(db: Path, here: Path) -> None:
    async with running(db) as server, Client(server.url, KEY) as client:
        done = await command(here, "submit", "a film.mov", "--codec", "h264", server=server.url)
        (job,) = await client.jobs()
    assert done.status == 0
    assert done.err.replace(WARNING, "") == (
        f"{server.url} has no store (`serve --store DIR`), so every engine must be able to read "
        "this file under the same path; --shared says that they can\n"
    )
    assert job.source_url == (here / "a film.mov").as_uri()


# Fetching


async def test_fetch_brings_an_output_home_and_not_twice(
    server: Running, dispatcher: Client, here: Path
) -> None:
    await dispatcher.upload(here / "a film.mov")
    job_id = await completed(dispatcher)
    done = await command(here, "fetch", job_id, "-o", "home", server=server.url)
    assert (done.status, done.out.strip(), done.err) == (0, "home/a film.mov", "")
    assert (here / "home" / "a film.mov").read_bytes() == FILM
    again = await command(here, "fetch", job_id, "-o", "home", "--json", server=server.url)
    assert (again.status, again.json) == (0, ["home/a film.mov"])
    assert again.err == "home/a film.mov is there already\n"
    (here / "home" / "a film.mov").write_bytes(b"mine")
    other = await command(here, "fetch", job_id, "-o", "home", server=server.url)
    assert (other.status, other.out) == (1, "")
    assert other.err.startswith("dispatcher: home/a film.mov is another file; ")
    assert [it.name for it in (here / "home").iterdir()] == ["a film.mov"]


async def test_fetch_goes_on_with_what_is_there(
    server: Running, dispatcher: Client, here: Path
) -> None:
    await dispatcher.upload(here / "a film.mov")
    job_id = await completed(dispatcher)
    (here / f".{SHA256[:16]}.part").write_bytes(FILM[:700_000])
    (here / "a film.mov").unlink()
    done = await command(here, "fetch", job_id, server=server.url)
    assert done.status == 0
    assert (here / "a film.mov").read_bytes() == FILM
    assert len(list(here.iterdir())) == 1


@pytest.mark.parametrize("name", ["..%2F..%2Fetc%2Fpasswd", "%2E.", "a%2Fb.mp4", "%00.mov", ".x"])
async def test_fetch_writes_nowhere_else(
    server: Running, dispatcher: Client, here: Path, name: str
) -> None:
    await dispatcher.upload(here / "a film.mov")
    job = await dispatcher.submit(URL, "h264")
    await dispatcher.complete(job.job_id, f"store:{SHA256}/{name}")
    done = await command(here, "fetch", job.job_id, "-o", "home", server=server.url)
    assert (done.status, done.err) == (0, "")
    (home,) = (here / "home").iterdir()
    assert home.read_bytes() == FILM


async def test_fetch_says_why_there_is_nothing(
    server: Running, dispatcher: Client, here: Path
) -> None:
    job = await dispatcher.submit("http://media/a.mp4", "h264")
    waiting = await command(here, "fetch", job.job_id, server=server.url)
    assert (waiting.status, "is pending, and has no output" in waiting.err) == (4, True)
    await dispatcher.complete(job.job_id, "file:///elsewhere/a.mp4")
    elsewhere = await command(here, "fetch", job.job_id, server=server.url)
    assert (elsewhere.status, "not in the dispatcher's store" in elsewhere.err) == (4, True)
    none = await command(here, "fetch", "nothing", server=server.url)
    assert (none.status, "Job not found" in none.err) == (4, True)


async def test_an_output_that_is_not_what_the_engine_made_is_not_fetched(
    server: Running, dispatcher: Client, here: Path
) -> None:
    await dispatcher.upload(here / "a film.mov")
    job_id = await completed(dispatcher, result={"output": {"sha256": "0" * 64}})
    done = await command(here, "fetch", job_id, server=server.url)
    assert (done.status, "it is not what was made" in done.err) == (1, True)


async def test_an_output_that_was_changed_in_the_store_is_not_fetched(
    server: Running, dispatcher: Client, here: Path
) -> None:
    await dispatcher.upload(here / "a film.mov")
    job_id = await completed(dispatcher)
    (server.db.parent / "store" / "files" / SHA256).write_bytes(FILM[:-1] + b"!")
    done = await command(here, "fetch", job_id, "-o", "home", server=server.url)
    assert (done.status, "arrived with the SHA-256" in done.err) == (1, True)
    assert not (here / "home" / "a film.mov").exists()


# The whole way


async def test_a_film_goes_the_whole_way_and_no_two_share_a_folder(
    clips: Clips, tmp_path: Path
) -> None:
    for name in ("dispatcher", "engine", "client"):
        (tmp_path / name).mkdir()
    film = tmp_path / "client" / "film.mp4"
    film.write_bytes(clips.plain.read_bytes())
    serve = ("serve", "--port", "0", "--store", "store")
    engine = (
        *("engine", "--id", "farm-1", "--work-dir", "work", "--output", "store:"),
        *("--ffmpeg", str(FFMPEG), "--poll-s", "0.05", "--wait-s", "0"),
    )
    async with started(tmp_path / "dispatcher", *serve) as dispatcher:
        url = (await said_by(dispatcher, "Dispatcher ready")).split()[3].rstrip(",")
        async with started(tmp_path / "engine", *engine, server=url) as at_work:
            client = tmp_path / "client"
            submit = ("submit", "film.mp4", "--codec", "h264", "--wait", "--json")
            submitted = await command(client, *submit, server=url)
            assert submitted.status == 0, submitted.err
            (job,) = submitted.json
            fetched = await command(client, "fetch", job["job_id"], "-o", "out", server=url)
            assert fetched.status == 0, fetched.err
            at_work.terminate()
            await ended(at_work)
        dispatcher.terminate()
        await ended(dispatcher)
    (output,) = (client / "out").iterdir()
    assert output.name == f"film-{job['job_id']}.mp4"
    assert found_in(output).video == "h264"
    source, made = StoreUrl.parse(job["source_url"]), StoreUrl.parse(job["output_url"])
    assert source == StoreUrl(sha256_of(film), "film.mp4")
    assert made == StoreUrl(sha256_of(output), output.name)
    result = job["result"]
    assert (result["source"]["sha256"], result["output"]["sha256"]) == (source[0], made[0])
    said = "".join(data for _, _, data in events_in(tmp_path / "dispatcher" / "events.db"))
    assert "file:" not in said
    assert str(tmp_path) not in said
