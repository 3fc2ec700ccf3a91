"""All the rules of the protocol.

`decide(fleet, command, at, policy)` gives the events that grant a command, which may be none, or a
`Rejected` that says why not. It changes nothing and knows no clock: `at` is the time of the
command. `fleet.evolve` makes the events true. How attempts end is in `attempts`.
"""

from datetime import datetime, timedelta
from enum import Enum
from typing import Literal, assert_never

import msgspec

from dispatcher.core.attempts import attempt_ended, late_answer
from dispatcher.core.commands import (
    AssignJob,
    CancelJob,
    Command,
    CompleteJob,
    DrainEngine,
    FailJob,
    ForgetEngine,
    LoseEngine,
    ReleaseJob,
    ReportBenchmark,
    ReportHeartbeat,
    ResumeEngine,
    RetryJob,
    SubmitJob,
    TimeOutJob,
)
from dispatcher.core.events import (
    AnswerRefused,
    Cause,
    EngineBenchmarked,
    EngineDrained,
    EngineForgotten,
    EngineLost,
    EngineReported,
    EngineResumed,
    EngineSeen,
    Event,
    JobAssigned,
    JobCancelled,
    JobCompleted,
    JobProgressed,
    JobReleased,
    JobRetried,
    JobSubmitted,
)
from dispatcher.core.fleet import Engine, Fleet
from dispatcher.core.policy import Policy
from dispatcher.core.scheduling import choose_any, choose_for

__all__ = ["Reason", "Rejected", "decide"]


class Reason(Enum):
    """Why a command was refused, in the words of the protocol where it has any."""

    JOB_NOT_FOUND = "Job not found"
    ENGINE_NOT_FOUND = "Engine not found"
    JOB_IS_FINAL = "Bad Request: Job is already in a final state."
    JOB_NOT_RETRYABLE = "Bad Request: Job is neither failed nor cancelled."
    JOB_ID_TAKEN = "Conflict: a job with this id exists already."
    KEY_REUSED = "Conflict: this Idempotency-Key was used for another job."
    NOT_THE_HOLDER = "Conflict: this answer comes too late."


class Rejected(msgspec.Struct, frozen=True):
    """A refusal: nothing changes. What is worth remembering of it is in `events`.

    `text` is what the caller is told.
    """

    reason: Reason
    events: tuple[Event, ...] = ()
    detail: str | None = None

    @property
    def text(self) -> str:
        """What the caller is told."""
        return self.detail or self.reason.value


def decide(fleet: Fleet, command: Command, at: datetime, policy: Policy) -> list[Event] | Rejected:
    """Say what follows from a command, given all that has happened so far."""
    match command:
        case SubmitJob():
            return _submit(fleet, command, at, policy)
        case CompleteJob():
            return _complete(fleet, command)
        case FailJob():
            return _fail(fleet, command, at, policy)
        case AssignJob():
            return _assign(fleet, command)
        case CancelJob() | RetryJob():
            return _on_clients_word(fleet, command)
        case ReportHeartbeat():
            return _heartbeat(fleet, command, at, policy)
        case ReportBenchmark() | DrainEngine() | ResumeEngine() | ForgetEngine():
            return _on_engine(fleet, command, at, policy)
        case LoseEngine() | TimeOutJob() | ReleaseJob():
            return _on_timer(fleet, command, at, policy)
        case _:
            assert_never(command)


def _submit(
    fleet: Fleet, command: SubmitJob, at: datetime, policy: Policy
) -> list[Event] | Rejected:
    """Queue a job, or recognise one that was queued with the same key."""
    if command.job_id in fleet.jobs:
        return Rejected(Reason.JOB_ID_TAKEN)
    key = command.idempotency_key
    if key is not None and (first := fleet.idempotent.get(key)) is not None:
        return [] if _asks_for(command) == _asks_for(first) else Rejected(Reason.KEY_REUSED)
    arrived_at = max(at, fleet.newest)  # a clock that is set back lets no job pass earlier ones
    waits_since = arrived_at - timedelta(seconds=command.priority * policy.priority_point_s)
    return [
        JobSubmitted(
            job_id=command.job_id,
            source_url=command.source_url,
            target_codec=command.target_codec,
            job_size=command.job_size,
            max_retries=command.max_retries,
            priority=command.priority,
            waits_since=waits_since,
            idempotency_key=command.idempotency_key,
            arrived_at=arrived_at,
        )
    ]


def _asks_for(it: SubmitJob | JobSubmitted) -> tuple[object, ...]:
    return it.source_url, it.target_codec, it.job_size, it.max_retries, it.priority


def _complete(fleet: Fleet, command: CompleteJob) -> list[Event] | Rejected:
    """Accept the output for any job that is not final: late work is still finished work.

    An engine that says which attempt it answers for is held to it.
    """
    job = fleet.jobs.get(command.job_id)
    if job is None:
        return Rejected(Reason.JOB_NOT_FOUND)
    if job.status == "completed" and job.output_url == command.output_url:
        return []
    if (why := late_answer(job, command)) is not None:
        return _refused(command, "complete", why)
    if job.final:
        return Rejected(Reason.JOB_IS_FINAL)
    return [JobCompleted(job.job_id, job.holder, job.attempt, command.output_url)]


def _fail(fleet: Fleet, command: FailJob, at: datetime, policy: Policy) -> list[Event] | Rejected:
    """Re-queue until `max_retries` failures have been counted; 0 and 1 both allow one attempt."""
    job = fleet.jobs.get(command.job_id)
    if job is None:
        return Rejected(Reason.JOB_NOT_FOUND)
    if (why := late_answer(job, command)) is not None:
        return _refused(command, "fail", why)
    if job.final:
        return Rejected(Reason.JOB_IS_FINAL)
    return attempt_ended(fleet, job, "reported", command.error_message, at, policy)


def _refused(
    answer: CompleteJob | FailJob, kind: Literal["complete", "fail"], why: str
) -> Rejected:
    """Refuse a late answer, and have the refusal recorded."""
    event = AnswerRefused(answer.job_id, answer.engine_id, answer.attempt, kind, why)
    return Rejected(Reason.NOT_THE_HOLDER, (event,), why)


def _assign(fleet: Fleet, command: AssignJob) -> list[Event] | Rejected:
    """Give out at most one job. `resume` adds nothing here: the engine holds its job already."""
    if command.engine_id is None:
        choice = choose_any(fleet)
    elif (engine := fleet.engines.get(command.engine_id)) is None:
        return Rejected(Reason.ENGINE_NOT_FOUND)
    else:
        choice = choose_for(fleet, engine)
    if choice is None:
        return []
    job, engine, rule, considered = choice
    return [JobAssigned(job.job_id, engine.engine_id, job.attempt + 1, rule, considered)]


def _on_clients_word(fleet: Fleet, command: CancelJob | RetryJob) -> list[Event] | Rejected:
    """Cancel a job that is not final, or put back one that failed or was cancelled."""
    job = fleet.jobs.get(command.job_id)
    if job is None:
        return Rejected(Reason.JOB_NOT_FOUND)
    match command:
        case CancelJob():
            if job.status == "cancelled":
                return []
            if job.final:
                return Rejected(Reason.JOB_IS_FINAL)
            return [JobCancelled(job.job_id, job.holder, job.attempt)]
        case RetryJob():
            if job.status not in {"failed_permanently", "cancelled"}:
                return Rejected(Reason.JOB_NOT_RETRYABLE)
            return [JobRetried(job.job_id)]
        case _:
            assert_never(command)


def _heartbeat(fleet: Fleet, command: ReportHeartbeat, at: datetime, policy: Policy) -> list[Event]:
    """Merge: a field that is absent keeps its last value, and only what is new is recorded."""
    engine = fleet.engines.get(command.engine_id)
    if engine is None:
        return [EngineReported(command.engine_id, command.report)]
    known = engine.report
    news = {k: v for k, v in command.report.items() if k not in known or not _same(known[k], v)}
    events: list[Event] = []
    if news:
        events.append(EngineReported(command.engine_id, news))
    if "instance" in news and engine.holds not in {None, command.current_job}:
        job = fleet.jobs[engine.holds or ""]
        why = f"engine {engine.engine_id} was restarted and no longer has the job"
        events += attempt_ended(fleet, job, "engine_restarted", why, at, policy)
    else:
        events += _progress(fleet, engine, command)
    return events or [EngineSeen(command.engine_id)]


def _progress(fleet: Fleet, engine: Engine, command: ReportHeartbeat) -> list[Event]:
    if command.progress is None or engine.holds is None or engine.holds != command.current_job:
        return []
    job = fleet.jobs[engine.holds]
    if command.attempt not in {None, job.attempt} or command.progress == job.progress:
        return []
    return [JobProgressed(job.job_id, engine.engine_id, job.attempt, command.progress)]


def _same(old: object, new: object) -> bool:
    """Compare JSON values: `True == 1` in Python, but not to a reader of JSON."""
    if isinstance(old, str) or isinstance(new, str):
        return old == new
    return old == new and msgspec.json.encode(old) == msgspec.json.encode(new)


def _on_engine(
    fleet: Fleet,
    command: ReportBenchmark | DrainEngine | ResumeEngine | ForgetEngine,
    at: datetime,
    policy: Policy,
) -> list[Event] | Rejected:
    engine = fleet.engines.get(command.engine_id)
    if engine is None:
        return Rejected(Reason.ENGINE_NOT_FOUND)
    match command:
        case ReportBenchmark(engine_id, benchmark_time):
            return [EngineBenchmarked(engine_id, benchmark_time)]
        case DrainEngine(engine_id):
            return [] if engine.drained else [EngineDrained(engine_id)]
        case ResumeEngine(engine_id):
            barred = engine.drained or engine.blocked is not None
            return [EngineResumed(engine_id)] if barred else []
        case ForgetEngine(engine_id):
            why = f"engine {engine_id} was taken off the list"
            lost = _lost_job(fleet, engine, "engine_forgotten", why, at, policy)
            return [*lost, EngineForgotten(engine_id)]
        case _:
            assert_never(command)


def _on_timer(
    fleet: Fleet, command: LoseEngine | TimeOutJob | ReleaseJob, at: datetime, policy: Policy
) -> list[Event]:
    """Do what is due, unless what it is about has changed in the meantime."""
    match command:
        case LoseEngine(engine_id, silent_s):
            engine = fleet.engines.get(engine_id)
            if engine is None or not engine.online:
                return []
            why = f"engine {engine_id} has been silent for {silent_s:g} s"
            lost = _lost_job(fleet, engine, "engine_silent", why, at, policy)
            return [EngineLost(engine_id, silent_s), *lost]
        case TimeOutJob(job_id, attempt, after_s):
            job = fleet.jobs.get(job_id)
            if job is None or job.holder is None or job.attempt != attempt:
                return []
            why = f"attempt {attempt} on engine {job.holder} took longer than {after_s:g} s"
            return attempt_ended(fleet, job, "timed_out", why, at, policy)
        case ReleaseJob(job_id):
            return [JobReleased(job_id)] if fleet.queue.is_paused(job_id) else []
        case _:
            assert_never(command)


def _lost_job(  # noqa: PLR0913, PLR0917 - the rules need all of it
    fleet: Fleet, engine: Engine, cause: Cause, why: str, at: datetime, policy: Policy
) -> list[Event]:
    if engine.holds is None:
        return []
    return attempt_ended(fleet, fleet.jobs[engine.holds], cause, why, at, policy)
