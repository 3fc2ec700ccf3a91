"""Films from a store in a bucket: the dispatcher says where they are, and moves none of them."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import httpx2
import pytest

from dispatcher.buckets import Bucket, ObjectUrl
from dispatcher.client import Client, DamagedError, RequestRefusedError
from dispatcher.store import bucket as bucket_module
from dispatcher.store.bucket import BucketFilms
from dispatcher.store_urls import StoreUrl, sha256_of
from tests.support.commands import command, ended, said_by, started
from tests.support.media import FFMPEG, Clips, found_in
from tests.support.seaweed import ACCESS_KEY, SECRET_KEY, Seaweed, pointed_at
from tests.support.servers import KEY, Running, child, client_of, events_in, running
from tests.support.stored import FILM, SHA256
from tests.support.web import Answer, Asked, web

pytest_plugins = ["tests.support.engine_fixtures", "tests.support.film_fixtures"]
pytestmark = pytest.mark.anyio

ALL: Final = len(FILM)
PATH: Final = f"/store/{SHA256}"


@pytest.fixture
def url(seaweed: Seaweed, monkeypatch: pytest.MonkeyPatch) -> ObjectUrl:
    pointed_at(seaweed, monkeypatch)
    return ObjectUrl("s3", seaweed.bucket())


@pytest.fixture
async def server(db: Path, url: ObjectUrl) -> AsyncIterator[Running]:
    async with running(db, store=url) as dispatcher:
        yield dispatcher


def linking_to(monkeypatch: pytest.MonkeyPatch, *links: str) -> list[str]:
    """Have the store give out these URLs one after the other, and then good ones."""
    left, link = list(links), BucketFilms.link

    async def given(self: BucketFilms, sha256: str) -> str:
        return left.pop(0) if left else await link(self, sha256)

    monkeypatch.setattr(BucketFilms, "link", given)
    return left


async def test_a_download_is_sent_elsewhere(
    client: httpx2.AsyncClient, dispatcher: Client, film: Path, seaweed: Seaweed
) -> None:
    assert (await client.put(PATH, content=FILM)).status_code == 201
    sent = await client.get(PATH)
    assert (sent.status_code, sent.content) == (307, b"")
    assert sent.headers["ETag"] == f'"{SHA256}"'
    assert sent.headers["Cache-Control"] == "no-store"
    assert sent.headers["Location"].startswith(f"{seaweed.url}/films-")
    head = await client.head(PATH)
    assert (head.status_code, int(head.headers["Content-Length"])) == (200, ALL)
    beyond = await client.get(PATH, headers={"Range": f"bytes={ALL}-"})
    assert beyond.status_code == 416
    await dispatcher.download(SHA256, film.with_name("back"))
    assert film.with_name("back").read_bytes() == FILM


async def test_a_download_goes_on_where_its_file_ends(dispatcher: Client, film: Path) -> None:
    await dispatcher.upload(film)
    for there in (FILM[:700_000], FILM, FILM + b"more", b"other" * 1_000):
        back = film.with_name("back")
        back.write_bytes(there)
        await dispatcher.download(SHA256, back)
        assert back.read_bytes() == FILM
    empty = film.with_name("empty")
    empty.touch()
    stored = StoreUrl.parse(await dispatcher.upload(empty))
    assert stored is not None
    await dispatcher.download(stored.sha256, film.with_name("also empty"))
    assert film.with_name("also empty").read_bytes() == b""


async def test_the_other_server_is_not_told_the_key(
    dispatcher: Client, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await dispatcher.upload(film)
    film.with_name("back").write_bytes(FILM[:1_000])

    async def answer(asked: Asked) -> Answer:
        del asked
        said = {"Content-Range": f"bytes 1000-{ALL - 1}/{ALL}"}
        return Answer(206, FILM[1_000:], said)

    async with web(answer) as other:
        linking_to(monkeypatch, f"{other.url}/film?X-Amz-Signature=abc")
        await dispatcher.download(SHA256, film.with_name("back"))
    (asked,) = other.asked
    assert asked.target == "/film?X-Amz-Signature=abc"
    assert asked.headers["range"] == "bytes=1000-"
    assert KEY not in str(asked.headers)
    assert film.with_name("back").read_bytes() == FILM


async def test_a_link_that_has_expired_is_asked_for_again(
    dispatcher: Client, film: Path, monkeypatch: pytest.MonkeyPatch, seaweed: Seaweed
) -> None:
    await dispatcher.upload(film)
    expired = f"{seaweed.url}/films/x?X-Amz-Signature=abc"
    left = linking_to(monkeypatch, expired, expired)
    await dispatcher.download(SHA256, film.with_name("back"))
    assert (film.with_name("back").read_bytes(), left) == (FILM, [])
    linking_to(monkeypatch, *[expired] * 9)
    with pytest.raises(RequestRefusedError, match="answered 40") as refused:
        await dispatcher.download(SHA256, film.with_name("again"))
    assert "abc" not in str(refused.value)


async def test_an_object_that_was_changed_or_is_gone_is_never_taken(
    dispatcher: Client, film: Path, url: ObjectUrl
) -> None:
    await dispatcher.upload(film)
    film.write_bytes(FILM[:-1] + b"!")
    await Bucket(url).put(f"files/{SHA256}", film, {})
    back = film.with_name("back")
    with pytest.raises(DamagedError, match="nothing of it was kept"):
        await dispatcher.download(SHA256, back)
    assert back.read_bytes() == b""
    await Bucket(url).delete(f"files/{SHA256}")
    with pytest.raises(RequestRefusedError, match="answered 404, and the dispatcher sent us there"):
        await dispatcher.download(SHA256, back)
    with pytest.raises(RequestRefusedError) as refused:
        await dispatcher.download(SHA256, back, max_bytes=1)
    assert refused.value.status in {404, 413}


async def test_a_dispatcher_that_is_killed_in_an_upload_goes_on_with_it(
    db: Path, url: ObjectUrl, film: Path
) -> None:
    async with child(db, "--store", str(url)) as dispatcher:
        async with client_of(dispatcher) as http:
            said = {"Content-Range": f"bytes 0-{700_000 - 1}/{ALL}"}
            assert (await http.put(PATH, content=FILM[:700_000], headers=said)).status_code == 202
        dispatcher.process.kill()
        await dispatcher.process.wait()
    async with child(db, "--store", str(url)) as dispatcher, client_of(dispatcher) as http:
        assert (await http.head(PATH)).headers["Upload-Offset"] == "700000"
        async with Client(dispatcher.url, KEY) as client:
            await client.upload(film)
            await client.download(SHA256, film.with_name("back"))
    assert film.with_name("back").read_bytes() == FILM
    assert [it.key async for it in Bucket(url).all()] == [f"files/{SHA256}"]


async def test_a_film_goes_the_whole_way_through_a_bucket(
    clips: Clips, url: ObjectUrl, tmp_path: Path
) -> None:
    for name in ("dispatcher", "engine", "client"):
        (tmp_path / name).mkdir()
    film = tmp_path / "client" / "film.mp4"
    film.write_bytes(clips.plain.read_bytes())
    serve = ("serve", "--port", "0", "--store", str(url))
    engine = (
        *("engine", "--id", "farm-1", "--work-dir", "work", "--output", "store:"),
        *("--ffmpeg", str(FFMPEG), "--poll-s", "0.05", "--wait-s", "0"),
    )
    async with started(tmp_path / "dispatcher", *serve) as dispatcher:
        server = (await said_by(dispatcher, "Dispatcher ready")).split()[3].rstrip(",")
        async with started(tmp_path / "engine", *engine, server=server) as at_work:
            client = tmp_path / "client"
            submit = ("submit", "film.mp4", "--codec", "h264", "--wait", "--json")
            submitted = await command(client, *submit, server=server)
            assert submitted.status == 0, submitted.err
            (job,) = submitted.json
            fetched = await command(client, "fetch", job["job_id"], "-o", "out", server=server)
            assert fetched.status == 0, fetched.err
            at_work.terminate()
            await ended(at_work)
        dispatcher.terminate()
        told = await ended(dispatcher)
    (output,) = (client / "out").iterdir()
    assert output.name == f"film-{job['job_id']}.mp4"
    assert found_in(output).video == "h264"
    kept = {it.key async for it in Bucket(url).all()}
    assert kept == {f"files/{sha256_of(it)}" for it in (film, output)}
    said = "".join(data for _, _, data in events_in(tmp_path / "dispatcher" / "events.db"))
    for secret in (ACCESS_KEY, SECRET_KEY, "X-Amz", "file:"):
        assert secret not in said + told.err


async def test_a_store_that_can_not_be_is_told_at_the_start(tmp_path: Path) -> None:
    bad = await command(tmp_path, "serve", "--store", "s3://K:S@films")
    assert (bad.status, "names no bucket" in bad.err, "K:S" in bad.err) == (1, True, False)
    assert bucket_module.PATIENCE_S < 120
