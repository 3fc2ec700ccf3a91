"""The files of a log that is being written, and whether they are where they were opened.

Laws:
- An open file can be moved, deleted or replaced, and can be written to all the same. What is then
  acknowledged is gone after the next start. So every batch is checked before it is acknowledged.
- A file is known by its device and inode. The same file put back under its name is the same again.
- A log has one name. By another one SQLite would not find its WAL, which has the newest events.
- On Linux the file itself is locked, so it is in use under every name, also one in another mount.
  The lock is flock's, which is independent of the POSIX locks that SQLite and its readers take.
  (Elsewhere it may not be.) Closing any descriptor of a file drops the process's POSIX locks on it,
  so the lock is taken before SQLite opens the file, and released after SQLite closed it.
"""

import os
import sys
from pathlib import Path
from typing import Final

from dispatcher.locks import FileLock, LockHeldError
from dispatcher.log import LogError

__all__ = ["HeldFiles"]

_File = tuple[int, int]
"""The device and inode of a file."""

_PUT_BACK: Final = "put that file back, and writes resume"
_LOG_REMEDY: Final = (
    f"{_PUT_BACK}, or stop the dispatcher and see docs/restore.md before it starts again"
)
_WAL_REMEDY: Final = (
    f"{_PUT_BACK}, or stop the dispatcher with SIGTERM, which saves what it held, and start it"
)


class HeldFiles:
    """The file of the log at `path`, and from `hold_wal` on its WAL, as they were opened.

    `given` is the path as the operator gave it, which may go through symbolic links. It must lead
    to the same file for as long, since the next start will follow it. Create this before SQLite
    opens the file, and `release` it after SQLite closed it. Raises `LogError` as `check` does, and
    if another dispatcher has the file.
    """

    def __init__(self, path: Path, given: Path) -> None:
        self._path: Final = path
        self._files: Final = dict[str, tuple[_File, str]]()  # text: `os.stat` takes it faster
        self._lock = _lock(path) if sys.platform == "linux" else None
        try:
            status = path.stat() if self._lock is None else self._lock.status()
            for name in (path, given.absolute()):  # mostly the same
                self._hold(name, status, _LOG_REMEDY)
            self.check()
        except BaseException:
            self.release()
            raise

    def hold_wal(self) -> None:
        """Hold the WAL too. SQLite has made it when the log has been read once."""
        wal = self._path.with_name(self._path.name + "-wal")
        self._hold(wal, _status(str(wal), _WAL_REMEDY), _WAL_REMEDY)

    def check(self) -> int:
        """Raise `LogError` unless all files are under their names, and under no others.

        It costs one system call a file. Returns the size of the file held last: that of the WAL.
        """
        size = 0
        for path, (file, remedy) in self._files.items():
            status = _status(path, remedy)
            if (status.st_dev, status.st_ino) != file:
                raise LogError(
                    f"{path}: was replaced while the dispatcher had it open, and what it writes "
                    f"would be lost; {remedy}"
                )
            if status.st_nlink > 1:
                raise LogError(
                    f"{path}: is one file with {status.st_nlink} names (hard links), but a log has "
                    "one: its newest events are in a file beside it, which SQLite finds by name. "
                    f"Find the others with find -samefile {path}, and remove them"
                )
            size = status.st_size
        return size

    def release(self) -> None:
        """Let others have the file. Releasing it again does nothing."""
        if self._lock is not None:
            self._lock.release()

    def _hold(self, path: Path, status: os.stat_result, remedy: str) -> None:
        self._files[str(path)] = (status.st_dev, status.st_ino), remedy


def _lock(path: Path) -> FileLock:
    try:
        return FileLock(path, is_own=False)
    except LockHeldError as error:
        raise LogError(
            f"{path}: in use by another dispatcher, which has it under another name (a link, or a "
            "mount); stop that one, or give this one a log of its own with --db"
        ) from error
    except OSError as error:
        raise LogError(f"{path}: can't be opened and locked: {error.strerror}") from error


def _status(path: str, remedy: str) -> os.stat_result:
    try:
        return os.stat(path)  # noqa: PTH116 - a `Path` takes twice as long
    except FileNotFoundError:
        raise LogError(
            f"{path}: was moved or deleted while the dispatcher had it open, and what it writes "
            f"would be lost; {remedy}"
        ) from None
    except OSError as error:
        raise LogError(f"{path}: can't be looked at: {error.strerror}; {remedy}") from error
