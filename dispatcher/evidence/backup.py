"""Copy a log while a dispatcher writes to it.

Laws:
- The copy is the log as of one moment. It has every event that was acknowledged before that
  moment, without gaps.
- The dispatcher is not delayed. The copy is made in a read transaction, and SQLite's WAL lets the
  writer go on meanwhile. Without that transaction the copying would start over at each commit.
- Every event that is copied is read and checked before the copy gets its name.
- A segment is copied once: another backup beside it has it by a hard link to the same file.
"""

import sqlite3
import stat
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any, Final

from dispatcher.evidence.new_files import merge_wal, new_log
from dispatcher.evidence.segments import copy_segments
from dispatcher.log import LogError, serialization
from dispatcher.log.file import check
from dispatcher.log.merkle import KEPT_LEVEL, Frontier, Subtree, grow
from dispatcher.log.serialization import LogEntry
from dispatcher.log.untrusted import READ_ERRORS, Row, UntrustedLog, opened
from dispatcher.progress import Progress, silent

__all__ = ["backup", "check_copy"]

STEP_PAGES: Final = 4_096
"""Pages copied at a time: few enough for progress reports and for interruption."""
BATCH_EVENTS: Final = 2_000
BUSY_S: Final = 30.0
"""How long to wait for a dispatcher that is just opening or closing the log."""


def backup(
    db: Path,
    dest: Path,
    copying: Progress = silent,
    checking: Progress = silent,
) -> Frontier:
    """Copy the log at `db` to `dest`, which must not exist, and return the copy's tree.

    `copying` is called with the pages done, `checking` with the events. On failure raises
    `LogError`, which says what is wrong, and leaves nothing at `dest`.
    """
    db = db.resolve()
    if check(db) is None:
        raise LogError(f"{db}: there is no log here; name one with --db")
    with new_log(dest.absolute()) as copy:
        _copy(db, copy, copying)
        merge_wal(copy)
        _give_rights(db, copy)
        copy_segments(db, copy, dest.absolute().parent)
        try:
            return check_copy(copy, checking)
        except LogError as error:
            raise LogError(
                f"{db}: its copy is not good, and is not kept: {error}; run `dispatcher audit`"
            ) from error


def check_copy(path: Path, progress: Progress = silent) -> Frontier:
    """Read a whole log and return its tree.

    Raises `LogError` if the log is damaged, has gaps or was changed. A log of an older schema has
    no tree to compare its lines with.
    """
    try:
        with opened(path) as log:
            if (damage := next(log.damage(), None)) is not None:
                raise LogError(f"it is damaged: {damage}")
            return _check_events(log, progress)
    except READ_ERRORS as error:
        raise LogError(f"it can't be read: {error}") from error


def _copy(db: Path, copy: Path, progress: Progress) -> None:
    try:
        with (
            closing(_reader(db)) as source,
            closing(sqlite3.connect(copy)) as target,
        ):
            source.execute("BEGIN")
            source.execute("SELECT max(seq) FROM events").fetchall()  # begins the read transaction
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
    """Give the copy the mode of the log; the owner may always read and write it."""
    try:
        copy.chmod(stat.S_IMODE(db.stat().st_mode) | stat.S_IRUSR | stat.S_IWUSR)
    except OSError as error:
        raise LogError(f"{db}: its copy can't be given its rights: {error.strerror}") from error


def _reader(db: Path) -> sqlite3.Connection:
    """Connect read-only: only the dispatcher may write or checkpoint the WAL."""
    return sqlite3.connect(f"{db.as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=BUSY_S)


def _check_events(log: UntrustedLog, progress: Progress) -> Frontier:
    """Check that every event follows the one before it, can be decoded and agrees with the tree.

    Of the segments only that they fit into the tree: their files are checked when they are copied.
    """
    segments = log.sealed()
    kept = log.subtrees() if log.has_tree else {}
    tree = Frontier()
    for segment in segments:
        completed = tree.append(segment.root, KEPT_LEVEL, level=segment.level)
        _check_subtrees(kept, [(of.level, of.number, root) for of, root in completed])
        kept = {of: root for of, root in kept.items() if not segment.contains(Subtree(*of))}
    head, rows = log.head(), log.rows(tree.size)
    if segments and head <= tree.size:
        raise LogError("it lacks the events after its segments")
    while batch := list(islice(rows, BATCH_EVENTS)):
        entries = [_checked(seq, row) for seq, row in enumerate(batch, tree.size + 1)]
        growth = grow(tree, map(serialization.line, entries))
        if log.has_tree:
            for row, leaf in zip(batch, growth.leaf_hashes, strict=True):
                if row.leaf_hash != leaf:
                    raise LogError(
                        f"seq {row.seq} is not as it was: its leaf_hash is of another line"
                    )
            _check_subtrees(kept, growth.subtrees)
        tree = growth.frontier
        progress(tree.size, head)
    if kept:
        raise LogError("the tree has subtrees of events that are not there")
    return tree


def _check_subtrees(kept: dict[Any, Any], expected: list[tuple[int, int, bytes]]) -> None:
    """Take the subtrees that must be kept out of those that are."""
    for level, number, root in expected:
        if kept.pop((level, number), None) != root:
            raise LogError(f"the tree lacks subtree {number} of level {level}, or has another")


def _checked(expected: int, row: Row) -> LogEntry:
    """Return the entry of a row, which must be event `expected` and of a known type."""
    if row.seq != expected:
        raise LogError(f"it has a gap between seq {expected - 1} and seq {row.seq}")
    try:
        entry = row.entry()
        serialization.decode(entry)
    except ValueError as error:  # also text that is no UTF-8
        raise LogError(f"seq {row.seq} can't be read: {error}") from error
    return entry
