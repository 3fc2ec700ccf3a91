"""The index: what can be let go from memory, on disk beside the log.

It has the jobs that are finished, as the rules and as readers see them, and the seqs of the events
that concern each job and each engine.

Laws:
- The index is a cache made of the log, and never the truth. All that it says follows from the
  events up to its seq `upto`, by one fold version.
- It is used only if it belongs to exactly this log (the tree's frontier at `upto`) and to this fold
  version. Any other is removed and made anew by a replay from the first event.
- It is written behind the log, in steps, each of which is one transaction. What it does not have
  yet is in memory: only what a step has committed is evicted. So it may lag, and is never wrong.
- Of a job that was retried it keeps each former end, with the seqs from and to which it was so. So
  it answers as of the seq of any of its steps, and an index that is ahead of a state that is
  replayed does no harm. An end that was undone before the next step is not kept: nobody evicts
  between steps, and no snapshot lies there.
- One process writes it at a time. Readers read short pages.
"""

from typing import NamedTuple, Protocol

from dispatcher.core.events import JobSubmitted
from dispatcher.core.job import Job
from dispatcher.errors import DispatcherError
from projections.filters import JobFilter
from projections.jobs import JobView

__all__ = ["Finished", "FinishedJobs", "IndexFaultError", "JobRow"]


class IndexFaultError(DispatcherError):
    """The index can't be written or read, or is not this log's; the text says why."""


class Finished(NamedTuple):
    """A finished job: as the rules and as readers see it, and the seq at which it ended.

    `submitted` is its submission, if that carried an idempotency key.
    """

    ended: int
    view: JobView
    job: Job
    submitted: JobSubmitted | None


JobRow = tuple[int, JobView | None]
"""A job by its number; `None` stands for one that is not wanted."""


class FinishedJobs(Protocol):
    """The finished jobs as of any seq; see `reading.Index`."""

    def job(self, job_id: str, at: int) -> Finished | None:
        """Return a job that was finished as of seq `at`, as it was then; or `None`."""

    def number_of(self, job_id: str, at: int) -> int | None:
        """Return the number of a job that was finished as of seq `at`, or `None`."""

    def page(
        self, after: int | None, at: int, limit: int, wanted: JobFilter, *, newest: bool = False
    ) -> list[JobRow]:
        """Return the first jobs after a number that were finished as of seq `at`, by number.

        `None` begins with the first. The `newest` first are those before the number. In the place
        of a job that is not `wanted` there may be `None`: so a page is short, whatever is wanted.
        """
