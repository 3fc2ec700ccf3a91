"""All the rules of the protocol.

`decide(fleet, command)` gives the events that grant a command, which may be none, or a `Rejected`
that says why not. It changes nothing and knows no clock; `fleet.evolve` makes the events true.
"""

from enum import Enum
from typing import assert_never

import msgspec

from dispatcher.commands import (
    AssignJob,
    Command,
    CompleteJob,
    FailJob,
    ReportBenchmark,
    ReportHeartbeat,
    SubmitJob,
)
from dispatcher.events import (
    EngineBenchmarked,
    EngineReported,
    EngineSeen,
    Event,
    JobAssigned,
    JobCompleted,
    JobFailedPermanently,
    JobRequeued,
    JobSubmitted,
)
from dispatcher.fleet import Fleet
from dispatcher.scheduling import choose_any, choose_for

__all__ = ["Reason", "Rejected", "decide"]


class Reason(Enum):
    """Why a command was refused, in the words of the protocol."""

    JOB_NOT_FOUND = "Job not found"
    ENGINE_NOT_FOUND = "Engine not found"
    JOB_IS_FINAL = "Bad Request: Job is already in a final state."
    JOB_ID_TAKEN = "Conflict: a job with this id exists already."


class Rejected(msgspec.Struct, frozen=True):
    """A refusal. Nothing has changed and nothing is recorded."""

    reason: Reason


def decide(fleet: Fleet, command: Command) -> list[Event] | Rejected:
    """Say what follows from a command, given all that has happened so far."""
    match command:
        case SubmitJob():
            return _submit(fleet, command)
        case ReportHeartbeat():
            return _heartbeat(fleet, command)
        case ReportBenchmark(engine_id, benchmark_time):
            if engine_id not in fleet.engines:
                return Rejected(Reason.ENGINE_NOT_FOUND)
            return [EngineBenchmarked(engine_id, benchmark_time)]
        case CompleteJob():
            return _complete(fleet, command)
        case FailJob():
            return _fail(fleet, command)
        case AssignJob():
            return _assign(fleet, command)
        case _:
            assert_never(command)


def _submit(fleet: Fleet, command: SubmitJob) -> list[Event] | Rejected:
    if command.job_id in fleet.jobs:
        return Rejected(Reason.JOB_ID_TAKEN)
    return [
        JobSubmitted(
            job_id=command.job_id,
            source_url=command.source_url,
            target_codec=command.target_codec,
            job_size=command.job_size,
            max_retries=command.max_retries,
        )
    ]


def _heartbeat(fleet: Fleet, command: ReportHeartbeat) -> list[Event]:
    """Merge: a field that is absent keeps its last value, and only what is new is recorded."""
    engine = fleet.engines.get(command.engine_id)
    if engine is None:
        return [EngineReported(command.engine_id, command.report)]
    known = engine.report
    news = {k: v for k, v in command.report.items() if k not in known or not _same(known[k], v)}
    return [EngineReported(command.engine_id, news) if news else EngineSeen(command.engine_id)]


def _same(old: object, new: object) -> bool:
    """Compare JSON values: `True == 1` in Python, but not to a reader of JSON."""
    return old == new and msgspec.json.encode(old) == msgspec.json.encode(new)


def _complete(fleet: Fleet, command: CompleteJob) -> list[Event] | Rejected:
    """Accept the output for any job that is not final: late work is still finished work."""
    job = fleet.jobs.get(command.job_id)
    if job is None:
        return Rejected(Reason.JOB_NOT_FOUND)
    if job.status == "completed" and job.output_url == command.output_url:
        return []
    if job.final:
        return Rejected(Reason.JOB_IS_FINAL)
    return [JobCompleted(job.job_id, job.holder, job.attempt, command.output_url)]


def _fail(fleet: Fleet, command: FailJob) -> list[Event] | Rejected:
    """Re-queue until `max_retries` failures have been counted; 0 and 1 both allow one attempt."""
    job = fleet.jobs.get(command.job_id)
    if job is None:
        return Rejected(Reason.JOB_NOT_FOUND)
    if job.final:
        return Rejected(Reason.JOB_IS_FINAL)
    retries = job.retries + 1
    outcome = JobRequeued if retries < job.max_retries else JobFailedPermanently
    return [outcome(job.job_id, job.holder, job.attempt, retries, command.error_message)]


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
    job, engine, rule = choice
    return [JobAssigned(job.job_id, engine.engine_id, job.attempt + 1, rule)]
