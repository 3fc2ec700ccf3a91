"""A copy of a log, taken while a dispatcher writes to it.

Laws:
- The copy is the log as it was at one moment: every event that was acknowledged before that, and
  a prefix without gaps.
- The dispatcher is not held up. The copy is made from a read transaction, beside which SQLite's
  WAL lets the writer go on; without that transaction the copying would start over at each commit.
- It is read and checked, every event of it, before it has its name.
"""

import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from dispatcher import codec
from dispatcher.codec import Entry
from dispatcher.drafts import log_draft, seal
from dispatcher.log import LogError
from dispatcher.log.file import SCHEMA_VERSION, check
from dispatcher.log.migration import COLUMNS
from dispatcher.log.tree import grow
from dispatcher.merkle import Frontier
from dispatcher.progress import Progress, silent

__all__ = ["backup", "check_copy"]

STEP_PAGES: Final = 4_096
"""Copied at a time: often enough to be told of, and to be interrupted."""
BATCH_EVENTS: Final = 2_000
BUSY_S: Final = 30.0
"""How long to wait for a dispatcher that is just opening or closing the log."""


def backup(
    db: Path,
    dest: Path,
    copying: Progress = silent,
    checking: Progress = silent,
) -> Frontier:
    """Copy the log at `db` to `dest`, where nothing may stand; give the copy's tree.

    `copying` is called with the pages done, `checking` with the events. `LogError` says what is
    wrong; nothing is left at `dest` then.
    """
    db = db.resolve()
    if check(db) is None:
        raise LogError(f"{db}: there is no log here; name one with --db")
    with log_draft(dest.absolute()) as copy:
        _copy(db, copy, copying)
        seal(copy)
        _give_rights(db, copy)
        try:
            return check_copy(copy, checking)
        except LogError as error:
            raise LogError(
                f"{db}: its copy is not good, and is not kept: {error}; run `dispatcher audit`"
            ) from error


def check_copy(path: Path, progress: Progress = silent) -> Frontier:
    """Read all of a log and give its tree. `LogError` if it is damaged, has gaps or was changed.

    A log of an older schema has no tree to compare its lines with.
    """
    schema = check(path) or SCHEMA_VERSION
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as copy:
            ((verdict,),) = copy.execute("PRAGMA integrity_check(1)").fetchall()
            if verdict != "ok":
                raise LogError(f"it is damaged: {verdict}")
            return _check_events(copy, schema, progress)
    except sqlite3.Error as error:
        raise LogError(f"it can't be read: {error}") from error


def _copy(db: Path, copy: Path, progress: Progress) -> None:
    try:
        with (
            closing(_reader(db)) as source,
            closing(sqlite3.connect(copy)) as target,
        ):
            source.execute("BEGIN")
            source.execute("SELECT max(seq) FROM events").fetchall()  # the moment of the copy
            source.backup(
                target,
                pages=STEP_PAGES,
                progress=lambda _status, left, of: progress(of - left, of),
            )
    except sqlite3.Error as error:
        raise LogError(
            f"{db}: can't be copied into {copy.parent.parent}: {error}; see that there is room"
        ) from error


def _give_rights(db: Path, copy: Path) -> None:
    """Let those read and write a copy who may with the log, and its owner in any case."""
    try:
        copy.chmod(stat.S_IMODE(db.stat().st_mode) | stat.S_IRUSR | stat.S_IWUSR)
    except OSError as error:
        raise LogError(f"{db}: its copy can't be given its rights: {error.strerror}") from error


def _reader(db: Path) -> sqlite3.Connection:
    """Connect so that nothing can be written and nothing checkpointed: that is the writer's."""
    return sqlite3.connect(f"{db.as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=BUSY_S)


def _check_events(copy: sqlite3.Connection, schema: int, progress: Progress) -> Frontier:
    """Compare every event with the one before it, with what is known and with the tree."""
    has_tree = schema == SCHEMA_VERSION
    copy.text_factory = bytes  # so that text that is no UTF-8 can be told with its seq
    ((head,),) = copy.execute("SELECT coalesce(max(seq), 0) FROM events").fetchall()
    leaf_column = "leaf_hash" if has_tree else "NULL"
    rows = copy.execute(f"SELECT {leaf_column}, {COLUMNS[schema]} FROM events ORDER BY seq")  # noqa: S608 - our own words
    tree, kept = Frontier(), 0
    while batch := rows.fetchmany(BATCH_EVENTS):
        entries = [_checked(seq, *row) for seq, (_, *row) in enumerate(batch, tree.size + 1)]
        growth = grow(tree, map(codec.line, entries))
        if has_tree:
            for (stored, seq, *_), leaf in zip(batch, growth.leaf_hashes, strict=True):
                if stored != leaf:
                    raise LogError(f"seq {seq} is not as it was: its leaf_hash is of another line")
            for level, number, root in growth.subtrees:
                if _stored(copy, level, number) != [(root,)]:
                    raise LogError(
                        f"the tree lacks subtree {number} of level {level}, or has another"
                    )
            kept += len(growth.subtrees)
        tree = growth.frontier
        progress(tree.size, head)
    if has_tree and copy.execute("SELECT count(*) FROM subtrees").fetchall() != [(kept,)]:
        raise LogError("the tree has subtrees of events that are not there")
    return tree


def _stored(copy: sqlite3.Connection, level: int, number: int) -> list[Any]:
    return copy.execute(
        "SELECT hash FROM subtrees WHERE level = ? AND number = ?", (level, number)
    ).fetchall()


def _checked(expected: int, seq: int, *columns: Any) -> Entry:
    """Make the entry of a row, which must be event `expected`, and one that is known."""
    if seq != expected:
        raise LogError(f"it has a gap between seq {expected - 1} and seq {seq}")
    time, name, version, actor, request_id, data = columns
    try:
        request = None if request_id is None else request_id.decode()
        entry = Entry(seq, time.decode(), name.decode(), version, actor.decode(), request, data)
        codec.decode(entry)
    except ValueError as error:  # also text that is no UTF-8
        raise LogError(f"seq {seq} can't be read: {error}") from error
    return entry
