"""A store in a bucket, at a real server of S3: uploads are checked here, whole files are there."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import httpx2
import pytest

from dispatcher.buckets import Bucket, ObjectUrl
from dispatcher.store import Progress, Store, StoreFaultError, StoreLimits
from dispatcher.store import bucket as bucket_module
from tests.support.engines import eventually
from tests.support.seaweed import SECRET_KEY, Seaweed, pointed_at, seaweed_server
from tests.support.stored import FILM, SHA256, Clock, bytes_of, files_in, filled, in_pieces

pytestmark = pytest.mark.anyio

ALL: Final = len(FILM)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def url(seaweed: Seaweed, monkeypatch: pytest.MonkeyPatch) -> ObjectUrl:
    pointed_at(seaweed, monkeypatch)
    return ObjectUrl("s3", seaweed.bucket(), "farm")


async def opened(folder: Path, url: ObjectUrl, clock: Clock) -> Store:
    return await Store.open(folder, StoreLimits(reserve_bytes=0), bucket=url, clock=clock)


@pytest.fixture
async def store(folder: Path, url: ObjectUrl, clock: Clock) -> AsyncIterator[Store]:
    store = await opened(folder, url, clock)
    yield store
    await store.close()


async def keys_in(url: ObjectUrl) -> list[str]:
    return [it.key async for it in Bucket(url).all()]


async def test_a_film_that_is_whole_is_in_the_bucket(
    store: Store, folder: Path, url: ObjectUrl
) -> None:
    part = await store.receive(
        SHA256, "anna", in_pieces(FILM[:700_000]), at=None, length=700_000, total=ALL
    )
    assert (part, await keys_in(url)) == (Progress(700_000), [])
    rest = await store.receive(
        SHA256, "anna", in_pieces(FILM[700_000:]), at=700_000, length=ALL - 700_000, total=ALL
    )
    assert rest == Progress(ALL, SHA256)
    assert await keys_in(url) == [f"files/{SHA256}"]
    assert files_in(folder) == [f"used/{SHA256}"], "nothing of it stays here"
    assert await bytes_of(store, SHA256) == FILM
    assert (store.count, store.used_bytes) == (1, ALL)


async def test_what_is_there_is_known_after_a_restart_and_when_it_was_used(
    folder: Path, url: ObjectUrl, clock: Clock, tmp_path: Path
) -> None:
    store = await opened(folder, url, clock)
    await filled(store, FILM)
    clock.now += store.limits.keep_s
    store.use(SHA256)
    await store.close()
    clock.now += store.limits.keep_s - 1
    store = await opened(folder, url, clock)
    assert (store.count, store.used_bytes, store.expired()) == (1, ALL, [])
    clock.now += 2
    assert store.expired() == [SHA256]
    await store.close()
    elsewhere = await opened(tmp_path / "another folder", url, clock)
    assert (elsewhere.count, elsewhere.expired()) == (1, []), "nobody knows, so it is used now"
    await elsewhere.close()


async def test_what_was_swept_is_gone_and_can_be_sent_again(
    store: Store, folder: Path, url: ObjectUrl
) -> None:
    await filled(store, FILM)
    store.drop(SHA256)
    assert (store.use(SHA256), store.used_bytes) == (None, 0)
    await filled(store, FILM)
    await store.empty_trash()
    assert await keys_in(url) == [f"files/{SHA256}"], "what was sent again is not deleted"
    store.drop(SHA256)
    await store.empty_trash()
    assert (await keys_in(url), files_in(folder)) == ([], [])


async def test_two_uploads_of_the_same_bytes_at_once_are_one_file(
    store: Store, folder: Path, url: ObjectUrl
) -> None:
    await asyncio.gather(*(filled(store, FILM, owner) for owner in ("anna", "bert", "carl")))
    assert (store.count, store.used_bytes) == (1, ALL)
    assert await keys_in(url) == [f"files/{SHA256}"]
    assert files_in(folder) == [f"used/{SHA256}"]


async def test_a_bucket_that_is_away_loses_nothing(
    tmp_path: Path, folder: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket_module, "PATIENCE_S", 0.2)
    with seaweed_server(tmp_path) as seaweed:
        pointed_at(seaweed, monkeypatch)
        store = await opened(folder, ObjectUrl("s3", seaweed.bucket()), clock)
        await filled(store, b"another film")
        seaweed.kill()
        with pytest.raises(StoreFaultError, match="the store's bucket: s3://"):
            await filled(store, FILM)
        assert await store.progress(SHA256, "somebody") == Progress(ALL)
        await asyncio.to_thread(seaweed.start)

        async def finished() -> Progress | None:
            try:
                return await store.receive(
                    SHA256, "somebody", in_pieces(b""), at=ALL, length=0, total=ALL
                )
            except StoreFaultError:
                return None

        assert await eventually(finished) == Progress(ALL, SHA256)
        assert await bytes_of(store, SHA256) == FILM
        await store.close()


async def test_a_link_is_good_for_a_while(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    await filled(store, FILM)
    link = await store.link(SHA256)
    monkeypatch.setattr(bucket_module, "LINK_S", 1)
    short = await store.link(SHA256)
    assert link is not None
    assert short is not None
    async with httpx2.AsyncClient(trust_env=False) as http:
        part = await http.get(link, headers={"Range": "bytes=1000-1999"})
        assert (part.status_code, part.content) == (206, FILM[1_000:2_000])
        assert part.headers["Content-Disposition"] == "attachment"

        async def refused() -> bool | None:
            return True if (await http.get(short)).status_code == 403 else None

        assert await eventually(refused)


async def test_a_wrong_key_is_told_at_the_start_and_no_key(
    folder: Path, seaweed: Seaweed, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    pointed_at(seaweed, monkeypatch, AWS_SECRET_ACCESS_KEY="wrong-secret")
    with pytest.raises(StoreFaultError, match="the store's bucket: s3://films") as refused:
        await opened(folder, ObjectUrl("s3", "films"), clock)
    assert "wrong-secret" not in str(refused.value)
    assert SECRET_KEY not in str(refused.value)
    pointed_at(seaweed, monkeypatch)
    with pytest.raises(StoreFaultError, match="there is no such bucket"):
        await opened(folder, ObjectUrl("s3", "no-such-films"), clock)
    await (await opened(folder, ObjectUrl("s3", seaweed.bucket()), clock)).close()
