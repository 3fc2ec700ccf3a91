"""The dispatcher's store, as an engine uses it."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from dispatcher.client import Client
from dispatcher.engine.delivery import DeliveryError
from dispatcher.engine.fetching import Bounds
from dispatcher.engine.source_errors import SourceAwayError, SourceError, SourceTooLargeError
from dispatcher.engine.sources import Sources
from dispatcher.engine.storing import StoreDelivery
from dispatcher.store_urls import StoreUrl
from tests.support.servers import KEY, Running, running
from tests.support.stored import FILM, SHA256

pytest_plugins = ["tests.support.film_fixtures"]
pytestmark = pytest.mark.anyio

URL: Final = f"store:{SHA256}/a%20film.MOV"


@pytest.fixture
async def server(db: Path, tmp_path: Path) -> AsyncIterator[Running]:
    async with running(db, store=tmp_path / "store") as dispatcher:
        yield dispatcher


async def opened(client: Client | None, folder: Path, url: str = URL, max_mb: float = 10) -> bytes:
    sources = Sources(bounds=Bounds(max_mb=max_mb), dispatcher=client)
    async with sources.opened(url, 500, folder, streams=True) as source:
        path = Path(source.url.removeprefix("file:"))
        assert path.suffix == ".mov"
        assert source.proxy_port is None
        return path.read_bytes()


async def test_a_source_comes_from_the_store_whole(
    dispatcher: Client, film: Path, folder: Path
) -> None:
    await dispatcher.upload(film)
    assert await opened(dispatcher, folder) == FILM
    assert await opened(dispatcher, folder) == FILM, "what is there is not fetched again"


async def test_a_source_that_was_swept_is_a_bad_one(dispatcher: Client, folder: Path) -> None:
    with pytest.raises(SourceError, match=f"the store has no file {SHA256}") as failed:
        await opened(dispatcher, folder)
    assert failed.value.cause == "source_bad"


async def test_a_source_that_was_changed_in_the_store_is_never_read(
    dispatcher: Client, film: Path, folder: Path, tmp_path: Path
) -> None:
    await dispatcher.upload(film)
    (tmp_path / "store" / "files" / SHA256).write_bytes(FILM[:-1] + b"!")
    with pytest.raises(SourceAwayError, match="arrived with the SHA-256"):
        await opened(dispatcher, folder)


async def test_a_source_over_the_engines_bound_is_not_fetched(
    dispatcher: Client, film: Path, folder: Path
) -> None:
    await dispatcher.upload(film)
    with pytest.raises(SourceTooLargeError, match="--max-source-mb"):
        await opened(dispatcher, folder, max_mb=1)


@pytest.mark.parametrize("url", ["store:abc", f"store:{SHA256.upper()}", "store:/etc/passwd.mov"])
async def test_a_url_without_a_digest_is_refused(
    dispatcher: Client, folder: Path, url: str
) -> None:
    with pytest.raises(SourceError, match="nothing else"):
        await opened(dispatcher, folder, url)


async def test_without_a_dispatcher_there_is_no_store(folder: Path) -> None:
    with pytest.raises(SourceError, match="nothing else"):
        await opened(None, folder)


async def test_an_output_goes_to_the_store_under_the_name_that_it_was_to_have(
    dispatcher: Client, film: Path
) -> None:
    delivery = StoreDelivery(dispatcher)
    url = await delivery.deliver(film, "film-1-2.mov", "video/mp4", "a film.mov")
    assert StoreUrl.parse(url) == (SHA256, "a film.mov")
    own = await delivery.deliver(film, "film-1-2.mov", "video/mp4")
    assert StoreUrl.parse(own) == (SHA256, "film-1-2.mov")
    await delivery.discard(url)
    await dispatcher.download(SHA256, film.with_name("back"))


async def test_a_dispatcher_without_a_store_takes_no_output(db: Path, film: Path) -> None:
    async with running(db) as server, Client(server.url, KEY) as client:
        with pytest.raises(DeliveryError, match="has no store") as failed:
            await StoreDelivery(client).deliver(film, "film.mov", "video/mp4")
    assert failed.value.cause == "unknown"
