"""Connections to the file of a log, and those that read it: lent to one reader at a time.

Laws:
- At most `READERS` read at once; whoever comes then waits.
- A connection that was given back well is kept, and lent again before any older one. One on which
  a read failed, or was given up, is closed.
- After `close` none is kept. A thread belongs to each, and would keep the process from ending.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import aiosqlite

from dispatcher.log import LogError

__all__ = ["READERS", "Readers", "connect", "told"]

READERS: Final = 8
"""Connections that read at once; each has a thread."""
BUSY_S: Final = 5.0


class Readers:
    """The connections that read the log at `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._free = asyncio.Semaphore(READERS)
        self._kept: list[aiosqlite.Connection] = []
        self._is_closed = False

    @asynccontextmanager
    async def lend(self) -> AsyncIterator[aiosqlite.Connection]:
        """Lend a connection for the block. `LogError` if it can't be had or a read fails."""
        async with self._free:
            reader = self._kept.pop() if self._kept else await connect(self._path, read_only=True)
            try:
                yield reader
            except BaseException as error:
                await reader.close()
                if isinstance(error, sqlite3.Error):
                    raise told(self._path, "read", error) from error
                raise
            if self._is_closed:
                await reader.close()
            else:
                self._kept.append(reader)

    async def close(self) -> None:
        """Close what is kept, and from now on whatever is given back."""
        self._is_closed = True
        while self._kept:
            await self._kept.pop().close()


async def connect(path: Path, *, read_only: bool) -> aiosqlite.Connection:
    """Open a connection of its own. `LogError` if it can't be had."""
    try:
        return await aiosqlite.connect(
            f"{path.as_uri()}?mode={'ro' if read_only else 'rw'}",
            uri=True,
            isolation_level=None,  # no transaction begins but by BEGIN
            timeout=BUSY_S,
        )
    except sqlite3.Error as error:
        raise told(path, "opened", error) from error


def told(path: Path, verb: str, error: sqlite3.Error) -> LogError:
    """Tell what SQLite could not do with the log."""
    return LogError(f"{path}: can't be {verb}: {error}")
