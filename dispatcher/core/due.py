"""What the dispatcher does by itself as time passes.

`deadlines` and `asking` say when; here is what follows. Each command is checked against the state
first: its engine or job may have changed since it was issued.
"""

from datetime import datetime
from typing import assert_never

from dispatcher.core import commands, events
from dispatcher.core.attempts import attempt_ended
from dispatcher.core.engine import Engine
from dispatcher.core.events import Cause, Event
from dispatcher.core.fleet import Fleet
from dispatcher.core.policy import Policy

__all__ = ["Due", "end_held_job", "when_due"]

Due = (
    commands.LoseEngine
    | commands.TimeOutJob
    | commands.NoticeAsking
    | commands.TakeBackJob
    | commands.UnblockEngine
    | commands.ForgetLostEngine
    | commands.ReleaseJob
)
"""The commands that the dispatcher issues itself."""


def when_due(
    fleet: Fleet,
    command: Due,
    at: datetime,
    policy: Policy,
) -> list[Event]:
    """Return what follows from a command, unless its engine or job has changed in the meantime."""
    match command:
        case commands.LoseEngine(engine_id, silent_s):
            engine = fleet.engines.get(engine_id)
            if engine is None or not engine.online:
                return []
            why = f"engine {engine_id} has been silent for {silent_s:g} s"
            lost = end_held_job(fleet, engine, "engine_silent", why, at, policy)
            return [events.EngineLost(engine_id, silent_s, at), *lost]
        case commands.TimeOutJob(job_id, attempt, after_s, is_stalled):
            job = fleet.jobs.get(job_id)
            if job is None or job.holder is None or job.attempt != attempt:
                return []
            too_long = "showed no progress for" if is_stalled else "took longer than"
            why = f"attempt {attempt} on engine {job.holder} {too_long} {after_s:g} s"
            return attempt_ended(fleet, job, "timed_out", why, at, policy)
        case commands.NoticeAsking(engine_id, job_id):
            engine = fleet.engines.get(engine_id)
            if engine is None or engine.holds != job_id or engine.asks or engine.tells_instance:
                return []
            return [events.EngineAsked(engine_id, job_id)]
        case commands.TakeBackJob(engine_id, job_id, asked_s):
            engine = fleet.engines.get(engine_id)
            if engine is None or engine.holds != job_id or not engine.asks or engine.tells_instance:
                return []
            why = (
                f"engine {engine_id} asked for other work for {asked_s:g} s while it held the job, "
                "so it no longer has it"
            )
            return end_held_job(fleet, engine, "engine_asked", why, at, policy)
        case commands.UnblockEngine(engine_id):
            engine = fleet.engines.get(engine_id)
            if engine is None or engine.blocked_until is None:
                return []
            return [events.EngineUnblocked(engine_id)]
        case commands.ForgetLostEngine(engine_id):
            engine = fleet.engines.get(engine_id)
            if engine is None or engine.online or not engine.trusted:
                return []  # what operators and failures decided of it must not be forgotten
            return [events.EngineForgotten(engine_id)]
        case commands.ReleaseJob(job_id):
            return [events.JobReleased(job_id)] if job_id in fleet.queue.paused else []
        case _:
            assert_never(command)


def end_held_job(  # noqa: PLR0913, PLR0917 - the rules need all of it
    fleet: Fleet, engine: Engine, cause: Cause, why: str, at: datetime, policy: Policy
) -> list[Event]:
    """Return what follows for the job of an engine that no longer has it."""
    if engine.holds is None:
        return []
    return attempt_ended(fleet, fleet.jobs[engine.holds], cause, why, at, policy)
