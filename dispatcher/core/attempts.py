"""How an attempt ends without an output, and which answers to it are accepted.

Laws:
- Every failure counts against the job's `max_retries`, whoever detected it, so that a job that
  crashes engines also comes to an end. Only an attempt that ends because an operator removed its
  engine costs the job nothing.
- A failure counts against the engine only if the job has not failed on another engine before.
  Otherwise the job is the likelier cause, and bad jobs must not block a farm of good engines.
- An answer that names its engine or attempt is accepted only from the present holder.
- A caller that speaks for one engine answers only for that engine. If its answer does not name the
  engine, the job's newest attempt must be that engine's.
"""

import zlib
from datetime import datetime, timedelta
from typing import Final

from dispatcher.core.commands import CompleteJob, FailJob
from dispatcher.core.events import Cause, EngineBlocked, Event, JobFailedPermanently, JobRequeued
from dispatcher.core.fleet import Fleet
from dispatcher.core.job import Job
from dispatcher.core.policy import Policy

__all__ = ["LONGEST_BACKOFF_S", "attempt_ended", "foreign_answer", "late_answer"]

LONGEST_BACKOFF_S: Final = 3600.0
_MAX_DOUBLINGS: Final = 40


def attempt_ended(  # noqa: PLR0913, PLR0917 - the rules need all of it
    fleet: Fleet, job: Job, cause: Cause, message: str, at: datetime, policy: Policy
) -> list[Event]:
    """Re-queue the job or fail it for good, and block its engine after too many failures."""
    if cause == "engine_forgotten":
        return [JobRequeued(job.job_id, job.holder, job.attempt, job.retries, message, cause=cause)]
    engine = None if job.holder is None else fleet.engines[job.holder]
    blames_engine = engine is not None and job.failed_by <= {engine.engine_id}
    retries = job.retries + 1
    events: list[Event] = [
        JobRequeued(
            job_id=job.job_id,
            engine_id=job.holder,
            attempt=job.attempt,
            retries=retries,
            error_message=message,
            cause=cause,
            blames_engine=blames_engine,
            not_before=_not_before(job.job_id, retries, at, policy),
        )
        if retries < job.max_retries
        else JobFailedPermanently(
            job_id=job.job_id,
            engine_id=job.holder,
            attempt=job.attempt,
            retries=retries,
            error_message=message,
            cause=cause,
            blames_engine=blames_engine,
        )
    ]
    if engine is not None and blames_engine and engine.blocked is None:
        failures = [*(f for f in engine.failures if f != job.job_id), job.job_id]
        if 0 < policy.block_after <= len(failures):
            reason = f"failed {len(failures)} different jobs in a row: {', '.join(failures)}"
            events.append(EngineBlocked(engine.engine_id, reason))
    return events


def late_answer(job: Job, answer: CompleteJob | FailJob) -> str | None:
    """Return why an answer does not come from the present holder.

    `None` if it does, or if it names neither an engine nor an attempt.
    """
    if answer.engine_id is None and answer.attempt is None:
        return None
    held = job.holder is not None
    if held and answer.engine_id in {None, job.holder} and answer.attempt in {None, job.attempt}:
        return None
    if held:
        now = f"engine {job.holder} holds it now (attempt {job.attempt})"
    elif job.status == "pending":
        now = f"it waits for attempt {job.attempt + 1}"
    else:
        now = f"it is {job.status.replace('_', ' ')}"
    return f"Conflict: this answer to job {job.job_id} comes too late: {now}."


def foreign_answer(job: Job, answer: CompleteJob | FailJob) -> str | None:
    """Return why a caller that speaks for one engine may not give an answer; `None` if it may."""
    engine_id = answer.speaks_for
    if engine_id is None or engine_id == answer.engine_id:  # `late_answer` looks at the latter
        return None
    if answer.engine_id is None and job.last_holder == engine_id:
        return None
    return (
        f"Forbidden: this key speaks for engine {engine_id} alone, and the newest attempt at this "
        "job is not that engine's."
    )


def _not_before(job_id: str, retries: int, at: datetime, policy: Policy) -> datetime | None:
    """Return when the pause ends. It doubles with each failure; jitter spreads the jobs out."""
    if policy.retry_backoff_s <= 0:
        return None
    pause_s = policy.retry_backoff_s * 2.0 ** min(retries - 1, _MAX_DOUBLINGS)
    jitter = zlib.crc32(f"{job_id}:{retries}".encode()) / 2**32
    return at + timedelta(seconds=min(pause_s, LONGEST_BACKOFF_S) * (1 - jitter / 4))
