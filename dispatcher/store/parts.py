"""What has come of one upload, on disk. All of this blocks, and runs in a thread of the store.

Laws:
- The digest is of what is in the file, in this process or an earlier one: what was written by
  others, or by a write that failed half-way, is read again before anything is added.
- Every `SYNC_BYTES` are synced: a commit of the log, which may be on the same disk, waits for no
  more than that, the last sync is short, and little is lost by a power cut.
"""

import hashlib
import os
from pathlib import Path
from typing import Final

from dispatcher.store_urls import is_sha256

__all__ = [
    "ID_BYTES",
    "Part",
    "drop_notes",
    "is_upload_id",
    "name_of",
    "note_of",
    "noted",
    "parts_in",
    "suffix_of",
]

ID_BYTES: Final = 16

SYNC_BYTES: Final = 8 << 20
_READ_BYTES: Final = 1 << 20
_FLAGS: Final = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)


class Part:
    """The file of one upload. One thread at a time may call its methods.

    `size` is how much of the upload is there, and `touched` when something was last added to it.
    """

    def __init__(self, path: Path, size: int, touched: float) -> None:
        self.path = path
        self.size = size
        self.touched = touched
        self.is_busy = False
        self._digest = hashlib.sha256()
        self._hashed = 0
        self._unsynced = 0
        self._file: int | None = None

    def open(self, *, afresh: bool = False) -> None:
        """Prepare to write where the file ends, or `afresh` from its beginning."""
        self._file = os.open(self.path, _FLAGS, 0o600)
        try:
            if afresh:
                os.ftruncate(self._file, 0)
            if os.fstat(self._file).st_size < self._hashed:
                self._digest, self._hashed = hashlib.sha256(), 0
            os.lseek(self._file, self._hashed, os.SEEK_SET)
            while piece := os.read(self._file, _READ_BYTES):
                self._digest.update(piece)
                self._hashed += len(piece)
        except BaseException:
            self.close()
            raise
        self.size = self._hashed

    def write(self, data: bytes) -> None:
        """Add bytes. After an error the file ends where its `size` says, as far as possible."""
        assert self._file is not None  # noqa: S101 - it was opened
        view = memoryview(data)
        try:
            while view:
                written = os.write(self._file, view)
                self._digest.update(view[:written])
                self._hashed += written
                view = view[written:]
        finally:
            self.size = self._hashed
        self._unsynced += len(data)
        if self._unsynced >= SYNC_BYTES:
            os.fsync(self._file)
            self._unsynced = 0

    def finish(self) -> str:
        """Sync the file; gives the SHA-256 of all that is in it."""
        assert self._file is not None  # noqa: S101 - it was opened
        os.fsync(self._file)
        return self._digest.hexdigest()

    def close(self) -> None:
        """Close the file. To close it again does nothing."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def is_upload_id(name: str) -> bool:
    """Whether a name is of the form of an upload's id."""
    return len(name) == 2 * ID_BYTES and all(it in "0123456789abcdef" for it in name)


def suffix_of(owner: str) -> str:
    """Return how the names of an owner's parts end."""
    return f".{hashlib.sha256(owner.encode()).hexdigest()[:16]}"


def name_of(name: str, owner: str) -> str:
    """Return the name of the file of an upload."""
    return f"{name}{suffix_of(owner)}"


def note_of(part: Path) -> Path:
    """Return the file that keeps the SHA-256 of an upload that is whole."""
    return part.with_name(f"{part.name}.whole")


def parts_in(folder: Path) -> dict[str, Part]:
    """Find what has come of uploads. What has no name of the store's is left alone."""
    found = dict[str, Part]()
    for entry in os.scandir(folder):
        name, _, owner = entry.name.partition(".")
        is_part = (is_sha256(name) or is_upload_id(name)) and "." not in owner
        if is_part and entry.is_file(follow_symlinks=False):
            status = entry.stat(follow_symlinks=False)
            found[entry.name] = Part(Path(entry.path), status.st_size, status.st_mtime)
    return found


def noted(note: Path) -> str | None:
    """Return the SHA-256 in a note; `None` if there is no note."""
    try:
        return note.read_text()
    except FileNotFoundError:
        return None


def drop_notes(folder: Path, oldest: float) -> None:
    """Delete the notes that are older."""
    for note in folder.glob("*.whole"):
        if note.stat().st_mtime < oldest:
            note.unlink(missing_ok=True)
