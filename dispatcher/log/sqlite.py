"""The log in a SQLite file.

Laws:
- One connection writes, and it alone checkpoints; a lock keeps a second dispatcher away. (SQLite
  before 3.51.3 can corrupt a WAL that two connections write or reset at once.)
- `synchronous=FULL`: a commit has returned only when it is on disk. One commit carries a whole
  batch, which makes that cheap.
- The table guards itself: triggers refuse UPDATE, DELETE and any seq but the next one, so that
  not even the sqlite3 shell rewrites history by accident.
- Readers open the file `query_only`, read short pages, and so never hold the writer up.
"""

import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final, Self

import aiosqlite

from dispatcher import codec
from dispatcher.events import Recorded
from dispatcher.locks import FileLock, LockHeldError
from dispatcher.log import LogError, WrongHeadError
from dispatcher.log.file import check, create, write_header

__all__ = ["PAGE", "SqliteLog"]

PAGE: Final = 2_000
"""Events a read: a few milliseconds of decoding, so that the event loop is never held long."""


class SqliteLog:
    """A `dispatcher.log.Log` in one file. Make it with `open` or `open_for_reading`."""

    def __init__(
        self, path: Path, writer: aiosqlite.Connection | None, lock: FileLock | None, head: int
    ) -> None:
        self.path = path
        self.head = head
        self._writer = writer
        self._lock = lock

    @classmethod
    async def open(cls, path: Path) -> Self:
        """Open the log for writing, and make it if there is none.

        `LogError` if the path can't be a log of ours or another dispatcher has it; then nothing
        has been touched.
        """
        path = path.resolve()
        is_new = not check(path)
        lock = _lock(path)
        try:
            if is_new and not check(path):  # unless another dispatcher has just made it
                create(path)
            writer = await _connect(path, read_only=False)
        except BaseException:
            lock.release()
            raise
        try:
            head = await _head(writer)  # first, since this fails where there is no log of ours
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "recursive_triggers=ON"):
                await writer.execute(f"PRAGMA {pragma}")
            return cls(path, writer, lock, head)
        except BaseException as error:
            await writer.close()
            lock.release()
            if isinstance(error, sqlite3.Error):
                raise _told(path, "opened", error) from error
            raise

    @classmethod
    async def open_for_reading(cls, path: Path) -> Self:
        """Open the log to read it only, whether or not a dispatcher is writing to it."""
        path = path.resolve()
        if not check(path):
            raise LogError(f"{path}: there is no log here; name one with --db")
        async with _reader(path) as reader:
            return cls(path, None, None, await _head(reader))

    async def append(self, batch: Sequence[Recorded], expected_head: int) -> None:
        """Commit a batch in one transaction; see `Log.append`."""
        if expected_head != self.head:
            raise WrongHeadError(expected_head, self.head)
        if self._writer is None:
            raise LogError(f"{self.path}: was opened for reading only")
        rows = [_row(recorded) for recorded in batch]
        try:
            # The connection begins a transaction by itself before the first INSERT.
            await self._writer.executemany(
                "INSERT INTO events (seq, time, actor, type, data) VALUES (?, ?, ?, ?, ?)", rows
            )
            await self._writer.commit()
        except sqlite3.Error as error:
            raise _told(self.path, "written", error) from error
        self.head += len(batch)

    async def read(self, after: int = 0) -> AsyncGenerator[list[Recorded], None]:
        """Read pages of events; see `Log.read`."""
        upto = self.head
        async with _reader(self.path) as reader:
            while after < upto:
                rows = await reader.execute_fetchall(
                    "SELECT seq, time, actor, type, data FROM events"
                    " WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?",
                    (after, upto, PAGE),
                )
                if not rows:
                    raise LogError(f"{self.path}: ends at seq {after}, before its head {upto}")
                page = []
                for seq, *columns in rows:
                    if seq != after + 1:
                        raise LogError(f"{self.path}: has a gap between seq {after} and seq {seq}")
                    page.append(self._recorded(seq, *columns))
                    after = seq
                yield page

    async def recover(self) -> None:
        """Roll back, try a real write, and take the head from the file; see `Log.recover`."""
        if self._writer is None:
            return
        try:
            await self._writer.rollback()
            await write_header(self._writer)
            self.head = await _head(self._writer)
        except sqlite3.Error as error:
            raise _told(self.path, "written", error) from error

    async def close(self) -> None:
        """Fold the WAL into the file, close it and let the next dispatcher in."""
        if self._writer is not None:
            # A log that can't be checkpointed now (a full disk) is still whole: the WAL has it.
            with suppress(sqlite3.Error):
                await self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            await self._writer.close()
            self._writer = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _recorded(self, seq: int, time: bytes, actor: bytes, name: bytes, data: bytes) -> Recorded:
        try:
            at = codec.decode_time(time.decode())
            return Recorded(seq, at, actor.decode(), codec.decode(name.decode(), data))
        except (codec.UndecodableError, UnicodeDecodeError) as error:
            raise LogError(f"{self.path}: seq {seq} can't be read: {error}") from error


def _row(recorded: Recorded) -> tuple[int, str, str, str, str]:
    name, data = codec.encode(recorded.event)
    return recorded.seq, codec.encode_time(recorded.at), recorded.actor, name, data


def _lock(log_path: Path) -> FileLock:
    """Lock a file beside the log, and not the log itself.

    To close any descriptor of a file drops the process's POSIX locks on it, which SQLite needs.
    """
    path = log_path.with_name(log_path.name + ".lock")
    try:
        return FileLock(path)
    except LockHeldError as error:
        raise LogError(
            f"{log_path}: in use by another dispatcher (process {error.holder}); stop that one, "
            "or give this one a log of its own with --db"
        ) from error
    except OSError as error:
        raise LogError(
            f"{log_path}: can't make the lock file {path.name} beside it: {error.strerror}; "
            "the dispatcher needs a directory that it may write to"
        ) from error


def _told(path: Path, verb: str, error: sqlite3.Error) -> LogError:
    return LogError(f"{path}: can't be {verb}: {error}")


async def _head(connection: aiosqlite.Connection) -> int:
    ((head,),) = await connection.execute_fetchall("SELECT coalesce(max(seq), 0) FROM events")
    return int(head)


async def _connect(path: Path, *, read_only: bool) -> aiosqlite.Connection:
    try:
        return await aiosqlite.connect(
            f"{path.as_uri()}?mode={'ro' if read_only else 'rw'}",
            uri=True,
            isolation_level="IMMEDIATE",
            timeout=5,
        )
    except sqlite3.Error as error:
        raise _told(path, "opened", error) from error


@asynccontextmanager
async def _reader(path: Path) -> AsyncIterator[aiosqlite.Connection]:
    connection = await _connect(path, read_only=True)
    try:
        await connection.execute("PRAGMA query_only=ON")
        connection.text_factory = bytes  # so that text that is no UTF-8 can be told with its seq
        yield connection
    except sqlite3.Error as error:
        raise _told(path, "read", error) from error
    finally:
        await connection.close()
