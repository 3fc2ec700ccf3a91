"""Where whole files are: what a store needs of such a place, and the folder that is one."""

import os
import secrets
from collections.abc import AsyncGenerator
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

import msgspec

from dispatcher import files
from dispatcher.store.disk import Disk
from dispatcher.store.errors import StoreFaultError
from dispatcher.store_urls import is_sha256

__all__ = ["Films", "FolderFilms", "Kept"]

READ_BYTES: Final = 1 << 20


class Kept(msgspec.Struct):
    """A whole file: its size, when it was last used, and the same as was last noted on disk."""

    size: int
    used: float
    told: float


class Films(Protocol):
    """A place for whole files, each under its SHA-256. Its methods raise `StoreFaultError`."""

    async def find(self) -> dict[str, Kept]:
        """Return what is there, at the start. What has no name of the store's is left alone."""

    async def put(self, part: Path, sha256: str) -> None:
        """Take a file that is whole and synced. Afterwards it is there durably, and `part` gone."""

    async def has(self, sha256: str, size: int) -> bool:
        """Tell whether a file is still there, and of this size, as far as that can be seen."""

    def note_use(self, sha256: str, now: float) -> None:
        """Note when a file was used, for the next start, as far as possible."""

    def read(self, sha256: str, first: int, end: int) -> AsyncGenerator[bytes, None]:
        """Yield the bytes of a file from `first` to before `end`."""

    async def link(self, sha256: str) -> str | None:
        """Return a URL from which anybody has a file for a while; `None`: it is read here."""

    def drop(self, sha256: str) -> None:
        """Take a file away at once. `empty_trash` gives its room free."""

    async def empty_trash(self) -> None:
        """Delete what was dropped."""

    def stop(self) -> None:
        """Break off what may take long: the store is about to be closed."""


class FolderFilms:
    """The files of a folder: `files/SHA256`, and in `trash/` what is being deleted."""

    def __init__(self, folder: Path, disk: Disk) -> None:
        self._files = folder / "files"
        self._trash = folder / "trash"
        self._disk = disk
        for path in (self._files, self._trash):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)

    async def find(self) -> dict[str, Kept]:
        """Return what is there; a file's time is when it was last used."""
        return await self._disk.do(_found_in, self._files)

    async def put(self, part: Path, sha256: str) -> None:
        """Give a file its name."""
        await self._disk.do(_named, part, self._files / sha256)

    async def has(self, sha256: str, size: int) -> bool:
        """Look at a file, which somebody else may have taken away or cut."""
        return await self._disk.do(_size_of, self._files / sha256) == size

    def note_use(self, sha256: str, now: float) -> None:
        """Set a file's time."""
        with suppress(OSError):  # at worst it is swept earlier after a restart
            os.utime(self._files / sha256, (now, now))

    async def read(self, sha256: str, first: int, end: int) -> AsyncGenerator[bytes, None]:
        """Yield a part of a file. What is swept meanwhile is read to its end."""
        path = self._files / sha256
        file = await self._disk.do(os.open, path, os.O_RDONLY)
        try:
            while first < end:
                piece = await self._disk.do(os.pread, file, min(READ_BYTES, end - first), first)
                if not piece:
                    raise StoreFaultError(f"{path} is shorter than it was")
                first += len(piece)
                yield piece
        finally:
            os.close(file)

    async def link(self, sha256: str) -> None:  # noqa: ARG002
        """Return none: nobody else can read the folder."""
        return

    def drop(self, sha256: str) -> None:
        """Move a file into the trash."""
        path = self._files / sha256
        try:
            path.rename(self._trash / f"{sha256}.{secrets.token_hex(4)}")
        except FileNotFoundError:
            pass
        except OSError as error:
            raise StoreFaultError(f"{path}: can't be swept: {error}") from error

    async def empty_trash(self) -> None:
        """Delete what is in the trash, also of earlier processes."""
        await self._disk.do(_emptied, self._trash)

    def stop(self) -> None:
        """Do nothing: all is quick here."""


def _size_of(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        path.parent.stat()  # if the folder itself is away, as an unmounted disk is, nothing is gone
        return None


def _found_in(folder: Path) -> dict[str, Kept]:
    found = dict[str, Kept]()
    for entry in os.scandir(folder):
        if is_sha256(entry.name) and entry.is_file(follow_symlinks=False):
            status = entry.stat(follow_symlinks=False)
            found[entry.name] = Kept(status.st_size, status.st_mtime, status.st_mtime)
    return found


def _named(part: Path, path: Path) -> None:
    os.utime(part)
    part.replace(path)
    files.sync_folder(path.parent)


def _emptied(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink(missing_ok=True)
