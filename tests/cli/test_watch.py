"""A folder that is watched: each film becomes a job when it is whole, once."""

import asyncio
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from dispatcher.cli.settling import Settling, Stamp, films_in
from dispatcher.cli.watching import NOTES
from dispatcher.client import Client, JobView
from tests.support.commands import command, said_by, started
from tests.support.engines import eventually
from tests.support.servers import KEY, Running

pytestmark = pytest.mark.anyio


@pytest.fixture
async def api(server: Running) -> AsyncIterator[Client]:
    async with Client(server.url, KEY) as client:
        yield client


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "in"
    made.mkdir()
    return made


def watch(*options: str) -> tuple[str, ...]:
    return ("watch", "in", "--codec", "h264", "--settle-s", "0.1", "--shared", *options)


async def jobs_of(client: Client, count: int) -> list[JobView]:
    async def look() -> list[JobView] | None:
        found = await client.jobs()
        return found if len(found) >= count else None

    return await eventually(look)


# What is whole


def test_a_film_is_whole_when_it_has_not_changed_for_a_while() -> None:
    settling, path = Settling(10), Path("film.mkv")
    assert settling.whole({path: Stamp(5, 1)}, 0) == []
    assert settling.whole({path: Stamp(6, 2)}, 9) == []  # it grows
    assert settling.whole({path: Stamp(6, 2)}, 18) == []
    assert settling.whole({path: Stamp(6, 2)}, 19) == [path]
    assert settling.whole({path: Stamp(6, 3)}, 20) == []  # it is written again
    assert settling.whole({}, 25) == []
    assert settling.whole({path: Stamp(6, 3)}, 31) == []  # it was away


def test_an_empty_file_is_never_whole() -> None:
    settling, path = Settling(1), Path("film.mkv")
    settling.whole({path: Stamp(0, 1)}, 0)
    assert settling.whole({path: Stamp(0, 1)}, 100) == []


def test_films_are_found_and_nothing_else_is(folder: Path) -> None:
    for name in (
        "a.mkv",
        "sub/B.MP4",
        "done/c.mkv",
        ".hidden.mkv",
        ".trash/d.mkv",
        "a.txt",
        "a.part",
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x")
    (folder / "link.mkv").symlink_to(folder / "a.mkv")
    found = films_in(folder, [folder / "done"])
    assert {str(it.relative_to(folder)) for it in found} == {"a.mkv", "sub/B.MP4"}


# What is submitted


async def test_each_film_is_submitted_once_by_its_content_also_after_a_restart(
    server: Running, api: Client, folder: Path, tmp_path: Path
) -> None:
    (folder / "first.mkv").write_bytes(b"one film")
    async with started(tmp_path, *watch("--priority", "7"), server=server.url) as watching:
        (job,) = await jobs_of(api, 1)
        assert job.source_url == (folder / "first.mkv").as_uri()
        assert (job.target_codec, job.priority, job.job_size) == ("h264", 7, 8 / 1_000_000)
        (folder / "sub").mkdir()
        (folder / "sub/second.mkv").write_bytes(b"another film")
        await jobs_of(api, 2)
        shutil.copy(folder / "first.mkv", folder / "copy.mkv")
        line = await said_by(watching, "was submitted before")
        assert line.startswith(str(folder / "copy.mkv"))
        watching.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(watching.wait(), 60) == 0
    (folder / NOTES).unlink()  # as if it had been killed before it could note anything
    (folder / "third.mkv").write_bytes(b"a third film")
    async with started(tmp_path, *watch("--priority", "7"), server=server.url) as watching:
        await jobs_of(api, 3)
        await said_by(watching, "was submitted before")
    assert len(await api.jobs()) == 3


async def test_a_film_is_moved_when_it_is_transcoded(
    server: Running, api: Client, folder: Path, tmp_path: Path
) -> None:
    (folder / "sub").mkdir()
    for name in ("good.mkv", "bad.mkv", "sub/good.mkv"):
        (folder / name).write_bytes(name.encode())
    async with started(tmp_path, *watch("--done", "in/done"), server=server.url) as watching:
        for job in await jobs_of(api, 3):
            if "bad" in job.source_url:
                await api.cancel(job.job_id)
            else:
                await api.complete(job.job_id, "http://media/out.mp4")

        async def moved() -> bool | None:
            there = {str(it.relative_to(folder)) for it in folder.rglob("*.mkv")}
            return True if there == {"done/good.mkv", "done/sub/good.mkv", "bad.mkv"} else None

        await eventually(moved)
        await said_by(watching, "cancelled")


async def test_what_the_dispatcher_would_always_refuse_ends_it(
    server: Running, folder: Path, tmp_path: Path
) -> None:
    (folder / "film.mkv").write_bytes(b"film")
    done = await command(tmp_path, *watch("--recipe", "nobodys"), server=server.url)
    assert (done.status, "there is no recipe 'nobodys'" in done.err) == (4, True)
    wrong = await command(tmp_path, *watch("--done", "in"), server=server.url)
    assert (wrong.status, "must be another folder" in wrong.err) == (2, True)
