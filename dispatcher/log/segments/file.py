"""One segment's file, open for reading.

Laws:
- What is read is checked: a frame against zstd's checksum, and the roots of all frames, at the
  opening, against the root in the log. `verify` checks everything there is.
- A file that is open can be read by several threads, and also after its name has gone.
"""

import hashlib
import os
import stat
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Self

from dispatcher.log.merkle import Frontier, Subtree
from dispatcher.log.segments import Sealed, SegmentError, Unsealed, frames

__all__ = ["SegmentFile", "why_missing"]

_CHUNK_BYTES: Final = 1 << 20


class SegmentFile:
    """The file at `path`, which must be that of `segment`. Raises `SegmentError` if it is not.

    `close` it, or use it in a `with` block. Errors name `path`, or what it is a copy of.
    """

    def __init__(self, path: Path, segment: Unsealed, *, named: Path | None = None) -> None:
        self.path = path if named is None else named
        self.segment = segment
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe would wait for a writer
        except OSError as error:
            raise self._error(why_missing(path, error)) from error
        # It closes itself when nobody has it any more: one thread may drop what another reads.
        self.close: Final = weakref.finalize(self, os.close, self._fd)
        try:
            self.metadata, self._places = self._opened()
        except (OSError, frames.FormatError) as error:
            self.close()
            raise self._error(str(error)) from error
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def frame_level(self) -> int:
        """The level of the subtree that is one frame."""
        lines: int = self.metadata.frame_lines
        return lines.bit_length() - 1

    def frame(self, index: int) -> list[bytes]:
        """Return the lines of a frame."""
        place = self._places[index]
        try:
            packed = os.pread(self._fd, place.size, place.offset)
            lines = frames.unpack(packed, place.plain_size)
        except (OSError, frames.FormatError) as error:
            raise self._error(f"{self._frame_name(index)}: {error}") from error
        if len(lines) != self.metadata.frame_lines:
            raise self._error(f"{self._frame_name(index)}: it has {len(lines)} lines")
        return lines

    def whole(self) -> Iterator[list[bytes]]:
        """Yield the lines of all frames, oldest first, each checked against its root."""
        for index, facts in enumerate(self.metadata.frames):
            lines = self.frame(index)
            try:
                found = frames.facts_of(lines)
            except frames.FormatError as error:
                raise self._error(f"{self._frame_name(index)}: {error}") from error
            if found != facts:
                raise self._error(f"{self._frame_name(index)}: its lines are not those of the log")
            yield lines

    def verify(self) -> None:
        """Check all of it: every line against the root, and what the metadata says of the lines."""
        engines, seq = dict[str, tuple[int, int]](), self.segment.first
        for lines in self.whole():
            frames.add_engines(engines, lines, seq)
            seq += len(lines)
        if engines != self.metadata.engines:
            raise self._error("its metadata names other engines than its lines")

    def subtree(self, wanted: Subtree) -> bytes:
        """Return the root of a subtree that the segment contains, of a frame or more."""
        level = wanted.level - self.frame_level
        within = wanted.number - ((self.segment.first - 1) >> wanted.level)
        roots = [frame.root for frame in self.metadata.frames]
        try:
            return frames.subtree_root(roots, Subtree(level, within))
        except frames.FormatError as error:
            raise self._error(str(error)) from error

    def sha256(self) -> bytes:
        """Return the hash of the whole file."""
        digest, offset = hashlib.sha256(), 0
        while chunk := self._read(_CHUNK_BYTES, offset):
            digest.update(chunk)
            offset += len(chunk)
        return digest.digest()

    def check_unchanged(self, row: Sealed) -> None:
        """Raise `SegmentError` unless the file is byte for byte what it was when it was sealed."""
        if self.sha256() != row.sha256:
            raise self._error("it is not what it was when it was sealed (SHA-256)")

    def size_bytes(self) -> int:
        """Return the length of the file."""
        return os.fstat(self._fd).st_size

    def _read(self, size: int, offset: int) -> bytes:
        try:
            return os.pread(self._fd, size, offset)
        except OSError as error:
            raise self._error(f"it can't be read: {error.strerror}") from error

    def _opened(self) -> tuple[frames.Metadata, list[frames.Place]]:
        status = os.fstat(self._fd)
        if not stat.S_ISREG(status.st_mode):
            raise frames.FormatError("it is no file")
        size = status.st_size
        footer = os.pread(self._fd, frames.FOOTER_BYTES, max(0, size - frames.FOOTER_BYTES))
        table_bytes = frames.seek_table_bytes(footer)
        if table_bytes > size:
            raise frames.FormatError("its seek table is longer than the file")
        table = os.pread(self._fd, table_bytes, size - table_bytes)
        *places, last = frames.places(table, size)
        metadata = frames.metadata_in(os.pread(self._fd, last.size, last.offset))
        if len(places) != len(metadata.frames):
            raise frames.FormatError("its metadata and its seek table name different frames")
        if (metadata.first, metadata.upto) != (self.segment.first, self.segment.upto):
            raise frames.FormatError(
                f"it has seq {metadata.first:,} to {metadata.upto:,}: it is another segment"
            )
        frontier = Frontier()
        for facts in metadata.frames:
            frontier.append(facts.root)
        if frontier.root() != self.segment.root:
            raise frames.FormatError("its root is not that of the log: it is of another log")
        return metadata, places

    def _frame_name(self, index: int) -> str:
        lines = self.metadata.frame_lines
        first = self.segment.first + index * lines
        return f"in seq {first:,} to {first + lines - 1:,}"

    def _error(self, why: str) -> SegmentError:
        return SegmentError(
            f"{self.path}: can't be used as {self.segment}: {why}; put a good copy there, from a "
            "backup or an archive (docs/operations.md)"
        )


def why_missing(path: Path, error: OSError) -> str:
    """Return why the file of a segment can't be opened."""
    if isinstance(error, FileNotFoundError) and path.is_symlink():
        return f"it is archived in {path.readlink()}, which is not there now"
    return f"it can't be opened: {error.strerror}"
