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

__all__ = ["Part"]

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
