"""Two engines, a client and a dispatcher in four folders that share nothing, as real processes."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest

from dispatcher.client import Client
from dispatcher.store_urls import StoreUrl, sha256_of
from tests.support.commands import command, ended, said_by, started
from tests.support.engines import eventually
from tests.support.media import FFMPEG, Clips, found_in
from tests.support.servers import KEY, events_in

pytest_plugins = ["tests.support.engine_fixtures"]
pytestmark = pytest.mark.anyio

PADDING: Final = 256_000_000
NOBODYS: Final = "a-codec-of-nobody"
LONG_AGO: Final = 1_000_000_000


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[str]:
    """Serve with a store, until the block ends; gives the URL."""
    async with started(folder, "serve", "--port", "0", "--store", "store") as dispatcher:
        yield (await said_by(dispatcher, "Dispatcher ready")).split()[3].rstrip(",")
        dispatcher.terminate()
        await ended(dispatcher)


@asynccontextmanager
async def working(folder: Path, server: str) -> AsyncIterator[None]:
    """Have an engine work in a folder until the block ends."""
    engine = (
        *("engine", "--id", folder.name, "--work-dir", "work", "--output", "store:"),
        *("--ffmpeg", str(FFMPEG), "--poll-s", "0.05", "--wait-s", "0"),
    )
    async with started(folder, *engine, server=server) as at_work:
        yield
        at_work.terminate()
        await ended(at_work)


def padded(clip: Path, film: Path) -> None:
    """Make a film that takes a while to send: a box of mp4 that is free, behind all others."""
    film.write_bytes(clip.read_bytes() + PADDING.to_bytes(4, "big") + b"free")
    os.truncate(film, clip.stat().st_size + PADDING)


def assert_is_its_output(job: dict[str, Any], folder: Path) -> None:
    url = StoreUrl.parse(job["output_url"])
    assert url is not None
    output = folder / url.name
    assert (sha256_of(output), found_in(output).video) == (url.sha256, "h264")
    assert job["result"]["output"]["sha256"] == url.sha256


async def test_films_go_there_and_back_whoever_is_killed_on_the_way(
    clips: Clips, tmp_path: Path
) -> None:
    dispatcher, one, two, client = (tmp_path / it for it in ("server", "one", "two", "client"))
    for folder in (dispatcher, one, two, client):
        folder.mkdir()
    padded(clips.plain, client / "film.mp4")
    (client / "odd.mkv").write_bytes(clips.odd.read_bytes())
    sha256 = sha256_of(client / "film.mp4")
    submit = ("submit", "film.mp4", "odd.mkv", "--codec", "h264", "--wait", "--json")
    kept = dispatcher / "store" / "files"

    async with serving(dispatcher) as server, Client(server, KEY) as api:
        # An upload that is killed half-way goes on.
        async with (
            started(client, *submit, server=server) as submitting,
            httpx2.AsyncClient(headers={"X-API-Key": KEY}, trust_env=False, timeout=90) as http,
        ):

            async def sent() -> int | None:
                told = await http.head(f"{server}/store/{sha256}")
                assert told.status_code != 200, "it was sent before it could be killed"
                return int(told.headers["Upload-Offset"]) or None

            await eventually(sent)
            submitting.kill()
            await ended(submitting)
            there = await eventually(sent)
        assert 0 < there < PADDING
        assert await api.jobs() == []

        async with working(one, server), working(two, server):
            submitted = await command(client, *submit, server=server)
            assert submitted.status == 0, submitted.err
        jobs = submitted.json
        ids = [job["job_id"] for job in jobs]
        fetched = await command(client, "fetch", *ids, "-o", "out", server=server)
        assert fetched.status == 0, fetched.err

        # So does a download: of a job whose output is the large film.
        source = jobs[0]["source_url"]
        large = await api.submit(source, NOBODYS)
        await api.complete(large.job_id, source)
        fetch = ("fetch", large.job_id, "-o", "again")
        async with started(client, *fetch, server=server) as fetching:

            async def come() -> bool | None:
                sizes = [it.stat().st_size for it in client.glob("again/.*.part")]
                return True if sizes and sizes[0] else None

            await eventually(come)
            fetching.kill()
            await ended(fetching)
        assert not (client / "again" / "film.mp4").exists(), "it came before it could be killed"
        again = await command(client, *fetch, server=server)
        assert (again.status, sha256_of(client / "again" / "film.mp4")) == (0, sha256), again.err
        live = await api.submit(source, NOBODYS)

    for path in kept.iterdir():
        os.utime(path, (LONG_AGO, LONG_AGO))
    async with serving(dispatcher) as server, Client(server, KEY) as api:

        async def swept() -> bool | None:
            return True if [it.name for it in kept.iterdir()] == [sha256] else None

        assert await eventually(swept), "what a live job needs stays, and nothing else"
        assert not (await api.job(live.job_id)).final

    for job in jobs:
        assert_is_its_output(job, client / "out")
    assert {it.name for it in tmp_path.iterdir()} == {"server", "one", "two", "client"}
    assert "file:" not in "".join(data for _, _, data in events_in(dispatcher / "events.db"))
