"""The jobs, as `GET /jobs/` shows them (protocol.md 1.2 and 1.3)."""

import sys
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import islice
from operator import attrgetter
from typing import Any, Final, Self, assert_never

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from dispatcher.core import events
from dispatcher.core.events import FINAL, OF_JOBS, Event, Recorded
from dispatcher.tags import split
from projections.oldest import Numbered, Oldest

__all__ = ["STATUSES", "JobView", "Jobs", "NumberedJob", "Turn", "as_submitted"]


STATUSES: Final = frozenset({"pending", "assigned"}) | FINAL


class JobView(msgspec.Struct, frozen=True, gc=False):
    """A job on the wire: the nine fields of protocol.md in its order, then this project's own.

    `job_size` is in MB, `progress` in percent. `attempt` counts the assignments so far, including
    the present one. `error_message` is that of the newest failure. A re-queued job is not assigned
    before `not_before`. `submitted_at`, `finished_at` and `assigned_at` are event times (UTC), the
    last that of its newest assignment. A job from another dispatcher may lack all but the first
    nine fields. `recipe` has the fields of a `recipes.Recipe`, `output_name` is a template (see
    `output_names`), and `result` has the fields of a `results.Result`. The job waits until all of
    `after` are completed. A part of a film has that film's job as its `parent`, and in `part` the
    fields of a `segments.Part`. A film that was split has the jobs of its `parts`, and while it
    waits for them, how many of them are completed as its `progress`. `whole` says why a film is not
    to be split. Its engine must have its `tags`. Each of these, and its `callback_url`, is left out
    if there is none.
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
    assigned_at: datetime | None = None
    parent: str | UnsetType = UNSET
    part: dict[str, Any] | UnsetType = UNSET
    parts: tuple[str, ...] | UnsetType = UNSET
    whole: str | UnsetType = UNSET
    after: tuple[str, ...] | UnsetType = UNSET
    tags: list[str] | UnsetType = UNSET
    callback_url: str | UnsetType = UNSET

    @property
    def final(self) -> bool:
        """Whether nothing more can happen to the job."""
        return self.status in FINAL


class NumberedJob(msgspec.Struct, frozen=True, gc=False):
    """A job with its place in the order of submission, counted from 0."""

    number: int
    view: JobView


_number_of: Final = attrgetter("number")

Turn = tuple[JobView | None, JobView]
"""A job before and after an event that gave it another status; `None` before its submission."""


class Jobs:
    """The jobs, in order of submission: all, or all but finished ones that were evicted.

    `submitted` counts the jobs that were ever submitted. `ended` has the seq at which each finished
    job here ended, and `retried` the seq at which a job was first retried, by its number, since
    `forget_retried`: its former end may be in the index.
    """

    def __init__(self) -> None:
        self.submitted = 0
        self.ended: dict[str, int] = {}
        self.retried: dict[int, int] = {}
        self._jobs: dict[str, NumberedJob] = {}
        self._is_in_order = True
        self._numbers: array[int] | None = None  # of the jobs in order, made on demand
        self._oldest = Oldest()

    def get(self, job_id: str) -> JobView | None:
        """Return one job, or `None` if it is not here."""
        return None if (job := self._jobs.get(job_id)) is None else job.view

    def ids(self) -> list[str]:
        """Return the ids of all jobs here, in no order."""
        return list(self._jobs)

    def number_of(self, job_id: str) -> int | None:
        """Return the number of a job, or `None` if it is not here."""
        return None if (job := self._jobs.get(job_id)) is None else job.number

    def all(self) -> list[JobView]:
        """Return every job here as it is at this moment."""
        return [job.view for job in self.after(None)]

    def after(self, number: int | None) -> list[NumberedJob]:
        """Return the jobs submitted after the one of a number (`None`: all), as they are now."""
        self._put_in_order()
        if number is None:
            return list(self._jobs.values())
        return list(islice(self._jobs.values(), bisect_right(self._in_order(), number), None))

    def before(self, number: int | None) -> list[NumberedJob]:
        """Return the jobs submitted before the one of a number (`None`: all), the newest first."""
        self._put_in_order()
        count = len(self._jobs) if number is None else bisect_left(self._in_order(), number)
        jobs = list(islice(self._jobs.values(), count))
        jobs.reverse()
        return jobs

    @classmethod
    def restore(cls, jobs: Iterable[NumberedJob], submitted: int) -> Self:
        """Restore the jobs, none of them finished, from what `after` returned."""
        restored = cls()
        restored._jobs = {job.view.job_id: job for job in jobs}
        restored.submitted = submitted
        restored._oldest = Oldest(upto=0)
        return restored

    def recall(self, job: NumberedJob, ended: int) -> None:
        """Take a finished job back that was evicted. It ended at the seq `ended`."""
        job_id = job.view.job_id
        if job_id not in self._jobs:
            self._jobs[job_id], self.ended[job_id] = job, ended
            self._is_in_order, self._numbers = False, None

    def evict(self, job_id: str) -> None:
        """Let a finished job go."""
        del self._jobs[job_id], self.ended[job_id]
        self._numbers = None

    def forget_retried(self, upto: int) -> None:
        """Forget who was retried up to and including a seq."""
        self.retried = {number: seq for number, seq in self.retried.items() if seq > upto}

    def oldest_waiting(self) -> JobView | None:
        """Return the pending job that was submitted first, or `None`."""
        job_id = self._oldest.job_id(self._is_pending, self._pending_from)
        return None if job_id is None else self.get(job_id)

    def apply(self, recorded: Recorded) -> Turn | None:
        """Fold one event. Return the job that it gives another status, if there is one."""
        event: Any = recorded.event
        if type(event) not in OF_JOBS:
            return None
        job_id: str = event.job_id
        if (job := self._jobs.get(job_id)) is not None:
            view = job.view
            changed = _changed(view, event, recorded.at)
            self._jobs[job_id] = NumberedJob(job.number, changed)
            if view.parent is not UNSET and type(event) is events.JobCompleted:
                self._part_completed(view.parent)
            if changed.status == view.status:
                return None
            if changed.final != view.final:
                self._turned(job, recorded.seq)
            if changed.status == "pending":
                self._oldest.add(job.number, job_id)
            return view, changed
        if isinstance(event, events.JobSubmitted):
            view = _submitted(event, recorded.at)
            self._jobs[job_id] = NumberedJob(self.submitted, view)
            if self._numbers is not None:
                self._numbers.append(self.submitted)
            self._oldest.add(self.submitted, job_id)
            self.submitted += 1
            return None, view
        return None

    def _part_completed(self, film_id: str) -> None:
        """Count a part that is completed in the progress of its film."""
        film = self._jobs.get(film_id)
        if film is None or not film.view.parts or film.view.status != "pending":
            return
        parts, progress = len(film.view.parts), film.view.progress or 0.0
        done = min(parts, round(progress / 100 * parts) + 1)
        view = replace(film.view, progress=_percent(done, parts))
        self._jobs[film_id] = NumberedJob(film.number, view)

    def _put_in_order(self) -> None:
        if not self._is_in_order:
            self._jobs = dict(sorted(self._jobs.items(), key=lambda item: item[1].number))
            self._is_in_order = True

    def _in_order(self) -> "array[int]":
        """Return the numbers of the jobs, which are in order."""
        if self._numbers is None:
            self._numbers = array("Q", map(_number_of, self._jobs.values()))
        return self._numbers

    def _is_pending(self, job_id: str) -> bool:
        job = self._jobs.get(job_id)
        return job is not None and job.view.status == "pending"

    def _pending_from(self, number: int) -> Iterator[Numbered]:
        jobs = self.after(number - 1 if number else None)
        return ((it.number, it.view.job_id) for it in jobs if it.view.status == "pending")

    def _turned(self, job: NumberedJob, seq: int) -> None:
        """Note that a job ended, or that an ended one lives again."""
        if job.view.final:
            self.ended.pop(job.view.job_id, None)
            self.retried.setdefault(job.number, seq)
        else:
            self.ended[job.view.job_id] = seq


def _submitted(event: events.JobSubmitted, at: datetime) -> JobView:
    return JobView(  # without the names of most fields, which would take half as long again
        event.job_id,
        event.source_url,
        sys.intern(event.target_codec),  # few codecs, very many jobs
        event.job_size,
        "pending",
        None,  # no engine, no output, no retries yet
        None,
        0,
        event.max_retries,
        0,
        event.priority,
        submitted_at=at,
        recipe=event.recipe,
        output_name=event.output_name,
        parent=event.parent,
        part=event.part,
        after=event.after,
        tags=UNSET if event.needs is UNSET else split(event.needs)[0] or UNSET,
        callback_url=event.callback_url,
    )


def _percent(done: int, parts: int) -> float:
    return round(100 * done / parts, 2)


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
                assigned_at=at,
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
                progress=_progress_of_parts(view, event.waits_for or ()),
                parts=UNSET if view.status == "cancelled" else view.parts,
            )
        case events.JobReprioritized():
            return replace(view, priority=event.priority)
        case events.JobSplit():
            return replace(
                view, status="pending", assigned_engine=None, progress=0.0, parts=event.parts
            )
        case events.JobMadeWhole():
            return replace(view, progress=None, parts=UNSET, whole=event.reason)
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


def _progress_of_parts(view: JobView, waits_for: tuple[str, ...]) -> float | None:
    """Return the progress of a film that waits for some of its parts again."""
    if not view.parts or not waits_for or view.status == "cancelled":
        return None
    return _percent(len(view.parts) - len({*waits_for} & {*view.parts}), len(view.parts))


def as_submitted(job: JobView, priority: int) -> JobView:
    """Return a job as it was just after it was submitted, with its priority then."""
    return replace(
        job,
        priority=priority,
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
        assigned_at=None,
        parts=UNSET,
        whole=UNSET,
    )
