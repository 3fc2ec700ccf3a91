"""The files of a store in a bucket: `files/SHA256` below its prefix.

Laws:
- An upload comes to the dispatcher's disk first, where it is checked and can go on. When it is
  whole it goes to the bucket, and only then it has its name.
- Nobody reads a file through the dispatcher: who asks gets a URL that is good for a few minutes.
- When a file was used is noted beside the uploads: `used/SHA256`. Of a file without a note nobody
  knows, so it counts as used at the start.
- A file that is being deleted is not put meanwhile.
- A dispatcher that stops does not wait for the bucket. What was on its way is still on its disk.
"""

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from dispatcher.buckets import Bucket, BucketError, ObjectUrl
from dispatcher.store.disk import Disk
from dispatcher.store.errors import StoreFaultError
from dispatcher.store.films import Kept
from dispatcher.store_urls import is_sha256

__all__ = ["BucketFilms"]

PATIENCE_S: Final = 60.0
LINK_S: Final = 900.0
"""How long a URL is good. It is looked at when a request begins, not while it is answered."""
_ATTRIBUTES: Final = {
    # No browser shall show or run what somebody has uploaded.
    "Content-Type": "application/octet-stream",
    "Content-Disposition": "attachment",
}


class BucketFilms:
    """The files below a prefix of a bucket; `folder` is on the dispatcher's disk."""

    def __init__(
        self, url: ObjectUrl, folder: Path, disk: Disk, clock: Callable[[], float] = time.time
    ) -> None:
        self._clock = clock
        self._disk = disk
        self._used = folder / "used"
        self._used.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._dropped: set[str] = set()
        self._deleting = asyncio.Lock()
        self._putting: set[asyncio.Task[None]] = set()
        self._is_stopping = False
        with _translated():
            self._bucket = Bucket(url.below("files"), PATIENCE_S)

    async def find(self) -> dict[str, Kept]:
        """Return what is there."""
        sizes = dict[str, int]()
        with _translated():
            async for it in self._bucket.all():
                if is_sha256(it.key):
                    sizes[it.key] = it.size
        return await self._disk.do(_noted_in, self._used, sizes, self._clock())

    async def put(self, part: Path, sha256: str) -> None:
        """Upload a file."""
        self._dropped.discard(sha256)
        async with self._deleting:
            pass  # if it was being deleted, that is over now
        await self._put(part, sha256)
        self.note_use(sha256, self._clock())
        await self._disk.do(part.unlink, missing_ok=True)

    async def _put(self, part: Path, sha256: str) -> None:
        """Upload a file, unless the store is closed meanwhile; then it goes on at another time."""
        work = asyncio.ensure_future(self._bucket.put(sha256, part, _ATTRIBUTES))
        self._putting.add(work)
        try:
            if self._is_stopping:
                work.cancel()
            with _translated():
                await work
        except asyncio.CancelledError:
            if self._is_stopping:
                raise StoreFaultError("the store is being closed; go on later") from None
            raise
        finally:
            self._putting.discard(work)

    def stop(self) -> None:
        """Break off what goes to the bucket. All of it is still here."""
        self._is_stopping = True
        for work in self._putting:
            work.cancel()

    def note_use(self, sha256: str, now: float) -> None:
        """Set the time of a file's note."""
        with suppress(OSError):  # at worst it is swept later
            _note(self._used / sha256, now)

    async def read(self, sha256: str, first: int, end: int) -> AsyncGenerator[bytes, None]:
        """Yield a part of a file."""
        with _translated():
            async for piece in self._bucket.read(sha256, first, end, None):
                yield piece

    async def has(self, sha256: str, size: int) -> bool:  # noqa: ARG002
        """Return true: the bucket itself answers for a file that is gone."""
        return True

    async def link(self, sha256: str) -> str:
        """Return a signed URL."""
        with _translated():
            return await self._bucket.link(sha256, LINK_S)

    def drop(self, sha256: str) -> None:
        """Note that a file is to be deleted. If that does not come about, the next sweep does."""
        self._dropped.add(sha256)

    async def empty_trash(self) -> None:
        """Delete what was dropped."""
        for sha256 in list(self._dropped):
            async with self._deleting:
                if sha256 in self._dropped:  # it was not put again meanwhile
                    with _translated():
                        await self._bucket.delete(sha256)
                    self._dropped.discard(sha256)
                    await self._disk.do((self._used / sha256).unlink, missing_ok=True)


@contextmanager
def _translated() -> Iterator[None]:
    """Turn an error of the bucket into one of the store."""
    try:
        yield
    except BucketError as error:
        raise StoreFaultError(f"the store's bucket: {error}") from error


def _noted_in(folder: Path, sizes: dict[str, int], now: float) -> dict[str, Kept]:
    """Return files with the times of their notes. A note without a file goes."""
    found = dict[str, Kept]()
    for entry in os.scandir(folder):
        if entry.name in sizes:
            used = entry.stat().st_mtime
            found[entry.name] = Kept(sizes[entry.name], used, used)
        elif is_sha256(entry.name):
            Path(entry.path).unlink()
    for sha256 in sizes.keys() - found.keys():
        _note(folder / sha256, now)
        found[sha256] = Kept(sizes[sha256], now, now)
    return found


def _note(path: Path, now: float) -> None:
    path.touch(mode=0o600)
    os.utime(path, (now, now))
