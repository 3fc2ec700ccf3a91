"""What the GETs of jobs and engines show, now or as it was at any moment.

A view names what is asked for; `show` answers it from the projections, whether they are live or
replayed. Only `ExplainJob` needs the fleet too: it speaks of what decisions are made from.
"""

from itertools import islice
from typing import Any, assert_never
from urllib.parse import urlencode

import msgspec

from dispatcher.decider import Reason
from dispatcher.explanations import explain
from dispatcher.fleet import Fleet
from projections import Projections
from projections.jobs import JobView

__all__ = ["ExplainJob", "ListEngines", "ListJobs", "ShowJob", "Shown", "View", "show"]


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


def _jobs(view: ListJobs, projections: Projections) -> Shown:
    if not view.query:
        return Shown(200, _encode(projections.jobs.all()))
    try:
        rest = projections.jobs.after(view.after)
    except KeyError:
        return Shown(400, b"Bad Request: 'after' must be the id of a job.")
    found = (job for job in rest if view.admits(job))
    page = list(islice(found, view.limit))
    if view.limit is None or not page or next(found, None) is None:
        return Shown(200, _encode(page))
    query = urlencode({**view.query, "after": page[-1].job_id})
    return Shown(200, _encode(page), {"Link": f'</jobs/?{query}>; rel="next"'})
