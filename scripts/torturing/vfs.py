"""The log's own code on a disk that forgets.

`mounted` has `sqlite3` and `aiosqlite` open their files through a VFS (apsw) that reports to a
`Disk` all that is written, truncated, synced, deleted and renamed. What the system would see at
once stands in real files; what a power cut leaves of them, the disk knows.
"""

import errno
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import aiosqlite
import apsw

from .volatile import Disk, PowerCutError

__all__ = ["mounted"]

_CHUNK_ROWS: Final = 64
_SYNCED_WITH_DIRECTORY: Final = apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_WAL
_OF_A_LOG: Final = _SYNCED_WITH_DIRECTORY | apsw.SQLITE_OPEN_MAIN_DB
_OPEN_FLAGS: Final = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_URI


class _Vfs(apsw.VFS):
    """The system's own VFS, with a disk listening."""

    def __init__(self, name: str, disk: Disk) -> None:
        self._disk = disk
        super().__init__(name, "")

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:  # noqa: N802 - apsw's name
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        if path is None or not flags[0] & _OF_A_LOG:
            return apsw.VFSFile("", name, flags)
        is_new = not self._disk.knows(Path(path).name)  # Python may have made it, empty
        file = _VfsFile(name, flags, Path(path).name, self._disk)
        file.with_directory = is_new and bool(flags[0] & _SYNCED_WITH_DIRECTORY)
        if is_new:
            self._disk.created(Path(path).name)
        return file

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        self._disk.delete(Path(filename).name)
        if syncdir:
            self._disk.sync_directory()
        super().xDelete(filename, False)

    def excepthook(self, *_: Any) -> bool:
        """Be told what SQLite has no way to be told, such as that a deletion failed."""
        return True


class _VfsFile(apsw.VFSFile):
    def __init__(self, path: Any, flags: list[int], name: str, disk: Disk) -> None:
        self._name, self._disk = name, disk
        self.with_directory = False
        """Whether SQLite syncs the directory with its next sync."""
        super().__init__("", path, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        self._disk.write(self._name, offset, bytes(data))
        super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        self._disk.truncate(self._name, newsize)
        super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:  # noqa: ARG002, N802
        self._disk.sync(self._name, with_directory=self.with_directory)
        self.with_directory = False

    def excepthook(self, *_: Any) -> bool:
        """Be told what SQLite has no way to be told."""
        return True


class _Rows(list[tuple[Any, ...]]):
    """What a statement gave, where `sqlite3` would give a cursor."""

    rowcount = -1

    def fetchall(self) -> list[tuple[Any, ...]]:
        return self

    def fetchone(self) -> tuple[Any, ...] | None:
        return self[0] if self else None

    def close(self) -> None:
        pass


class _Connection:
    """As much of a `sqlite3.Connection` as the log uses, with its errors; it begins nothing."""

    def __init__(
        self, database: Any, disk: Disk, vfs: str, translate: Callable[[str], str]
    ) -> None:
        self.text_factory: Callable[..., Any] = str
        self._disk, self._translate = disk, translate
        with _as_sqlite3():
            self._apsw = apsw.Connection(str(database), flags=_OPEN_FLAGS, vfs=vfs)
            self._apsw.set_busy_timeout(5_000)

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> _Rows:
        with _as_sqlite3():
            rows = self._apsw.execute(self._translate(sql), tuple(parameters)).fetchall()
            changed = self._apsw.changes()
        if self.text_factory is bytes:
            rows = [tuple(it.encode() if isinstance(it, str) else it for it in r) for r in rows]
        found = _Rows(rows)
        found.rowcount = changed
        return found

    def executescript(self, script: str) -> _Rows:
        with _as_sqlite3():
            self._apsw.execute(script)
        return _Rows()

    @property
    def in_transaction(self) -> bool:
        return self._apsw.in_transaction

    def rollback(self) -> None:
        with _as_sqlite3():
            if self._apsw.in_transaction:
                self._apsw.execute("ROLLBACK")

    def close(self) -> None:
        # SQLite lets a connection go whatever goes wrong, and `sqlite3` doesn't tell.
        with suppress(apsw.Error, PowerCutError):
            self._apsw.close(True)


@contextmanager
def _as_sqlite3() -> Iterator[None]:
    try:
        yield
    except (apsw.Error, PowerCutError) as error:
        raise sqlite3.OperationalError(str(error) or "the power is cut") from error


@contextmanager
def _as_os_error() -> Iterator[None]:
    try:
        yield
    except PowerCutError as error:
        raise OSError(errno.EIO, "the power is cut") from error


@contextmanager
def mounted(
    disk: Disk, translate: Callable[[str], str], *, syncs_inner: bool = True
) -> Iterator[None]:
    """Have the log's files written to `disk`; each statement is passed through `translate`.

    Unless `syncs_inner`, a sync of a file in the inner directory does nothing.
    """
    vfs = _Vfs(f"volatile {id(disk)}", disk)
    replace, unlink, fsync, mkdir, link = os.replace, os.unlink, os.fsync, os.mkdir, os.link

    def connect(database: Any, **_: Any) -> Any:
        return _Connection(database, disk, vfs_name, translate)

    def connect_async(database: Any, **options: Any) -> aiosqlite.Connection:
        assert options["isolation_level"] is None, "the log begins its transactions itself"  # noqa: S101
        return aiosqlite.Connection(lambda: connect(database), _CHUNK_ROWS)

    def made(path: Any, *args: Any, **options: Any) -> None:
        mkdir(path, *args, **options)
        if disk.has(path):
            with _as_os_error():
                disk.created(Path(path).name)

    def replaced(path: Any, to: Any, **options: Any) -> None:
        if (of := _holder(disk, path)) is not None:
            with _as_os_error():
                _keep(of, Path(path))
                of.rename(Path(path).name, Path(to).name)
        replace(path, to, **options)

    def linked(path: Any, to: Any, **options: Any) -> None:
        if (of := _holder(disk, path)) is not None:
            with _as_os_error():
                _keep(of, Path(path))
                of.link(Path(path).name, Path(to).name)
        link(path, to, **options)

    def unlinked(path: Any, **options: Any) -> None:
        if (of := _holder(disk, path)) is not None and of.knows(Path(path).name):
            with _as_os_error():
                of.delete(Path(path).name)
        unlink(path, **options)

    def synced(descriptor: Any) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if path == disk.directory.resolve():
            with _as_os_error():
                disk.sync_directory()
        elif disk.inner is not None and path == disk.inner.directory.resolve():
            with _as_os_error():
                disk.inner.sync_directory()
        elif disk.inner is not None and disk.inner.has(path):
            with _as_os_error():
                _keep(disk.inner, path)
                if syncs_inner:
                    disk.inner.sync(path.name, with_directory=False)
        else:
            fsync(descriptor)

    vfs_name = f"volatile {id(disk)}"
    try:
        with (
            patch.object(sqlite3, "connect", connect),
            patch.object(aiosqlite, "connect", connect_async),
            patch.object(os, "replace", replaced),
            patch.object(os, "unlink", unlinked),
            patch.object(os, "fsync", synced),
            patch.object(os, "mkdir", made),
            patch.object(os, "link", linked),
        ):
            yield
    finally:
        vfs.unregister()


def _keep(disk: Disk, path: Path) -> None:
    """Tell the disk of a file that Python has written, once it matters; SQLite's it knows."""
    if disk.directory.name.endswith(".segments"):
        if not disk.knows(path.name):
            disk.created(path.name)
        disk.write(path.name, 0, path.read_bytes())


def _holder(disk: Disk, path: Any) -> Disk | None:
    """Give the directory that has a path: the disk's own, or the one inside it."""
    return next((it for it in (disk, disk.inner) if it is not None and it.has(path)), None)
