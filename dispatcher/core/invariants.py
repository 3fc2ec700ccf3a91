"""Invariants of a fleet.

The checks look at everything, so they take a while. Tests run them after every step or at the end,
the simulation now and then. A server does not run them.

Laws:
- Whatever events were folded, in whatever order: `check_fleet` and `check_choices` hold.
- If the rules decided the events: `check_jobs` holds too, and `check_decided` after a whole step.
- Folding the same events gives the same fleet: `check_same`.
"""

import math
from collections.abc import Mapping
from itertools import islice

from dispatcher.core.fleet import Fleet
from dispatcher.core.job import Job
from dispatcher.core.queue import Sizes
from dispatcher.core.scheduling import choose_for, obstacle

__all__ = [
    "ViolationError",
    "check_choices",
    "check_decided",
    "check_fleet",
    "check_jobs",
    "check_same",
]


class ViolationError(AssertionError):
    """An invariant is violated. `names` are the jobs and engines that it is about."""

    def __init__(self, what: str, *names: str | None) -> None:
        super().__init__(what)
        self.names = tuple(dict.fromkeys(name for name in names if name is not None))


def check_fleet(fleet: Fleet) -> None:
    """Check that jobs and engines agree on who holds what, and check the queue."""
    held = {job.job_id: job.holder for job in fleet.jobs.values() if job.holder is not None}
    holds = {e.holds: e.engine_id for e in fleet.engines.values() if e.holds is not None}
    if held != holds or len(set(held.values())) != len(held):
        mismatches = sorted(set(held.items()) ^ set(holds.items())) or sorted(held.items())
        raise ViolationError(
            f"the two sides differ on who holds what: {mismatches[:3]}", *mismatches[0]
        )
    for job in fleet.jobs.values():
        if (job.holder is not None) != (job.status == "assigned"):
            what = f"job {job.job_id} is {job.status}, and its holder is {job.holder}"
            raise ViolationError(what, job.job_id, job.holder)
    _check_queue(fleet)


def check_jobs(fleet: Fleet) -> None:
    """Check that no job has too many failures, and that its fields agree with its status."""
    for job in fleet.jobs.values():
        most = max(job.max_retries, 1) - (not job.final)
        if (
            (job.output_url is not None) != (job.status == "completed")
            or (job.progress is not None and job.status != "assigned")
            or not 0 <= job.retries <= most
        ):
            raise ViolationError(f"job {job.job_id} is at odds with itself: {job}", job.job_id)


def check_decided(fleet: Fleet) -> None:
    """Check the fleet and its jobs, and that no offline engine still holds a job."""
    check_fleet(fleet)
    check_jobs(fleet)
    for job_id in fleet.queue.blocked:
        job = fleet.jobs[job_id]
        if all(it.final for it in fleet.here(job.ties.waits_for)):
            raise ViolationError(f"job {job_id} waits for nothing that is to come", job_id)
    for engine in fleet.engines.values():
        if engine.holds is not None and not engine.online:
            what = f"engine {engine.engine_id} is offline and holds a job"
            raise ViolationError(what, engine.engine_id, engine.holds)


def check_choices(fleet: Fleet, *, at_most: int | None = None) -> None:
    """Compare what the queue finds for each engine with a scan of every pending job.

    If `at_most` is given, only that many idle and that many busy engines are checked.
    """
    in_line = _in_line(fleet)
    idle = (engine for engine in fleet.engines.values() if engine.idle)
    busy = (engine for engine in fleet.engines.values() if not engine.idle)
    for engine in (*islice(idle, at_most), *islice(busy, at_most)):
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
    """Check that folding the events gives the same fleet as the live one."""
    if (job_id := _differing(live.jobs, rebuilt.jobs)) is not None:
        raise ViolationError("folding the events gives another fleet", job_id)
    if (engine_id := _differing(live.engines, rebuilt.engines)) is not None:
        raise ViolationError("folding the events gives another fleet", engine_id)
    if (
        list(live.jobs) != list(rebuilt.jobs)
        or list(live.engines) != list(rebuilt.engines)
        or list(live.queue) != list(rebuilt.queue)
        or live.queue.paused != rebuilt.queue.paused
        or live.queue.blocked.keys() != rebuilt.queue.blocked.keys()
        or live.newest != rebuilt.newest
        or live.idempotent != rebuilt.idempotent
    ):
        raise ViolationError("folding the events gives another fleet")


def _differing(live: Mapping[str, object], rebuilt: Mapping[str, object]) -> str | None:
    return next((name for name in (*live, *rebuilt) if live.get(name) != rebuilt.get(name)), None)


def _check_queue(fleet: Fleet) -> None:
    blocked = sorted(it.job_id for it in fleet.jobs.values() if it.ties.waits_for)
    if blocked != sorted(fleet.queue.blocked):
        raise ViolationError("what is blocked is not what waits for others", *blocked[:1])
    queued = sorted(fleet.queue)
    pending = sorted(job.job_id for job in fleet.jobs.values() if job.status == "pending")
    if queued != pending or len(fleet.queue) != len(pending):
        mismatch = min(set(queued) ^ set(pending), default=next(iter(queued), None))
        raise ViolationError("what is queued is not what is pending", mismatch)
    in_line = _in_line(fleet)
    first = fleet.queue.first(None, lambda _: Sizes(-1.0, math.inf))
    due = in_line[0] if in_line else None
    if first is not due:
        raise ViolationError("the first in the queue is not the first", due.job_id if due else None)
    for ahead, job in enumerate(in_line):
        if fleet.queue.ahead_of(job.place) != ahead:
            raise ViolationError(f"{ahead} jobs are ahead of {job.job_id}", job.job_id)


def _in_line(fleet: Fleet) -> list[Job]:
    """Return the pending jobs that are not in a pause and wait for no others, in order."""
    jobs = (job for job in fleet.jobs.values() if job.status == "pending")
    free = (job for job in jobs if not job.ties.waits_for)
    in_line = (job for job in free if job.job_id not in fleet.queue.paused)
    return sorted(in_line, key=lambda job: job.place)
