"""Turning the core's replies into responses (protocol.md, Parts 1 and 2).

A reply is rendered when it is durable, with the projections as of the last event of its command. So
it shows what was true then, and nothing later.
"""

from typing import assert_never
from urllib.parse import quote

from dispatcher.api.answers import Answer, json_answer, text_answer
from dispatcher.core import commands
from dispatcher.core.commands import Command
from dispatcher.core.dispatcher import Settle
from dispatcher.core.replies import Done, Ended, JobIs, NoWork, Orders, Refused, Requeued
from dispatcher.serving.tickets import RefusedError
from projections import Projections
from projections.jobs import as_submitted

__all__ = ["render"]


def render(settled: Settle, projections: Projections) -> Answer:
    """Turn a reply into the protocol's response. A refusal is raised; `errors` responds to it."""
    command, reply = settled.command, settled.reply
    match reply:
        case JobIs(job_id, is_new):
            if (job := projections.jobs.get(job_id)) is None:
                raise LookupError(job_id)
            # A job that was submitted before may have changed since.
            is_repeat = isinstance(command, commands.SubmitJob) and not is_new
            return json_answer(as_submitted(job) if is_repeat else job)
        case NoWork():
            return Answer(204)
        case Orders():
            return _heartbeat_answer(_field(command, "engine_id"), reply)
        case Requeued():
            return text_answer(200, f"Job {_field(command, 'job_id')} re-queued")
        case Ended():
            return text_answer(200, f"Job {_field(command, 'job_id')} failed permanently")
        case Done():
            return text_answer(200, _done(command))
        case Refused():
            raise RefusedError(reply)
        case _:
            assert_never(reply)


def _heartbeat_answer(engine_id: str, orders: Orders) -> Answer:
    texts = [] if orders.cancel is None else [f"cancel {quote(orders.cancel, safe='')}"]
    if orders.drain:
        texts.append("drain")
    headers = {"X-Dispatcher-Order": ", ".join(texts)} if texts else None
    return text_answer(200, f"Heartbeat received from engine {engine_id}", headers)


def _field(command: Command | None, field: str) -> str:
    name: str = getattr(command, field)
    return name


def _done(command: Command | None) -> str:
    match command:
        case commands.CompleteJob(job_id):
            return f"Job {job_id} marked as completed"
        case commands.CancelJob(job_id):
            return f"Job {job_id} cancelled"
        case commands.RetryJob(job_id):
            return f"Job {job_id} re-queued"
        case commands.ReportBenchmark(engine_id):
            return f"Benchmark result received from engine {engine_id}"
        case commands.DrainEngine(engine_id):
            return f"Engine {engine_id} drained"
        case commands.ResumeEngine(engine_id):
            return f"Engine {engine_id} resumed"
        case commands.ForgetEngine(engine_id):
            return f"Engine {engine_id} forgotten"
        case _:
            raise TypeError(f"no caller is told that {type(command).__name__} is done")
