"""The dispatcher over TLS: by itself, and behind nginx and Caddy as docs/proxies.md has them."""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple

import httpx2
import pytest
from playwright.async_api import Browser, expect

from dispatcher.client import Client
from dispatcher.tls import Certificate
from tests.support.browser import (
    Faults,
    browser,  # noqa: F401 - a fixture, as are the next two
    chromium,  # noqa: F401
    faults,  # noqa: F401
    opened,
)
from tests.support.commands import command, said_by, started
from tests.support.engines import final
from tests.support.media import FFMPEG, make_clips
from tests.support.proxies import CADDY, NGINX, behind_caddy, behind_nginx
from tests.support.servers import KEY, running
from tests.support.tls import make_certificate

pytestmark = pytest.mark.anyio

SOURCE: Final = "http://media/in.mp4"
FILM_BYTES: Final = 9_000_000
"""More than any buffer on the way."""


class Front(NamedTuple):
    """Where the dispatcher is reached by TLS, and whom to trust there."""

    url: str
    ca: Path

    @property
    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.ca)

    def client(self) -> Client:
        return Client(self.url, KEY, ca=self.ca)


def _lacks(name: str, program: str | None) -> pytest.MarkDecorator:
    return pytest.mark.skipif(program is None, reason=f"there is no {name}; scripts/setup installs")


@pytest.fixture(
    params=[
        "itself",
        pytest.param("nginx", marks=_lacks("nginx", NGINX)),
        pytest.param("caddy", marks=_lacks("caddy", CADDY)),
    ]
)
async def front(
    request: pytest.FixtureRequest, db: Path, tmp_path: Path, anyio_backend: object
) -> AsyncIterator[Front]:
    assert anyio_backend
    certificate = make_certificate(tmp_path)
    own = Certificate(certificate, certificate) if request.param == "itself" else None
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(
            running(db, certificate=own, store=tmp_path / "store")
        )
        match request.param:
            case "nginx":
                url = await stack.enter_async_context(
                    behind_nginx(server.port, certificate, tmp_path)
                )
            case "caddy":
                url = await stack.enter_async_context(
                    behind_caddy(server.port, certificate, tmp_path)
                )
            case _:
                url = server.url.replace("127.0.0.1", "localhost")
        yield Front(url, certificate)


async def test_a_request_waits_for_work(front: Front) -> None:
    async with front.client() as engine, front.client() as client:
        await engine.heartbeat("e", {"supported_codecs": ["h264"]})
        assert await engine.assign("e", wait_s=0.2) is None
        waiting = asyncio.create_task(engine.assign("e", wait_s=60))
        await asyncio.wait({waiting}, timeout=0.2)
        assert not waiting.done()
        job = await client.submit(SOURCE, "h264")
        assigned = await waiting
    assert assigned is not None
    assert assigned.job_id == job.job_id


async def test_events_stream_as_they_happen(front: Front) -> None:
    async with front.client() as client, aclosing(client.stream(after=0)) as events:
        for seq in range(1, 6):
            await client.submit(SOURCE, "h264")
            assert (await anext(events)).seq == seq


async def test_a_large_film_goes_to_the_store_and_comes_back(front: Front, tmp_path: Path) -> None:
    film, back = tmp_path / "film.mov", tmp_path / "back.mov"
    film.write_bytes(bytes(range(250)) * (FILM_BYTES // 250))
    digest = sha256(film.read_bytes()).hexdigest()
    async with front.client() as client:
        url = await client.upload(film)
        assert digest in url
        await client.download(digest, back)
    assert back.read_bytes() == film.read_bytes()


async def test_errors_and_headers_are_those_of_the_dispatcher(front: Front) -> None:
    async with httpx2.AsyncClient(verify=front.trust, trust_env=False, timeout=60) as http:
        asked = {"X-API-Key": KEY, "X-Request-ID": "mine", "X-Dispatcher-Seq": "0"}
        found = await http.get(f"{front.url}/jobs/a%3Fb%20c", headers=asked)
        assert (found.status_code, found.text) == (404, "Job not found")
        assert found.headers["X-Request-ID"] == "mine"
        assert found.headers["X-Dispatcher-Seq"] == "0"
        large = await http.post(f"{front.url}/jobs/", headers=asked, content=b" " * 2_000_000)
        assert large.status_code == 413
        assert large.text.startswith("Request Entity Too Large: ")
        unknown = await http.get(f"{front.url}/jobs/", headers={"X-API-Key": "x"})
        assert (unknown.status_code, unknown.text) == (401, "Unauthorized")


async def test_an_engine_transcodes_a_film_of_the_store(front: Front, tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    clip, ca = make_clips(tmp_path / "clips").plain, str(front.ca)
    options = ["--id", "farm-1", "--output", "store:", "--work-dir", str(tmp_path / "work")]
    options += ["--ffmpeg", str(FFMPEG), "--ca", ca]
    async with started(tmp_path, "engine", *options, server=front.url) as engine:
        await said_by(engine, "ready for")
        done = await command(
            *(tmp_path, "submit", str(clip), "--codec", "h264", "--ca", ca), server=front.url
        )
        assert done.status == 0, done.err
        async with front.client() as client:
            (job,) = await client.jobs()
            job = await final(client, job.job_id)
            assert job.status == "completed", job.error_message
        fetched = await command(
            *(tmp_path, "fetch", job.job_id, "-o", str(tmp_path / "home"), "--ca", ca),
            server=front.url,
        )
        assert fetched.status == 0, fetched.err
    assert [it.suffix for it in (tmp_path / "home").iterdir()] == [".mp4"]


async def test_the_board_signs_in_and_is_live(
    front: Front,
    browser: Browser,  # noqa: F811 - the fixture
    faults: Faults,  # noqa: F811 - the fixture
) -> None:
    async with (
        front.client() as client,
        opened(browser, front.url, ignore_https_errors=True) as context,
    ):
        context.on("page", faults.watch)
        page = await context.new_page()
        await page.goto(f"/?view=jobs#token={(await client.sign_in()).token}")
        await expect(page.get_by_text("There are no jobs yet.")).to_be_visible()
        await client.submit("http://media/seen.mp4", "h264")
        await expect(page.get_by_text(re.compile("seen.mp4")).first).to_be_visible()
        assert faults.unexpected == []
