"""Move sealed segments elsewhere, from where they are read on demand.

Laws:
- A segment is copied, synced and read back, every line, before its file is replaced by a link to
  the copy. So at every moment the log has it in one place at least.
- A dispatcher may be running. It reads on from files that it has open, and opens others through
  their links.
- Nothing is ever deleted from an archive.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from dispatcher import files, locks
from dispatcher.evidence.segments import copy_segment
from dispatcher.log import LogError
from dispatcher.log.segments import Sealed, SegmentError, folder_of
from dispatcher.log.segments.file import SegmentFile
from dispatcher.log.untrusted import opened
from dispatcher.progress import Progress, silent

__all__ = ["Moved", "archive", "bring_back"]

_TURN = ".archiving"


class Moved(NamedTuple):
    """How many segments were moved, and how long they are together."""

    segments: int
    size_bytes: int


def archive(db: Path, dest: Path, keep: int = 0, progress: Progress = silent) -> Moved:
    """Move the segments of the log at `db` to the folder `dest`, but not the newest `keep`.

    Raises `LogError` at the first that can't be moved; what was moved before stays moved.
    """
    dest = dest.resolve()
    if not dest.is_dir():
        raise LogError(f"{dest}: is no folder; make it first")
    if dest == folder_of(db.resolve()):
        raise LogError(f"{dest}: is where the segments are; name another folder")
    moved, size_bytes = 0, 0
    with _turn(db.resolve()) as rows:
        wanted = rows[: max(0, len(rows) - keep)]
        for done, row in enumerate(wanted, 1):
            path = folder_of(db.resolve()) / row.file_name
            if not path.is_symlink():
                size_bytes += _move(path, dest / row.file_name, row)
                moved += 1
            progress(done, len(wanted))
    return Moved(moved, size_bytes)


def bring_back(db: Path, progress: Progress = silent) -> Moved:
    """Copy all archived segments of a log back; the archive keeps its files."""
    moved, size_bytes = 0, 0
    with _turn(db.resolve()) as rows:
        for done, row in enumerate(rows, 1):
            path = folder_of(db.resolve()) / row.file_name
            if path.is_symlink():
                copy_segment(path, path, row)
                moved, size_bytes = moved + 1, size_bytes + path.stat().st_size
            progress(done, len(rows))
    return Moved(moved, size_bytes)


@contextmanager
def _turn(db: Path) -> Iterator[list[Sealed]]:
    """Yield the segments of a log, while no other process moves them."""
    with opened(db) as log:
        rows = log.sealed()
    if not rows:
        yield rows
        return
    try:
        with locks.turn(folder_of(db) / _TURN):
            yield rows
    except OSError as error:
        raise LogError(f"{folder_of(db)}: can't be changed: {error.strerror or error}") from error


def _move(path: Path, to: Path, row: Sealed) -> int:
    if os.path.lexists(to):
        _check_archived(to, row)
    else:
        copy_segment(path, to, row)
    link = path.with_name(f"{path.name}.link")
    link.unlink(missing_ok=True)
    link.symlink_to(to)
    link.replace(path)
    files.sync_folder(path.parent)
    return to.stat().st_size


def _check_archived(to: Path, row: Sealed) -> None:
    """Raise `SegmentError` unless the file is this segment: a command that was killed left it."""
    try:
        with SegmentFile(to, row) as file:
            file.verify()
            file.check_unchanged(row)
    except SegmentError as error:
        raise SegmentError(
            f"{to}: is there already, and is no good copy of {row} of this log ({error}). If it is "
            "of another log, give each log a folder of its own; if it is damaged, remove it"
        ) from error
