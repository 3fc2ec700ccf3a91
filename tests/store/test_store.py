"""The folder of films: what is there is whole, what has come stays, and nothing wrong is kept."""

import asyncio
import errno
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from dispatcher.store import (
    BusyError,
    Progress,
    Store,
    StoreFaultError,
    StoreFullError,
    StoreLimits,
    TooLargeError,
    TooManyPartsError,
    UnknownUploadError,
    WrongOffsetError,
    WrongSha256Error,
)
from tests.support.stored import FILM, SHA256, Clock, bytes_of, files_in, filled, in_pieces

pytestmark = pytest.mark.anyio

ANNA: Final = "anna"
BERT: Final = "bert"
ALL: Final = len(FILM)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
async def store(folder: Path, clock: Clock) -> AsyncIterator[Store]:
    opened = await Store.open(folder, StoreLimits(reserve_bytes=0), clock=clock)
    yield opened
    await opened.close()


async def send(
    store: Store,
    first: int = 0,
    end: int = ALL,
    *,
    name: str = SHA256,
    owner: str = ANNA,
    total: int = ALL,
    film: bytes = FILM,
) -> Progress:
    """Send a part of a film, as a request with a Content-Range does."""
    return await store.receive(
        name, owner, in_pieces(film[first:end]), at=first, length=end - first, total=total
    )


async def read(store: Store, first: int = 0, end: int = ALL) -> bytes:
    return b"".join([piece async for piece in store.read(SHA256, first, end)])


# Uploads


async def test_a_film_in_parts_is_there_when_the_last_has_come(store: Store) -> None:
    assert await send(store, 0, 1_000) == Progress(1_000)
    assert store.use(SHA256) is None
    assert await send(store, 1_000, 300_000) == Progress(300_000)
    assert await store.progress(SHA256, ANNA) == Progress(300_000)
    assert await send(store, 300_000) == Progress(ALL, SHA256)
    assert store.use(SHA256) == ALL
    assert await read(store) == FILM
    assert await read(store, 7, 1_009) == FILM[7:1_009]
    assert (store.count, store.used_bytes, files_in(store.folder)) == (1, ALL, [f"files/{SHA256}"])


async def test_a_film_that_is_there_is_not_taken_again(store: Store) -> None:
    await send(store)

    asked_for = []

    async def watched() -> AsyncIterator[bytes]:
        asked_for.append(SHA256)
        yield FILM

    again = await store.receive(SHA256, BERT, watched(), at=None, length=ALL, total=ALL)
    assert (again, asked_for) == (Progress(ALL, SHA256), [])
    assert store.used_bytes == ALL


async def test_what_has_come_survives_a_restart(folder: Path) -> None:
    for first, end in ((0, 10), (10, 500_000), (500_000, ALL)):
        store = await Store.open(folder)
        assert await store.progress(SHA256, ANNA) == Progress(first)
        assert store.used_bytes == first
        await send(store, first, end)
        await store.close()
    store = await Store.open(folder)
    assert store.use(SHA256) == ALL
    assert await read(store) == FILM
    await store.close()


async def test_what_came_before_a_body_broke_off_stays(store: Store) -> None:
    async def breaking() -> AsyncIterator[bytes]:
        yield FILM[:700_000]
        yield FILM[700_000:700_001]
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await store.receive(SHA256, ANNA, breaking(), at=0, length=ALL, total=ALL)
    assert await store.progress(SHA256, ANNA) == Progress(700_001)
    assert await send(store, 700_001) == Progress(ALL, SHA256)
    assert await read(store) == FILM


async def test_wrong_bytes_are_found_at_the_end_and_nothing_is_kept(store: Store) -> None:
    await send(store, 0, 500)
    wrong = FILM[:-1] + bytes([FILM[-1] ^ 1])
    with pytest.raises(WrongSha256Error, match=hashlib.sha256(wrong).hexdigest()):
        await send(store, 500, film=wrong)
    assert (store.count, store.used_bytes, files_in(store.folder)) == (0, 0, [])
    assert await store.progress(SHA256, ANNA) == Progress(0)
    assert await send(store) == Progress(ALL, SHA256)


async def test_a_part_that_was_changed_on_disk_is_found_at_the_end(folder: Path) -> None:
    store = await Store.open(folder)
    await send(store, 0, 1_000)
    await store.close()
    (part,) = (folder / "parts").iterdir()
    part.write_bytes(b"!" + FILM[1:1_000])
    store = await Store.open(folder)
    with pytest.raises(WrongSha256Error):
        await send(store, 1_000)
    assert files_in(folder) == []
    await store.close()


async def test_bytes_that_do_not_go_on_are_refused_and_it_says_where_they_would(
    store: Store,
) -> None:
    await send(store, 0, 100)
    for first in (0, 99, 101):
        with pytest.raises(WrongOffsetError) as refused:
            await send(store, first, 200)
        assert refused.value.size == 100
    with pytest.raises(WrongOffsetError) as refused:
        await send(store, 5, 200, owner=BERT)
    assert refused.value.size == 0
    assert await store.progress(SHA256, ANNA) == Progress(100)


async def test_a_whole_body_takes_the_place_of_what_had_come(store: Store) -> None:
    await send(store, 0, 600_000, film=b"x" * ALL)
    done = await store.receive(SHA256, ANNA, in_pieces(FILM), at=None, length=ALL, total=ALL)
    assert done == Progress(ALL, SHA256)
    assert await read(store) == FILM


async def test_a_part_that_is_whole_is_finished_without_more_bytes(store: Store) -> None:
    assert await send(store, 0, ALL, total=ALL + 1) == Progress(ALL)
    assert await send(store, ALL, ALL) == Progress(ALL, SHA256)


async def test_of_two_uploads_of_one_key_at_once_the_second_waits(store: Store) -> None:
    may_go_on, has_begun = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        has_begun.set()
        yield FILM[:10]
        await may_go_on.wait()
        yield FILM[10:]

    first = asyncio.create_task(store.receive(SHA256, ANNA, slow(), at=0, length=ALL, total=ALL))
    await has_begun.wait()
    with pytest.raises(BusyError):
        await send(store)
    assert await send(store, owner=BERT) == Progress(ALL, SHA256)
    may_go_on.set()
    assert await first == Progress(ALL, SHA256)
    assert (store.count, store.used_bytes, files_in(store.folder)) == (1, ALL, [f"files/{SHA256}"])


async def test_a_cancelled_upload_leaves_what_had_come(store: Store) -> None:
    has_come = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield FILM[:600_000]
        has_come.set()
        await asyncio.Event().wait()

    upload = asyncio.create_task(
        store.receive(SHA256, ANNA, endless(), at=0, length=ALL, total=ALL)
    )
    await has_come.wait()
    upload.cancel()
    with pytest.raises(asyncio.CancelledError):
        await upload
    assert await store.progress(SHA256, ANNA) == Progress(600_000)
    assert await send(store, 600_000) == Progress(ALL, SHA256)


async def test_an_upload_without_a_hash_gets_the_name_that_it_has_earned(folder: Path) -> None:
    store = await Store.open(folder)
    upload = await store.begin(ANNA)
    assert await store.progress(upload, ANNA) == Progress(0)
    assert await send(store, 0, 100, name=upload) == Progress(100)
    await store.close()
    store = await Store.open(folder)
    assert await store.progress(upload, ANNA) == Progress(100)
    assert await send(store, 100, name=upload) == Progress(ALL, SHA256)
    await store.close()
    store = await Store.open(folder)
    assert await store.progress(upload, ANNA) == Progress(ALL, SHA256), "asked for again"
    await store.close()


async def test_an_upload_is_its_keys_alone(store: Store) -> None:
    upload = await store.begin(ANNA)
    with pytest.raises(UnknownUploadError):
        await store.progress(upload, BERT)
    with pytest.raises(UnknownUploadError):
        await send(store, name=upload, owner=BERT)
    await send(store, 0, 10, film=b"x" * ALL)
    assert await store.progress(SHA256, BERT) == Progress(0)
    assert await send(store, owner=BERT) == Progress(ALL, SHA256)


async def test_an_empty_file_is_a_file(store: Store) -> None:
    name = hashlib.sha256().hexdigest()
    done = await store.receive(name, ANNA, in_pieces(b""), at=None, length=0, total=0)
    assert done == Progress(0, name)
    assert await bytes_of(store, name) == b""


# Limits


async def test_a_file_over_the_limit_is_refused_before_a_byte_is_read(folder: Path) -> None:
    store = await Store.open(folder, StoreLimits(max_file_bytes=ALL - 1, reserve_bytes=0))
    with pytest.raises(TooLargeError, match=f"at most {ALL - 1:,} bytes"):
        await send(store, 0, 10)
    assert files_in(folder) == []
    await store.close()


async def test_uploads_at_once_do_not_take_the_same_room(folder: Path) -> None:
    store = await Store.open(folder, StoreLimits(max_bytes=ALL + 100, reserve_bytes=0))
    has_begun, may_go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        has_begun.set()
        await may_go_on.wait()
        yield FILM

    first = asyncio.create_task(store.receive(SHA256, ANNA, slow(), at=0, length=ALL, total=ALL))
    await has_begun.wait()
    with pytest.raises(StoreFullError, match="--store-max-gb"):
        await filled(store, b"y" * 101)
    await filled(store, b"y" * 100)
    may_go_on.set()
    assert (await first).sha256 == SHA256
    with pytest.raises(StoreFullError):
        await filled(store, b"z")
    await store.close()


async def test_some_of_the_disk_is_left_free(folder: Path) -> None:
    limits = StoreLimits(reserve_bytes=1_000)
    store = await Store.open(folder, limits, free_bytes=lambda: 1_000 + ALL - 1)
    with pytest.raises(StoreFullError, match="disk"):
        await send(store)
    assert await send(store, 0, ALL - 1) == Progress(ALL - 1)
    await store.close()


async def test_a_full_disk_keeps_what_could_be_written(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, room = os.write, 700_000

    def filling(file: int, data: memoryview) -> int:
        nonlocal room
        if not room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = write(file, data[:room])
        room -= written
        return written

    monkeypatch.setattr(os, "write", filling)
    with pytest.raises(StoreFullError, match="disk is full"):
        await send(store)
    assert await store.progress(SHA256, ANNA) == Progress(700_000)
    assert store.used_bytes == 700_000
    room = ALL
    assert await send(store, 700_000) == Progress(ALL, SHA256)
    assert await read(store) == FILM


async def test_a_key_has_so_many_unfinished_uploads(folder: Path) -> None:
    store = await Store.open(folder, StoreLimits(parts_of_a_key=2))
    for _ in range(2):
        await store.begin(ANNA)
    with pytest.raises(TooManyPartsError):
        await store.begin(ANNA)
    await store.begin(BERT)
    await store.close()


# Sweeping


async def test_a_file_expires_when_nobody_has_used_it_for_the_time(
    store: Store, clock: Clock
) -> None:
    await send(store)
    clock.now += store.limits.keep_s
    assert store.expired() == []
    store.use(SHA256)
    clock.now += store.limits.keep_s
    assert store.expired() == []
    clock.now += 1
    assert store.expired() == [SHA256]


async def test_when_a_file_was_used_is_known_after_a_restart(folder: Path) -> None:
    clock = Clock()
    store = await Store.open(folder, clock=clock)
    await send(store)
    clock.now += store.limits.keep_s - 10
    store.use(SHA256)
    await store.close()
    store = await Store.open(folder, clock=clock)
    clock.now += store.limits.keep_s / 2
    assert store.expired() == []
    await store.close()


async def test_what_is_swept_while_it_is_read_is_read_to_its_end(store: Store) -> None:
    await send(store)
    pieces = store.read(SHA256, 0, ALL)
    got = await anext(pieces)
    store.drop(SHA256)
    await store.empty_trash()
    assert (store.count, store.used_bytes, files_in(store.folder)) == (0, 0, [])
    got += b"".join([piece async for piece in pieces])
    assert got == FILM
    with pytest.raises(StoreFaultError):
        await read(store)
    assert await send(store) == Progress(ALL, SHA256)


async def test_unfinished_uploads_go_when_nobody_goes_on_with_them(
    store: Store, clock: Clock
) -> None:
    upload = await store.begin(ANNA)
    await send(store, 0, 100)
    clock.now += store.limits.keep_parts_s - 1
    await send(store, 100, 200)
    clock.now += 2
    assert await store.drop_parts() == 1
    assert await store.progress(SHA256, ANNA) == Progress(200)
    with pytest.raises(UnknownUploadError):
        await store.progress(upload, ANNA)
    assert store.used_bytes == 200


# The folder


async def test_what_is_not_the_stores_is_left_alone(folder: Path) -> None:
    (folder / "files").mkdir(parents=True)
    (folder / "parts").mkdir()
    for name in ("files/README", f"files/{SHA256}.bak", "parts/x"):
        (folder / name).write_text("mine")
    (folder / "files" / SHA256).symlink_to(folder / "files" / "README")
    store = await Store.open(folder)
    assert (store.count, store.used_bytes) == (0, 0)
    await store.drop_parts()
    await store.close()
    assert len(files_in(folder)) == 4


async def test_a_folder_is_one_dispatchers(store: Store) -> None:
    with pytest.raises(StoreFaultError, match=f"another dispatcher uses it, process {os.getpid()}"):
        await Store.open(store.folder)


async def test_a_folder_that_can_not_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "film").write_text("")
    with pytest.raises(StoreFaultError, match=r"--store .*film/store: can't be used"):
        await Store.open(tmp_path / "film" / "store")


async def test_a_damaged_file_breaks_off(store: Store) -> None:
    await send(store)
    os.truncate(store.folder / "files" / SHA256, 400_000)
    with pytest.raises(StoreFaultError, match="shorter"):
        await read(store)


async def test_what_a_sweep_had_begun_goes_at_the_next_start(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await Store.open(folder)
    await send(store)
    monkeypatch.setattr(store, "empty_trash", _nothing)
    store.drop(SHA256)
    await store.close()
    assert len(files_in(folder)) == 1
    await (await Store.open(folder)).close()
    assert files_in(folder) == []


async def _nothing() -> None:
    pass
