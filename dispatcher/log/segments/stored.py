"""The segments of a log, as its readers use them.

Laws:
- Reading and unpacking is done by threads of its own, at most `THREADS`. So the past delays neither
  the event loop nor readers of the hot file.
- A file is opened when an event in it is asked for, and not before. At most `OPEN_FILES` are open,
  and at most `CACHED_FRAMES` frames are kept unpacked.
"""

import asyncio
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Final, NamedTuple, TypeVar

import msgspec

from dispatcher.log.merkle import Frontier, Subtree, leaf_hash
from dispatcher.log.segments import Sealed, SegmentError
from dispatcher.log.segments.file import SegmentFile
from dispatcher.log.serialization import LogEntry, UndecodableError, parse_line

__all__ = ["Page", "Segments"]

T = TypeVar("T")

THREADS: Final = 2
OPEN_FILES: Final = 16
CACHED_FRAMES: Final = 8


class Page(NamedTuple):
    """Some entries. They complete what was asked for up to and including seq `upto`."""

    entries: list[LogEntry]
    upto: int


class Segments:
    """The sealed segments of the log whose segments are in `folder`. `close` it in the end."""

    def __init__(self, folder: Path, rows: Iterable[Sealed] = ()) -> None:
        self._folder = folder
        self._rows = list(rows)
        self._uptos = [row.upto for row in self._rows]
        self._pool: ThreadPoolExecutor | None = None
        self._lock = Lock()
        self._faults: dict[int, str] = {}
        self._files: OrderedDict[int, SegmentFile] = OrderedDict()
        self._frames: OrderedDict[tuple[int, int], list[bytes]] = OrderedDict()

    @property
    def rows(self) -> Sequence[Sealed]:
        """The segments, oldest first."""
        return self._rows

    @property
    def fault(self) -> str | None:
        """Why a segment could not be read when it was last tried, or `None`."""
        return next(iter([*self._faults.values()]), None)

    @property
    def upto(self) -> int:
        """The seq of the last event in a segment; 0 if there is none."""
        return self._uptos[-1] if self._uptos else 0

    def add(self, rows: Iterable[Sealed]) -> None:
        """Add segments that have been sealed; those that are known are passed over."""
        for row in rows:
            if row.upto > self.upto:
                self._rows.append(row)
                self._uptos.append(row.upto)

    def path_of(self, row: Sealed) -> Path:
        """Return where the file of a segment is."""
        return self._folder / row.file_name

    def close(self) -> None:
        """Close all files, when what is being read has been read."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None
        self._files.clear()
        self._frames.clear()

    async def page(
        self,
        after: int,
        upto: int,
        limit: int,
        *,
        event_type: str | None = None,
        at_most_bytes: int | None = None,
    ) -> Page:
        """Return the first entries after a seq, none beyond `upto`; see `Log.page`."""
        return await self._run(self._page, after, upto, limit, event_type, at_most_bytes)

    async def pick(
        self, seqs: Sequence[int], *, at_most_bytes: int | None = None
    ) -> list[LogEntry]:
        """Return the entries with these seqs, which are in order; see `Log.pick`."""
        return await self._run(self._pick, seqs, at_most_bytes)

    async def seq_at(self, time: str) -> int:
        """Return the seq of the last event that is not later; 0 if there is none."""
        return await self._run(self._seq_at, time)

    async def subtree(self, wanted: Subtree) -> bytes:
        """Return the root of a subtree that a segment contains; see `holder_of`."""
        return await self._run(self._subtree, wanted)

    async def check(self, row: Sealed) -> None:
        """Raise `SegmentError` unless the file of a segment is byte for byte what it was."""
        await self._run(self._check, row)

    def holder_of(self, subtree: Subtree) -> Sealed | None:
        """Return the segment in whose file the parts of a subtree are, or `None`."""
        if (subtree.number + 1) << subtree.level > self.upto:
            return None
        row = self.row_of((subtree.number << subtree.level) + 1)
        return row if row.contains(subtree) else None

    async def _run(self, work: Callable[..., T], *args: object) -> T:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(THREADS, "segments")
        return await asyncio.get_running_loop().run_in_executor(self._pool, partial(work, *args))

    def _page(
        self,
        after: int,
        upto: int,
        limit: int,
        event_type: str | None,
        at_most_bytes: int | None,
    ) -> Page:
        found = list[LogEntry]()
        # A line is parsed only if it may be of the type: this finds it somewhere in it.
        needle = b"" if event_type is None else b'"type":' + msgspec.json.encode(event_type)
        while after < upto:
            for seq, line in self._lines(after, upto):
                after = seq
                if needle not in line:
                    continue
                entry = self._parsed(seq, line)
                if event_type not in {None, entry.type}:
                    continue
                found.append(entry)
                if at_most_bytes is not None:
                    at_most_bytes -= len(entry.data)
                if len(found) == limit or (at_most_bytes is not None and at_most_bytes <= 0):
                    return Page(found, after)
        return Page(found, after)

    def _pick(self, seqs: Sequence[int], at_most_bytes: int | None) -> list[LogEntry]:
        found = list[LogEntry]()
        for wanted in seqs:
            for seq, line in self._lines(wanted - 1, wanted):
                found.append(self._parsed(seq, line))
            if at_most_bytes is not None:
                at_most_bytes -= len(found[-1].data)
                if at_most_bytes <= 0:
                    break
        return found

    def _seq_at(self, time: str) -> int:
        for row in reversed(self._rows):
            if row.earliest > time:
                continue
            facts = self._file(row).metadata.frames
            for index in reversed(range(len(facts))):
                if facts[index].earliest > time:
                    continue
                lines = self._frame(row, index)
                first = row.first + index * len(lines)
                for offset in reversed(range(len(lines))):
                    if self._parsed(first + offset, lines[offset]).time <= time:
                        return first + offset
        return 0

    def _subtree(self, wanted: Subtree) -> bytes:
        first = (wanted.number << wanted.level) + 1
        row = self.row_of(first)
        file = self._file(row)
        if wanted.level >= file.frame_level:
            return file.subtree(wanted)
        frontier = Frontier()
        for _, line in self._lines(first - 1, first - 1 + (1 << wanted.level)):
            frontier.append(leaf_hash(line))
        return frontier.root()

    def _check(self, row: Sealed) -> None:
        with SegmentFile(self.path_of(row), row) as file:
            file.check_unchanged(row)

    def _lines(self, after: int, upto: int) -> Iterable[tuple[int, bytes]]:
        """Return seqs and lines after a seq, up to another, of one frame."""
        row = self.row_of(after + 1)
        lines = self._file(row).metadata.frame_lines
        index, start = divmod(after + 1 - row.first, lines)
        frame = self._frame(row, index)
        return enumerate(frame[start : start + upto - after], after + 1)

    def row_of(self, seq: int) -> Sealed:
        """Return the segment that has an event; it must not be after `upto`."""
        return self._rows[bisect_left(self._uptos, seq)]

    def _parsed(self, seq: int, line: bytes) -> LogEntry:
        try:
            entry = parse_line(line)
        except UndecodableError as error:
            raise SegmentError(f"seq {seq} in {self.row_of(seq)} {error}") from error
        if entry.seq != seq:
            raise SegmentError(f"{self.row_of(seq)} has seq {entry.seq} in the place of {seq}")
        return entry

    def _file(self, row: Sealed) -> SegmentFile:
        with self._lock:
            file = self._files.get(row.number)
        if file is None:
            try:
                file = SegmentFile(self.path_of(row), row)
            except SegmentError as error:
                self._faults[row.number] = str(error)
                raise
        with self._lock:
            self._files[row.number] = file
            self._files.move_to_end(row.number)
            if len(self._files) > OPEN_FILES:
                self._files.popitem(last=False)  # it is closed when nobody reads it any more
        return file

    def _frame(self, row: Sealed, index: int) -> list[bytes]:
        key = (row.number, index)
        with self._lock:
            if (lines := self._frames.get(key)) is not None:
                self._frames.move_to_end(key)
                return lines
        try:
            lines = self._file(row).frame(index)
        except SegmentError as error:
            with self._lock:  # a good copy may be put in its place
                self._files.pop(row.number, None)
            self._faults[row.number] = str(error)
            raise
        self._faults.pop(row.number, None)
        with self._lock:
            self._frames[key] = lines
            if len(self._frames) > CACHED_FRAMES:
                self._frames.popitem(last=False)
        return lines
