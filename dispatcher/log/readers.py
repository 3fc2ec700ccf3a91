"""Connections to the file of a log, and a pool of those that read it.

Laws:
- At most `READERS` read at once. Further readers wait.
- A connection that is returned without an error is kept, and lent again before any older one. A
  connection whose read failed or was cancelled is closed.
- A new connection is lent only if `check` finds the log where it was opened. Otherwise it would
  read another file.
- After `close` none is kept. Each has a thread, which would keep the process from ending.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiosqlite

from dispatcher.log import LogError
from dispatcher.log.serialization import LogEntry

__all__ = ["READERS", "Readers", "connect", "log_error", "select_bounded"]

READERS: Final = 8
"""The most connections that read at once; each has a thread."""
BUSY_S: Final = 5.0
FETCHED: Final = 128
"""Rows that are fetched at a time where their size matters."""


class Readers:
    """The connections that read the log at `path`. `check` raises `LogError` if it is not there."""

    def __init__(self, path: Path, check: Callable[[], object] = lambda: None) -> None:
        self._path = path
        self._check = check
        self._free = asyncio.Semaphore(READERS)
        self._kept: list[aiosqlite.Connection] = []
        self._is_closed = False

    @asynccontextmanager
    async def lend(self) -> AsyncIterator[aiosqlite.Connection]:
        """Lend a connection for the block. Raises `LogError` if there is none or a read fails."""
        async with self._free:
            reader = self._kept.pop() if self._kept else await self._connected()
            try:
                yield reader
            except BaseException as error:
                await reader.close()
                if isinstance(error, sqlite3.Error):
                    raise log_error(self._path, "read", error) from error
                raise
            if self._is_closed:
                await reader.close()
            else:
                self._kept.append(reader)

    async def _connected(self) -> aiosqlite.Connection:
        reader = await connect(self._path, read_only=True)
        try:
            self._check()
        except LogError:
            await reader.close()
            raise
        return reader

    async def close(self) -> None:
        """Close the kept connections, and from now on each one that is returned."""
        self._is_closed = True
        async with AsyncExitStack() as closing:  # each is closed, also if the caller is cancelled
            while self._kept:
                closing.push_async_callback(self._kept.pop().close)


async def connect(path: Path, *, read_only: bool) -> aiosqlite.Connection:
    """Open a new connection. Raises `LogError` if that fails."""
    try:
        return await aiosqlite.connect(
            f"{path.as_uri()}?mode={'ro' if read_only else 'rw'}",
            uri=True,
            isolation_level=None,  # only BEGIN begins a transaction
            timeout=BUSY_S,
        )
    except sqlite3.Error as error:
        raise log_error(path, "opened", error) from error


async def select_bounded(
    reader: aiosqlite.Connection, query: str, values: Sequence[Any], at_most_bytes: int
) -> list[LogEntry]:
    """Return the entries that a query finds, up to the one whose data reaches so many bytes."""
    found: list[LogEntry] = []
    async with reader.execute(query, values) as cursor:
        while rows := await cursor.fetchmany(FETCHED):
            for row in rows:
                entry = LogEntry(*row)
                found.append(entry)
                at_most_bytes -= len(entry.data)
                if at_most_bytes <= 0:
                    return found
    return found


def log_error(path: Path, verb: str, error: sqlite3.Error) -> LogError:
    """Return a `LogError` for an operation on the log that SQLite could not do."""
    return LogError(f"{path}: can't be {verb}: {error}")
