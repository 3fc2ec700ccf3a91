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
from collections.abc import Callable, Iterable, Sequence
from contextlib import AsyncExitStack, suppress
from itertools import islice
from pathlib import Path
from typing import Final, Self

import aiosqlite

from dispatcher.locks import FileLock, LockHeldError
from dispatcher.log import LogError, WrongHeadError, serialization
from dispatcher.log.file import check, create, write_header
from dispatcher.log.held import HeldFiles
from dispatcher.log.merkle import Frontier, Growth, Subtree, grow
from dispatcher.log.migration import migrate
from dispatcher.log.readers import connect, log_error
from dispatcher.log.reading import ReadableLog, read_head, read_sealed
from dispatcher.log.releasing import delete_events, delete_subtrees
from dispatcher.log.rows import Statement, appending, sealing
from dispatcher.log.schema import SCHEMA_VERSION
from dispatcher.log.segments import Sealed, Unsealed
from dispatcher.log.serialization import LogEntry
from dispatcher.log.tree import read_frontier
from dispatcher.log.wal import WAL_LIMIT_BYTES, WalWatch
from dispatcher.log.writing import NotInsertedError, check_rules, sync_wal, transact, use_wal
from dispatcher.progress import Progress, silent

__all__ = ["SqliteLog", "growth_of"]

HASHED: Final = 250
"""Events of a batch that are hashed at a time, which takes a millisecond."""


class SqliteLog(ReadableLog):
    """A `dispatcher.log.Log` in a file and its segments; see `open` and `open_for_reading`."""

    def __init__(
        self,
        path: Path,
        schema: int = SCHEMA_VERSION,
        writer: aiosqlite.Connection | None = None,
        lock: FileLock | None = None,
        held: HeldFiles | None = None,
    ) -> None:
        check_held: Callable[[], object] = (lambda: None) if held is None else held.check
        super().__init__(path, schema, check_held, seals=writer is not None)
        self._writer = writer
        self._lock = lock
        self._held = held
        self._wal = WalWatch(path)
        self._turn = asyncio.Lock()
        self._releasing: Sealed | None = None  # its file was found to be what it was
        self._has_subtrees = True

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
                sealed = await read_sealed(writer, SCHEMA_VERSION)  # fails if it is none of ours
                head = await read_head(writer, path, sealed[-1].upto if sealed else 0)
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
        log = cls(path, SCHEMA_VERSION, writer, lock, held)
        log.head, log._tree = head, tree
        log._segments.add(sealed)
        return log

    @classmethod
    async def open_for_reading(cls, path: Path) -> Self:
        """Open the log for reading only, whether or not a dispatcher is writing to it.

        The caller must close it, with `close` or `async with`, because its readers have threads.
        """
        path = path.resolve()
        if (schema := check(path)) is None:
            raise LogError(f"{path}: there is no log here; name one with --db")
        log = cls(path, schema)
        try:
            await log._open_for_reading()
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
        async with self._turn:
            if expected_head != self.head:
                raise WrongHeadError(expected_head, self.head)
            await self._append(batch, await growth_of(self.tree, map(serialization.line, batch)))

    async def append_grown(self, batch: Sequence[LogEntry], growth: Growth) -> None:
        """Append a batch that makes this of the tree, which the caller has found (`growth_of`)."""
        async with self._turn:
            if growth.frontier.size != self.head + len(batch):
                raise WrongHeadError(growth.frontier.size - len(batch), self.head)
            await self._append(batch, growth)

    async def _append(self, batch: Sequence[LogEntry], growth: Growth) -> None:
        await self._transact(appending(batch, growth), len(batch) + len(growth.subtrees))
        self.head, self._tree = self.head + len(batch), growth.frontier

    def sealable_at(self, events: int) -> int:
        """Return the seq at which the next segment ends, if segments have so many events.

        That is a power of two. A segment has fewer where the size was changed, until its place in
        the tree fits.
        """
        after = self.sealed_upto
        return after + (min(events, after & -after) if after else events)

    async def unsealed(self, events: int, margin: int) -> Unsealed | None:
        """Return the segment that may be sealed next; see `sealable_at`.

        `None` if it and `margin` events after it, at least one, are not there yet.
        """
        after, upto = self.sealed_upto, self.sealable_at(events)
        if self.head < upto + max(margin, 1):
            return None
        level = (upto - after).bit_length() - 1
        (root,) = await self.subtree_hashes([Subtree(level, after >> level)])
        return Unsealed(len(self.sealed), level, upto, root)

    async def seal(self, row: Sealed) -> None:
        """Make a segment a part of the log, whose file `write_segment` has written."""
        async with self._turn:
            writer, _ = self._writable()
            try:
                await self._transact([sealing(row)], 1)
            except LogError:
                await writer.rollback()  # events may still be recorded
                raise
            finally:  # whatever was reported, the file knows
                self._segments.add(await read_sealed(writer, SCHEMA_VERSION, self.sealed_upto))

    async def release(self) -> bool:
        """Delete some of the rows that are in segments. Return whether there were any.

        Raises `SegmentError` if the segment's file is not what it was: then the rows are all there
        is.
        """
        async with self._readers.lend() as reader:
            ((first,),) = await reader.execute_fetchall("SELECT min(seq) FROM events")
        if first is None or first > self._segments.upto:
            return False
        row = self._segments.row_of(first)
        if row != self._releasing:
            await self._segments.check(row)
            self._releasing, self._has_subtrees = row, True
        async with self._turn:
            writer, held = self._writable()
            held.check()
            try:
                if self._has_subtrees:
                    self._has_subtrees = await delete_subtrees(writer, row)
                if not self._has_subtrees:
                    await delete_events(writer, row, first)
            except sqlite3.Error as error:
                raise log_error(self.path, "written", error) from error
        return True

    def _writable(self) -> tuple[aiosqlite.Connection, HeldFiles]:
        if self._writer is None or self._held is None:
            raise LogError(f"{self.path}: was opened for reading only")
        if self._writer.in_transaction:
            raise LogError(f"{self.path}: the last write was broken off; recover before the next")
        return self._writer, self._held

    async def _transact(self, statements: Sequence[Statement], rows: int) -> None:
        writer, held = self._writable()
        try:
            await transact(writer, statements, rows)
        except NotInsertedError as error:
            raise LogError(f"{self.path}: {error}") from error
        except sqlite3.Error as error:
            raise log_error(self.path, "written", error) from error
        # Here, and not in the writer's thread, which would wait for the GIL.
        self._wal.notice(held.check())

    async def recover(self) -> None:
        """Roll back, try a real write, and take the head from the file; see `Log.recover`."""
        async with self._turn:
            if self._writer is None or self._held is None:
                return
            self._held.check()
            try:
                await self._writer.rollback()
                await check_rules(self.path, self._writer)
                await write_header(self._writer)
                sealed = await read_sealed(self._writer, SCHEMA_VERSION, self.sealed_upto)
                self._segments.add(sealed)
                head = await read_head(self._writer, self.path, self.sealed_upto)
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
            await super().close()
            if writer is not None:
                # If this fails (a full disk), the log is still whole: the WAL has the rest.
                with suppress(sqlite3.Error):
                    await writer.execute_fetchall("PRAGMA wal_checkpoint(TRUNCATE)")


async def growth_of(tree: Frontier, lines: Iterable[bytes]) -> Growth:
    """Return what lines make of a tree. Others use the event loop while they are hashed."""
    leaf_hashes: list[bytes] = []
    subtrees: list[tuple[int, int, bytes]] = []
    left = iter(lines)
    while some := list(islice(left, HASHED)):
        if leaf_hashes:
            await asyncio.sleep(0)
        piece = grow(tree, some)
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
