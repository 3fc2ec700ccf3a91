"""Which events somebody asks for, and how they are read from the log.

Laws:
- What is selected comes in order, each event once, and nothing beyond `upto`.
- No reading holds the event loop or one of the log's connections for longer than a page takes,
  however long the history and however slow the reader is.
"""

import asyncio
from array import array
from bisect import bisect_right
from collections.abc import AsyncGenerator
from typing import Final, NamedTuple

import msgspec

from dispatcher.log import Log
from dispatcher.log.serialization import LogEntry
from projections.history import History

__all__ = ["EVERYTHING", "Page", "Selection", "selected"]

PAGE: Final = 1_000
"""Events a page, at most."""
SCANNED: Final = 100_000
"""Events looked through for one page, so that a type that is rare does not keep its reader."""
CHAINED: Final = 50_000
"""Seqs of one job's or engine's events that are kept at once."""


class Selection(msgspec.Struct, frozen=True):
    """The events of one type, one job, one engine, or whatever of these is asked for together."""

    type: str | None = None
    job: str | None = None
    engine: str | None = None

    def admits(self, of_type: str, job: str | None, engine: str | None) -> bool:
        """Whether an event is one of those asked for."""
        return (
            self.type in {None, of_type}
            and self.job in {None, job}
            and self.engine in {None, engine}
        )


EVERYTHING: Final = Selection()


class Page(NamedTuple):
    """Some entries; all that were selected up to and with seq `upto` have been given by now."""

    entries: list[LogEntry]
    upto: int


async def selected(  # noqa: PLR0913 - what, from where and how much
    log: Log,
    history: History,
    selection: Selection,
    after: int,
    upto: int,
    *,
    page: int = PAGE,
) -> AsyncGenerator[Page, None]:
    """Give the selected entries after a seq and up to another, in pages; a page may be empty."""
    while after < upto:
        if selection.job is None and selection.engine is None:
            last = min(upto, after + SCANNED)
            entries = await log.page(after, page, upto=last, event_type=selection.type)
            after = last if len(entries) < page else entries[-1].seq
            yield Page(entries, after)
        else:
            # A chain of a million events takes a tenth of a second to follow.
            seqs = await asyncio.to_thread(_seqs, history, selection, after, upto)
            for first in range(0, len(seqs), page):
                wanted = list(seqs[first : first + page])
                entries = await log.pick(wanted)
                if selection.type is not None:
                    entries = [entry for entry in entries if entry.type == selection.type]
                yield Page(entries, wanted[-1])
            after = seqs[-1] if len(seqs) == CHAINED else upto
            yield Page([], after)


def _seqs(history: History, selection: Selection, after: int, upto: int) -> "array[int]":
    """Give the first seqs of the events that concern both the job and the engine asked for."""
    chains = []
    if selection.job is not None:
        chains.append(history.of_job(selection.job))
    if selection.engine is not None:
        chains.append(history.of_engine(selection.engine))
    seqs, *others = chains
    for other in others:
        seqs = sorted(set(seqs).intersection(other))
    first = bisect_right(seqs, after)
    last = bisect_right(seqs, upto)
    return array("Q", seqs[first : min(last, first + CHAINED)])
