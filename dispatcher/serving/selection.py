"""Selecting events, and reading the selected ones from the log.

Laws:
- Selected events come in order, each once, and none beyond `upto`.
- No read occupies the event loop or one of the log's connections for longer than a page takes,
  however long the history and however slow the reader.
"""

import asyncio
from array import array
from bisect import bisect_right
from collections.abc import AsyncGenerator, Callable
from typing import Final, NamedTuple

import msgspec

from dispatcher.index.reading import Index
from dispatcher.log import Log
from dispatcher.log.serialization import LogEntry
from projections.history import History

__all__ = ["EVERYTHING", "Page", "Selection", "Trail", "selected"]

PAGE: Final = 1_000
"""Most events on a page."""
READ_BYTES: Final = 1 << 20
"""A page ends with the event that reaches this size."""
SCANNED: Final = 100_000
"""Most events scanned for one page. This bounds the scan for a rare type."""
CHAINED: Final = 50_000
"""Most seqs of one job's or engine's events that are kept at once."""

Trail = Callable[[], tuple[History, Index | None]]
"""Gives the history in memory, shared, and the index, which has what comes before it."""


class Selection(msgspec.Struct, frozen=True):
    """A filter for events by type, job and engine. `None` admits any; all three must match."""

    type: str | None = None
    job: str | None = None
    engine: str | None = None

    def admits(self, of_type: str, job: str | None, engine: str | None) -> bool:
        """Whether an event passes the filter."""
        return (
            self.type in {None, of_type}
            and self.job in {None, job}
            and self.engine in {None, engine}
        )


EVERYTHING: Final = Selection()


class Page(NamedTuple):
    """Some selected entries. They complete those up to and including seq `upto`."""

    entries: list[LogEntry]
    upto: int


async def selected(  # noqa: PLR0913
    log: Log,
    trail: Trail,
    selection: Selection,
    after: int,
    upto: int,
    *,
    page: int = PAGE,
    page_bytes: int = READ_BYTES,
) -> AsyncGenerator[Page, None]:
    """Yield the selected entries after one seq and up to another, in pages that may be empty."""
    while after < upto:
        if selection.job is None and selection.engine is None:
            last = min(upto, after + SCANNED)
            entries = await log.page(
                after, page, upto=last, event_type=selection.type, at_most_bytes=page_bytes
            )
            is_all = len(entries) < page and _size(entries) < page_bytes
            after = last if is_all else entries[-1].seq
            yield Page(entries, after)
        else:
            # In a thread, because it may wait for the disk, or follow a chain of many events.
            history, index = trail()
            seqs, last_seq = await asyncio.to_thread(_seqs, history, index, selection, after, upto)
            done = 0
            while done < len(seqs):
                wanted = list(seqs[done : done + page])
                entries = await log.pick(wanted, at_most_bytes=page_bytes)
                last = wanted[-1] if _size(entries) < page_bytes else entries[-1].seq
                done += bisect_right(wanted, last)
                if selection.type is not None:
                    entries = [entry for entry in entries if entry.type == selection.type]
                yield Page(entries, last)
            after = last_seq
            yield Page([], after)


def _size(entries: list[LogEntry]) -> int:
    return sum(len(entry.data) for entry in entries)


def _seqs(
    history: History, index: Index | None, selection: Selection, after: int, upto: int
) -> "tuple[array[int], int]":
    """Return the seqs of the first events that concern the selected job and engine.

    The second value is the seq up to which there are no others.
    """
    job, engine = selection.job, selection.engine
    seqs: list[int]
    if job is not None:
        seqs = _between(history.of_job(job), after, upto)
        if index is not None and after < history.since:
            known = index.seqs_of_job(job, after, min(upto, history.since), CHAINED)
            seqs = known + seqs
    else:
        seqs = _of_engine(history, index, engine or "", after, upto)
    complete = upto
    if len(seqs) > CHAINED:
        del seqs[CHAINED:]
    if len(seqs) == CHAINED:
        complete = seqs[-1]
    if job is not None and engine is not None and seqs:
        of_engine = set[int]()
        first = after
        while part := _of_engine(history, index, engine, first, seqs[-1]):
            of_engine.update(part)
            first = part[-1]
        seqs = [seq for seq in seqs if seq in of_engine]
    return array("Q", seqs), complete


def _of_engine(
    history: History, index: Index | None, engine: str, after: int, upto: int
) -> list[int]:
    known: list[int] = []
    if index is not None and after < history.since:
        known = index.seqs_of_engine(engine, after, min(upto, history.since), CHAINED)
        if len(known) == CHAINED:
            return known
    return known + _between(history.of_engine(engine), after, upto)


def _between(seqs: list[int], after: int, upto: int) -> list[int]:
    return seqs[bisect_right(seqs, after) : bisect_right(seqs, upto)]
