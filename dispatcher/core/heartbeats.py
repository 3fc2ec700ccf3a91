"""What follows from a heartbeat (protocol.md 2.1)."""

from datetime import datetime

import msgspec

from dispatcher.core import commands, events
from dispatcher.core.attempts import attempt_ended, cost_of
from dispatcher.core.engine import Engine
from dispatcher.core.events import Event
from dispatcher.core.fleet import Fleet
from dispatcher.core.instances import refusal, replacement
from dispatcher.core.job import Job
from dispatcher.core.policy import Policy
from dispatcher.core.replies import Decision, Orders, Reason, Refused
from dispatcher.core.reports import is_jitter, is_too_large

__all__ = ["heartbeat"]


def heartbeat(
    fleet: Fleet, command: commands.ReportHeartbeat, at: datetime, policy: Policy
) -> Decision:
    """Merge a report: absent fields keep their last values, and only changes are recorded.

    Of numbers that jitter, only those of a report that `is_due` are.
    """
    engine = fleet.engines.get(command.engine_id)
    instance = command.report.get("instance")
    if (fenced := refusal(fleet, command.engine_id, instance)) is not None:
        return fenced
    if engine is None:
        if is_too_large({}, command.report):
            return Decision((), Refused(Reason.REPORT_TOO_LARGE))
        happened: list[Event] = [events.EngineReported(command.engine_id, command.report)]
        return Decision(happened, Orders(cancel=command.current_job))
    known = engine.report
    news = {k: v for k, v in command.report.items() if k not in known or not _same(known[k], v)}
    if news and is_too_large(known, news):
        return Decision((), Refused(Reason.REPORT_TOO_LARGE))
    if news and not command.is_due and is_jitter(fleet, engine, news):
        news = {}
    happened = [events.EngineReported(command.engine_id, news)] if news else []
    if "instance" in news:
        return _restart(fleet, engine, command, happened, at, policy)
    happened += _progress(fleet, engine, command)
    orders = _orders(fleet, engine, command)
    return Decision(happened or [events.EngineSeen(command.engine_id)], orders)


def _restart(  # noqa: PLR0913, PLR0917 - the rules need all of it
    fleet: Fleet,
    engine: Engine,
    command: commands.ReportHeartbeat,
    happened: list[Event],
    at: datetime,
    policy: Policy,
) -> Decision:
    """Let a new instance speak for the engine; it keeps the engine's job if it names that."""
    instance = command.report["instance"]
    job = None if engine.holds is None else fleet.jobs[engine.holds]
    why = None if job is None else _end_by_restart(engine, job, command, policy)
    kept_job = job.job_id if job is not None and why is None else None
    if (replaced := replacement(engine, instance, at, kept_job)) is not None:
        happened.append(replaced)
    if job is not None and why is not None:
        happened += attempt_ended(fleet, job, "engine_restarted", why, at, policy)
        return Decision(happened, Orders(cancel=command.current_job, drain=engine.drained))
    happened += _progress(fleet, engine, command)
    return Decision(happened, _orders(fleet, engine, command))


def _end_by_restart(
    engine: Engine, job: Job, command: commands.ReportHeartbeat, policy: Policy
) -> str | None:
    """Return why the restart ends the attempt at the engine's job; `None` if it goes on."""
    if command.current_job != job.job_id:
        return f"engine {engine.engine_id} was restarted and no longer has the job"
    if engine.tells_instance and cost_of(job, "engine_restarted", policy).is_last:
        return f"engine {engine.engine_id} was restarted again and again while it had the job"
    return None


def _orders(fleet: Fleet, engine: Engine, command: commands.ReportHeartbeat) -> Orders:
    """Tell an engine that the job it named is no longer its own, and whether it is drained."""
    named = command.current_job
    is_its_own = named is None or (
        engine.holds == named and command.attempt in {None, fleet.jobs[named].attempt}
    )
    return Orders(cancel=None if is_its_own else named, drain=engine.drained)


def _progress(fleet: Fleet, engine: Engine, command: commands.ReportHeartbeat) -> list[Event]:
    if command.progress is None or engine.holds is None or engine.holds != command.current_job:
        return []
    job = fleet.jobs[engine.holds]
    if command.attempt not in {None, job.attempt} or command.progress == job.progress:
        return []
    return [events.JobProgressed(job.job_id, engine.engine_id, job.attempt, command.progress)]


def _same(old: object, new: object) -> bool:
    """Compare JSON values: `True == 1` in Python, but not in JSON."""
    if isinstance(old, str) or isinstance(new, str):
        return old == new
    return old == new and msgspec.json.encode(old) == msgspec.json.encode(new)
