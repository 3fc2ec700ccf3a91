"""Jobs that wait for others, and films that are split into the jobs of their parts.

Laws:
- A job is not assigned before all jobs that it waits for are completed. The completion of the last
  of them releases it, in the same decision.
- A job waits only for jobs that were submitted before it, and a film for its parts, which wait for
  nothing. So nothing waits for itself.
- A job fails when one that it waits for fails for good, and is cancelled when that is cancelled.
- The parts of a film are of use to that film only. When it is completed, cancelled or made whole
  while they are not, they are cancelled. When it fails, those are that no engine has begun: the
  work that is under way is kept, so that a retry needs only what is missing.
- To retry a job is to retry all that it waits for and that ended without an output, and all that
  ended with another job and waits for one of these. What is completed stays so.
- A part is retried only with a film that has failed: it is of no use to one that is completed or
  done whole. A film that was cancelled begins anew, and forgets its parts.
"""

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Literal, NamedTuple

from msgspec import UNSET

from dispatcher.core.events import (
    Event,
    JobCancelled,
    JobFailedPermanently,
    JobMadeWhole,
    JobReleased,
    JobRetried,
)
from dispatcher.core.fleet import Fleet
from dispatcher.core.job import Job
from dispatcher.core.texts import shortened

__all__ = [
    "all_completed",
    "ended_with",
    "lost_one_of",
    "made_whole",
    "needed_again",
    "released_by",
    "retried",
    "retry_concerns",
    "unfinished",
    "useless_part",
]


class _Ended(NamedTuple):
    """A job that ends, how it does, and for what."""

    job: Job
    how: Literal["completed", "failed", "cancelled", "made whole"]
    message: str = ""


def released_by(fleet: Fleet, job: Job) -> list[Event]:
    """Return what follows for others when a job is completed."""
    released = [
        JobReleased(it.job_id)
        for it in _open(fleet, job.ties.followers)
        if it.ties.waits_for and all_completed(fleet, it.ties.waits_for, job.job_id)
    ]
    return [*released, *_consequences(fleet, _Ended(job, "completed"))]


def ended_with(
    fleet: Fleet, job: Job, how: Literal["failed", "cancelled"], message: str = ""
) -> list[Event]:
    """Return what follows for others when a job fails for good, with a message, or is cancelled."""
    return [*_consequences(fleet, _Ended(job, how, message))]


def made_whole(fleet: Fleet, part: Job, reason: str) -> list[Event]:
    """Return what follows for its film when a part of it can't be cut exactly."""
    film = None if part.ties.parent is None else fleet.jobs.get(part.ties.parent)
    if film is None or film.final or part.job_id not in film.ties.parts:
        return []
    ended = _consequences(fleet, _Ended(film, "made whole"), but=part.job_id)
    return [JobMadeWhole(film.job_id, reason), *ended]


def all_completed(fleet: Fleet, job_ids: Iterable[str], but: str | None = None) -> bool:
    """Whether all of these jobs, that a job waits for, are completed, not counting one of them.

    What is not here was completed and evicted: when it began to wait all were unfinished, and if
    one had ended otherwise, so would have the job.
    """
    return all(it.status == "completed" or it.job_id == but for it in fleet.here(job_ids))


def lost_one_of(fleet: Fleet, job_ids: Iterable[str]) -> Job | None:
    """Return one of these jobs that ended without an output; `None` if none has."""
    return next((it for it in fleet.here(job_ids) if _is_lost(it)), None)


def retried(fleet: Fleet, job: Job) -> list[Event]:
    """Return what a retry of a job does: for itself, and for those that it takes along."""
    again = {job.job_id: job}
    reached = [job]
    for it in reached:  # grows meanwhile
        followers = (other for other in fleet.here(it.ties.followers) if _comes_back(other, it))
        for other in chain(fleet.here(needed_again(it)), followers):
            if _is_lost(other) and other.job_id not in again:
                again[other.job_id] = other
                reached.append(other)
    return [_retried(fleet, it, None if it is job else job.job_id) for it in again.values()]


def retry_concerns(fleet: Fleet, job_id: str) -> list[str]:
    """Return the jobs that `retried` looks at, as far as those that are here tell of others."""
    reached, known = [job_id], {job_id}
    for name in reached:  # grows meanwhile
        job = fleet.jobs.get(name)
        if job is not None and _is_lost(job):
            others = [it for it in (*needed_again(job), *job.ties.followers) if it not in known]
            known.update(others)
            reached += others
    return reached


def _retried(fleet: Fleet, job: Job, because_of: str | None) -> JobRetried:
    waits_for = unfinished(fleet, needed_again(job))
    return JobRetried(job.job_id, waits_for or UNSET, UNSET if because_of is None else because_of)


def needed_again(job: Job) -> tuple[str, ...]:
    """Return what has to be completed before a job that is retried."""
    return job.ties.after if job.status == "cancelled" else job.ties.needed


def unfinished(fleet: Fleet, job_ids: Iterable[str]) -> tuple[str, ...]:
    """Return those of these jobs that are not completed. One that is not here was, and evicted."""
    return tuple(it.job_id for it in fleet.here(job_ids) if it.status != "completed")


def useless_part(fleet: Fleet, job: Job) -> str | None:
    """Return why it is of no use to retry a part of a film; `None` of any other job."""
    if job.ties.parent is None:
        return None
    film = fleet.jobs.get(job.ties.parent)
    if film is not None and job.job_id in film.ties.parts and film.status == "failed_permanently":
        return None
    is_now = "not here" if film is None else film.status.replace("_", " ")
    if film is not None and film.ties.is_whole:
        is_now = "done in one piece"
    return f"job {job.job_id} is a part of the film of job {job.ties.parent}, which is {is_now}"


def _comes_back(follower: Job, job: Job) -> bool:
    return follower.ties.ended_with_other or follower.job_id == job.ties.parent


def _consequences(fleet: Fleet, first: _Ended, but: str | None = None) -> Iterator[Event]:
    """Yield how other jobs end with one, and others with these."""
    known = {first.job.job_id, but}
    reached = [first]
    for ended in reached:  # grows meanwhile
        for event, other in _ends_of_others(fleet, ended):
            if other.job.job_id not in known:
                known.add(other.job.job_id)
                reached.append(other)
                yield event


def _ends_of_others(fleet: Fleet, ended: _Ended) -> Iterator[tuple[Event, _Ended]]:
    job, how, message = ended
    for part in _open(fleet, job.ties.parts):
        if how != "failed" or part.holder is None:
            cancelled = JobCancelled(part.job_id, part.holder, part.attempt, job.job_id)
            yield cancelled, _Ended(part, "cancelled")
    if how in {"completed", "made whole"}:
        return
    for it in _open(fleet, job.ties.followers):
        if job.job_id not in it.ties.waits_for:
            continue
        if how == "cancelled":
            yield JobCancelled(it.job_id, None, it.attempt, job.job_id), _Ended(it, "cancelled")
            continue
        of_it = f"job {job.job_id}, a part of the film," if job.ties.parent else f"job {job.job_id}"
        why = shortened(f"{of_it} failed: {message}")
        failed = JobFailedPermanently(
            job_id=it.job_id,
            engine_id=None,
            attempt=it.attempt,
            retries=it.retries,
            error_message=why,
            cause="prerequisite_failed",
            losses=it.setbacks.losses,
        )
        yield failed, _Ended(it, "failed", why)


def _open(fleet: Fleet, job_ids: Iterable[str]) -> Iterator[Job]:
    """Yield those of these jobs that have not ended."""
    return (it for it in fleet.here(job_ids) if not it.final)


def _is_lost(job: Job) -> bool:
    return job.final and job.status != "completed"
