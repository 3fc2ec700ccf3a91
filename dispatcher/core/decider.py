"""All the rules of the protocol.

`decide(fleet, command, at, policy)` returns what follows from a command: the resulting events, if
any, and the reply to the caller. It changes nothing and reads no clock: `at` is the time of the
command. `fleet.evolve` applies the events. How attempts end is in `attempts`, heartbeats are in
`heartbeats`, and what the passing of time brings about is in `due`.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Literal, assert_never

from msgspec import UNSET

from dispatcher.core import commands, events
from dispatcher.core.attempts import attempt_ended, blame_for_source
from dispatcher.core.commands import Command
from dispatcher.core.due import end_held_job, when_due
from dispatcher.core.events import Event
from dispatcher.core.fleet import EPOCH, MICROSECOND, Engine, Fleet
from dispatcher.core.heartbeats import heartbeat
from dispatcher.core.holders import foreign_answer, late_answer
from dispatcher.core.instances import refusal
from dispatcher.core.job import NO_SETBACKS, Job
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
    Submitted,
)
from dispatcher.core.scheduling import choose_any, choose_for
from dispatcher.core.texts import bounded, shortened

__all__ = ["Decision", "decide", "held_by", "refusals"]


def decide(fleet: Fleet, command: Command, at: datetime, policy: Policy) -> Decision:
    """Return what follows from a command, given all past events."""
    match command:
        case commands.SubmitJob():
            return _submit(fleet, command, at, policy)
        case commands.SubmitJobs(submissions):
            return _submit_all(fleet, submissions, at, policy)
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


def refusals(fleet: Fleet, submissions: Iterable[commands.SubmitJob]) -> list[Refused | None]:
    """Return for each of many submissions, given all before it, why it would be refused."""
    ids, keys = set[str](), dict[str, commands.SubmitJob]()
    found: list[Refused | None] = []
    for submission in submissions:
        job_id, key = submission.job_id, submission.idempotency_key
        first = None if key is None else fleet.idempotent.get(key) or keys.get(key)
        reason: Reason | None = None
        if job_id is not None and (job_id in fleet.jobs or job_id in ids):
            reason = Reason.JOB_ID_TAKEN
        elif first is not None and _content(submission) != _content(first):
            reason = Reason.KEY_REUSED
        elif first is None:
            if job_id is not None:
                ids.add(job_id)
            if key is not None:
                keys[key] = submission
        found.append(None if reason is None else Refused(reason))
    return found


def _submit_all(
    fleet: Fleet, submissions: Iterable[commands.SubmitJob], at: datetime, policy: Policy
) -> Decision:
    """Decide submissions one by one, each given the events of those before it."""
    before, replies = _Submissions(fleet, at), list[JobIs | Refused]()
    for submission in submissions:
        submitted, reply = _submission(before, submission, policy)
        if submitted is not None:
            before.add(submitted)
        replies.append(reply)
    return Decision([*before.happened.values()], Submitted(tuple(replies)))


def _submit(fleet: Fleet, command: commands.SubmitJob, at: datetime, policy: Policy) -> Decision:
    submitted, reply = _submission(_Submissions(fleet, at), command, policy)
    return Decision(() if submitted is None else (submitted,), reply)


class _Submissions:
    """The submissions of the past, and those that the same decision adds to them at a time."""

    def __init__(self, fleet: Fleet, at: datetime) -> None:
        self.happened = dict[str, events.JobSubmitted]()
        self._fleet = fleet
        self._with_key = dict[str, events.JobSubmitted]()
        self._micros = (at - EPOCH) // MICROSECOND
        self._counter = 0
        self.arrived_at = max(at, fleet.newest)  # none passes earlier ones if the clock is set back

    def is_id(self, job_id: str) -> bool:
        return job_id in self._fleet.jobs or job_id in self.happened

    def free_id(self) -> str:
        """Return an unused id of the form `{microseconds}_{counter}` (protocol.md)."""
        while self.is_id(job_id := f"{self._micros}_{self._counter}"):
            self._counter += 1
        return job_id

    def with_key(self, key: str) -> events.JobSubmitted | None:
        return self._fleet.idempotent.get(key) or self._with_key.get(key)

    def add(self, submitted: events.JobSubmitted) -> None:
        self.happened[submitted.job_id] = submitted
        if submitted.idempotency_key is not None:
            self._with_key[submitted.idempotency_key] = submitted


def _submission(
    before: _Submissions, command: commands.SubmitJob, policy: Policy
) -> tuple[events.JobSubmitted | None, JobIs | Refused]:
    """Queue a job, or return the one that was queued with the same key."""
    job_id, key = command.job_id, command.idempotency_key
    if job_id is None:
        job_id = before.free_id()
    elif before.is_id(job_id):
        return None, Refused(Reason.JOB_ID_TAKEN)
    if key is not None and (first := before.with_key(key)) is not None:
        if _content(command) != _content(first):
            return None, Refused(Reason.KEY_REUSED)
        return None, JobIs(first.job_id, is_new=False)
    early_s = command.priority * policy.priority_point_s
    submitted = events.JobSubmitted(
        job_id=job_id,
        source_url=command.source_url,
        target_codec=command.target_codec,
        job_size=command.job_size,
        max_retries=command.max_retries,
        priority=command.priority,
        waits_since=before.arrived_at - timedelta(seconds=early_s)
        if early_s
        else before.arrived_at,
        idempotency_key=key,
        arrived_at=before.arrived_at,
        recipe=UNSET if command.recipe is None else command.recipe,
        output_name=UNSET if command.output_name is None else command.output_name,
        needs=command.needs or UNSET,
    )
    return submitted, JobIs(job_id, is_new=True)


def _content(it: commands.SubmitJob | events.JobSubmitted) -> tuple[object, ...]:
    return (
        *(it.source_url, it.target_codec, it.job_size, it.max_retries, it.priority),
        _recipe_asked_for(it),
        it.output_name or None,
    )


def _recipe_asked_for(it: commands.SubmitJob | events.JobSubmitted) -> object:
    """Return the name of the recipe, which may stand for another one now, or all its fields."""
    return (it.recipe.get("name") or it.recipe) if it.recipe else None


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
    | commands.PrioritizeJob,
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
            return Decision((events.JobCancelled(job.job_id, job.holder, job.attempt),), DONE)
        case commands.RetryJob():
            if job.status not in MAY_HAPPEN_TO[events.JobRetried]:
                return _refused(Reason.JOB_NOT_RETRYABLE)
            return Decision((events.JobRetried(job.job_id),), DONE)
        case commands.PrioritizeJob(_, priority):
            return _prioritize(job, priority, policy)
        case _:
            assert_never(command)


def _prioritize(job: Job, priority: int, policy: Policy) -> Decision:
    """Give a waiting job the place that it would have if it had been submitted like this."""
    if job.status != "pending":
        status = job.status.replace("_", " ")
        why = f"Conflict: job {job.job_id} is {status}, and only one that waits has a priority."
        return Decision((), Refused(Reason.JOB_NOT_WAITING, why))
    if job.priority == priority:
        return Decision((), DONE)
    arrived_at = EPOCH + timedelta(microseconds=job.place.waits_since_us + job.early_us)
    waits_since = arrived_at - timedelta(seconds=priority * policy.priority_point_s)
    return Decision((events.JobReprioritized(job.job_id, priority, waits_since),), DONE)


def _forbidden(
    fleet: Fleet, job: Job, command: commands.CompleteJob | commands.FailJob
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
    if job.setbacks is NO_SETBACKS:  # as most jobs complete
        return Decision((completed,), DONE)
    return Decision((completed, *blame_for_source(fleet, job, at, policy)), DONE)


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
    cause = "reported" if command.cause == "given_back" and not is_holders else command.cause
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
