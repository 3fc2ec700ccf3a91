"""The jobs of `GET /jobs/`, as of one moment: those in memory and those in the index, merged.

Laws:
- The jobs come in order of submission, each once. Of a job that is in both, memory has the truth.
- They come in pieces, none of which takes long to make. A piece that reads the index waits for the
  disk, so the event loop has a thread make it (`reads_index`).
"""

import asyncio
from collections.abc import Iterator, Sequence
from heapq import merge
from itertools import islice
from operator import attrgetter
from typing import Final

import msgspec

from dispatcher.core.events import FINAL
from dispatcher.index import FinishedJobs
from projections.jobs import Jobs, JobView, NumberedJob

__all__ = ["SCAN", "ListJobs", "next_piece", "pieces", "place_of", "reads_index"]

SCAN: Final = 250
"""Jobs that are scanned and encoded at a time, which takes a fraction of a millisecond."""


class ListJobs(msgspec.Struct, frozen=True):
    """The jobs that match, of those submitted after the job `after`; at most `limit` of them.

    `query` has the parameters of the request, for the link to the next page.
    """

    status: str | None = None
    codec: str | None = None
    engine: str | None = None
    limit: int | None = None
    after: str | None = None
    query: dict[str, str] = {}

    def is_filled_by(self, found: Sequence[object]) -> bool:
        """Whether the search can stop, because it has found one more job than the limit."""
        return self.limit is not None and len(found) > self.limit

    def admits(self, job: JobView) -> bool:
        """Whether a job matches the filters."""
        return (
            self.status in {None, job.status}
            and self.codec in {None, job.target_codec}
            and self.engine in {None, job.assigned_engine}
        )


def reads_index(view: ListJobs, finished: FinishedJobs | None) -> bool:
    """Whether the answer may have jobs that are only in the index."""
    return finished is not None and view.status in {None, *FINAL}


def place_of(view: ListJobs, jobs: Jobs, finished: FinishedJobs | None, at: int) -> int | None:
    """Return the number after which the list begins; `None` for the first job.

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


def pieces(
    view: ListJobs,
    rest: list[NumberedJob],
    finished: FinishedJobs | None,
    after: int | None,
    at: int,
) -> Iterator[list[JobView]]:
    """Yield the matching jobs after the one of number `after`, as of seq `at`.

    `rest` are those of them that were in memory at that moment.
    """
    jobs: Iterator[NumberedJob] = iter(rest)
    if finished is not None and reads_index(view, finished):
        jobs = merge(rest, _indexed(view, finished, after, at), key=attrgetter("number"))
    last = -1
    while part := list(islice(jobs, SCAN)):
        found = []
        for job in part:
            if job.number != last and view.admits(job.view):  # memory comes first of the two
                found.append(job.view)
            last = job.number
        yield found


async def next_piece(to_come: Iterator[list[JobView]], *, in_thread: bool) -> list[JobView] | None:
    """Return the next of these pieces, or `None` after the last."""
    if in_thread:
        return await asyncio.to_thread(next, to_come, None)
    return next(to_come, None)


def _indexed(
    view: ListJobs, finished: FinishedJobs, after: int | None, at: int
) -> Iterator[NumberedJob]:
    last = -1 if after is None else after
    while page := finished.page(
        last, at, SCAN, status=view.status, codec=view.codec, engine=view.engine
    ):
        yield from page
        last = page[-1].number
