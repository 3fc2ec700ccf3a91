"""How an attempt ends without an output, and what that costs the job and its engine.

Laws:
- What an end costs the job follows from its cause. A failure uses up a retry (`max_retries`). The
  loss of an engine uses up one of `max_losses`, so that a job that kills engines also comes to an
  end. A source that can't be had uses up `source_patience_s`. The decisions of operators, and an
  engine that is stopped, cost it nothing.
- A source that is bad fails its job at once: no retry makes it better. So does a part of a film
  that can't be cut exactly, and then the film is done whole (`dependencies`).
- A failure counts against the engine if the engine says that it is at fault. Without a word on it,
  it does only if no other engine was tried before. Otherwise the job is the likelier cause, and
  bad jobs must not block a farm of good engines.
- What is lost, or has a bad or missing source, counts against no engine. But if the engine alone
  could not have the source, has succeeded with nothing since, and another then completes the job,
  it does.
- A job whose source one engine lacks goes to another that is free. Otherwise it pauses, and then
  any engine may try: a short outage must not keep an engine from its work.
"""

import zlib
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from dispatcher.core.dependencies import ended_with, made_whole
from dispatcher.core.engine import Engine
from dispatcher.core.events import (
    Cause,
    EngineBlamed,
    EngineBlocked,
    Event,
    JobFailedPermanently,
    JobRequeued,
)
from dispatcher.core.fleet import Fleet
from dispatcher.core.job import NO_TIES, Job
from dispatcher.core.policy import Policy
from dispatcher.core.scheduling import is_free_elsewhere

__all__ = [
    "FREE",
    "LONGEST_BACKOFF_S",
    "LONGEST_BLOCK_S",
    "LOSSES",
    "Cost",
    "alone_without_source",
    "attempt_ended",
    "blame_for_source",
    "cost_of",
    "is_blamed",
    "is_failure",
]

LOSSES: Final[frozenset[Cause]] = frozenset({"engine_silent", "engine_restarted", "engine_asked"})
"""The causes for which the engine was lost, in the middle of the job."""
FREE: Final[frozenset[Cause]] = frozenset({"engine_forgotten", "given_back"})
"""The causes that cost the job nothing."""
LONGEST_BACKOFF_S: Final = 3600.0
LONGEST_BLOCK_S: Final = 86400.0
SOURCE_PAUSE_S: Final = 5.0
"""The first pause after a source could not be had; it doubles with each further one."""
_SHORTEST_PAUSE_S: Final = 0.001
_MAX_DOUBLINGS: Final = 40


class Cost(NamedTuple):
    """A job's counts after an end, and whether that was its last attempt."""

    retries: int
    losses: int
    source_tries: int
    is_last: bool


def attempt_ended(  # noqa: PLR0913, PLR0917 - the rules need all of it
    fleet: Fleet, job: Job, cause: Cause, message: str, at: datetime, policy: Policy
) -> list[Event]:
    """Re-queue the job or fail it for good, and block its engine after too many failures."""
    engine = None if job.holder is None else fleet.engines[job.holder]
    blames_engine = is_blamed(job, cause)
    cost = cost_of(job, cause, policy)
    if cost.is_last:
        ended: Event = JobFailedPermanently(
            job_id=job.job_id,
            engine_id=job.holder,
            attempt=job.attempt,
            retries=cost.retries,
            error_message=message,
            cause=cause,
            blames_engine=blames_engine,
            losses=cost.losses,
        )
    else:
        pause_s = _pause_s(fleet, job, cause, cost, policy)
        is_for_source = cost.source_tries > job.setbacks.source_tries
        waited_s = job.setbacks.source_waited_s if cost.source_tries else 0.0
        ended = JobRequeued(
            job_id=job.job_id,
            engine_id=job.holder,
            attempt=job.attempt,
            retries=cost.retries,
            error_message=message,
            cause=cause,
            blames_engine=blames_engine,
            not_before=at + timedelta(seconds=pause_s) if pause_s > 0 else None,
            losses=cost.losses,
            source_tries=cost.source_tries,
            source_waited_s=waited_s + (pause_s if is_for_source else 0.0),
        )
    happened = [ended, *(_blocked(engine, job, at, policy) if engine and blames_engine else ())]
    if cost.is_last and job.ties is not NO_TIES:
        whole = made_whole(fleet, job, message) if cause == "inexact" else []
        happened += whole or ended_with(fleet, job, "failed", message)
    return happened


def is_blamed(job: Job, cause: Cause) -> bool:
    """Return whether the end of an attempt counts against the engine that holds the job."""
    if job.holder is None:
        return False
    if cause in {"reported", "timed_out"}:
        return job.failed_by <= {job.holder}
    return cause == "engine_at_fault"


def cost_of(job: Job, cause: Cause, policy: Policy) -> Cost:
    """Return what an end of this cause costs the job."""
    retries, setbacks = job.retries, job.setbacks
    if cause in FREE:
        return Cost(retries, setbacks.losses, setbacks.source_tries, is_last=False)
    if cause in LOSSES:
        losses = setbacks.losses + 1
        is_last = 0 < policy.max_losses <= losses
        return Cost(retries, losses, setbacks.source_tries, is_last)
    if cause == "source_away":
        is_last = policy.source_patience_s - setbacks.source_waited_s < _SHORTEST_PAUSE_S
        return Cost(retries, setbacks.losses, setbacks.source_tries + 1, is_last)
    if cause == "prerequisite_failed":
        return Cost(retries, setbacks.losses, 0, is_last=True)
    is_last = cause in {"source_bad", "inexact"} or retries + 1 >= job.max_retries
    return Cost(retries + 1, setbacks.losses, 0, is_last)


def is_failure(event: JobRequeued | JobFailedPermanently) -> bool:
    """Return whether such an end counted as a failure of the job, on its retries."""
    if event.cause in LOSSES:
        return event.losses == 0  # in an old log, a loss is a failure like others
    return event.cause not in FREE and event.cause != "source_away"


def blame_for_source(fleet: Fleet, job: Job, at: datetime, policy: Policy) -> list[Event]:
    """Return what follows for the engine that alone could not have the source, on completion."""
    engine = None if job.holder is None else alone_without_source(fleet, job)
    if engine is None or engine.engine_id == job.holder:
        return []
    return [EngineBlamed(engine.engine_id, job.job_id), *_blocked(engine, job, at, policy)]


def alone_without_source(fleet: Fleet, job: Job) -> Engine | None:
    """Return the engine that alone lacked the job's source, and succeeded with nothing since."""
    setbacks = job.setbacks
    engine = None if setbacks.lacked_by is None else fleet.engines.get(setbacks.lacked_by)
    if engine is None or engine.successes != setbacks.lacked_after:
        return None
    return None if job.job_id in engine.failures else engine


def _blocked(engine: Engine, job: Job, at: datetime, policy: Policy) -> list[Event]:
    """Block an engine that this job's failure counts against, if it was one too many."""
    failures = [*(f for f in engine.failures if f != job.job_id), job.job_id]
    if engine.blocked is not None or not 0 < policy.block_after <= len(failures):
        return []
    several = f"{len(failures)} different jobs in a row" if len(failures) > 1 else "a job"
    reason = f"failed {several}: {', '.join(failures)}"
    if policy.block_for_s <= 0:
        return [EngineBlocked(engine.engine_id, reason)]
    block_s = _doubled(policy.block_for_s, engine.blocks, LONGEST_BLOCK_S)
    return [EngineBlocked(engine.engine_id, reason, at + timedelta(seconds=block_s))]


def _pause_s(fleet: Fleet, job: Job, cause: Cause, cost: Cost, policy: Policy) -> float:
    """Return how long the job pauses. It doubles each time; jitter spreads the jobs out."""
    if cause in FREE or job.ties.waits_for:
        return 0.0
    if cause == "source_away":
        if cost.source_tries == 1 and is_free_elsewhere(fleet, job):
            return 0.0  # it may be there for another engine
        first_s = max(SOURCE_PAUSE_S, policy.retry_backoff_s)
        pause_s = _spread(job, cost, _doubled(first_s, cost.source_tries - 1, LONGEST_BACKOFF_S))
        return min(pause_s, policy.source_patience_s - job.setbacks.source_waited_s)
    if policy.retry_backoff_s <= 0:
        return 0.0
    doublings = max(0, cost.retries + cost.losses - 1)
    return _spread(job, cost, _doubled(policy.retry_backoff_s, doublings, LONGEST_BACKOFF_S))


def _doubled(first_s: float, doublings: int, longest_s: float) -> float:
    return min(first_s * 2.0 ** min(doublings, _MAX_DOUBLINGS), longest_s)


def _spread(job: Job, cost: Cost, pause_s: float) -> float:
    tries = cost.retries + cost.losses + cost.source_tries
    jitter = zlib.crc32(f"{job.job_id}:{tries}".encode()) / 2**32
    return pause_s * (1 - jitter / 4)
