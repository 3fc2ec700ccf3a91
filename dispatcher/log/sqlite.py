"""The log in a SQLite file.

Laws:
- One connection writes, and only it checkpoints. A lock keeps a second dispatcher out. (SQLite
  before 3.51.3 can corrupt a WAL that two connections write or reset at once.)
- `synchronous=FULL`: a commit has returned only when it is on disk. One commit carries a whole
  batch, which makes this cheap.
- The writer reads the result of every statement to its end, since an unfinished one would delay
  commits.
- The table guards itself: triggers refuse UPDATE, DELETE and any seq but the next one, so that not
  even the sqlite3 shell rewrites history by accident.
- Readers open the file read-only and read short pages, so they never delay the writer. Between two
  pages they hold no transaction, so the WAL can be emptied; see `wal` for those of others.
- A batch is acknowledged only while the files under the log's names are the open ones; see `held`.
"""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Self

import aiosqlite

from dispatcher.locks import FileLock, LockHeldError
from dispatcher.log import LogError, WrongHeadError, serialization
from dispatcher.log.file import FIRST_WITH_TREE, SCHEMA_VERSION, check, create, write_header
from dispatcher.log.held import HeldFiles
from dispatcher.log.merkle import Frontier, Growth, Subtree, grow
from dispatcher.log.migration import migrate
from dispatcher.log.readers import Readers, connect, log_error, select_bounded
from dispatcher.log.rows import COLUMNS, PAGE, appending
from dispatcher.log.serialization import LogEntry
from dispatcher.log.tree import read_frontier, read_subtree
from dispatcher.log.wal import WAL_LIMIT_BYTES, WalWatch
from dispatcher.log.writing import NotInsertedError, check_rules, sync_wal, transact, use_wal
from dispatcher.progress import Progress, silent

__all__ = ["SqliteLog"]

HASHED: Final = 250
"""Events of a batch that are hashed at a time, which takes a millisecond."""


class SqliteLog:
    """A `dispatcher.log.Log` in one file. Use `open` or `open_for_reading` to create one."""

    def __init__(  # noqa: PLR0913, PLR0917 - callers use `open` or `open_for_reading`
        self,
        path: Path,
        writer: aiosqlite.Connection | None,
        lock: FileLock | None,
        head: int,
        tree: Frontier | LogError,  # or why there is none
        schema: int = SCHEMA_VERSION,
        held: HeldFiles | None = None,
    ) -> None:
        self.path = path
        self.head = head
        self._tree = tree
        self._writer = writer
        self._lock = lock
        self._columns = COLUMNS[schema].replace("data", "CAST(data AS BLOB)")
        self._held = held
        self._wal = WalWatch(path)
        self._readers = Readers(path, lambda: None if held is None else held.check())

    @property
    def tree(self) -> Frontier:
        """The tree over all durable events; see `Log.tree`."""
        if isinstance(self._tree, LogError):
            raise self._tree
        return self._tree

    @classmethod
    async def open(
        cls,
        path: Path,
        migrating: Progress = silent,
        creating: Callable[[Path], None] = lambda _path: None,
    ) -> Self:
        """Open the log for writing, and create it if there is none.

        A log of an older schema is migrated. `migrating` is then called, from a thread, with the
        number of events done and the total. `creating` is called with the log's path before a new
        log is created, and may raise a `LogError` of its own to prevent that. Raises `LogError` if
        the path can't be a log of ours or another dispatcher has it; then nothing has been touched.
        """
        given, path = path, path.resolve()
        check(path)
        async with AsyncExitStack() as undo:  # in reverse order
            lock = _lock(path)
            undo.callback(lock.release)
            if (schema := check(path)) is None:
                _refuse_wal(path)
                creating(path)
                create(path)
            held = HeldFiles(path, given)
            undo.callback(held.release)
            if schema is not None and schema < SCHEMA_VERSION:
                await migrate(path, schema, migrating)
            writer = await connect(path, read_only=False)
            undo.push_async_callback(writer.close)
            try:
                head = await _head(writer)  # first: this fails if the file is no log of ours
                tree = await read_frontier(writer, head)
                await check_rules(path, writer)
                await use_wal(path, writer)
                for pragma in (
                    "synchronous=FULL",
                    "recursive_triggers=ON",
                    f"journal_size_limit={WAL_LIMIT_BYTES}",
                ):
                    await writer.execute_fetchall(f"PRAGMA {pragma}")
                await sync_wal(writer)
            except sqlite3.Error as error:
                raise log_error(path, "opened", error) from error
            held.hold_wal()
            held.check()
            undo.pop_all()
        return cls(path, writer, lock, head, tree, held=held)

    @classmethod
    async def open_for_reading(cls, path: Path) -> Self:
        """Open the log for reading only, whether or not a dispatcher is writing to it.

        The caller must close it, with `close` or `async with`, because its readers have threads.
        """
        path = path.resolve()
        if (schema := check(path)) is None:
            raise LogError(f"{path}: there is no log here; name one with --db")
        log = cls(path, None, None, 0, Frontier(), schema)
        try:
            async with log._readers.lend() as reader:
                log.head = await _head(reader)
                log._tree = await _readers_tree(path, reader, log.head, schema)
        except BaseException:
            await log.close()
            raise
        return log

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def append(self, batch: Sequence[LogEntry], expected_head: int) -> None:
        """Commit a batch in one transaction; see `Log.append`."""
        if expected_head != self.head:
            raise WrongHeadError(expected_head, self.head)
        if self._writer is None or self._held is None:
            raise LogError(f"{self.path}: was opened for reading only")
        if self._writer.in_transaction:
            raise LogError(f"{self.path}: the last write was broken off; recover before the next")
        growth = await _growth(self.tree, batch)
        statements = appending(batch, growth)
        rows = len(batch) + len(growth.subtrees)
        try:
            await transact(self._writer, statements, rows)
        except NotInsertedError as error:
            raise LogError(f"{self.path}: {error}") from error
        except sqlite3.Error as error:
            raise log_error(self.path, "written", error) from error
        # Here, and not in the writer's thread, which would wait for the GIL.
        self._wal.notice(self._held.check())
        self.head, self._tree = expected_head + len(batch), growth.frontier

    async def entries(
        self, after: int = 0, upto: int | None = None
    ) -> AsyncGenerator[list[LogEntry], None]:
        """Read pages of entries; see `Log.entries`."""
        upto = self.head if upto is None else min(upto, self.head)
        async with self._readers.lend() as reader:
            while after < upto:
                page = await self._select(
                    reader, "seq > ? AND seq <= ? ORDER BY seq LIMIT ?", (after, upto, PAGE)
                )
                if not page:
                    raise LogError(f"{self.path}: ends at seq {after}, before its head {upto}")
                for entry in page:
                    if entry.seq != after + 1:
                        raise LogError(
                            f"{self.path}: has a gap between seq {after} and seq {entry.seq}"
                        )
                    after = entry.seq
                yield page

    async def page(
        self,
        after: int,
        limit: int,
        *,
        upto: int | None = None,
        event_type: str | None = None,
        at_most_bytes: int | None = None,
    ) -> list[LogEntry]:
        """Read some entries; see `Log.page`."""
        upto = self.head if upto is None else min(upto, self.head)
        of_type = "" if event_type is None else " AND type = ?"
        values = (after, upto, *(() if event_type is None else (event_type,)), limit)
        async with self._readers.lend() as reader:
            return await self._select(
                reader,
                f"seq > ? AND seq <= ?{of_type} ORDER BY seq LIMIT ?",
                values,
                at_most_bytes,
            )

    async def pick(
        self, seqs: Sequence[int], *, at_most_bytes: int | None = None
    ) -> list[LogEntry]:
        """Read certain entries; see `Log.pick`."""
        found: list[LogEntry] = []
        oldest_first = sorted(set(seqs))
        async with self._readers.lend() as reader:
            for first in range(0, len(oldest_first), PAGE):
                wanted = oldest_first[first : first + PAGE]
                placeholders = ", ".join("?" * len(wanted))
                entries = await self._select(
                    reader, f"seq IN ({placeholders}) ORDER BY seq", wanted, at_most_bytes
                )
                found += entries
                if at_most_bytes is not None:
                    at_most_bytes -= sum(len(entry.data) for entry in entries)
                    if at_most_bytes <= 0:
                        break
        return found

    async def seq_at(self, moment: datetime) -> int:
        """Find the last event at a time; see `Log.seq_at`."""
        async with self._readers.lend() as reader:
            rows = await reader.execute_fetchall(
                "SELECT seq FROM events WHERE time <= ? AND seq <= ? ORDER BY seq DESC LIMIT 1",
                (serialization.encode_time(moment), self.head),
            )
        return int(next(iter(rows))[0]) if rows else 0

    async def subtree_hashes(self, wanted: Sequence[Subtree]) -> list[bytes]:
        """Read hashes of the tree; see `Log.subtree_hashes`."""
        async with self._readers.lend() as reader:
            return [await read_subtree(reader, it) for it in wanted]

    async def recover(self) -> None:
        """Roll back, try a real write, and take the head from the file; see `Log.recover`."""
        if self._writer is None or self._held is None:
            return
        self._held.check()
        try:
            await self._writer.rollback()
            await check_rules(self.path, self._writer)
            await write_header(self._writer)
            head = await _head(self._writer)
            self.head, self._tree = head, await read_frontier(self._writer, head)
        except sqlite3.Error as error:
            raise log_error(self.path, "written", error) from error

    async def close(self) -> None:
        """Checkpoint the WAL into the file, close it, and release the lock.

        A caller that is cancelled closes it too: else its threads would keep the process going.
        """
        writer, lock, self._writer, self._lock = self._writer, self._lock, None, None
        async with AsyncExitStack() as closing:  # in reverse order
            if lock is not None:
                closing.callback(lock.release)
            if self._held is not None:
                closing.callback(self._held.release)
            if writer is not None:
                closing.push_async_callback(writer.close)
            await self._readers.close()
            if writer is not None:
                # If this fails (a full disk), the log is still whole: the WAL has the rest.
                with suppress(sqlite3.Error):
                    await writer.execute_fetchall("PRAGMA wal_checkpoint(TRUNCATE)")

    async def _select(
        self,
        reader: aiosqlite.Connection,
        where: str,
        values: Sequence[Any],
        at_most_bytes: int | None = None,
    ) -> list[LogEntry]:
        query = f"SELECT {self._columns} FROM events WHERE {where}"  # noqa: S608 - constants
        try:
            if at_most_bytes is not None:
                return await select_bounded(reader, query, values, at_most_bytes)
            return [LogEntry(*row) for row in await reader.execute_fetchall(query, values)]
        except sqlite3.OperationalError as error:
            if "UTF-8" not in str(error):
                raise
            raise await self._text_error(reader, query, values) from error

    async def _text_error(
        self, reader: aiosqlite.Connection, query: str, values: Sequence[Any]
    ) -> LogError:
        """Find the first event with a value that should be text and is not."""
        reader.text_factory = bytes
        for seq, *columns in await reader.execute_fetchall(query, values):
            for column in columns:
                try:
                    _ = isinstance(column, bytes) and column.decode()
                except UnicodeDecodeError as error:
                    return LogError(f"{self.path}: seq {seq} can't be read: {error}")
        return LogError(f"{self.path}: can't be read: an event is no text")


async def _growth(tree: Frontier, batch: Sequence[LogEntry]) -> Growth:
    """Return what a batch makes of the tree. Others use the event loop while it is hashed."""
    leaf_hashes, subtrees = list[bytes](), list[tuple[int, int, bytes]]()
    for first in range(0, len(batch), HASHED):
        if first:
            await asyncio.sleep(0)
        piece = grow(tree, serialization.lines(batch[first : first + HASHED]))
        tree = piece.frontier
        leaf_hashes += piece.leaf_hashes
        subtrees += piece.subtrees
    return Growth(tree, leaf_hashes, subtrees)


def _lock(log_path: Path) -> FileLock:
    """Lock a file beside the log, which can say who has it; see `held` for the log itself."""
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


def _refuse_wal(log_path: Path) -> None:
    """Refuse to make a new log beside the WAL of an older one: SQLite would read it into that."""
    for suffix in ("-wal", "-journal"):
        path = log_path.with_name(log_path.name + suffix)
        if path.exists() and path.stat().st_size > 0:
            raise LogError(
                f"{path}: has events of a log that stood here, and would be read into a new one; "
                "put that log back, or move this file to where it is now"
            )


async def _head(connection: aiosqlite.Connection) -> int:
    ((head,),) = await connection.execute_fetchall("SELECT coalesce(max(seq), 0) FROM events")
    return int(head)


async def _readers_tree(
    path: Path, reader: aiosqlite.Connection, head: int, schema: int
) -> Frontier | LogError:
    """Return the tree if it is whole, or else the error: reading a damaged log may need no tree."""
    if schema < FIRST_WITH_TREE:
        return LogError(f"{path}: is of an older schema, which has no tree; serve it once")
    try:
        return await read_frontier(reader, head)
    except LogError as error:
        return error
