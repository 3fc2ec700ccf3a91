"""The jobs, as `GET /jobs/` shows them (protocol.md 1.2 and 1.3)."""

import sys
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import islice
from typing import Any, Final, Self, assert_never

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from dispatcher.core import events
from dispatcher.core.events import FINAL, Event, Recorded

__all__ = ["STATUSES", "JobView", "Jobs", "as_submitted"]


STATUSES: Final = frozenset({"pending", "assigned"}) | FINAL


class JobView(msgspec.Struct, frozen=True, gc=False):
    """A job on the wire: the nine fields of protocol.md in its order, then this project's own.

    `job_size` is in MB, `progress` in percent. `attempt` counts the assignments so far, including
    the present one. `error_message` is that of the newest failure. A re-queued job is not assigned
    before `not_before`. `submitted_at` and `finished_at` are event times (UTC). A job from another
    dispatcher may lack all but the first nine fields. `recipe` has the fields of a
    `recipes.Recipe`, `output_name` is a template (see `output_names`), and `result` has the fields
    of a `results.Result`; each is left out if there is none.
    """

    job_id: str
    source_url: str
    target_codec: str
    job_size: float
    status: str
    assigned_engine: str | None
    output_url: str | None
    retries: int
    max_retries: int
    attempt: int = 0
    priority: int = 0
    progress: float | None = None
    not_before: datetime | None = None
    error_message: str | None = None
    submitted_at: datetime | None = None
    finished_at: datetime | None = None
    recipe: dict[str, Any] | UnsetType = UNSET
    output_name: str | UnsetType = UNSET
    result: dict[str, Any] | UnsetType = UNSET

    @property
    def final(self) -> bool:
        """Whether nothing more can happen to the job."""
        return self.status in FINAL


class Jobs:
    """Every job, in order of submission."""

    def __init__(self) -> None:
        self._views: dict[str, JobView] = {}
        self._numbers: dict[str, int] = {}

    def get(self, job_id: str) -> JobView | None:
        """Return one job, or `None` if it does not exist."""
        return self._views.get(job_id)

    def all(self) -> list[JobView]:
        """Return every job as it is at this moment."""
        return list(self._views.values())

    def after(self, job_id: str | None) -> Iterator[JobView]:
        """Return the jobs submitted after a given one (`None`: all), as they are now.

        Consume the iterator before the next event is applied. Raises `KeyError` if there is no such
        job.
        """
        start = 0 if job_id is None else self._number(job_id) + 1
        return islice(self._views.values(), start, None)

    @classmethod
    def restore(cls, views: Iterable[JobView]) -> Self:
        """Restore the jobs from what `all` returned."""
        jobs = cls()
        jobs._views = {view.job_id: view for view in views}
        return jobs

    def apply(self, recorded: Recorded) -> None:
        """Fold one event."""
        event = recorded.event
        job_id: str | None = getattr(event, "job_id", None)
        if job_id is None:
            return
        if (view := self._views.get(job_id)) is not None:
            self._views[job_id] = _changed(view, event, recorded.at)
        elif isinstance(event, events.JobSubmitted):
            self._views[job_id] = _submitted(event, recorded.at)

    def _number(self, job_id: str) -> int:
        """Return how many jobs come before one. Jobs are numbered on demand, since this is rare."""
        if len(self._numbers) < len(self._views):
            start = len(self._numbers)
            for number, later in enumerate(islice(self._views, start, None), start):
                self._numbers[later] = number
        return self._numbers[job_id]


def _submitted(event: events.JobSubmitted, at: datetime) -> JobView:
    return JobView(
        job_id=event.job_id,
        source_url=event.source_url,
        target_codec=sys.intern(event.target_codec),  # few codecs, very many jobs
        job_size=event.job_size,
        status="pending",
        assigned_engine=None,
        output_url=None,
        retries=0,
        max_retries=event.max_retries,
        priority=event.priority,
        submitted_at=at,
        recipe=event.recipe,
        output_name=event.output_name,
    )


# Hot in a replay: patterns that capture, and calls with **, would take twice as long.
def _changed(view: JobView, event: Event, at: datetime) -> JobView:
    """Return a job as it is after an event that concerns it."""
    match event:
        case events.JobAssigned():
            return replace(
                view,
                status="assigned",
                assigned_engine=event.engine_id,
                attempt=event.attempt,
                progress=None,
                not_before=None,
            )
        case events.JobCompleted():
            return replace(
                view,
                status="completed",
                output_url=event.output_url,
                progress=None,
                not_before=None,
                finished_at=at,
                result=event.result,
            )
        case events.JobProgressed():
            return replace(view, progress=event.progress)
        case events.JobRequeued():
            return replace(
                view,
                status="pending",
                assigned_engine=None,
                retries=event.retries,
                error_message=event.error_message,
                progress=None,
                not_before=event.not_before,
            )
        case events.JobReleased():
            return replace(view, not_before=None)
        case events.JobRetried():
            return replace(
                view,
                status="pending",
                assigned_engine=None,
                output_url=None,
                retries=0,
                finished_at=None,
                result=UNSET,
            )
        case events.JobFailedPermanently():
            return replace(
                view,
                status="failed_permanently",
                retries=event.retries,
                error_message=event.error_message,
                progress=None,
                not_before=None,
                finished_at=at,
            )
        case events.JobCancelled():
            return replace(view, status="cancelled", progress=None, not_before=None, finished_at=at)
        case (
            events.JobSubmitted()
            | events.AnswerRefused()
            | events.EngineReported()
            | events.EngineReplaced()
            | events.EngineFenced()
            | events.EngineAsked()
            | events.EngineSeen()
            | events.EngineBenchmarked()
            | events.EngineLost()
            | events.EngineBlamed()
            | events.EngineBlocked()
            | events.EngineUnblocked()
            | events.EngineDrained()
            | events.EngineResumed()
            | events.EngineForgotten()
        ):
            return view
        case _:
            assert_never(event)


def as_submitted(job: JobView) -> JobView:
    """Return a job as it was just after it was submitted."""
    return replace(
        job,
        status="pending",
        assigned_engine=None,
        output_url=None,
        retries=0,
        attempt=0,
        progress=None,
        not_before=None,
        error_message=None,
        finished_at=None,
        result=UNSET,
    )
