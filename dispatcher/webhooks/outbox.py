"""What is to be sent, and how far the log was read for it: a small SQLite file beside the log.

Laws:
- Messages are added in the same transaction in which it is noted how far the log was read.
- A message is gone when its receiver has taken it, and not before. A crash of the machine may bring
  some back: they are sent twice then.
- Of the messages of a lane (the events of one job, to one receiver), only the oldest is due.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple, Self

import aiosqlite

from dispatcher.errors import DispatcherError

__all__ = ["Message", "Outbox", "OutboxError", "Queued", "Standing", "outbox_path"]

_APPLICATION_ID: Final = 0x64737077
"""`dspw`; marks a SQLite file as the outbox of a dispatcher."""
_FORMAT: Final = 1
_SCHEMA: Final = """
CREATE TABLE about (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    seq  INTEGER NOT NULL  -- up to which the log was read
) STRICT;
CREATE TABLE callbacks (
    job TEXT PRIMARY KEY,
    url TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE messages (
    id       INTEGER PRIMARY KEY,
    receiver TEXT NOT NULL,
    lane     TEXT NOT NULL,
    seq      INTEGER NOT NULL,  -- of the event
    url      TEXT,              -- of a callback
    tries    INTEGER NOT NULL DEFAULT 0,
    due      REAL NOT NULL DEFAULT 0,  -- seconds since the epoch
    failing  REAL,                     -- when it first failed
    error    TEXT,
    is_dead  INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX messages_by_lane ON messages (receiver, lane, id);
CREATE INDEX messages_in_order ON messages (receiver, id);
INSERT INTO about VALUES (1, 0);
"""
_DUE: Final = """
SELECT id, seq, url, tries, failing FROM messages AS it
WHERE receiver = ? AND due <= ? AND is_dead = 0 AND NOT EXISTS (
    SELECT 1 FROM messages WHERE receiver = it.receiver AND lane = it.lane AND id < it.id
) ORDER BY id LIMIT ?
"""
_STANDING: Final = """
SELECT receiver, count(*), sum(is_dead), min(failing),
       (SELECT error FROM messages WHERE receiver = it.receiver AND error IS NOT NULL
        ORDER BY is_dead DESC, tries DESC, id LIMIT 1)
FROM messages AS it GROUP BY receiver
"""


class OutboxError(DispatcherError):
    """The outbox can't be opened; the text says why."""


class Queued(NamedTuple):
    """A message to add. `url` is that of a callback."""

    receiver: str
    lane: str
    seq: int
    url: str | None = None


class Message(NamedTuple):
    """A message that is due. `failing` is when it first failed (seconds since the epoch)."""

    number: int
    seq: int
    url: str | None
    tries: int
    failing: float | None


class Standing(NamedTuple):
    """How many messages a receiver has not taken, how many of them are given up, and why."""

    waiting: int
    dead: int
    failing: float | None
    error: str | None


def outbox_path(log_path: Path) -> Path:
    """Return where the outbox of a log is."""
    return log_path.with_name(log_path.name + ".webhooks")


class Outbox:
    """The file. Open it with `open`."""

    def __init__(self, db: aiosqlite.Connection, path: Path) -> None:
        self._db = db
        self.path = path

    @classmethod
    async def open(cls, path: Path, head: int) -> tuple[Self, int]:
        """Open it, or make it as of a log's head. Also gives the seq up to which it knows the log.

        If it knows more than the log has, the log is an older copy, and it begins at its head.
        Raises `OutboxError`.
        """
        db = None
        try:
            if not path.exists():
                path.touch(0o600)
            db = await aiosqlite.connect(path, isolation_level=None)
            seq = await _prepare(db, path, head)
        except (OSError, sqlite3.Error) as error:
            if db is not None:
                await db.close()
            raise OutboxError(
                f"{path}: the outbox of webhooks can't be used: {error}; without it, what was not "
                "sent yet is lost: move it away to begin a new one"
            ) from error
        except OutboxError:
            if db is not None:
                await db.close()
            raise
        return cls(db, path), seq

    async def close(self) -> None:
        """Close the file."""
        await self._db.close()

    async def keep(self, receivers: Iterable[str], prefix: str) -> int:
        """Drop the messages to others than these, and than those with a prefix; gives how many."""
        named = [*receivers]
        marks = ", ".join("?" * len(named))
        done = await self._db.execute(
            f"DELETE FROM messages WHERE receiver NOT LIKE ? AND receiver NOT IN ({marks})",  # noqa: S608
            (f"{prefix}%", *named),
        )
        return done.rowcount

    async def add(
        self, seq: int, messages: Sequence[Queued], callbacks: Sequence[tuple[str, str]] = ()
    ) -> None:
        """Add messages, and the URLs of jobs, and note up to which seq the log was read."""
        await self._db.execute("BEGIN IMMEDIATE")
        try:
            await self._db.executemany("INSERT OR REPLACE INTO callbacks VALUES (?, ?)", callbacks)
            await self._db.executemany(
                "INSERT INTO messages (receiver, lane, seq, url) VALUES (?, ?, ?, ?)", messages
            )
            await self._db.execute("UPDATE about SET seq = ?", (seq,))
            await self._db.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                await self._db.execute("ROLLBACK")
            raise

    async def callback_of(self, job_id: str) -> str | None:
        """Return the URL to call back for a job."""
        asked = "SELECT url FROM callbacks WHERE job = ?"
        rows = await self._db.execute_fetchall(asked, (job_id,))
        return next((row[0] for row in rows), None)

    async def receivers(self) -> list[str]:
        """Return who has messages."""
        rows = await self._db.execute_fetchall("SELECT DISTINCT receiver FROM messages")
        return [row[0] for row in rows]

    async def due(self, receiver: str, at_s: float, limit: int) -> list[Message]:
        """Return messages to a receiver that may be sent now, the oldest first."""
        rows = await self._db.execute_fetchall(_DUE, (receiver, at_s, limit))
        return [Message(*row) for row in rows]

    async def next_due(self, receiver: str) -> float | None:
        """Return when a message to a receiver may be sent next, if there is one."""
        rows = await self._db.execute_fetchall(
            "SELECT min(due) FROM messages WHERE receiver = ? AND is_dead = 0 AND due > 0",
            (receiver,),
        )
        return next((row[0] for row in rows), None)

    async def taken(self, message: Message) -> None:
        """Drop a message that its receiver has taken."""
        await self._db.execute("DELETE FROM messages WHERE id = ?", (message.number,))

    async def failed(
        self, message: Message, at_s: float, error: str, *, due: float, is_dead: bool
    ) -> None:
        """Note that a message was not taken, when to try again, and whether it is given up."""
        await self._db.execute(
            "UPDATE messages SET tries = tries + 1, due = ?, failing = coalesce(failing, ?), "
            "error = ?, is_dead = ? WHERE id = ?",
            (due, at_s, error, is_dead, message.number),
        )

    async def try_again(self, receiver: str, *, dead: bool) -> int:
        """Make all messages to a receiver due, `dead` ones too or not; gives how many."""
        done = await self._db.execute(
            "UPDATE messages SET due = 0, failing = CASE is_dead WHEN 1 THEN NULL ELSE failing END,"
            " is_dead = 0 WHERE receiver = ? AND is_dead <= ?",
            (receiver, dead),
        )
        return done.rowcount

    async def standing(self) -> dict[str, Standing]:
        """Return how it stands with each receiver that has not taken all."""
        rows = await self._db.execute_fetchall(_STANDING)
        return {row[0]: Standing(*row[1:]) for row in rows}


async def _prepare(db: aiosqlite.Connection, path: Path, head: int) -> int:
    async def number(pragma: str) -> int:
        (row,) = await db.execute_fetchall(f"PRAGMA {pragma}")
        return int(row[0])

    await db.execute_fetchall("PRAGMA busy_timeout = 30000")
    if await number("user_version") == 0 and await number("page_count") == 0:
        await db.execute_fetchall("PRAGMA journal_mode = WAL")
        await db.executescript(
            f"BEGIN; {_SCHEMA} PRAGMA application_id = {_APPLICATION_ID};"
            f"PRAGMA user_version = {_FORMAT}; COMMIT;"
        )
        await db.execute("UPDATE about SET seq = ?", (head,))
    if await number("application_id") != _APPLICATION_ID:
        raise OutboxError(f"{path}: is there, but is no outbox of webhooks; move it away")
    if (made := await number("user_version")) != _FORMAT:
        raise OutboxError(f"{path}: is an outbox of version {made}, and this program knows 1")
    # A power cut may bring back what was taken, which is then sent twice, but nothing is lost.
    await db.execute("PRAGMA synchronous = NORMAL")
    seq = await _seq_of(db)
    if seq > head:
        await db.execute("UPDATE about SET seq = ?", (head,))
        await db.execute("DELETE FROM messages WHERE seq > ?", (head,))
        return head
    return seq


async def _seq_of(db: aiosqlite.Connection) -> int:
    (row,) = await db.execute_fetchall("SELECT seq FROM about")
    return int(row[0])
