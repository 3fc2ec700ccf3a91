"""Turning the core's replies into responses (protocol.md, Parts 1 and 2).

A reply is rendered when it is durable, with the projections as of the last event of its command. So
it shows what was true then, and nothing later.
"""

from typing import Final
from urllib.parse import quote

import msgspec

from dispatcher.api.answers import Answer, json_answer, text_answer
from dispatcher.api.errors import status_of
from dispatcher.core import commands
from dispatcher.core.dispatcher import Settle
from dispatcher.core.replies import Done, Ended, JobIs, NoWork, Orders, Refused, Requeued, Submitted
from dispatcher.tags import in_words, split
from projections import Projections
from projections.jobs import as_submitted

__all__ = ["WARNING_HEADER", "error_line", "render", "render_each"]

WARNING_HEADER: Final = "X-Dispatcher-Warning"
"""Tells of what was accepted, but may not be what was meant. (RFC 9111 took `Warning` away.)"""
SHOWN: Final = 60
"""Characters of a codec in a warning."""
_encode = msgspec.json.Encoder().encode


def render(settled: Settle, projections: Projections) -> Answer:
    """Word a reply that is not a refusal; `errors` words those."""
    match settled.command, settled.reply:
        case command, JobIs(job_id, is_new):
            if (job := projections.jobs.get(job_id)) is None:
                raise LookupError(job_id)
            if not isinstance(command, commands.SubmitJob):
                return json_answer(job)
            # A job that was submitted before may have come far since.
            shown = job if is_new else as_submitted(job, command.priority)
            warning = _warning(command, projections)
            return json_answer(
                shown, headers=None if warning is None else {WARNING_HEADER: warning}
            )
        case _, NoWork():
            return Answer(204)
        case commands.ReportHeartbeat(engine_id), Orders(cancel, drain):
            told = [] if cancel is None else [f"cancel {quote(cancel, safe='')}"]
            told += ["drain"] * drain
            headers = {"X-Dispatcher-Order": ", ".join(told)} if told else None
            return text_answer(200, f"Heartbeat received from engine {engine_id}", headers)
        case commands.FailJob(job_id), Requeued():
            text = f"Job {job_id} re-queued"
        case commands.FailJob(job_id), Ended():
            text = f"Job {job_id} failed permanently"
        case commands.CompleteJob(job_id), Done():
            text = f"Job {job_id} marked as completed"
        case commands.SplitJob(job_id, parts), Done():
            text = f"Job {job_id} split into {len(parts)} parts"
        case commands.CancelJob(job_id), Done():
            text = f"Job {job_id} cancelled"
        case commands.RetryJob(job_id), Done():
            text = f"Job {job_id} re-queued"
        case commands.PrioritizeJob(job_id, priority), Done():
            text = f"Job {job_id} has priority {priority}"
        case commands.ReportBenchmark(engine_id), Done():
            text = f"Benchmark result received from engine {engine_id}"
        case commands.DrainEngine(engine_id), Done():
            text = f"Engine {engine_id} drained"
        case commands.ResumeEngine(engine_id), Done():
            text = f"Engine {engine_id} resumed"
        case commands.ForgetEngine(engine_id), Done():
            text = f"Engine {engine_id} forgotten"
        case command, reply:
            raise TypeError(f"no caller of {type(command).__name__} gets {type(reply).__name__}")
    return text_answer(200, text)


def _warning(command: commands.SubmitJob, projections: Projections) -> str | None:
    """Say that no engine offers what a job needs, if none does."""
    codec, needs = command.target_codec, command.needs
    if projections.engines.is_offered(codec, needs):
        return None
    shown = ascii(codec if len(codec) <= SHOWN else f"{codec[:SHOWN]}…")
    if needs and projections.engines.is_offered(codec):
        tags, others = split(needs)
        what = f"encodes {shown}"
        what += f" and can do what the job needs, {', '.join(others)}" if others else ""
        what += f" and has {in_words(tags)}" if tags else ""
    else:
        what = f"encodes {shown}"
    return f"no engine that is known {what}; the job waits until one does"


def render_each(settled: Settle, projections: Projections) -> list[bytes]:
    """Word the reply to many submissions: a line of JSON for each."""
    if not isinstance(settled.command, commands.SubmitJobs) or not isinstance(
        settled.reply, Submitted
    ):
        raise TypeError(f"{type(settled.command).__name__} is no part of a batch")
    lines = []
    for submission, reply in zip(settled.command.submissions, settled.reply.replies, strict=True):
        if isinstance(reply, Refused):
            lines.append(error_line(status_of(reply), reply.text))
            continue
        if (job := projections.jobs.get(reply.job_id)) is None:
            raise LookupError(reply.job_id)
        shown = _encode(job if reply.is_new else as_submitted(job, submission.priority))
        if (warning := _warning(submission, projections)) is None:
            lines.append(b'{"status":200,"job":%b}' % shown)
        else:
            lines.append(b'{"status":200,"job":%b,"warning":%b}' % (shown, _encode(warning)))
    return lines


def error_line(status: int, text: str) -> bytes:
    """Word the error of one of many submissions, as a line of JSON."""
    return _encode({"status": status, "error": text.encode(errors="replace").decode()})
