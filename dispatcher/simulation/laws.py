"""What must be true of everything together; looked at now and then, for it takes a while."""

import math
from itertools import islice
from typing import Final

from dispatcher.core.fleet import Fleet
from dispatcher.core.job import Job
from dispatcher.core.queue import Sizes
from dispatcher.core.scheduling import choose_for, obstacle
from dispatcher.simulation.ledger import ViolationError
from projections import Projections

__all__ = ["check_fleet", "check_same", "check_shown"]

CHOICES: Final = 10
"""Engines whose choice is compared with a look at every pending job."""
PENDING: Final = 1_000
"""Pending jobs up to which that is done."""


def check_fleet(fleet: Fleet) -> None:
    """Check all jobs, all engines and the queue."""
    held = {job.job_id: job.holder for job in fleet.jobs.values() if job.holder is not None}
    holds = {e.holds: e.engine_id for e in fleet.engines.values() if e.holds is not None}
    if held != holds or len(set(held.values())) != len(held):
        odd = sorted(set(held.items()) ^ set(holds.items()))
        raise ViolationError(f"the two sides differ on who holds what: {odd[:3]}", *odd[0])
    for engine in fleet.engines.values():
        if engine.holds is not None and not engine.online:
            what = f"engine {engine.engine_id} is offline and holds a job"
            raise ViolationError(what, engine.engine_id, engine.holds)
    for job in fleet.jobs.values():
        _check_job(job)
    pending = [job for job in fleet.jobs.values() if job.status == "pending"]
    queued = sorted(fleet.queue)
    if queued != sorted(job.job_id for job in pending):
        odd_one = min(set(queued) ^ {job.job_id for job in pending}, default=queued[0])
        raise ViolationError("what is queued is not what is pending", odd_one)
    in_line = [job for job in pending if job.job_id not in fleet.queue.paused]
    first = fleet.queue.first(None, lambda _: Sizes(-1.0, math.inf))
    due = min(in_line, key=lambda job: job.place, default=None)
    if first is not due:
        raise ViolationError("the first in the queue is not the first", due.job_id if due else None)
    if len(in_line) <= PENDING:
        in_line.sort(key=lambda job: job.place)
        _check_choices(fleet, in_line)


def _check_job(job: Job) -> None:
    most = max(job.max_retries, 1) - (job.status in {"pending", "assigned"})
    if (
        (job.holder is not None) != (job.status == "assigned")
        or (job.output_url is not None) != (job.status == "completed")
        or (job.progress is not None and job.status != "assigned")
        or not 0 <= job.retries <= most
    ):
        raise ViolationError(f"job {job.job_id} is at odds with itself: {job}", job.job_id)


def _check_choices(fleet: Fleet, in_line: list[Job]) -> None:
    idle = (engine for engine in fleet.engines.values() if engine.idle)
    for engine in islice(idle, CHOICES):
        able = (job.job_id for job in in_line if obstacle(fleet, engine, job) is None)
        choice = choose_for(fleet, engine)
        if (due := next(able, None)) != (choice and choice.job.job_id):
            raise ViolationError(
                f"engine {engine.engine_id} would be given {choice and choice.job.job_id}, but "
                f"nothing keeps it from {due}",
                engine.engine_id,
                due,
            )


def check_same(live: Fleet, rebuilt: Fleet) -> None:
    """Check that folding the events gives the fleet that was live."""
    jobs, engines = live.jobs | rebuilt.jobs, live.engines | rebuilt.engines
    job_id = next((it for it in jobs if live.jobs.get(it) != rebuilt.jobs.get(it)), None)
    engine_id = next(
        (it for it in engines if live.engines.get(it) != rebuilt.engines.get(it)), None
    )
    if (
        job_id is not None
        or engine_id is not None
        or list(live.jobs) != list(rebuilt.jobs)
        or list(live.engines) != list(rebuilt.engines)
        or _queued(live) != _queued(rebuilt)
        or live.newest != rebuilt.newest
        or live.idempotent != rebuilt.idempotent
    ):
        raise ViolationError("folding the events gives another fleet", job_id, engine_id)


def _queued(fleet: Fleet) -> list[tuple[str, bool]]:
    return [(job_id, job_id in fleet.queue.paused) for job_id in fleet.queue]


def check_shown(fleet: Fleet, projections: Projections) -> None:
    """Check that readers see what the rules see."""
    for view in projections.jobs.all():
        job = fleet.jobs[view.job_id]
        shown = (view.status, view.retries, view.attempt, view.output_url, view.progress)
        is_right = shown == (job.status, job.retries, job.attempt, job.output_url, job.progress)
        is_paused = job.job_id in fleet.queue.paused
        if not is_right or (view.not_before is not None) != is_paused:
            raise ViolationError(f"readers see {view}, the rules {job}", job.job_id)
    for engine_view in projections.engines.all():
        engine = fleet.engines[engine_view.engine_id]
        seen = (engine_view.current_job, engine_view.online, engine_view.drained)
        is_right = seen == (engine.holds, engine.online, engine.drained)
        if not is_right or engine_view.blocked != engine.blocked:
            raise ViolationError(f"readers see {engine_view}, the rules {engine}", engine.engine_id)
    if len(projections.jobs.all()) != len(fleet.jobs):
        raise ViolationError("readers and the rules know different jobs")
