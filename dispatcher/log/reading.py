"""Reading a log, whose older events are in segments and whose newer ones are in the hot file.

Laws:
- Readers see one log. Whether an event is in a segment or in the table `events` shows in nothing.
- Events are sealed, and their rows deleted, while readers read. So what was read from the table
  counts only if no event after the reader's place was sealed by then; see `_is_sealed_after`.
"""

import sqlite3
from collections.abc import AsyncGenerator, Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import aiosqlite

from dispatcher.log import LogError, serialization
from dispatcher.log.merkle import Frontier, Subtree
from dispatcher.log.readers import Readers, select_bounded
from dispatcher.log.rows import COLUMNS, PAGE, SEALED_AFTER
from dispatcher.log.schema import FIRST_WITH_SEGMENTS, FIRST_WITH_TREE
from dispatcher.log.segments import Sealed, folder_of
from dispatcher.log.segments.stored import Segments
from dispatcher.log.serialization import LogEntry
from dispatcher.log.tree import read_frontier, read_subtree

__all__ = ["ReadableLog", "read_head", "read_sealed"]


class ReadableLog:
    """The reading half of a log in a SQLite file of this schema, and in its segments.

    `check` raises `LogError` if the file is not where it was opened. `seals` says that nobody else
    seals the log, so that it need not be looked for.
    """

    def __init__(
        self, path: Path, schema: int, check: Callable[[], object], *, seals: bool
    ) -> None:
        self.path = path
        self.head = 0
        self._tree: Frontier | LogError = Frontier()
        self._schema = schema
        self._seals = seals
        self._columns = COLUMNS[schema].replace("data", "CAST(data AS BLOB)")
        self._readers = Readers(path, check)
        self._segments = Segments(folder_of(path))

    @property
    def tree(self) -> Frontier:
        """The tree over all durable events; see `Log.tree`."""
        if isinstance(self._tree, LogError):
            raise self._tree
        return self._tree

    @property
    def sealed(self) -> Sequence[Sealed]:
        """The segments of the log, oldest first."""
        return self._segments.rows

    @property
    def fault_of_segments(self) -> str | None:
        """Why a segment could not be read when it was last tried, or `None`."""
        return self._segments.fault

    @property
    def sealed_upto(self) -> int:
        """The seq of the last event in a segment; 0 if there is none."""
        return self._segments.upto

    async def entries(
        self, after: int = 0, upto: int | None = None
    ) -> AsyncGenerator[list[LogEntry], None]:
        """Read pages of entries; see `Log.entries`."""
        upto = self.head if upto is None else min(upto, self.head)
        while after < upto:
            if after < self.sealed_upto:
                page, after = await self._segments.page(after, min(upto, self.sealed_upto), PAGE)
                yield page
                continue
            async with self._readers.lend() as reader:
                while after < upto:
                    page = await self._select(
                        reader, "seq > ? AND seq <= ? ORDER BY seq LIMIT ?", (after, upto, PAGE)
                    )
                    if (not page or page[0].seq != after + 1) and await self._is_sealed_after(
                        reader, after
                    ):
                        break
                    after = self._check_follows(page, after, upto)
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
        found = list[LogEntry]()
        left_bytes = at_most_bytes
        while after < upto and len(found) < limit and (left_bytes is None or left_bytes > 0):
            if after < self.sealed_upto:
                some, after = await self._segments.page(
                    after,
                    min(upto, self.sealed_upto),
                    limit - len(found),
                    event_type=event_type,
                    at_most_bytes=left_bytes,
                )
            else:
                of_type = () if event_type is None else (event_type,)
                async with self._readers.lend() as reader:
                    some = await self._select(
                        reader,
                        f"seq > ? AND seq <= ?{' AND type = ?' * len(of_type)} "
                        "ORDER BY seq LIMIT ?",
                        (after, upto, *of_type, limit - len(found)),
                        left_bytes,
                    )
                    if await self._is_sealed_after(reader, after):
                        continue
                after = upto
            found += some
            if left_bytes is not None:
                left_bytes -= sum(len(entry.data) for entry in some)
        return found

    async def pick(
        self, seqs: Sequence[int], *, at_most_bytes: int | None = None
    ) -> list[LogEntry]:
        """Read certain entries; see `Log.pick`."""
        found = list[LogEntry]()
        left = sorted(seq for seq in set(seqs) if 0 < seq <= self.head)
        while left and (at_most_bytes is None or at_most_bytes > 0):
            wanted = left[:PAGE]
            if sealed := [seq for seq in wanted if seq <= self.sealed_upto]:
                wanted = sealed
                some = await self._segments.pick(sealed, at_most_bytes=at_most_bytes)
            else:
                placeholders = ", ".join("?" * len(wanted))
                async with self._readers.lend() as reader:
                    some = await self._select(
                        reader, f"seq IN ({placeholders}) ORDER BY seq", wanted, at_most_bytes
                    )
                    if await self._is_sealed_after(reader, wanted[0] - 1):
                        continue
            left = left[len(wanted) :]
            found += some
            if at_most_bytes is not None:
                at_most_bytes -= sum(len(entry.data) for entry in some)
        return found

    async def seq_at(self, moment: datetime) -> int:
        """Find the last event at a time; see `Log.seq_at`."""
        time = serialization.encode_time(moment)
        while True:
            sealed_upto = self.sealed_upto
            async with self._readers.lend() as reader:
                rows = await reader.execute_fetchall(
                    "SELECT seq FROM events WHERE time <= ? AND seq > ? AND seq <= ? "
                    "ORDER BY seq DESC LIMIT 1",
                    (time, sealed_upto, self.head),
                )
                if rows:
                    return int(next(iter(rows))[0])
                if not await self._is_sealed_after(reader, sealed_upto):
                    break
        return await self._segments.seq_at(time) if sealed_upto else 0

    async def subtree_hashes(self, wanted: Sequence[Subtree]) -> list[bytes]:
        """Read hashes of the tree; see `Log.subtree_hashes`."""
        return [await self._subtree_hash(it) for it in wanted]

    async def _subtree_hash(self, wanted: Subtree) -> bytes:
        if self._segments.holder_of(wanted) is None:
            async with self._readers.lend() as reader:
                try:
                    return await read_subtree(reader, wanted)
                except LogError:
                    await self._is_sealed_after(reader, wanted.number << wanted.level)
                    if self._segments.holder_of(wanted) is None:
                        raise
        return await self._segments.subtree(wanted)

    async def close(self) -> None:
        """Close all that reads."""
        try:
            await self._readers.close()
        finally:
            self._segments.close()

    async def _open_for_reading(self) -> None:
        async with self._readers.lend() as reader:
            self._segments.add(await read_sealed(reader, self._schema))
            self.head = await read_head(reader, self.path, self.sealed_upto)
            self._tree = await _readers_tree(self.path, reader, self.head, self._schema)

    async def _is_sealed_after(self, reader: aiosqlite.Connection, after: int) -> bool:
        """Look whether an event after this one has been sealed, and so may be in no row."""
        if not self._seals:
            self._segments.add(await read_sealed(reader, self._schema, self.sealed_upto))
        return self.sealed_upto > after

    def _check_follows(self, page: Sequence[LogEntry], after: int, upto: int) -> int:
        """Return the seq of a page's last entry. Raises `LogError` unless all are there."""
        if not page:
            raise LogError(f"{self.path}: ends at seq {after}, before its head {upto}")
        for entry in page:
            if entry.seq != after + 1:
                raise LogError(f"{self.path}: has a gap between seq {after} and seq {entry.seq}")
            after = entry.seq
        return after

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


async def read_sealed(
    connection: aiosqlite.Connection, schema: int, after: int = 0
) -> list[Sealed]:
    """Return the segments that are sealed, after a seq."""
    if schema < FIRST_WITH_SEGMENTS:
        return []
    rows = await connection.execute_fetchall(SEALED_AFTER, (after,))
    return [Sealed(*row) for row in rows]


async def read_head(connection: aiosqlite.Connection, path: Path, sealed_upto: int) -> int:
    """Return the seq of the newest event. `LogError` if the hot file has lost it."""
    ((head,),) = await connection.execute_fetchall("SELECT coalesce(max(seq), 0) FROM events")
    if head <= sealed_upto != 0:
        raise LogError(
            f"{path}: has segments up to seq {sealed_upto}, but not the events after them, and "
            "there was at least one; restore a backup (docs/restore.md)"
        )
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
