"""What the GETs of jobs and engines show, now or as of any moment.

A view is a query. `show` answers it from the projections, whether they are live or replayed. Only
`ExplainJob` also needs the fleet, because decisions are based on it.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final, assert_never
from urllib.parse import urlencode

import msgspec
from msgspec import UNSET

from dispatcher.core.explanations import explain
from dispatcher.core.fleet import Fleet
from dispatcher.core.replies import Reason
from dispatcher.serving.quotas import PAGE_BYTES
from projections import Projections
from projections.jobs import Jobs, JobView

__all__ = [
    "NO_SUCH_JOB",
    "SCAN",
    "ExplainJob",
    "ListEngines",
    "ListJobs",
    "ShowJob",
    "Shown",
    "View",
    "cut",
    "page_of",
    "scanned",
    "show",
    "weight_of",
]


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

    def is_filled_by(self, found: Sequence[JobView]) -> bool:
        """Whether the search can stop, because it has found one more job than the limit."""
        return self.limit is not None and len(found) > self.limit

    def admits(self, job: JobView) -> bool:
        """Whether a job matches the filters."""
        return (
            self.status in {None, job.status}
            and self.codec in {None, job.target_codec}
            and self.engine in {None, job.assigned_engine}
        )


class ShowJob(msgspec.Struct, frozen=True):
    """One job."""

    job_id: str


class ExplainJob(msgspec.Struct, frozen=True):
    """Why a job is in its present state."""

    job_id: str


class ListEngines(msgspec.Struct, frozen=True):
    """All engines."""


View = ListJobs | ShowJob | ExplainJob | ListEngines


class Shown(msgspec.Struct, frozen=True):
    """An answer: JSON if the status is 200, otherwise the plain text of an error."""

    status: int
    body: bytes
    headers: dict[str, str] = {}


NO_SUCH_JOB: Final = Shown(400, b"Bad Request: 'after' must be the id of a job.")
SCAN: Final = 250
"""Jobs that are scanned and encoded at a time, which takes a fraction of a millisecond."""

SHORT_JOB: Final = 350
"""About how many bytes a job takes as JSON without its longer texts."""

_encode = msgspec.json.Encoder().encode


def show(view: View, projections: Projections, fleet: Fleet | None = None) -> Shown:
    """Answer a view. Only `ExplainJob` needs `fleet`, which must be of the same seq."""
    match view:
        case ListJobs():
            return _jobs(view, projections)
        case ShowJob(job_id):
            return _found(projections.jobs.get(job_id), Reason.JOB_NOT_FOUND)
        case ExplainJob(job_id):
            return _found(fleet and explain(fleet, job_id), Reason.JOB_NOT_FOUND)
        case ListEngines():
            return Shown(200, _encode([engine.wire() for engine in projections.engines.all()]))
        case _:
            assert_never(view)


def _found(value: Any, reason: Reason) -> Shown:
    return Shown(404, reason.value.encode()) if value is None else Shown(200, _encode(value))


def scanned(view: ListJobs, jobs: Jobs) -> tuple[list[JobView], list[JobView]]:
    """Return the first matching jobs, and the jobs still to be scanned, all as of one moment.

    `KeyError` if there is no job with the id `after`.
    """
    rest = jobs.after(view.after)
    first = [job for job in islice(rest, SCAN) if view.admits(job)]
    return first, [] if view.is_filled_by(first) else list(rest)


def page_of(view: ListJobs, found: list[JobView]) -> Shown:
    """Make the answer from the jobs found.

    If they exceed the limit, or with a limit `PAGE_BYTES`, it links to the next page.
    """
    page = found[: view.limit]
    if view.limit is not None:
        page = next(cut(page, PAGE_BYTES), page)
    if len(page) == len(found):
        return Shown(200, _encode(page))
    query = urlencode({**view.query, "after": page[-1].job_id})
    return Shown(200, _encode(page), {"Link": f'</jobs/?{query}>; rel="next"'})


def cut(jobs: list[JobView], at_bytes: int) -> Iterator[list[JobView]]:
    """Cut jobs into parts, each of which ends with the job that reaches about so many bytes."""
    first = size = 0
    for number, job in enumerate(jobs, 1):
        size += _weight(job)
        if size >= at_bytes:
            yield jobs[first:number]
            first, size = number, 0
    if first < len(jobs):
        yield jobs[first:]


def weight_of(jobs: Iterable[JobView]) -> int:
    """Return about how many bytes jobs take as JSON."""
    return sum(map(_weight, jobs))


def _weight(job: JobView) -> int:
    return (
        SHORT_JOB
        + len(job.source_url)
        + len(job.target_codec)
        + len(job.error_message or "")
        + len(job.output_url or "")
        + (0 if job.recipe is UNSET else len(_encode(job.recipe)))
        + (0 if job.result is UNSET else len(_encode(job.result)))
    )


def _jobs(view: ListJobs, projections: Projections) -> Shown:
    try:
        first, rest = scanned(view, projections.jobs)
    except KeyError:
        return NO_SUCH_JOB
    return page_of(view, first + [job for job in rest if view.admits(job)])
