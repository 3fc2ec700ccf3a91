"""The jobs of `GET /jobs/`, as of one moment: those in memory and those in the index, merged.

Laws:
- The jobs come in order of submission or the other way round, each once. Of a job that is in both,
  memory has the truth.
- They come in pieces, for each of which so many jobs are looked at, wanted or not. The event loop
  has a thread make those that may take longer (`is_slow`).
"""

import asyncio
from collections.abc import Iterator, Sequence
from heapq import merge
from itertools import islice, starmap
from operator import attrgetter
from typing import Final, NamedTuple

import msgspec

from dispatcher.index import FinishedJobs
from projections.filters import JobFilter
from projections.jobs import Jobs, JobView, NumberedJob

__all__ = [
    "SCAN",
    "ListJobs",
    "is_slow",
    "next_piece",
    "pieces",
    "place_of",
    "reads_index",
    "rest_of",
]

SCAN: Final = 250
"""Jobs that are scanned and encoded at a time, which takes a fraction of a millisecond."""


class ListJobs(msgspec.Struct, frozen=True):
    """The jobs that are `wanted`, in order of submission or the `newest` first.

    Only those that come after the job `after` in that order, and at most `limit` of them. `query`
    has the parameters of the request, for the link to the next page.
    """

    wanted: JobFilter = JobFilter()
    newest: bool = False
    limit: int | None = None
    after: str | None = None
    query: dict[str, str] = {}

    def is_filled_by(self, found: Sequence[object]) -> bool:
        """Whether the search can stop, because it has found one more job than the limit."""
        return self.limit is not None and len(found) > self.limit


class _Row(NamedTuple):
    """A job of the index by its number; `None` if it is not wanted."""

    number: int
    view: JobView | None


def reads_index(view: ListJobs, finished: FinishedJobs | None) -> bool:
    """Whether the answer may have jobs that are only in the index."""
    return finished is not None and bool(view.wanted.final_statuses)


def is_slow(view: ListJobs, finished: FinishedJobs | None) -> bool:
    """Whether a piece may take long to make: it waits for the disk, or searches long texts."""
    return reads_index(view, finished) or bool(view.wanted.words)


def place_of(view: ListJobs, jobs: Jobs, finished: FinishedJobs | None, at: int) -> int | None:
    """Return the number of the job after which the list begins; `None` if it is the whole list.

    `KeyError` if there is no job with the id `after`.
    """
    if view.after is None:
        return None
    number = jobs.number_of(view.after)
    if number is None and finished is not None:
        number = finished.number_of(view.after, at)
    if number is None:
        raise KeyError(view.after)
    return number


def rest_of(view: ListJobs, jobs: Jobs, after: int | None) -> list[NumberedJob]:
    """Return the jobs in memory, wanted or not, that come after the one of number `after`."""
    return jobs.before(after) if view.newest else jobs.after(after)


def pieces(
    view: ListJobs,
    rest: list[NumberedJob],
    finished: FinishedJobs | None,
    after: int | None,
    at: int,
) -> Iterator[list[JobView]]:
    """Yield the wanted jobs after the one of number `after`, as of seq `at`.

    `rest` is what `rest_of` returned at that moment.
    """
    jobs: Iterator[NumberedJob | _Row] = iter(rest)
    if finished is not None and reads_index(view, finished):
        indexed = _indexed(view, finished, after, at)
        jobs = merge(rest, indexed, key=attrgetter("number"), reverse=view.newest)
    last = -1
    while part := list(islice(jobs, SCAN)):
        found = []
        for job in part:
            is_same = job.number == last  # memory comes first of the two
            if not is_same and job.view is not None and view.wanted.admits(job.view):
                found.append(job.view)
            last = job.number
        yield found


async def next_piece(to_come: Iterator[list[JobView]], *, in_thread: bool) -> list[JobView] | None:
    """Return the next of these pieces, or `None` after the last."""
    if in_thread:
        return await asyncio.to_thread(next, to_come, None)
    return next(to_come, None)


def _indexed(view: ListJobs, finished: FinishedJobs, after: int | None, at: int) -> Iterator[_Row]:
    while page := finished.page(after, at, SCAN, view.wanted, newest=view.newest):
        yield from starmap(_Row, page)
        after = page[-1][0]
