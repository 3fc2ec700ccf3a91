"""The files of a log that is being written, and whether they are where they were opened.

Laws:
- An open file can be moved, deleted or replaced, and can be written to all the same. What is then
  acknowledged is gone after the next start. So every batch is checked before it is acknowledged.
- A file is known by its device and inode. The same file put back under its name is the same again.
"""

import os
from pathlib import Path
from typing import Final

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

    Create it before SQLite opens the file. Raises `LogError` as `check` does.
    """

    def __init__(self, path: Path) -> None:
        self._files: Final = dict[str, tuple[_File, str]]()  # text: `os.stat` takes it faster
        self._hold(path, _LOG_REMEDY)
        self._path: Final = path

    def hold_wal(self) -> None:
        """Hold the WAL too. SQLite has made it when the log has been read once."""
        self._hold(self._path.with_name(self._path.name + "-wal"), _WAL_REMEDY)

    def check(self) -> None:
        """Raise `LogError` unless all files are under their names, and under no others.

        It costs one system call a file.
        """
        for path, (file, remedy) in self._files.items():
            if _found(path, remedy) != file:
                raise LogError(
                    f"{path}: was replaced while the dispatcher had it open, and what it writes "
                    f"would be lost; {remedy}"
                )

    def _hold(self, path: Path, remedy: str) -> None:
        self._files[str(path)] = _found(str(path), remedy), remedy


def _found(path: str, remedy: str) -> _File:
    try:
        status = os.stat(path)  # noqa: PTH116 - a `Path` takes twice as long
    except FileNotFoundError:
        raise LogError(
            f"{path}: was moved or deleted while the dispatcher had it open, and what it writes "
            f"would be lost; {remedy}"
        ) from None
    except OSError as error:
        raise LogError(f"{path}: can't be looked at: {error.strerror}; {remedy}") from error
    return status.st_dev, status.st_ino
