"""The new files of the command line, logs and others, where nothing stood before.

Laws:
- A file appears under its name whole and on disk (see `dispatcher.files`), and what stands there
  already is never replaced.
- No remains of another log are read into a new one.
- What goes wrong inside the block, with some other file, is not retold as an error of this one.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from dispatcher import files
from dispatcher.locks import FileLock, LockHeldError
from dispatcher.log import LogError

__all__ = ["new_file", "new_log", "seal"]


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Give a place for what is to stand at `path`; it is moved there if the block ends well.

    `LogError` if nothing can be made there, or something stands there.
    """
    with _making(path):
        _refuse_occupied(path)
        folder = TemporaryDirectory(prefix=".draft-", dir=path.parent)
    with folder as aside:
        made = Path(aside) / path.name
        yield made
        with _making(path):
            _put(made, path)


@contextmanager
def new_log(path: Path) -> Iterator[Path]:
    """Do the same for a log, which is to be sealed before the block ends."""
    with new_file(path) as made:
        _refuse_remains(path)
        yield made


def seal(path: Path) -> None:
    """Make one file of a log that nobody has open: its WAL is folded in, to the last event."""
    try:
        with closing(sqlite3.connect(path)) as connection:
            ((mode,),) = connection.execute("PRAGMA journal_mode=DELETE").fetchall()
    except sqlite3.Error as error:
        raise LogError(f"{path.name}: can't be made one file: {error}") from error
    if mode != "delete":
        raise LogError(f"{path.name}: can't be made one file: its journal mode stays {mode}")


@contextmanager
def _making(path: Path) -> Iterator[None]:
    """Tell what keeps a file from being made."""
    try:
        yield
    except OSError as error:
        raise LogError(f"{path}: can't be made: {error.strerror}") from error


def _refuse_occupied(path: Path) -> None:
    if path.is_dir():
        raise LogError(f"{path}: is a directory; name a file in it, such as {path}/events.db")
    if os.path.lexists(path):
        raise LogError(f"{path}: is there already, and is not replaced; name another, or move it")
    if not path.parent.is_dir():
        raise LogError(f"{path}: the directory {path.parent} does not exist; make it first")


def _refuse_remains(path: Path) -> None:
    """Refuse a place with remains of another log: SQLite would read them into the new one."""
    for suffix in ("-wal", "-shm", "-journal"):
        remains = path.with_name(path.name + suffix)
        if os.path.lexists(remains):
            raise LogError(
                f"{remains}: is what is left of a log that stood here, and would be read into the "
                "new one; move it to where that log is now"
            )
    lock = path.with_name(path.name + ".lock")
    if lock.exists():
        try:
            FileLock(lock).release()
        except LockHeldError as error:
            raise LogError(
                f"{path}: a dispatcher (process {error.holder}) still writes to the log that stood "
                "here; stop it first"
            ) from error
        except OSError as error:
            raise LogError(f"{lock}: can't be opened: {error.strerror}") from error


def _put(made: Path, path: Path) -> None:
    try:
        files.put(made, path, replace=False)
    except FileExistsError:
        raise LogError(f"{path}: is there by now, and is not replaced; name another") from None
