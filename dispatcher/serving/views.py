"""What the GETs of jobs, engines and statistics show, now or as of any moment.

A view is a query. `show` answers it from the projections, whether they are live or replayed, and
from the index. Only `ExplainJob` and `ForecastFarm` also need the fleet, because decisions are
based on it.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final, assert_never
from urllib.parse import urlencode

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from dispatcher.core.explanations import explain
from dispatcher.core.fleet import Fleet
from dispatcher.core.placing import picture_of
from dispatcher.core.replies import Reason
from dispatcher.index import FinishedJobs
from dispatcher.serving.listing import ListJobs, pieces, place_of, rest_of
from dispatcher.serving.quotas import PAGE_BYTES
from projections import Projections
from projections.forecast import Forecast
from projections.forecasting import at_once, forecast, outlook_of
from projections.jobs import JobView
from projections.series import SeriesShown
from projections.speeds import SpeedsShown
from projections.statistics import FarmNow

__all__ = [
    "NO_SUCH_JOB",
    "CountFarm",
    "ExplainJob",
    "ForecastFarm",
    "ListEngines",
    "ShowJob",
    "ShowSeries",
    "ShowSpeeds",
    "Shown",
    "View",
    "cut",
    "page_of",
    "show",
    "shown_forecast",
    "weight_of",
]


class ShowJob(msgspec.Struct, frozen=True):
    """One job."""

    job_id: str


class ExplainJob(msgspec.Struct, frozen=True):
    """Why a job is in its present state."""

    job_id: str


class ListEngines(msgspec.Struct, frozen=True):
    """All engines."""


class CountFarm(msgspec.Struct, frozen=True):
    """How many jobs and engines are in each state."""


class ShowSeries(msgspec.Struct, frozen=True):
    """What happened in the last hours, step by step."""

    hours: int


class ShowSpeeds(msgspec.Struct, frozen=True):
    """How long jobs took."""


class ForecastFarm(msgspec.Struct, frozen=True):
    """When what runs and waits will be done; of the jobs that wait, the first are shown."""

    limit: int


View = (
    ListJobs
    | ShowJob
    | ExplainJob
    | ListEngines
    | CountFarm
    | ShowSeries
    | ShowSpeeds
    | ForecastFarm
)


class Shown(msgspec.Struct, frozen=True):
    """An answer: JSON if the status is 200, otherwise the plain text of an error."""

    status: int
    body: bytes
    headers: dict[str, str] = {}


NO_SUCH_JOB: Final = Shown(400, b"Bad Request: 'after' must be the id of a job.")
SHORT_JOB: Final = 350
"""About how many bytes a job takes as JSON without its longer texts."""

_encode = msgspec.json.Encoder().encode


def show(
    view: View,
    projections: Projections,
    fleet: Fleet | None = None,
    finished: FinishedJobs | None = None,
) -> Shown:
    """Answer a view. `ExplainJob` and `ForecastFarm` need `fleet`, which must be of the same seq.

    `finished` has the jobs that were evicted from both. `TypeError` for a forecast without a fleet.
    """
    match view:
        case ListJobs():
            return _jobs(view, projections, finished)
        case ShowJob(job_id):
            job = projections.jobs.get(job_id)
            if job is None and finished is not None:
                found = finished.job(job_id, projections.seq)
                job = None if found is None else found.view
            return _found(job, Reason.JOB_NOT_FOUND)
        case ExplainJob(job_id):
            if fleet is not None and job_id not in fleet.jobs and finished is not None:
                found = finished.job(job_id, projections.seq)
                fleet = None if found is None else Fleet({job_id: found.job})
            return _found(fleet and explain(fleet, job_id), Reason.JOB_NOT_FOUND)
        case ListEngines():
            return Shown(200, _encode([engine.wire() for engine in projections.engines.all()]))
        case CountFarm() | ShowSeries() | ShowSpeeds():
            return Shown(200, _encode(_numbers(view, projections)))
        case ForecastFarm(limit):
            if fleet is None:
                raise TypeError("a forecast needs the fleet: pass `fleet`, of the same seq")
            picture = picture_of(fleet)
            return shown_forecast(at_once(forecast(outlook_of(picture, projections))), limit)
        case _:
            assert_never(view)


def _numbers(
    view: CountFarm | ShowSeries | ShowSpeeds, projections: Projections
) -> FarmNow | SeriesShown | SpeedsShown:
    seq, time = projections.seq, projections.time
    match view:
        case CountFarm():
            return projections.statistics.now(seq, time, projections.jobs, projections.engines)
        case ShowSeries(hours):
            return projections.statistics.over(hours, seq, time, projections.engines)
        case ShowSpeeds():
            return projections.speeds.shown(seq, time)
        case _:
            assert_never(view)


def shown_forecast(made: Forecast, limit: int) -> Shown:
    """Make the answer from a forecast, with so many of the jobs that wait."""
    return Shown(200, _encode(replace(made, waiting=made.waiting[:limit])))


def _found(value: Any, reason: Reason) -> Shown:
    return Shown(404, reason.value.encode()) if value is None else Shown(200, _encode(value))


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


def _jobs(view: ListJobs, projections: Projections, finished: FinishedJobs | None) -> Shown:
    jobs, seq = projections.jobs, projections.seq
    try:
        after = place_of(view, jobs, finished, seq)
    except KeyError:
        return NO_SUCH_JOB
    found: list[JobView] = []
    for piece in pieces(view, rest_of(view, jobs, after), finished, after, seq):
        found += piece
        if view.is_filled_by(found):
            break
    return page_of(view, found)
