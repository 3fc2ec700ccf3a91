"""Make new files for the command line, logs and others, without replacing any.

Laws:
- A file appears under its name complete and on disk (see `dispatcher.files`). An existing file is
  never replaced.
- The `-wal` and other remains of an old log are never read into a new one.
- An `OSError` raised inside the block is not reported as an error of the new file.
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
from dispatcher.log.segments import folder_of

__all__ = ["merge_wal", "new_file", "new_log"]


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Yield a draft's path; the draft is moved to `path` if the block succeeds.

    Raises `LogError` if `path` exists or can't be made.
    """
    with _os_errors_translated(path):
        _refuse_occupied(path)
        folder = TemporaryDirectory(prefix=".draft-", dir=path.parent)
    with folder as aside:
        made = Path(aside) / path.name
        yield made
        with _os_errors_translated(path):
            _put(made, path)


@contextmanager
def new_log(path: Path) -> Iterator[Path]:
    """Do the same for a log, and its segments if it has any. The block must `merge_wal`."""
    with new_file(path) as made:
        _refuse_remains(path)
        yield made
        if (segments := folder_of(made)).exists():
            with _os_errors_translated(path):
                files.sync_folder(segments)
                segments.rename(folder_of(path))


def merge_wal(path: Path) -> None:
    """Merge the WAL into the log, so that it is a single file. No process may have it open."""
    try:
        with closing(sqlite3.connect(path)) as connection:
            ((mode,),) = connection.execute("PRAGMA journal_mode=DELETE").fetchall()
    except sqlite3.Error as error:
        raise LogError(f"{path.name}: can't be made one file: {error}") from error
    if mode != "delete":
        raise LogError(f"{path.name}: can't be made one file: its journal mode stays {mode}")


@contextmanager
def _os_errors_translated(path: Path) -> Iterator[None]:
    """Turn an `OSError` into a `LogError` about `path`."""
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
    """Refuse a path beside which an old log left files: SQLite would read them."""
    for suffix in ("-wal", "-shm", "-journal"):
        remains = path.with_name(path.name + suffix)
        if os.path.lexists(remains):
            raise LogError(
                f"{remains}: is what is left of a log that stood here, and would be read into the "
                "new one; move it to where that log is now"
            )
    if os.path.lexists(segments := folder_of(path)):
        raise LogError(
            f"{segments}: has the segments of a log that stood here; move it to where that log is "
            "now"
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
