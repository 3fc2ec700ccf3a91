"""What the GETs of jobs and engines show, now or as it was at any moment.

A view names what is asked for; `show` answers it from the projections, whether they are live or
replayed. Only `ExplainJob` needs the fleet too: it speaks of what decisions are made from.
"""

from collections.abc import Sequence
from itertools import islice
from typing import Any, Final, assert_never
from urllib.parse import urlencode

import msgspec

from dispatcher.core.explanations import explain
from dispatcher.core.fleet import Fleet
from dispatcher.core.replies import Reason
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
    "page_of",
    "scanned",
    "show",
]


class ListJobs(msgspec.Struct, frozen=True):
    """The jobs submitted `after` a job, of them at most `limit`, of those that are admitted.

    `query` is what was asked in words, from which a link to the next page is made.
    """

    status: str | None = None
    codec: str | None = None
    engine: str | None = None
    limit: int | None = None
    after: str | None = None
    query: dict[str, str] = {}

    def is_filled_by(self, found: Sequence[JobView]) -> bool:
        """Whether no more need to be looked for: there is one more than the limit."""
        return self.limit is not None and len(found) > self.limit

    def admits(self, job: JobView) -> bool:
        """Whether a job is one of those asked for."""
        return (
            self.status in {None, job.status}
            and self.codec in {None, job.target_codec}
            and self.engine in {None, job.assigned_engine}
        )


class ShowJob(msgspec.Struct, frozen=True):
    """One job."""

    job_id: str


class ExplainJob(msgspec.Struct, frozen=True):
    """Why a job is where it is."""

    job_id: str


class ListEngines(msgspec.Struct, frozen=True):
    """All engines."""


View = ListJobs | ShowJob | ExplainJob | ListEngines


class Shown(msgspec.Struct, frozen=True):
    """An answer: JSON with status 200, else the bare text of an error."""

    status: int
    body: bytes
    headers: dict[str, str] = {}


NO_SUCH_JOB: Final = Shown(400, b"Bad Request: 'after' must be the id of a job.")
SCAN: Final = 250
"""Jobs that are looked at, and written out, in one go: a fraction of a millisecond."""

_encode = msgspec.json.Encoder().encode


def show(view: View, projections: Projections, fleet: Fleet | None = None) -> Shown:
    """Answer a view; `fleet` is that of the same seq, and only `ExplainJob` needs it."""
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
    """Give the first jobs of a list, and those that have yet to be looked at, all of one moment.

    `KeyError` if there is no job that they are to come after.
    """
    rest = jobs.after(view.after)
    first = [job for job in islice(rest, SCAN) if view.admits(job)]
    return first, [] if view.is_filled_by(first) else list(rest)


def page_of(view: ListJobs, found: list[JobView]) -> Shown:
    """Make the answer of all that was found; of one more than the limit, a link leads on."""
    page = found[: view.limit]
    if not view.is_filled_by(found):
        return Shown(200, _encode(page))
    query = urlencode({**view.query, "after": page[-1].job_id})
    return Shown(200, _encode(page), {"Link": f'</jobs/?{query}>; rel="next"'})


def _jobs(view: ListJobs, projections: Projections) -> Shown:
    try:
        first, rest = scanned(view, projections.jobs)
    except KeyError:
        return NO_SUCH_JOB
    return page_of(view, first + [job for job in rest if view.admits(job)])
