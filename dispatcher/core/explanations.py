"""Why a job is in its present state, by the rules of `scheduling`."""

from typing import Final, assert_never

from dispatcher.core.engine import Engine
from dispatcher.core.fleet import Fleet
from dispatcher.core.job import Job
from dispatcher.core.replies import EngineAnswer, Explanation
from dispatcher.core.scheduling import Obstacle, obstacle
from dispatcher.tags import in_words, split

__all__ = ["explain"]


MOST_NAMED: Final = 5
"""Jobs that are named of those that one waits for."""


def explain(fleet: Fleet, job_id: str) -> Explanation | None:
    """Explain the state of a job; `None` if there is no such job."""
    if (job := fleet.jobs.get(job_id)) is None:
        return None
    if job.status == "pending":
        return _pending(fleet, job)
    match job.status:
        case "assigned":
            because = _assigned(fleet, job)
        case "completed":
            because = f"its output is at {job.output_url}"
        case "failed_permanently":
            because = _failed(job)
        case "cancelled":
            because = "it was cancelled"
            if job.ties.ended_with_other:
                because += ", since a job that it has to do with was cancelled or failed"
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


def _assigned(fleet: Fleet, job: Job) -> str:
    because = f"engine {job.holder} holds it, attempt {job.attempt}"
    engine = fleet.engines[job.holder or ""]
    if engine.asks:
        because += (
            "; but the engine asked for other work, and if it does so for a whole lease, it no "
            "longer has the job, which is then re-queued"
        )
    if engine.fenced:
        others = ", ".join(engine.fenced)
        because += f"; other machines use the engine's id and were refused: instance {others}"
    return because


def _failed(job: Job) -> str:
    losses, last = job.setbacks.losses, f"the last was: {job.error_message}"
    match job.setbacks.cause:
        case "source_bad":
            return f"its source is bad, so that no retry helps: {job.error_message}"
        case "source_away":
            return (
                "its source could not be had for as long as jobs may pause for that "
                f"(--source-patience-s): {job.error_message}"
            )
        case "engine_silent" | "engine_restarted" | "engine_asked" if losses:
            return f"its engines were lost {losses} times (--max-losses); {last}"
        case "prerequisite_failed":
            return f"what it waits for failed, and a retry retries that too: {job.error_message}"
        case "inexact":
            return f"the film can't be cut exactly here, so it is done whole: {job.error_message}"
        case _:
            return f"its failures have used up its retries; {last}"


def _pending(fleet: Fleet, job: Job) -> Explanation:
    answers = [_answer(fleet, engine, job) for engine in fleet.engines.values()]
    paused = job.job_id in fleet.queue.paused
    is_in_line = not paused and not job.ties.waits_for
    place = fleet.queue.ahead_of(job.place) + 1 if is_in_line else None
    if job.ties.waits_for:
        because = _waits(fleet, job)
    elif paused:
        because = "it is in its pause after a failure"
        if job.setbacks.cause == "source_away":
            because = f"it is in its pause, since its source can't be had now: {job.error_message}"
    elif not answers:
        because = "no engine is registered"
    elif any(answer.obstacle is None for answer in answers):
        because = f"it is number {place} in the queue, and an engine that could take it is free"
    elif able := [it for it in answers if it.obstacle == Obstacle.BUSY.name.lower()]:
        resting = all(fleet.engines[it.engine_id].resting is not None for it in able)
        what = "take no new jobs now" if resting else "are busy"
        because = f"it is number {place} in the queue, and the engines that could take it {what}"
    elif missing := _told_by_none(fleet, job):
        because = _none_has(missing)
    else:
        because = "no engine could take it now; see what stands in the way of each"
    return Explanation(
        job.job_id, job.status, because, place=place, waiting=len(fleet.queue), engines=answers
    )


def _waits(fleet: Fleet, job: Job) -> str:
    """Say which jobs one waits for, and how far they are."""
    left = [it for it in fleet.here(job.ties.waits_for) if it.status != "completed"]
    what = "parts of the film" if job.ties.parts else "other jobs"
    all_of = f"it waits for {what}: {len(left)} of {len(job.ties.needed)} are not completed"
    named = ", ".join(f"{it.job_id} ({_state(it)})" for it in left[:MOST_NAMED])
    return f"{all_of}, {named}" + (", …" if len(left) > MOST_NAMED else "")


def _state(job: Job) -> str:
    if job.ties.waits_for:
        return "waits for others"
    return f"on engine {job.holder}" if job.holder is not None else job.status.replace("_", " ")


def _told_by_none(fleet: Fleet, job: Job) -> list[str]:
    """Return the abilities that the job needs and no engine has."""
    lacking = [set(engine.lacks(job.needs)) for engine in fleet.engines.values()]
    return sorted(set.intersection(*lacking)) if lacking else []


def _none_has(missing: list[str]) -> str:
    tags, abilities = split(missing)
    found = [f"no engine has {in_words(tags)}"] if tags else []
    if abilities:
        listed = ", ".join(abilities)
        found.append(f"no engine has told that it can do what the job needs: {listed}")
    return ", and ".join(found)


def _lacking(lacks: list[str]) -> str:
    tags, abilities = split(lacks)
    found = [f"it does not have {in_words(tags)}"] if tags else []
    if abilities:
        found.append(f"it lacks what the job needs: {', '.join(abilities)}")
    return ", and ".join(found)


def _answer(fleet: Fleet, engine: Engine, job: Job) -> EngineAnswer:
    found = obstacle(fleet, engine, job, is_asking=False)
    if found is None:
        return EngineAnswer(engine.engine_id, None, None)
    because = found.value
    if found is Obstacle.ABILITY:
        because = _lacking(engine.lacks(job.needs))
    if found is Obstacle.BUSY and engine.resting is not None:
        because = f"it takes no new jobs now: {engine.resting}"
    if found is Obstacle.BLOCKED:
        because = f"{because}: {engine.blocked}"
        if engine.blocked_until is not None:
            because += f"; it may try again at {engine.blocked_until:%Y-%m-%dT%H:%M:%SZ}"
    return EngineAnswer(engine.engine_id, found.name.lower(), because)
