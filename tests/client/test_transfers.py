"""Files between a client and the store: nothing is sent twice, and everything is checked."""

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest

from dispatcher.client import (
    Client,
    DamagedError,
    DispatcherAwayError,
    RequestRefusedError,
    digest_of,
)
from dispatcher.client import transfers as transfers_module
from dispatcher.store import StoreLimits
from tests.support.servers import KEY, Running, client_of, running
from tests.support.stored import FILM, SHA256
from tests.support.web import Answer, Asked, web

pytest_plugins = ["tests.support.film_fixtures"]
pytestmark = pytest.mark.anyio

ALL: Final = len(FILM)
URL: Final = f"store:{SHA256}/film.mov"


@pytest.fixture
async def server(db: Path, tmp_path: Path) -> AsyncIterator[Running]:
    async with running(db, store=tmp_path / "store") as dispatcher:
        yield dispatcher


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfers_module, "PART_BYTES", 400_000)


async def passed_on(url: str, asked: Asked) -> Answer:
    """Ask a dispatcher the same, and give its answer, with all that is said of files."""
    asking = ("x-api-key", "content-range", "range", "if-range")
    told = ("Upload-Offset", "ETag", "Content-Range", "Retry-After")
    async with httpx2.AsyncClient(trust_env=False, timeout=90) as http:
        response = await http.request(
            asked.method,
            url + asked.target,
            content=asked.body,
            headers={name: asked.headers[name] for name in asking if name in asked.headers},
        )
    return Answer(
        response.status_code,
        response.content,
        {name: response.headers[name] for name in told if name in response.headers},
    )


class Line:
    """A line to a dispatcher, which loses answers or requests of a method, as often as it is told.

    Bodies that reached the dispatcher are counted in `sent`.
    """

    def __init__(self, url: str, method: str, *, losses: int, heard: bool) -> None:
        self._url = url
        self._method = method
        self._losses = losses
        self._heard = heard
        self.sent: list[int] = []

    async def __call__(self, asked: Asked) -> Answer | None:
        if asked.method == self._method and self._losses:
            self._losses -= 1
            if self._heard:
                self.sent.append(len(asked.body))
                await passed_on(self._url, asked)
            return None
        self.sent += [len(asked.body)] if asked.method == "PUT" else []
        return await passed_on(self._url, asked)


async def test_a_film_goes_to_the_store_and_comes_back(
    dispatcher: Client, film: Path, tmp_path: Path
) -> None:
    told: list[int] = []
    assert await dispatcher.upload(film, progress=told.append) == URL
    assert all(one <= next_one for one, next_one in pairwise(told))
    assert told[-1] == ALL
    await dispatcher.download(SHA256, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == FILM


@pytest.mark.usefixtures("small_parts")
async def test_a_film_that_is_there_is_not_sent_again(server: Running, film: Path) -> None:
    line = Line(server.url, "PUT", losses=0, heard=True)
    async with web(line) as origin, Client(origin.url, KEY) as client:
        await client.upload(film)
        assert line.sent == [400_000, 400_000, 400_000, 300_000]
        assert await client.upload(film, name="x.mov") == f"store:{SHA256}/x.mov"
        assert len(line.sent) == 4


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("heard", [True, False])
async def test_what_was_lost_on_the_way_is_asked_for_and_no_more(
    server: Running, film: Path, monkeypatch: pytest.MonkeyPatch, *, heard: bool
) -> None:
    monkeypatch.setattr(transfers_module, "_PAUSES_S", (0.01,))
    line = Line(server.url, "PUT", losses=2, heard=heard)
    async with web(line) as origin, Client(origin.url, KEY) as client:
        assert await client.upload(film) == URL
    assert sum(line.sent) == ALL


async def test_an_upload_goes_on_where_another_was_stopped(
    server: Running, dispatcher: Client, film: Path
) -> None:
    async with client_of(server) as http:
        said = {"Content-Range": f"bytes 0-999999/{ALL}"}
        await http.put(f"/store/{SHA256}", content=FILM[:1_000_000], headers=said)
    told: list[int] = []
    await dispatcher.upload(film, progress=told.append)
    assert min(told) > 1_000_000


async def test_an_upload_waits_for_another_of_the_same_file(
    server: Running, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfers_module, "BUSY_S", 0.02)
    async with Client(server.url, KEY) as one, Client(server.url, KEY) as other:
        assert {*await asyncio.gather(one.upload(film), other.upload(film))} == {URL}


async def test_what_came_of_something_longer_is_replaced(
    server: Running, dispatcher: Client, film: Path
) -> None:
    async with client_of(server) as http:
        said = {"Content-Range": f"bytes 0-{ALL}/{ALL + 9}"}
        await http.put(f"/store/{SHA256}", content=FILM + b"x", headers=said)
    assert await dispatcher.upload(film) == URL


async def test_an_empty_file_goes_and_comes(dispatcher: Client, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    url = await dispatcher.upload(tmp_path / "empty")
    await dispatcher.download(url[6:70], tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b""


async def test_a_file_that_changes_while_it_is_sent_is_refused(
    dispatcher: Client, film: Path
) -> None:
    sha256 = await digest_of(film)
    film.write_bytes(FILM[:-1] + b"!")
    with pytest.raises(RequestRefusedError, match="nothing of them was kept"):
        await dispatcher.upload(film, sha256=sha256)


async def test_without_a_store_an_upload_says_so(db: Path, film: Path) -> None:
    async with running(db) as server, Client(server.url, KEY) as client:
        assert (await client.store()).enabled is False
        with pytest.raises(RequestRefusedError, match="serve --store DIR"):
            await client.upload(film)


async def test_a_full_store_is_a_refusal(db: Path, film: Path, tmp_path: Path) -> None:
    limits = StoreLimits(max_bytes=ALL - 1)
    async with (
        running(db, store=tmp_path / "store", store_limits=limits) as server,
        Client(server.url, KEY) as client,
    ):
        with pytest.raises(RequestRefusedError, match="no room"):
            await client.upload(film)


async def test_a_dispatcher_that_stays_away_is_given_up(
    film: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(transfers_module, "_PAUSES_S", (0.01,))
    async with Client("http://127.0.0.1:1", KEY) as client:
        with pytest.raises(DispatcherAwayError):
            await client.upload(film, patience_s=0.05)
        with pytest.raises(DispatcherAwayError):
            await client.download(SHA256, tmp_path / "back", patience_s=0.05)


@pytest.mark.parametrize("there", [0, 1, 1_000_000, ALL])
async def test_a_download_goes_on_where_its_file_ends(
    server: Running, dispatcher: Client, film: Path, tmp_path: Path, there: int
) -> None:
    await dispatcher.upload(film)
    back = tmp_path / "back"
    back.write_bytes(FILM[:there])
    asked: list[Asked] = []

    async def line(one: Asked) -> Answer | None:
        asked.append(one)
        return await passed_on(server.url, one)

    async with web(line) as origin, Client(origin.url, KEY) as client:
        await client.download(SHA256, back)
    assert back.read_bytes() == FILM
    ranges = [one.headers.get("range") for one in asked]
    assert ranges == [f"bytes={there}-" if there else None]


@pytest.mark.parametrize("there", [b"x", FILM[:-1] + b"!", FILM + b"more"])
async def test_what_is_there_and_wrong_is_fetched_anew(
    dispatcher: Client, film: Path, tmp_path: Path, there: bytes
) -> None:
    await dispatcher.upload(film)
    back = tmp_path / "back"
    back.write_bytes(there)
    await dispatcher.download(SHA256, back)
    assert back.read_bytes() == FILM


async def test_bytes_that_were_changed_in_the_store_are_never_taken(
    dispatcher: Client, film: Path, tmp_path: Path
) -> None:
    await dispatcher.upload(film)
    (tmp_path / "store" / "files" / SHA256).write_bytes(FILM[:-1] + b"!")
    with pytest.raises(DamagedError, match="nothing of it was kept"):
        await dispatcher.download(SHA256, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b""


async def test_a_file_over_the_bound_is_not_fetched(
    dispatcher: Client, film: Path, tmp_path: Path
) -> None:
    await dispatcher.upload(film)
    with pytest.raises(RequestRefusedError) as refused:
        await dispatcher.download(SHA256, tmp_path / "back", max_bytes=ALL - 1)
    assert refused.value.status == 413
    assert (tmp_path / "back").read_bytes() == b""


async def test_a_download_goes_on_after_the_dispatcher_was_away(
    db: Path, film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfers_module, "_PAUSES_S", (0.02,))
    kept: Any = {"store": tmp_path / "store"}
    async with running(db, **kept) as server, Client(server.url, KEY) as client:
        await client.upload(film)
    back = tmp_path / "back"
    async with Client(server.url, KEY) as client:
        fetching = asyncio.create_task(client.download(SHA256, back))
        async with running(db, port=server.port, **kept):
            await fetching
    assert back.read_bytes() == FILM
