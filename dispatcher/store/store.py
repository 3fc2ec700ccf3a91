"""The store itself; see the package for its laws."""

import asyncio
import secrets
import shutil
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, KeysView
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple, Self

from dispatcher.buckets import ObjectUrl
from dispatcher.locks import FileLock, LockHeldError
from dispatcher.store.bucket import BucketFilms
from dispatcher.store.disk import Disk, uninterrupted
from dispatcher.store.errors import (
    BusyError,
    StoreError,
    StoreFaultError,
    TooLargeError,
    TooManyPartsError,
    UnknownUploadError,
    WrongOffsetError,
    WrongSha256Error,
)
from dispatcher.store.films import Films, FolderFilms, Kept
from dispatcher.store.limits import DEFAULT_STORE_LIMITS, StoreLimits
from dispatcher.store.parts import (
    ID_BYTES,
    Part,
    drop_notes,
    name_of,
    note_of,
    noted,
    parts_in,
    suffix_of,
)
from dispatcher.store.room import Room
from dispatcher.store_urls import is_sha256

__all__ = ["Progress", "Store"]

WRITE_BYTES: Final = 1 << 19
"""So much is written at once."""
_UNTOUCHED_PART: Final = 100
"""A file's time of use on disk is renewed after this part of the time that it is kept."""


class Progress(NamedTuple):
    """How far an upload is: bytes that are there, and the SHA-256 once it is whole."""

    size: int
    sha256: str | None = None


class Store:
    """Films in a folder or a bucket. Use it in one event loop; open it with `open`, and `close` it.

    `folder` has the uploads, and all else if there is no bucket.
    """

    def __init__(
        self,
        folder: Path,
        limits: StoreLimits,
        clock: Callable[[], float],
        room: Room,
        lock: FileLock,
    ) -> None:
        self.folder = folder
        self.limits = limits
        self._clock = clock
        self._room = room
        self._lock = lock
        self._disk = Disk()
        self._place: Films | None = None
        self._kept: dict[str, Kept] = {}
        self._parts: dict[str, Part] = {}
        self._naming = set[str]()
        self._under_way = 0
        self._is_idle = asyncio.Event()
        self._is_idle.set()

    @classmethod
    async def open(
        cls,
        folder: Path,
        limits: StoreLimits = DEFAULT_STORE_LIMITS,
        *,
        bucket: ObjectUrl | None = None,
        clock: Callable[[], float] = time.time,
        free_bytes: Callable[[], int] | None = None,
    ) -> Self:
        """Open a folder, which is made if it is not there. Raises `StoreFaultError`.

        With a `bucket`, whole files are there. `free_bytes` says how much is free on the disk.
        """
        try:
            (folder / "parts").mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = FileLock(folder / "lock")
        except OSError as error:
            raise StoreFaultError(f"--store {folder}: can't be used: {error}") from error
        except LockHeldError as error:
            raise StoreFaultError(
                f"--store {folder}: another dispatcher uses it, process {error.holder}"
            ) from error
        free = free_bytes or (lambda: shutil.disk_usage(folder).free)
        store = cls(folder, limits, clock, Room(limits, free), lock)
        try:
            await store._find(bucket)
        except OSError as error:
            await store.close()
            raise StoreFaultError(f"--store {folder}: can't be used: {error}") from error
        except BaseException:
            await store.close()
            raise
        return store

    async def _find(self, bucket: ObjectUrl | None) -> None:
        """Find what is there."""
        disk, folder = self._disk, self.folder
        self._place = (
            FolderFilms(folder, disk)
            if bucket is None
            else BucketFilms(bucket, folder, disk, self._clock)
        )
        self._parts = await disk.do(parts_in, folder / "parts")
        self._kept = await self._films.find()
        await self.empty_trash()
        self._room.used = sum(it.size for it in self._kept.values())
        self._room.used += sum(it.size for it in self._parts.values())

    @property
    def _films(self) -> Films:
        assert self._place is not None  # noqa: S101 - it was opened
        return self._place

    async def close(self) -> None:
        """Wait for what is under way to end, and give the folder free."""
        if self._place is not None:
            self._place.stop()
        await self._is_idle.wait()
        await self._disk.close()
        self._lock.release()

    # What is there

    @property
    def used_bytes(self) -> int:
        """How much is stored, with all that has come of uploads."""
        return self._room.used

    @property
    def count(self) -> int:
        """How many whole files there are."""
        return len(self._kept)

    def names(self) -> KeysView[str]:
        """Return the SHA-256 of all files. To look is not to use them."""
        return self._kept.keys()

    def use(self, sha256: str) -> int | None:
        """Return the size of a file, or `None` if it is not there. It stays, counted from now."""
        kept = self._kept.get(sha256)
        if kept is None:
            return None
        kept.used = now = self._clock()
        if now - kept.told > self.limits.keep_s / _UNTOUCHED_PART:
            kept.told = now
            self._films.note_use(sha256, now)
        return kept.size

    async def use_if_there(self, sha256: str) -> int | None:
        """Do as `use` does, but look at the file itself before.

        One that somebody took away, or cut, is forgotten, so that it can be sent again. Raises
        `StoreFaultError` if it can't be looked at.
        """
        kept = self._kept.get(sha256)
        if kept is not None and not await self._films.has(sha256, kept.size):
            if self._kept.get(sha256) is kept and sha256 not in self._naming:
                self.drop(sha256)  # unless it was sent again meanwhile, or is just being
            return None
        return self.use(sha256)

    def read(self, sha256: str, first: int, end: int) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of a file from `first` to before `end`.

        Raises `StoreFaultError` if they can't be read.
        """
        return self._films.read(sha256, first, end)

    async def link(self, sha256: str) -> str | None:
        """Return a URL from which anybody has a file for some minutes; `None`: `read` it.

        Raises `StoreFaultError`.
        """
        return await self._films.link(sha256)

    # Uploads

    async def begin(self, owner: str) -> str:
        """Begin an upload whose SHA-256 is not known; gives its id."""
        upload = secrets.token_hex(ID_BYTES)
        part = self._part(upload, owner)
        try:
            await self._disk.do(part.open)
        except StoreError:
            del self._parts[part.path.name]
            raise
        finally:
            part.close()
        return upload

    async def progress(self, name: str, owner: str) -> Progress:
        """Return how far an upload of this owner is. A file that is there is whole, and used."""
        if is_sha256(name) and (size := await self.use_if_there(name)) is not None:
            return Progress(size, name)
        if (part := self._parts.get(name_of(name, owner))) is not None:
            return Progress(part.size)
        if is_sha256(name):
            return Progress(0)
        sha256 = await self._disk.do(noted, note_of(self._path_of_part(name, owner)))
        if sha256 is not None and (size := await self.use_if_there(sha256)) is not None:
            return Progress(size, sha256)
        raise UnknownUploadError("there is no such upload; begin another one")

    async def receive(  # noqa: PLR0913 - all that a request says of its bytes
        self,
        name: str,
        owner: str,
        pieces: AsyncIterator[bytes],
        *,
        at: int | None,
        length: int,
        total: int,
    ) -> Progress:
        """Add bytes to an upload; finish it if that makes `total`.

        `name` is a SHA-256 or the id of an upload. There are `length` bytes in the `pieces`, and
        they begin at `at`, or take the place of all that has come if that is `None`. If `pieces`
        ends with an error, what came before it stays. Raises `StoreError`.
        """
        there = await self.progress(name, owner)
        if there.sha256 is not None:
            return there
        if total > self.limits.max_file_bytes:
            raise TooLargeError(
                f"a file has at most {self.limits.max_file_bytes:,} bytes here "
                f"(--store-max-file-gb), and this one has {total:,}"
            )
        part = self._parts.get(name_of(name, owner))
        if part is not None and part.is_busy:
            raise BusyError("another request is adding to this upload; ask again how far it is")
        if at is not None:
            _require_end(0 if part is None else part.size, at, length, total)
        part = self._part(name, owner)
        part.is_busy = True
        self._under_way += 1
        self._is_idle.clear()
        try:
            return await self._add(name, part, pieces, at, length, total)
        finally:
            if not part.size and is_sha256(name) and part.path.name in self._parts:
                await self._forget(part)
            part.is_busy = False
            part.touched = self._clock()
            self._under_way -= 1
            if not self._under_way:
                self._is_idle.set()

    async def _add(  # noqa: PLR0913, PLR0917 - as for `receive`
        self,
        name: str,
        part: Part,
        pieces: AsyncIterator[bytes],
        at: int | None,
        length: int,
        total: int,
    ) -> Progress:
        try:
            with self._counted(part):
                await self._disk.do(part.open, afresh=at is None)
            _require_end(part.size, part.size if at is None else at, length, total)
            with self._room.promised(length) as come:
                buffer = bytearray()
                try:
                    async for piece in pieces:
                        buffer += piece
                        if len(buffer) >= WRITE_BYTES:
                            data = bytes(buffer)
                            buffer.clear()
                            await self._write(part, data, come)
                finally:
                    if buffer:
                        await self._write(part, bytes(buffer), come)
            if part.size < total:
                return Progress(part.size)
            return await uninterrupted(self._finish(name, part))
        finally:
            part.close()

    async def _write(self, part: Part, data: bytes, come: Callable[[int], None]) -> None:
        before = part.size
        try:
            await self._disk.do(part.write, data)
        finally:
            come(part.size - before)

    async def _finish(self, name: str, part: Part) -> Progress:
        """Give an upload its name, if the bytes are right."""
        sha256 = await self._disk.do(part.finish)
        part.close()
        if is_sha256(name) and sha256 != name:
            await self._forget(part)
            raise WrongSha256Error(
                f"the bytes have the SHA-256 {sha256}, not {name}; nothing of them was kept"
            )
        if not is_sha256(name):
            await self._disk.do(note_of(part.path).write_text, sha256)
        self._naming.add(sha256)
        try:
            await self._films.put(part.path, sha256)
        finally:
            self._naming.discard(sha256)
        # One step: the file is there under one of the names, and counted once.
        self._parts.pop(part.path.name, None)
        now = self._clock()
        if (twin := self._kept.get(sha256)) is not None:
            self._room.used -= twin.size
        self._kept[sha256] = Kept(part.size, now, now)
        return Progress(part.size, sha256)

    async def _forget(self, part: Part) -> None:
        """Let go of what has come of an upload."""
        self._parts.pop(part.path.name, None)
        self._room.used -= part.size
        await self._disk.do(part.path.unlink, missing_ok=True)

    def _part(self, name: str, owner: str) -> Part:
        """Return what has come of an upload, or the beginning of one."""
        key = name_of(name, owner)
        if (part := self._parts.get(key)) is not None:
            return part
        of_this_key = sum(it.endswith(suffix_of(owner)) for it in self._parts)
        if of_this_key >= self.limits.parts_of_a_key:
            raise TooManyPartsError(
                f"{of_this_key:,} uploads of this key are not finished, which is the most; finish "
                "some, or wait until they are swept"
            )
        part = self._parts[key] = Part(self._path_of_part(name, owner), 0, self._clock())
        return part

    @contextmanager
    def _counted(self, part: Part) -> Iterator[None]:
        """Count what opening a part finds out of its size."""
        before = part.size
        try:
            yield
        finally:
            self._room.used += part.size - before

    # Sweeping

    def expired(self) -> list[str]:
        """Return the files that nobody has used for the time that they are kept."""
        return [it for it in self._kept if self.is_expired(it)]

    def is_expired(self, sha256: str) -> bool:
        """Whether a file is there that nobody has used for the time that it is kept."""
        return self.is_unused_for(sha256, self.limits.keep_s)

    def is_unused_for(self, sha256: str, seconds: float) -> bool:
        """Whether a file is there that nobody has used for so long."""
        kept = self._kept.get(sha256)
        return kept is not None and self._clock() - kept.used > seconds

    def drop(self, sha256: str) -> None:
        """Take a file away at once. `empty_trash` gives its room free."""
        self._films.drop(sha256)
        self._room.used -= self._kept.pop(sha256).size

    async def drop_parts(self) -> int:
        """Let go of uploads that nobody has gone on with; gives how many."""
        oldest = self._clock() - self.limits.keep_parts_s
        old = [it for it in self._parts.values() if not it.is_busy and it.touched < oldest]
        for part in old:
            if not part.is_busy and part.path.name in self._parts:
                await self._forget(part)
        await self._disk.do(drop_notes, self.folder / "parts", oldest)
        return len(old)

    async def empty_trash(self) -> None:
        """Delete what was swept."""
        await self._films.empty_trash()

    def _path_of_part(self, name: str, owner: str) -> Path:
        return self.folder / "parts" / name_of(name, owner)


def _require_end(size: int, at: int, length: int, total: int) -> None:
    """Raise `WrongOffsetError` unless bytes at `at` go on with so many, up to `total` at most."""
    if at != size or size + length > total:
        raise WrongOffsetError(f"the upload has {size:,} bytes; go on from there", size)
