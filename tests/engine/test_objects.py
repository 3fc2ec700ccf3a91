"""Films in buckets, as an engine uses them, at a real server of S3."""

import asyncio
from pathlib import Path
from typing import Final

import pytest

from dispatcher.buckets import Bucket, ObjectUrl
from dispatcher.engine import sources as sources_module
from dispatcher.engine.delivery import DeliveryError
from dispatcher.engine.fetching import Bounds
from dispatcher.engine.ffmpeg import Ffmpeg
from dispatcher.engine.objects import BucketDelivery
from dispatcher.engine.source_errors import (
    SourceAwayError,
    SourceError,
    SourceRefusedError,
    SourceTooLargeError,
)
from dispatcher.engine.sources import Sources
from dispatcher.engine.transcoding import transcode
from dispatcher.store_urls import sha256_of
from tests.support.commands import command, ended, said_by, started
from tests.support.media import FFMPEG, Clips, found_in
from tests.support.seaweed import ACCESS_KEY, SECRET_KEY, Seaweed, pointed_at
from tests.support.servers import events_in, running
from tests.support.stored import FILM

pytest_plugins = ["tests.support.engine_fixtures", "tests.support.film_fixtures"]
pytestmark = pytest.mark.anyio

MP4: Final = "video/mp4"


@pytest.fixture
def bucket(seaweed: Seaweed, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    pointed_at(seaweed, monkeypatch)
    return Bucket(ObjectUrl("s3", seaweed.bucket()), patience_s=0.5)


async def opened(url: ObjectUrl | str, folder: Path, sources: Sources = Sources()) -> bytes:  # noqa: B008
    async with sources.opened(str(url), 0, folder, streams=True) as source:
        assert source.proxy_port is None
        path = Path(source.url.removeprefix("file:"))
        assert path.suffix == ".mov"
        return path.read_bytes()


async def all_of(bucket: Bucket, key: str) -> bytes:
    found = await bucket.look(key)
    return b"".join([it async for it in bucket.read(key, 0, found.size, found.etag)])


async def keys_of(bucket: Bucket) -> list[str]:
    return sorted([it.key async for it in bucket.all()])


# Sources


async def test_a_source_is_fetched(bucket: Bucket, film: Path, folder: Path) -> None:
    await bucket.put("in/a film.MOV", film, {})
    assert await opened(bucket.url.below("in/a film.MOV"), folder) == FILM


async def test_a_large_source_is_streamed(
    bucket: Bucket,
    clips: Clips,
    ffmpeg: Ffmpeg,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sources_module, "STREAM_FROM_MB", 0)
    await bucket.put("film 1.mp4", clips.plain, {})
    url = str(bucket.url.below("film 1.mp4"))
    async with Sources().opened(url, 0, folder, streams=True) as source:
        assert source.proxy_port is not None
        done = await transcode(ffmpeg, source, "mpeg4", folder / "out.mp4")
    assert found_in(folder / "out.mp4").video == "mpeg4"
    assert all(SECRET_KEY not in it and ACCESS_KEY not in it for it in done.arguments)
    assert list(folder.iterdir()) == [folder / "out.mp4"]


@pytest.mark.parametrize("at_mb", [0, 100])
async def test_a_source_that_is_replaced_meanwhile_counts_as_away(
    bucket: Bucket, film: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, at_mb: float
) -> None:
    monkeypatch.setattr(sources_module, "STREAM_FROM_MB", at_mb)
    await bucket.put("film.mov", film, {})
    film.write_bytes(FILM[::-1])
    look = Bucket.look

    async def look_and_replace(self: Bucket, key: str) -> object:
        found = await look(self, key)
        await self.put(key, film, {})
        return found

    with monkeypatch.context() as patch:
        patch.setattr(Bucket, "look", look_and_replace)
        with pytest.raises(SourceAwayError, match="a source must be finished"):
            async with Sources().opened(str(bucket.url.below("film.mov")), 0, folder, streams=True):
                patch.undo()


async def test_a_source_that_is_not_there_counts_as_away(bucket: Bucket, folder: Path) -> None:
    with pytest.raises(SourceAwayError, match=r"nothing\.mov: there is no such object"):
        await opened(bucket.url.below("nothing.mov"), folder)


async def test_a_source_over_the_bound_is_not_fetched(
    bucket: Bucket, film: Path, folder: Path
) -> None:
    await bucket.put("film.mov", film, {})
    with pytest.raises(SourceTooLargeError, match="--max-source-mb"):
        await opened(bucket.url.below("film.mov"), folder, Sources(bounds=Bounds(max_mb=1)))
    assert list(folder.iterdir()) == []


async def test_with_roots_nothing_else_of_that_cloud_is_read(
    bucket: Bucket, film: Path, folder: Path
) -> None:
    for key in ("in/film.mov", "inside/film.mov"):
        await bucket.put(key, film, {})
    sources = Sources(buckets=[bucket.url.below("in")])
    assert await opened(bucket.url.below("in/film.mov"), folder, sources) == FILM
    for url in (bucket.url.below("inside/film.mov"), ObjectUrl("s3", "other", "film.mov")):
        with pytest.raises(SourceRefusedError, match="can add one with --source-root s3://"):
            await opened(url, folder, sources)


@pytest.mark.parametrize("scheme", ["s3", "gs", "az"])
async def test_without_credentials_nothing_is_asked(
    folder: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "GOOGLE_APPLICATION_CREDENTIALS"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SourceRefusedError, match=f"no credentials for {scheme}://") as refused:
        await opened(f"{scheme}://films/film.mov", folder)
    assert refused.value.cause == "source_away"


async def test_a_wrong_key_is_told_and_no_key(
    seaweed: Seaweed, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pointed_at(seaweed, monkeypatch, AWS_SECRET_ACCESS_KEY="wrong-secret")
    with pytest.raises(SourceRefusedError, match="credentials do not permit it") as refused:
        await opened("s3://films/film.mov", folder)
    for secret in (ACCESS_KEY, SECRET_KEY, "wrong-secret"):
        assert secret not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("s3://films", "no object"),
        ("s3:films/a.mov", "use s3://BUCKET/KEY"),
        ("s3://films/a/../b", "a key has no"),
        ("s3://K:S@films/b", "names no bucket"),
        ("s3://films/a.m3u8", "a playlist is read from a web server only"),
    ],
)
async def test_a_bad_url_is_a_bad_source(folder: Path, url: str, why: str) -> None:
    with pytest.raises(SourceError, match=why) as bad:
        await opened(url, folder)
    assert bad.value.cause == "source_bad"


# Outputs


async def test_an_output_gets_the_wished_name_and_its_digest(bucket: Bucket, film: Path) -> None:
    delivery = BucketDelivery(Bucket(bucket.url.below("out")))
    url = await delivery.deliver(film, "film-1-1.mov", MP4, "a film.mov")
    assert url == f"{bucket.url}/out/a film.mov"
    assert await all_of(bucket, "out/a film.mov") == FILM
    metadata = (await bucket.look("out/a film.mov")).metadata
    assert (metadata["Content-Type"], metadata["sha256"]) == (MP4, sha256_of(film))
    assert await keys_of(bucket) == ["out/a film.mov"], "no claim is left"
    await delivery.discard(url)
    await delivery.discard(url)
    assert await keys_of(bucket) == []


async def test_an_output_replaces_nothing(bucket: Bucket, film: Path) -> None:
    delivery = BucketDelivery(bucket)
    urls = [await delivery.deliver(film, f"film-{n}-1.mov", MP4, "film.mov") for n in (1, 2)]
    assert urls == [f"{bucket.url}/film.mov", f"{bucket.url}/film-2-1.mov"]
    assert await delivery.deliver(film, "film-3-1.mov", MP4) == f"{bucket.url}/film-3-1.mov"
    assert await keys_of(bucket) == ["film-2-1.mov", "film-3-1.mov", "film.mov"]


async def test_of_several_that_wish_for_one_name_one_gets_it(bucket: Bucket, film: Path) -> None:
    delivery = BucketDelivery(Bucket(bucket.url))
    urls = await asyncio.gather(
        *(delivery.deliver(film, f"film-{n}-1.mov", MP4, "film.mov") for n in range(4))
    )
    assert len(set(urls)) == 4
    wished = urls.index(f"{bucket.url}/film.mov")
    assert (await bucket.look("film.mov")).metadata["output"] == f"film-{wished}-1.mov"
    assert not [it for it in await keys_of(bucket) if it.endswith(".claim")]


@pytest.mark.parametrize("until", ["claimed", "uploaded"])
async def test_who_died_while_it_delivered_goes_on(
    bucket: Bucket, film: Path, monkeypatch: pytest.MonkeyPatch, until: str
) -> None:
    async def died(*_: object) -> None:
        raise KeyboardInterrupt

    delivery = BucketDelivery(bucket)
    with monkeypatch.context() as patch:
        patch.setattr(Bucket, "put" if until == "claimed" else "delete", died)
        with pytest.raises(KeyboardInterrupt):
            await delivery.deliver(film, "film-1-1.mov", MP4, "film.mov")
    other = await delivery.deliver(film, "film-2-1.mov", MP4, "film.mov")
    assert other == f"{bucket.url}/film-2-1.mov"
    again = await delivery.deliver(film, "film-1-1.mov", MP4, "film.mov")
    assert again == f"{bucket.url}/film.mov"
    assert await keys_of(bucket) == ["film-2-1.mov", "film.mov"]


async def test_who_is_stopped_while_it_delivers_leaves_nothing(
    bucket: Bucket, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = asyncio.Event()

    async def put(*_: object) -> None:
        begun.set()
        await asyncio.Event().wait()

    with monkeypatch.context() as patch:
        patch.setattr(Bucket, "put", put)
        work = asyncio.create_task(
            BucketDelivery(bucket).deliver(film, "film-1-1.mov", MP4, "film.mov")
        )
        await begun.wait()
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
    assert await keys_of(bucket) == []


async def test_a_bucket_that_takes_nothing_is_a_delivery_error(
    seaweed: Seaweed, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pointed_at(seaweed, monkeypatch, AWS_SECRET_ACCESS_KEY="wrong-secret")
    delivery = BucketDelivery(Bucket(ObjectUrl("s3", seaweed.bucket())))
    with pytest.raises(DeliveryError, match="s3://") as failed:
        await delivery.deliver(film, "film.mov", MP4)
    assert "wrong-secret" not in str(failed.value)


# The whole way


async def test_a_film_goes_from_bucket_to_bucket(
    bucket: Bucket, clips: Clips, db: Path, tmp_path: Path
) -> None:
    await bucket.put("in/film.mp4", clips.plain, {})
    engine = (
        *("engine", "--id", "farm-1", "--work-dir", "work", "--output", f"{bucket.url}/out/"),
        *("--source-root", f"{bucket.url}/in", "--ffmpeg", str(FFMPEG)),
        *("--poll-s", "0.05", "--wait-s", "0"),
    )
    async with running(db) as server, started(tmp_path, *engine, server=server.url) as at_work:
        submit = ("submit", f"{bucket.url}/in/film.mp4", "--codec", "h264", "--wait", "--json")
        submitted = await command(tmp_path, *submit, server=server.url)
        assert submitted.status == 0, submitted.err
        (job,) = submitted.json
        at_work.terminate()
        told = await ended(at_work)
    name = f"film-{job['job_id']}.mp4"
    assert job["output_url"] == f"{bucket.url}/out/{name}"
    output = tmp_path / "output.mp4"
    output.write_bytes(await all_of(bucket, f"out/{name}"))
    assert found_in(output).video == "h264"
    assert job["result"]["source"]["sha256"] == sha256_of(clips.plain)
    assert job["result"]["output"]["sha256"] == sha256_of(output)
    said = "".join(data for _, _, data in events_in(db)) + told.err + told.out
    for secret in (ACCESS_KEY, SECRET_KEY, "X-Amz"):
        assert secret not in said


@pytest.mark.usefixtures("bucket")
async def test_an_engine_says_what_it_may_read(tmp_path: Path, db: Path) -> None:
    async with running(db) as server:
        engine = ("engine", "--work-dir", "work", "--ffmpeg", str(FFMPEG))
        async with started(tmp_path, *engine, server=server.url) as at_work:
            await said_by(at_work, "credentials in the environment permit at s3://; --source-root")
    bad = await command(tmp_path, "engine", "--output", "s3://K:S@films/out")
    assert (bad.status, "names no bucket" in bad.err, "K:S" in bad.err) == (1, True, False)
