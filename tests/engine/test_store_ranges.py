"""Some of a file of the dispatcher's store, as ffmpeg asks for it on loopback."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest

from dispatcher.client import Client
from dispatcher.engine.fetching import Bounds
from dispatcher.engine.store_ranges import Served, gives_some, served_from_store
from dispatcher.store_urls import StoreUrl
from tests.support.servers import KEY, Running, running
from tests.support.stored import FILM, SHA256
from tests.support.web import Answer, Asked, web

pytestmark = pytest.mark.anyio

URL: Final = StoreUrl(SHA256, "a film.mov")


@pytest.fixture
async def server(db: Path, tmp_path: Path) -> AsyncIterator[Running]:
    async with running(db, store=tmp_path / "store") as dispatcher:
        yield dispatcher


@pytest.fixture
async def client(server: Running, tmp_path: Path) -> AsyncIterator[Client]:
    path = tmp_path / "film.mov"
    path.write_bytes(FILM)
    async with Client(server.url, KEY) as asking:
        await asking.upload(path)
        yield asking


async def asked(served: Served, request: str) -> tuple[str, bytes]:
    """Send a request to the proxy as it stands; gives the head and the body of the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    try:
        writer.write(request.encode())
        answer = await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.decode(), body


def get(served: Served, *fields: str, method: str = "GET") -> str:
    return "\r\n".join([f"{method} {served.url} HTTP/1.1", "Host: x", *fields, "", ""])


async def test_it_gives_the_bytes_that_are_asked_for(client: Client) -> None:
    assert await gives_some(client, URL)
    async with served_from_store(client, URL, Bounds()) as served:
        head, body = await asked(served, get(served, "Range: bytes=100000-399999"))
        assert head.startswith("HTTP/1.1 206 ")
        assert f"Content-Range: bytes 100000-399999/{len(FILM)}" in head
        assert body == FILM[100_000:400_000]
        head, body = await asked(served, get(served, "Range: bytes=1400000-"))
        assert body == FILM[1_400_000:]
        head, body = await asked(served, get(served))
        assert head.startswith("HTTP/1.1 200 ")
        assert body == FILM


async def test_it_gives_nothing_else(client: Client) -> None:
    async with served_from_store(client, URL, Bounds()) as served:
        for request in (
            get(served, method="POST"),
            get(served._replace(url="http://store.invalid/jobs/")),
            "CONNECT example.org:443 HTTP/1.1\r\n\r\n",
            "\r\n\r\n",
        ):
            head, body = await asked(served, request)
            assert "403" in head.partition("\r\n")[0]
            assert body == b""
        head, _ = await asked(served, get(served, f"Range: bytes={len(FILM)}-"))
        assert head.startswith("HTTP/1.1 416 ")
        assert urlsplit(served.url).hostname == "store.invalid"


async def test_a_file_that_is_not_there_can_not_be_had_in_parts(client: Client) -> None:
    gone = StoreUrl("0" * 64, "gone.mov")
    assert not await gives_some(client, gone)
    async with served_from_store(client, gone, Bounds()) as served:
        head, _ = await asked(served, get(served, "Range: bytes=0-9"))
    assert head.startswith("HTTP/1.1 404 ")


async def test_it_gives_no_more_than_the_engine_takes(client: Client) -> None:
    async with served_from_store(client, URL, Bounds(max_mb=1)) as served:
        body = b""
        with suppress(ConnectionResetError):
            _, body = await asked(served, get(served))
    assert len(body) < len(FILM)


async def test_what_breaks_off_goes_on_where_it_ended() -> None:
    ranges = list[str]()

    async def answer(asked: Asked) -> Answer:
        wanted = asked.headers["range"]
        ranges.append(wanted)
        first, last = (int(it) for it in wanted.removeprefix("bytes=").split("-"))
        part = FILM[first : last + 1]
        headers = {"ETag": f'"{SHA256}"', "Content-Range": f"bytes {first}-{last}/{len(FILM)}"}
        sent = part[:400_000] if len(ranges) < 3 else part
        return Answer(206, sent, headers, length=len(part))

    async with (
        web(answer) as breaking,
        Client(breaking.url, KEY) as client,
        served_from_store(client, URL, Bounds()) as served,
    ):
        _, body = await asked(served, get(served, "Range: bytes=0-1299999"))
    assert body == FILM[:1_300_000]
    begins = [int(it.removeprefix("bytes=").partition("-")[0]) for it in ranges]
    assert len(begins) == 3
    assert begins == sorted(set(begins)), "what has come is not asked for again"


async def test_of_a_store_in_a_bucket_the_other_server_is_asked_without_the_key() -> None:
    async def bucket(asked: Asked) -> Answer:
        assert "x-api-key" not in asked.headers
        first, last = (int(it) for it in asked.headers["range"][6:].split("-"))
        place = f"bytes {first}-{last}/{len(FILM)}"
        return Answer(206, FILM[first : last + 1], {"Content-Range": place, "ETag": '"other"'})

    async with web(bucket) as there:

        async def answer(_: Asked) -> Answer:
            return Answer(307, b"", {"ETag": f'"{SHA256}"', "Location": f"{there.url}/signed"})

        async with (
            web(answer) as dispatcher,
            Client(dispatcher.url, KEY) as client,
            served_from_store(client, URL, Bounds()) as served,
        ):
            assert await gives_some(client, URL)
            _, body = await asked(served, get(served, "Range: bytes=7-99999"))
    assert body == FILM[7:100_000]
