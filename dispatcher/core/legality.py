"""Which rule of the core an event would break as the next one of a log.

`fleet.evolve` rejects nothing, so a log that was tampered with folds without an error. An audit
calls `breach` for each event before folding it.

Laws:
- What `decider` decides is no breach, under any policy. A log does not hold the settings, so no
  check depends on them, on the wording of a reason, or on what only `api` checks.
- The events of one decision are checked one by one: each check holds between them too.
- Rules that can be called (`scheduling`, `attempts`) are called, and not written again.
"""

from datetime import datetime, timedelta
from typing import Final, assert_never

import msgspec
from msgspec import UNSET

from dispatcher.core import events
from dispatcher.core.attempts import (
    FREE,
    LOSSES,
    alone_without_source,
    cost_of,
    is_blamed,
    is_failure,
)
from dispatcher.core.commands import FailJob
from dispatcher.core.dependencies import lost_one_of, needed_again, unfinished
from dispatcher.core.engine import Engine
from dispatcher.core.events import ASKED_BY_NAME, Cause, Event
from dispatcher.core.fleet import EPOCH, Fleet, micros_of
from dispatcher.core.holders import late_answer
from dispatcher.core.job import Job
from dispatcher.core.lifecycles import MAY_HAPPEN_TO
from dispatcher.core.policy import Policy
from dispatcher.core.scheduling import choose_any, choose_for, obstacle
from dispatcher.core.splitting import fault_of

__all__ = ["breach"]

_Ended = events.JobRequeued | events.JobFailedPermanently
_ANY_POLICY: Final = Policy()
_NOT_JUDGED: Final = LOSSES | {"source_away"}
"""The causes of which the log does not say which was one too many: that is a setting."""
_OF_ANYBODY: Final = frozenset({"reported", "engine_at_fault", "source_bad", "source_away"})
"""The causes that anybody can report of a job that no engine holds."""


def breach(fleet: Fleet, event: Event) -> str | None:
    """Describe the rule that the event breaks if it is the next one; `None` if it breaks none."""
    match event:
        case events.JobSubmitted():
            return _submitted(fleet, event)
        case events.JobAssigned():
            return _assigned(fleet, event)
        case events.JobCompleted():
            return _not_the_holders(fleet, event, "is completed")
        case events.JobCancelled():
            return _not_the_holders(fleet, event, "is cancelled")
        case events.JobProgressed(job_id, _, _, progress):
            if (found := _not_the_holders(fleet, event, "progresses")) is not None:
                return found
            is_unchanged = fleet.jobs[job_id].progress == progress
            return f"job {job_id} is at {progress} % already" if is_unchanged else None
        case events.JobRequeued():
            return _ended(fleet, event, "is re-queued")
        case events.JobFailedPermanently():
            return _ended(fleet, event, "fails for good")
        case (
            events.JobReleased()
            | events.JobRetried()
            | events.JobReprioritized()
            | events.JobSplit()
            | events.JobMadeWhole()
            | events.AnswerRefused()
        ):
            job = fleet.jobs.get(event.job_id)
            return _no_job(event.job_id) if job is None else _of_a_job(fleet, job, event)
        case events.EngineReported(engine_id) if engine_id not in fleet.engines:
            return None
        case (
            events.EngineReported()
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
            engine = fleet.engines.get(event.engine_id)
            if engine is None:
                return _no_engine(event.engine_id)
            return _of_an_engine(fleet, engine, event)
        case _:
            assert_never(event)


def _submitted(fleet: Fleet, event: events.JobSubmitted) -> str | None:
    what, key, arrived_at = f"job {event.job_id}", event.idempotency_key, event.arrived_at
    if event.job_id in fleet.jobs:
        return f"{what} is submitted, but there is a job of that id already"
    if key is not None and (first := fleet.idempotent.get(key)) is not None:
        return f"{what} is submitted with Idempotency-Key {key!r}, but job {first.job_id} has it"
    if arrived_at is None or event.waits_since is None:
        return None
    if arrived_at < fleet.newest:
        return f"{what} arrives at {arrived_at}, before an earlier one, of {fleet.newest}"
    if (found := _ties(fleet, event)) is not None or event.parent is not UNSET:
        return None if found is None else f"{what} {found}"
    early_s = (arrived_at - event.waits_since).total_seconds()
    if early_s < 0 or (early_s > 0 and event.priority == 0):
        since = f"waits since {event.waits_since}, but arrived at {arrived_at}"
        return f"{what} {since} with priority {event.priority}"
    return None


def _ties(fleet: Fleet, event: events.JobSubmitted) -> str | None:
    """Describe what is wrong with the jobs that one waits for, or the film that it is a part of."""
    if event.parent is not UNSET:
        film = fleet.jobs.get(event.parent)
        if film is None or event.job_id not in film.ties.waits_for:
            return f"is a part of job {event.parent}, which was not split into it"
        if event.waits_since is not None and micros_of(event.waits_since) != (
            film.place.waits_since_us
        ):
            return f"waits since {event.waits_since}, and not since its film does"
        return None
    left = unfinished(fleet, event.after or ())
    if (event.waits_for or ()) != left:
        told = ", ".join(event.waits_for or ()) or "none"
        return f"waits for {told}, but should for {', '.join(left) or 'none'}"
    if (lost := lost_one_of(fleet, left)) is not None:
        return f"is to wait for job {lost.job_id}, which is {_status(lost)}"
    return None


def _assigned(fleet: Fleet, event: events.JobAssigned) -> str | None:
    """Describe what forbids the assignment, or which assignment was due instead."""
    job, engine = fleet.jobs.get(event.job_id), fleet.engines.get(event.engine_id)
    if job is None:
        return _no_job(event.job_id)
    if engine is None:
        return _no_engine(event.engine_id)
    what = f"job {job.job_id} is given to engine {engine.engine_id}"
    if job.holder is not None:
        return f"{what} while engine {job.holder} holds it"
    if job.final:
        return f"{what}, but it is {_status(job)} already"
    if event.attempt != job.attempt + 1:
        return f"attempt {event.attempt} of job {job.job_id} follows attempt {job.attempt}"
    if engine.holds is not None:
        return f"{what} while that holds job {engine.holds}"
    is_asking = event.rule == ASKED_BY_NAME
    if (found := obstacle(fleet, engine, job, is_asking=is_asking)) is not None:
        return f"{what}, which may not have it: {found.value}"
    choice = choose_for(fleet, engine) if is_asking else choose_any(fleet)
    by = _choosing(event.rule, event.considered)
    if choice is None:
        return f"{what} {by}, but no engine can be chosen"
    if choice == (job, engine, event.rule, event.considered):
        return None
    turn = f"job {choice.job.job_id} to engine {choice.engine.engine_id}"
    return f"{what} {by}, but next is {turn} {_choosing(choice.rule, choice.considered)}"


def _not_the_holders(
    fleet: Fleet,
    event: events.JobCompleted | events.JobCancelled | events.JobProgressed | _Ended,
    verb: str,
) -> str | None:
    """Compare the event's engine and attempt with the job's; a waiting job has no engine."""
    if (job := fleet.jobs.get(event.job_id)) is None:
        return _no_job(event.job_id)
    if job.final:
        return f"job {job.job_id} {verb}, but it is {_status(job)} already"
    if event.engine_id != job.holder:
        on, holder = _engine_or_none(event.engine_id), _engine_or_none(job.holder)
        return f"job {job.job_id} {verb} on {on}, but {holder} holds it"
    if event.attempt != job.attempt:
        return f"job {job.job_id} {verb} in attempt {event.attempt}, but is at {job.attempt}"
    is_for_silence = isinstance(event, _Ended) and event.cause == "engine_silent"
    if job.holder is None or is_for_silence:
        return None
    return _lost_with_a_job(fleet.engines[job.holder])


def _ended(fleet: Fleet, event: _Ended, verb: str) -> str | None:
    """Compare cause, retries, outcome and blame with what `attempts` returns for such an end."""
    if (found := _not_the_holders(fleet, event, verb)) is not None:
        return found
    job, cause = fleet.jobs[event.job_id], event.cause
    what, holder = f"job {job.job_id} {verb}", _engine_or_none(job.holder)
    if (found := _not_the_cause(fleet, job, cause)) is not None:
        return f"{what} for {cause}, but {found}"
    if cause in LOSSES and is_failure(event):
        cause = "timed_out"
    due, blames_engine = cost_of(job, cause, _ANY_POLICY), is_blamed(job, cause)
    if event.retries != due.retries:
        return f"{what} with retries {event.retries}, but by {cause} they are {due.retries}"
    if event.losses != due.losses:
        return f"{what} with losses {event.losses}, but by {cause} they are {due.losses}"
    if isinstance(event, events.JobRequeued) and event.source_tries != due.source_tries:
        tries = f"{event.source_tries} tries for its source"
        return f"{what} with {tries}, but by {cause} they are {due.source_tries}"
    if isinstance(event, events.JobFailedPermanently) != due.is_last and cause not in _NOT_JUDGED:
        if cause == "source_bad":
            return f"{what}, but its source is bad"
        are = "are" if due.is_last else "are not"
        return f"{what}, but its retries, {due.retries} of {job.max_retries}, {are} used up"
    if event.blames_engine != blames_engine:
        return f"{what}, but {holder if blames_engine else 'no engine'} is to blame for that"
    if isinstance(event, events.JobRequeued) and event.not_before and cause in FREE:
        return f"{what} with a pause, but there is none by {cause}"
    return None


def _not_the_cause(fleet: Fleet, job: Job, cause: Cause) -> str | None:
    """Describe why an attempt can't have ended by this cause."""
    if cause == "prerequisite_failed":
        lost = lost_one_of(fleet, job.ties.waits_for)
        return None if lost is not None else "none that it waits for has"
    if job.holder is None:
        return None if cause in _OF_ANYBODY else "no engine holds it"
    if cause == "inexact" and job.ties.parent is None:
        return "it is no part of a film"
    engine, holder = fleet.engines[job.holder], _engine_or_none(job.holder)
    match cause:
        case "engine_silent" if engine.online:
            return f"{holder} is not lost"
        case "engine_restarted" if not engine.tells_instance:
            return f"{holder} never told its instance"
        case "engine_asked" if not engine.asks:
            return f"{holder} did not ask for other work"
        case _:
            return None


def _of_a_job(fleet: Fleet, job: Job, event: Event) -> str | None:
    match event:
        case events.JobReleased() if job.job_id in fleet.queue.blocked:
            if left := unfinished(fleet, job.ties.waits_for):
                return f"job {job.job_id} is released, but waits for job {left[0]}"
        case events.JobReleased() if job.job_id not in fleet.queue.paused:
            return f"job {job.job_id} is released, but is in no pause"
        case events.JobRetried() if job.status not in MAY_HAPPEN_TO[events.JobRetried]:
            return f"job {job.job_id} is retried, but is {_status(job)}"
        case events.JobRetried(_, waits_for):
            left = unfinished(fleet, needed_again(job))
            if (waits_for or ()) != left:
                return f"job {job.job_id} is retried, but waits for {', '.join(left)}"
            return _useless_retry(fleet, job)
        case events.JobSplit():
            return _split(fleet, job, event)
        case events.JobMadeWhole() if job.job_id not in fleet.queue.blocked or not job.ties.parts:
            return f"job {job.job_id} is made whole, but does not wait for its parts"
        case events.JobReprioritized(_, priority, waits_since):
            return _reprioritized(job, priority, waits_since)
        case events.AnswerRefused(_, engine_id, attempt):
            if late_answer(job, FailJob(job.job_id, "", engine_id, attempt)) is None:
                return f"an answer to job {job.job_id} is refused as late, but is not"
        case _:
            pass
    return None


def _useless_retry(fleet: Fleet, job: Job) -> str | None:
    """Describe the retry of a part that is of no use. Its film may have been retried just now."""
    film = None if job.ties.parent is None else fleet.jobs.get(job.ties.parent)
    if job.ties.parent is None or (film is not None and job.job_id in film.ties.parts):
        return None
    return f"job {job.job_id} is retried, but is a part of a film that does not need it"


def _split(fleet: Fleet, job: Job, event: events.JobSplit) -> str | None:
    what = f"job {job.job_id} is split by engine {event.engine_id}"
    if event.engine_id != job.holder:
        return f"{what}, but {_engine_or_none(job.holder)} holds it"
    if event.attempt != job.attempt:
        return f"{what} in attempt {event.attempt}, but is at {job.attempt}"
    if (fault := fault_of(job)) is not None:
        return f"{what}, but {fault}"
    known = next((it for it in event.parts if it in fleet.jobs), None)
    if known is not None or not event.parts or len({*event.parts}) != len(event.parts):
        return f"{what}, but its parts are not new jobs: {known or 'none, or one twice'}"
    return None


def _reprioritized(job: Job, priority: int, waits_since: datetime) -> str | None:
    what = f"job {job.job_id} is given priority {priority}"
    if job.status != "pending":
        return f"{what}, but is {_status(job)}"
    if job.priority == priority:
        return f"{what}, which it has already"
    arrived_at = EPOCH + timedelta(microseconds=job.place.waits_since_us + job.early_us)
    if waits_since > arrived_at or (waits_since < arrived_at and priority == 0):
        return f"{what} and waits since {waits_since}, but arrived at {arrived_at}"
    return None


def _of_an_engine(fleet: Fleet, engine: Engine, event: Event) -> str | None:
    if (lost := _lost_with_a_job(engine)) is not None:
        return lost
    found: str | None = None
    match event:
        case events.EngineReported(_, report):
            old = [name for name, value in report.items() if _is_known(engine, name, value)]
            if old or not report:
                found = f"reports {', '.join(old) or 'nothing'}, which is no news"
            elif (told := report.get("instance")) in [*engine.replaced]:
                found = f"reports as instance {told}, which was replaced"
        case events.EngineReplaced(_, instance) if engine.instance != instance:
            found = f"is taken over by instance {instance}, but another one speaks for it"
        case events.EngineReplaced(_, instance, old) if old in {instance, *engine.replaced}:
            found = f"is taken over from instance {old}, which did not speak for it"
        case events.EngineReplaced(kept_job=str() as kept) if engine.holds != kept:
            found = f"keeps job {kept}, but holds {engine.holds or 'none'}"
        case events.EngineFenced(_, instance) if not _is_to_be_fenced(engine, instance):
            found = f"refuses instance {instance}, but that was not replaced, or is known already"
        case events.EngineAsked(_, job_id) if engine.holds != job_id:
            found = f"asks for other work, but does not hold job {job_id}"
        case events.EngineAsked() if engine.asks or engine.tells_instance:
            found = "asks for other work, which is no news or no sign"
        case events.EngineBlamed(_, job_id) if not _is_to_be_blamed(fleet, engine, job_id):
            found = f"is blamed for job {job_id}, but did not alone lack its source"
        case events.EngineUnblocked() if engine.blocked_until is None:
            found = "is unblocked, but there is no end of a block to come"
        case events.EngineLost() if not engine.online:
            found = "is lost, but is offline already"
        case events.EngineBlocked() if engine.blocked is not None:
            found = "is blocked, but is so already"
        case events.EngineBlocked() if not engine.failures:
            found = "is blocked, but has not just failed a job"
        case events.EngineDrained() if engine.drained:
            found = "is drained, but is so already"
        case events.EngineResumed() if engine.trusted and not engine.fenced:
            found = "is resumed, but is neither drained nor blocked"
        case events.EngineForgotten() if engine.holds is not None:
            found = f"is forgotten while it holds job {engine.holds}"
        case _:
            pass
    return None if found is None else f"engine {engine.engine_id} {found}"


def _is_to_be_fenced(engine: Engine, instance: str) -> bool:
    takeover = engine.replaced.get(instance)
    return takeover is not None and not takeover.heard_again


def _is_to_be_blamed(fleet: Fleet, engine: Engine, job_id: str) -> bool:
    job = fleet.jobs.get(job_id)
    if job is None or job.status != "completed":
        return False
    return alone_without_source(fleet, job) is engine


def _lost_with_a_job(engine: Engine) -> str | None:
    """Describe a lost engine that still holds a job: losing it must take the job at once."""
    if engine.online or engine.holds is None:
        return None
    return f"engine {engine.engine_id} was lost, but job {engine.holds} was not taken from it"


def _is_known(engine: Engine, name: str, value: object) -> bool:
    known = engine.report
    return name in known and msgspec.json.encode(known[name]) == msgspec.json.encode(value)


def _choosing(rule: str, considered: tuple[str, ...]) -> str:
    return f"({rule}, of {', '.join(considered)})" if considered else f"({rule})"


def _no_job(job_id: str) -> str:
    return f"job {job_id} was never submitted"


def _no_engine(engine_id: str) -> str:
    return f"engine {engine_id} is not on the list"


def _engine_or_none(engine_id: str | None) -> str:
    return "no engine" if engine_id is None else f"engine {engine_id}"


def _status(job: Job) -> str:
    return job.status.replace("_", " ")
