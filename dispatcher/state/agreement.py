"""A check that the projections and the fleet of one moment agree."""

from collections.abc import Mapping

from dispatcher.core.fleet import Fleet
from dispatcher.core.invariants import ViolationError
from projections import Projections
from projections.engines import EngineView
from projections.jobs import JobView

__all__ = ["check_shown"]


def check_shown(fleet: Fleet, projections: Projections) -> None:
    """Check that the projections show each job and engine as the fleet has it."""
    in_order = sorted(fleet.jobs.values(), key=lambda job: job.place.number)
    if [view.job_id for view in projections.jobs.all()] != [job.job_id for job in in_order]:
        raise ViolationError("readers and the rules know different jobs")
    for view in projections.jobs.all():
        _check_job(view, fleet)
    if [view.engine_id for view in projections.engines.all()] != list(fleet.engines):
        raise ViolationError("readers and the rules know different engines")
    for engine_view in projections.engines.all():
        _check_engine(engine_view, fleet)


def _check_job(view: JobView, fleet: Fleet) -> None:
    job = fleet.jobs[view.job_id]
    is_open = job.status in {"pending", "assigned"}
    is_in_parts = job.status == "pending" and bool(job.ties.parts)  # readers see how many are done
    shown = {
        "status": (view.status, job.status),
        "retries": (view.retries, job.retries),
        "attempt": (view.attempt, job.attempt),
        "output_url": (view.output_url, job.output_url),
        "error_message": (view.error_message, job.error_message),
        "target_codec": (view.target_codec, job.codec),
        "job_size": (view.job_size, job.size_mb),
        "max_retries": (view.max_retries, job.max_retries),
        "priority": (view.priority, job.priority),
        "progress": (None if is_in_parts else view.progress, job.progress),
        "not_before": (view.not_before, fleet.queue.paused.get(job.job_id)),
        "final": (view.final, job.final),
        "finished_at": (view.finished_at is not None, job.final),
        "after": (view.after or (), job.ties.after),
        "parts": (view.parts or (), job.ties.parts),
        "parent": (view.parent or None, job.ties.parent),
        "assigned_engine": (view.assigned_engine if is_open else None, job.holder),
    }
    _raise_if_different(view.job_id, shown)


def _check_engine(view: EngineView, fleet: Fleet) -> None:
    engine = fleet.engines[view.engine_id]
    shown = {
        "current_job": (view.current_job, engine.holds),
        "status": (view.status == "idle", engine.idle),
        "online": (view.online, engine.online),
        "drained": (view.drained, engine.drained),
        "blocked": (view.blocked, engine.blocked),
        "blocked_until": (view.blocked_until, engine.blocked_until),
        "fenced_instances": (view.fenced_instances, engine.fenced),
    }
    _raise_if_different(view.engine_id, shown)


def _raise_if_different(name: str, shown: Mapping[str, tuple[object, object]]) -> None:
    for field, (shown_value, true_value) in shown.items():
        if shown_value != true_value:
            raise ViolationError(
                f"readers see {field} {shown_value!r} of {name}, the rules {true_value!r}", name
            )
