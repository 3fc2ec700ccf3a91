"""Write the file of a segment, beside a dispatcher that goes on writing the log.

This is all that takes long about sealing, and runs in a process of its own. What makes the file a
part of the log is one row, which the dispatcher writes (see the package).

Laws:
- The log is only read. Its events up to `upto` are there, since only sealing lets them go.
- When `sealed` returns, the file is on disk under its name, was read back and has the root that the
  log's tree has.
- A file that is there already is used or left alone: it may be the only one of another log.
- One process seals at a time. A process that was killed leaves a draft, which the next one removes.
"""

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import BinaryIO, Final

from dispatcher import files, locks
from dispatcher.log import LogError
from dispatcher.log.readers import log_error
from dispatcher.log.rows import COLUMNS
from dispatcher.log.segments import Sealed, SegmentError, Unsealed, folder_of, frames
from dispatcher.log.segments.file import SegmentFile
from dispatcher.log.serialization import LogEntry, line

__all__ = ["ATTEMPTS", "write_segment"]

ATTEMPTS: Final = 3
"""How often a file is written, if what is read back is not what was written."""
_FRAME_BYTES: Final = 32 << 20
"""A frame has fewer lines where they are so long together."""
_DRAFT: Final = ".new"
_TURN: Final = ".sealing"


def write_segment(log_path: Path, segment: Unsealed, level: int) -> Sealed:
    """Write the file of a segment, compressed at a level of zstd, and return its row.

    Raises `SegmentError` if the file can't be written or does not come back as it was written, and
    `LogError` if the log can't be read.
    """
    folder = folder_of(log_path)
    path = folder / segment.file_name
    try:
        folder.mkdir(exist_ok=True)
        files.sync_folder(folder.parent)
        with locks.turn(folder / _TURN):
            for leftover in folder.glob(f"*{_DRAFT}"):
                leftover.unlink(missing_ok=True)
            return _written(log_path, path, segment, level)
    except OSError as error:
        raise SegmentError(f"{path}: can't be written: {error.strerror or error}") from error
    except sqlite3.Error as error:
        raise log_error(log_path, "read", error) from error


def _written(log_path: Path, path: Path, segment: Unsealed, level: int) -> Sealed:
    """Write the file until it is good. One that is there is of a writer that was killed then."""
    if path.exists():
        try:
            return _read_back(path, segment)
        except SegmentError as error:  # perhaps all that is left of another log
            raise SegmentError(
                f"{path}: is there already, and is not {segment} of this log; move it to where "
                f"its log is ({error})"
            ) from error
    for attempt in range(1, ATTEMPTS + 1):
        draft = path.with_name(path.name + _DRAFT)
        with files.drafted(path, draft, replace=False), files.new(draft) as file:
            _write(log_path, file, segment, level)
        try:
            return _read_back(path, segment)
        except SegmentError:
            path.unlink()
            if attempt == ATTEMPTS:
                raise
    raise AssertionError("there is at least one attempt")


def _write(log_path: Path, file: BinaryIO, segment: Unsealed, level: int) -> None:
    sizes, facts = list[tuple[int, int]](), list[frames.FrameFacts]()
    engines = dict[str, tuple[int, int]]()
    with closing(sqlite3.connect(f"{log_path.as_uri()}?mode=ro", uri=True)) as connection:
        frame_lines = _frame_lines(connection, segment)
        for seq in range(segment.first, segment.upto + 1, frame_lines):
            frame = _lines(connection, seq, frame_lines)
            if len(frame) != frame_lines:
                raise LogError(f"{log_path}: lacks events of {segment}; run `dispatcher audit`")
            packed = frames.pack(frame, level)
            file.write(packed)
            sizes.append((len(packed), sum(map(len, frame)) + len(frame)))
            facts.append(frames.facts_of(frame))
            frames.add_engines(engines, frame, seq)
    metadata = frames.Metadata(segment.first, segment.upto, frame_lines, facts, engines)
    file.write(frames.trailer(metadata, sizes))


def _read_back(path: Path, segment: Unsealed) -> Sealed:
    """Check the file as it is on the disk, and have the disk keep it."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
        if hasattr(os, "posix_fadvise"):  # read the disk, and not what is still in memory
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)
    with SegmentFile(path, segment) as file:
        file.verify()
        earliest, sha256 = file.metadata.earliest, file.sha256()
    files.sync_folder(path.parent)
    return Sealed(segment.number, segment.level, segment.upto, segment.root, earliest, sha256)


def _frame_lines(connection: sqlite3.Connection, segment: Unsealed) -> int:
    """Return the most lines that fit into a frame: as many as usual, unless some are very long."""
    frame_lines = min(frames.FRAME_LINES, 1 << segment.level)
    query = (
        "SELECT max(bytes) FROM (SELECT sum(length(data) + 256) AS bytes FROM events "
        "WHERE seq BETWEEN ? AND ? GROUP BY (seq - 1) / ?)"
    )
    while frame_lines > 1:
        values = (segment.first, segment.upto, frame_lines)
        (largest,) = connection.execute(query, values).fetchone()
        if (largest or 0) <= _FRAME_BYTES:
            break
        frame_lines //= 2
    return frame_lines


def _lines(connection: sqlite3.Connection, first: int, count: int) -> list[bytes]:
    """Read a frame. Each is read for itself: a long read would keep the WAL from being reset."""
    columns = COLUMNS[max(COLUMNS)].replace("data", "CAST(data AS BLOB)")
    query = f"SELECT {columns} FROM events WHERE seq BETWEEN ? AND ? ORDER BY seq"  # noqa: S608
    rows = connection.execute(query, (first, first + count - 1)).fetchall()
    return [line(LogEntry(*row)) for row in rows]
