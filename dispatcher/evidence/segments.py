"""The segments of a log: read for an audit, which goes on whatever is wrong, and copied.

Laws:
- A copy is read back, every line, before it counts. So is one that is to replace the original. A
  file that another backup has is read, every byte, before it is shared.
- A file that another log has is never shared with it; only backups share files.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from dispatcher import files
from dispatcher.log.segments import SUFFIX, Sealed, SegmentError, folder_of
from dispatcher.log.segments.file import SegmentFile, why_missing
from dispatcher.log.untrusted import opened

__all__ = ["Piece", "changed", "copy_segment", "copy_segments", "pieces", "segment_bytes"]


class Piece(NamedTuple):
    """A frame of a segment, or all of a segment whose frames can't be told apart.

    `root` is what the log, or the segment, has as the root of these events. If they can't be read,
    `fault` says why, and there are no `lines`.
    """

    first: int
    level: int
    root: bytes
    earliest: str
    lines: list[bytes]
    fault: str | None = None

    @property
    def upto(self) -> int:
        """The seq of its last event."""
        return self.first + (1 << self.level) - 1


def pieces(log_path: Path, row: Sealed) -> Iterator[Piece]:
    """Yield what a segment has, oldest first: all its events, or why they can't be read."""
    try:
        file = SegmentFile(folder_of(log_path) / row.file_name, row)
    except SegmentError as error:
        yield Piece(row.first, row.level, row.root, row.earliest, [], str(error))
        return
    with file:
        first, level = row.first, file.frame_level
        for index, (root, earliest) in enumerate(
            (facts.root, facts.earliest) for facts in file.metadata.frames
        ):
            try:
                yield Piece(first, level, root, earliest, file.frame(index))
            except SegmentError as error:
                yield Piece(first, level, root, earliest, [], str(error))
            first += 1 << level


def changed(log_path: Path, row: Sealed) -> str | None:
    """Return what is wrong with a file whose events are right, or `None`."""
    try:
        with SegmentFile(folder_of(log_path) / row.file_name, row) as file:
            file.check_unchanged(row)
    except SegmentError as error:
        return str(error)
    return None


def copy_segments(log_path: Path, copy: Path, beside: Path) -> None:
    """Copy the segments of a log for a copy of it, which says which they are.

    Those that another backup in the folder `beside` has are linked. Where a segment is archived, so
    it is for the copy.
    """
    with opened(copy) as log:
        rows = log.sealed()
    if not rows:
        return
    source, target = folder_of(log_path), folder_of(copy)
    target.mkdir()
    others = [it for it in sorted(beside.glob("*.segments")) if _is_of_a_backup(it)]
    for row in rows:
        path, to = source / row.file_name, target / row.file_name
        if path.is_symlink():
            to.symlink_to(path.resolve())
        elif not any(_link(other / row.file_name, to, row) for other in others):
            copy_segment(path, to, row)


def copy_segment(path: Path, to: Path, row: Sealed) -> None:
    """Copy the file of a segment durably. Raises `SegmentError` if the copy is not good."""
    draft = to.with_name(to.name + ".copy")  # `sealing` removes drafts of its own, `.new`
    try:
        with files.drafted(to, draft):
            shutil.copyfile(path, draft)
            with SegmentFile(draft, row, named=path) as file:
                file.verify()
                file.check_unchanged(row)
    except OSError as error:
        is_away = isinstance(error, FileNotFoundError) and path.is_symlink()
        why = why_missing(path, error) if is_away else error.strerror or error
        raise SegmentError(f"{path}: {row} can't be copied to {to}: {why}") from error


def segment_bytes(log_path: Path) -> tuple[int, int]:
    """Return how many segments are in the folder of a log, and how long they are together."""
    found = [it.stat().st_size for it in folder_of(log_path).glob(f"*{SUFFIX}") if it.exists()]
    return len(found), sum(found)


def _is_of_a_backup(folder: Path) -> bool:
    """Whether a folder of segments is of a log that was never served: it has no lock."""
    log = folder.with_suffix("")
    return log.exists() and not log.with_name(log.name + ".lock").exists()


def _link(other: Path, to: Path, row: Sealed) -> bool:
    """Give a file of another backup a second name, if it is this segment, byte for byte."""
    try:
        with SegmentFile(other, row) as file:
            file.check_unchanged(row)
        os.link(other, to, follow_symlinks=True)
    except (OSError, SegmentError):
        return False
    return True
