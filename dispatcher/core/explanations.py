"""Why a job is in its present state, by the rules of `scheduling`."""

from typing import assert_never

from dispatcher.core.fleet import Engine, Fleet
from dispatcher.core.job import Job
from dispatcher.core.replies import EngineAnswer, Explanation
from dispatcher.core.scheduling import Obstacle, obstacle

__all__ = ["explain"]


def explain(fleet: Fleet, job_id: str) -> Explanation | None:
    """Explain the state of a job; `None` if there is no such job."""
    if (job := fleet.jobs.get(job_id)) is None:
        return None
    if job.status == "pending":
        return _pending(fleet, job)
    match job.status:
        case "assigned":
            because = f"engine {job.holder} holds it, attempt {job.attempt}"
        case "completed":
            because = f"its output is at {job.output_url}"
        case "failed_permanently":
            because = f"its failures have used up its retries; the last was: {job.error_message}"
        case "cancelled":
            because = "it was cancelled"
        case _:
            assert_never(job.status)
    if job.last_holder is None:
        return Explanation(job_id, job.status, because)
    return Explanation(
        job_id,
        job.status,
        because,
        engine_id=job.last_holder,
        attempt=job.attempt,
        rule=job.rule,
        considered=job.considered,
    )


def _pending(fleet: Fleet, job: Job) -> Explanation:
    answers = [_answer(fleet, engine, job) for engine in fleet.engines.values()]
    paused = job.job_id in fleet.queue.paused
    place = None if paused else fleet.queue.ahead_of(job.place) + 1
    if paused:
        because = "it is in its pause after a failure"
    elif not answers:
        because = "no engine has registered"
    elif any(answer.obstacle is None for answer in answers):
        because = f"it is number {place} in the queue, and an engine that could take it is free"
    elif any(answer.obstacle == Obstacle.BUSY.name.lower() for answer in answers):
        because = f"it is number {place} in the queue, and the engines that could take it are busy"
    else:
        because = "no engine could take it now; see what stands in the way of each"
    return Explanation(
        job.job_id, job.status, because, place=place, waiting=len(fleet.queue), engines=answers
    )


def _answer(fleet: Fleet, engine: Engine, job: Job) -> EngineAnswer:
    found = obstacle(fleet, engine, job, is_asking=False)
    if found is None:
        return EngineAnswer(engine.engine_id, None, None)
    because = found.value
    if found is Obstacle.BLOCKED:
        because = f"{because}: {engine.blocked}"
    return EngineAnswer(engine.engine_id, found.name.lower(), because)
