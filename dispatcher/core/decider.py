"""All the rules of the protocol.

`decide(fleet, command, at, policy)` returns what follows from a command: the resulting events, if
any, and the reply to the caller. It changes nothing and reads no clock: `at` is the time of the
command. `fleet.evolve` applies the events. Submissions are in `submissions`, how attempts end is in
`attempts`, what jobs have to do with each other is in `dependencies`, how films are split is in
`splitting`, heartbeats are in `heartbeats`, and what the passing of time brings about is in `due`.
"""

from datetime import datetime, timedelta
from typing import Literal, assert_never

from msgspec import UNSET

from dispatcher.core import commands, events
from dispatcher.core.attempts import attempt_ended, blame_for_source
from dispatcher.core.commands import Command
from dispatcher.core.dependencies import ended_with, released_by, retried, useless_part
from dispatcher.core.due import end_held_job, when_due
from dispatcher.core.engine import Engine
from dispatcher.core.events import Event
from dispatcher.core.fleet import EPOCH, Fleet
from dispatcher.core.heartbeats import heartbeat
from dispatcher.core.holders import foreign_answer, late_answer
from dispatcher.core.instances import refusal
from dispatcher.core.job import NO_SETBACKS, NO_TIES, Job
from dispatcher.core.lifecycles import MAY_HAPPEN_TO
from dispatcher.core.policy import Policy
from dispatcher.core.replies import (
    DONE,
    NO_WORK,
    Decision,
    Ended,
    JobIs,
    Reason,
    Refused,
    Requeued,
)
from dispatcher.core.scheduling import choose_any, choose_for
from dispatcher.core.splitting import split
from dispatcher.core.submissions import submit, submit_all
from dispatcher.core.texts import bounded, shortened

__all__ = ["Decision", "decide", "held_by"]


def decide(fleet: Fleet, command: Command, at: datetime, policy: Policy) -> Decision:
    """Return what follows from a command, given all past events."""
    match command:
        case commands.SubmitJob():
            return submit(fleet, command, at, policy)
        case commands.SubmitJobs(submissions):
            return submit_all(fleet, submissions, at, policy)
        case commands.AssignJob(engine_id, _, instance):
            return refusal(fleet, engine_id, instance) or _assign(fleet, command)
        case commands.ReportHeartbeat():
            return heartbeat(fleet, command, at, policy)
        case (
            commands.CompleteJob()
            | commands.FailJob()
            | commands.CancelJob()
            | commands.RetryJob()
            | commands.PrioritizeJob()
            | commands.SplitJob()
        ):
            job = fleet.jobs.get(command.job_id)
            if job is None:
                return _refused(Reason.JOB_NOT_FOUND)
            return _about_a_job(fleet, job, command, at, policy)
        case (
            commands.ReportBenchmark()
            | commands.DrainEngine()
            | commands.ResumeEngine()
            | commands.ForgetEngine()
        ):
            engine = fleet.engines.get(command.engine_id)
            if engine is None:
                return _refused(Reason.ENGINE_NOT_FOUND)
            return Decision(_about_an_engine(fleet, engine, command, at, policy), DONE)
        case (
            commands.LoseEngine()
            | commands.TimeOutJob()
            | commands.NoticeAsking()
            | commands.TakeBackJob()
            | commands.UnblockEngine()
            | commands.ForgetLostEngine()
            | commands.ReleaseJob()
        ):
            return Decision(when_due(fleet, command, at, policy), DONE)
        case _:
            assert_never(command)


def held_by(fleet: Fleet, command: commands.AssignJob) -> JobIs | None:
    """Return the job that an engine already holds, if it holds one and asks to resume."""
    if not command.resume or command.engine_id is None:
        return None
    engine = fleet.engines.get(command.engine_id)
    return None if engine is None or engine.holds is None else JobIs(engine.holds, is_new=False)


def _refused(reason: Reason) -> Decision:
    return Decision((), Refused(reason))


def _assign(fleet: Fleet, command: commands.AssignJob) -> Decision:
    """Assign at most one job. An engine that resumes is given the job that it holds."""
    if command.engine_id is None:
        choice = choose_any(fleet)
    elif (engine := fleet.engines.get(command.engine_id)) is None:
        return _refused(Reason.ENGINE_NOT_FOUND)
    elif (held := held_by(fleet, command)) is not None:
        return Decision((), held)
    else:
        choice = choose_for(fleet, engine)
    if choice is None:
        return Decision((), NO_WORK)
    job, engine, rule, considered = choice
    assigned = events.JobAssigned(job.job_id, engine.engine_id, job.attempt + 1, rule, considered)
    return Decision((assigned,), JobIs(job.job_id, is_new=True))


def _about_a_job(
    fleet: Fleet,
    job: Job,
    command: commands.CompleteJob
    | commands.FailJob
    | commands.CancelJob
    | commands.RetryJob
    | commands.PrioritizeJob
    | commands.SplitJob,
    at: datetime,
    policy: Policy,
) -> Decision:
    match command:
        case commands.CompleteJob():
            forbidden = _forbidden(fleet, job, command)
            return forbidden or _complete(fleet, job, command, at, policy)
        case commands.FailJob():
            forbidden = _forbidden(fleet, job, command)
            return forbidden or _fail(fleet, job, command, at, policy)
        case commands.CancelJob():
            if job.status == "cancelled":
                return Decision((), DONE)
            if job.final:
                return _refused(Reason.JOB_IS_FINAL)
            cancelled = events.JobCancelled(job.job_id, job.holder, job.attempt)
            return Decision((cancelled, *ended_with(fleet, job, "cancelled")), DONE)
        case commands.RetryJob():
            if job.status not in MAY_HAPPEN_TO[events.JobRetried]:
                return _refused(Reason.JOB_NOT_RETRYABLE)
            if (why := useless_part(fleet, job)) is not None:
                text = f"Bad Request: {why}; retry that instead."
                return Decision((), Refused(Reason.JOB_NOT_RETRYABLE, text))
            return Decision(retried(fleet, job), DONE)
        case commands.PrioritizeJob(_, priority):
            return _prioritize(fleet, job, priority, policy)
        case commands.SplitJob():
            return _forbidden(fleet, job, command) or split(fleet, job, command, at)
        case _:
            assert_never(command)


def _prioritize(fleet: Fleet, job: Job, priority: int, policy: Policy) -> Decision:
    """Give a waiting job the place that it would have if it had been submitted like this.

    The parts of a film get it too.
    """
    if job.status != "pending":
        status = job.status.replace("_", " ")
        why = f"Conflict: job {job.job_id} is {status}, and only one that waits has a priority."
        return Decision((), Refused(Reason.JOB_NOT_WAITING, why))
    waiting = [job, *(it for it in fleet.here(job.ties.parts) if it.status == "pending")]
    happened = []
    for it in waiting:
        if it.priority != priority:
            arrived_at = EPOCH + timedelta(microseconds=it.place.waits_since_us + it.early_us)
            waits_since = arrived_at - timedelta(seconds=priority * policy.priority_point_s)
            happened.append(events.JobReprioritized(it.job_id, priority, waits_since))
    return Decision(happened, DONE)


def _forbidden(
    fleet: Fleet, job: Job, command: commands.CompleteJob | commands.FailJob | commands.SplitJob
) -> Decision | None:
    """Refuse an answer by its sender, whatever it says; `None` if the sender may give it."""
    if (why := foreign_answer(job, command)) is not None:
        return Decision((), Refused(Reason.NOT_ITS_ENGINE, why))
    return refusal(fleet, command.engine_id or job.holder, command.instance)


def _complete(
    fleet: Fleet, job: Job, command: commands.CompleteJob, at: datetime, policy: Policy
) -> Decision:
    """Accept the output for any job that is not final: late work is still finished work.

    An answer that names its engine or attempt must come from the present holder.
    """
    if job.status == "completed" and job.output_url == command.output_url:
        return Decision((), DONE)
    if (why := late_answer(job, command)) is not None:
        return _too_late(command, "complete", why)
    if job.final:
        return _refused(Reason.JOB_IS_FINAL)
    result = UNSET if command.result is None else bounded(command.result)
    completed = events.JobCompleted(job.job_id, job.holder, job.attempt, command.output_url, result)
    if job.setbacks is NO_SETBACKS and job.ties is NO_TIES:  # as most jobs complete
        return Decision((completed,), DONE)
    blamed = blame_for_source(fleet, job, at, policy)
    return Decision((completed, *blamed, *released_by(fleet, job)), DONE)


def _fail(
    fleet: Fleet, job: Job, command: commands.FailJob, at: datetime, policy: Policy
) -> Decision:
    """Re-queue the job until `max_retries` failures are counted; 0 and 1 both allow one attempt.

    Only its holder can give a job back, at no cost; from anybody else that is a failure.
    """
    if (why := late_answer(job, command)) is not None:
        return _too_late(command, "fail", why)
    if job.final:
        return _refused(Reason.JOB_IS_FINAL)
    is_holders = job.holder is not None and command.engine_id == job.holder
    cause = command.cause
    if (cause == "given_back" and not is_holders) or (
        cause == "inexact" and (job.ties.parent is None or job.holder is None)
    ):
        cause = "reported"
    message = shortened(command.error_message)
    happened = attempt_ended(fleet, job, cause, message, at, policy)
    is_requeued = isinstance(happened[0], events.JobRequeued)
    return Decision(happened, Requeued() if is_requeued else Ended())


def _too_late(
    answer: commands.CompleteJob | commands.FailJob,
    kind: Literal["complete", "fail"],
    why: str,
) -> Decision:
    """Refuse a late answer, and record the refusal."""
    refusal = events.AnswerRefused(answer.job_id, answer.engine_id, answer.attempt, kind, why)
    return Decision((refusal,), Refused(Reason.NOT_THE_HOLDER, why))


def _about_an_engine(
    fleet: Fleet,
    engine: Engine,
    command: commands.ReportBenchmark
    | commands.DrainEngine
    | commands.ResumeEngine
    | commands.ForgetEngine,
    at: datetime,
    policy: Policy,
) -> list[Event]:
    match command:
        case commands.ReportBenchmark(engine_id, benchmark_time):
            return [events.EngineBenchmarked(engine_id, benchmark_time)]
        case commands.DrainEngine(engine_id):
            return [] if engine.drained else [events.EngineDrained(engine_id)]
        case commands.ResumeEngine(engine_id):
            is_as_usual = engine.trusted and not engine.fenced
            return [] if is_as_usual else [events.EngineResumed(engine_id)]
        case commands.ForgetEngine(engine_id):
            why = f"engine {engine_id} was taken off the list"
            lost = end_held_job(fleet, engine, "engine_forgotten", why, at, policy)
            return [*lost, events.EngineForgotten(engine_id)]
        case _:
            assert_never(command)
