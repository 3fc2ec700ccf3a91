"""What is true of a fleet, whatever has happened to it."""

import math
from typing import Any

from dispatcher.core.fleet import Fleet
from dispatcher.core.job import Job
from dispatcher.core.queue import Sizes
from dispatcher.core.scheduling import choose_for, obstacle
from projections import Projections

__all__ = ["check_choices", "check_laws", "check_shown", "inside"]


def inside(fleet: Fleet) -> dict[str, Any]:
    """Every field of a fleet as plain values, in order; `repr` tells 1 from 1.0 and from True."""
    return {
        "jobs": [repr(job) for job in fleet.jobs.values()],
        "engines": [repr(engine) for engine in fleet.engines.values()],
        "queue": [(job_id, job_id in fleet.queue.paused) for job_id in fleet.queue],
        "next": [repr(choose_for(fleet, engine)) for engine in fleet.engines.values()],
        "newest": repr(fleet.newest),
        "idempotent": repr(fleet.idempotent),
    }


def check_laws(fleet: Fleet) -> None:
    held = {job.job_id: job.holder for job in fleet.jobs.values() if job.holder is not None}
    holds = {e.holds: e.engine_id for e in fleet.engines.values() if e.holds is not None}
    assert held == holds, "both sides say who holds what"
    assert len(set(held.values())) == len(held), "an engine holds two jobs"
    check_queue(fleet)
    for job in fleet.jobs.values():
        check_job(job)


def check_queue(fleet: Fleet) -> None:
    pending = [job for job in fleet.jobs.values() if job.status == "pending"]
    assert sorted(fleet.queue) == sorted(job.job_id for job in pending), "queued <=> pending"
    assert len(fleet.queue) == len(pending)
    in_line = sorted(
        (job for job in pending if job.job_id not in fleet.queue.paused),
        key=lambda job: job.place,
    )
    first = fleet.queue.first(None, lambda _: Sizes(-1.0, math.inf))
    assert first is (in_line[0] if in_line else None), "the first is not the first"
    for ahead, job in enumerate(in_line):
        assert fleet.queue.ahead_of(job.place) == ahead


def check_job(job: Job) -> None:
    assert (job.holder is not None) == (job.status == "assigned")
    assert (job.output_url is not None) == (job.status == "completed")
    assert job.progress is None or job.status == "assigned"
    most = max(job.max_retries, 1)
    assert 0 <= job.retries <= most
    if job.status in {"pending", "assigned"}:
        assert job.retries < most


def check_choices(fleet: Fleet) -> None:
    """Compare what the queue finds for each engine with a look at every pending job."""
    pending = sorted(
        (job for job in fleet.jobs.values() if job.status == "pending"), key=lambda job: job.place
    )
    for engine in fleet.engines.values():
        able = [job.job_id for job in pending if obstacle(fleet, engine, job) is None]
        choice = choose_for(fleet, engine)
        assert (None if choice is None else choice.job.job_id) == (able[0] if able else None)


def check_shown(fleet: Fleet, projections: Projections) -> None:
    """Readers see of each job and engine what the rules see."""
    assert [view.job_id for view in projections.jobs.all()] == list(fleet.jobs)
    for view in projections.jobs.all():
        job = fleet.jobs[view.job_id]
        assert (view.status, view.retries, view.attempt) == (job.status, job.retries, job.attempt)
        assert (view.output_url, view.error_message) == (job.output_url, job.error_message)
        asked_for = (job.codec, job.size_mb, job.max_retries)
        assert (view.target_codec, view.job_size, view.max_retries) == asked_for
        assert view.progress == job.progress
        assert (view.not_before is not None) == (job.job_id in fleet.queue.paused)
        assert (view.final, view.finished_at is not None) == (job.final, job.final)
        if job.status in {"pending", "assigned"}:
            assert view.assigned_engine == job.holder
    assert [view.engine_id for view in projections.engines.all()] == list(fleet.engines)
    for engine_view in projections.engines.all():
        engine = fleet.engines[engine_view.engine_id]
        assert engine_view.current_job == engine.holds
        assert (engine_view.status == "idle") == engine.idle
        assert (engine_view.online, engine_view.drained) == (engine.online, engine.drained)
        assert engine_view.blocked == engine.blocked
