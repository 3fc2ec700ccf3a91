"""What follows when an engine has made a plan by which a film is split.

Laws:
- Only the engine that holds a film's job splits it, and only once. To send the plan again changes
  nothing; a plan with more or fewer parts is refused.
- The parts stand where the film stood in the queue: a film in parts does not wait longer, and takes
  nobody's place.
"""

from datetime import datetime

from dispatcher.core.commands import SplitJob
from dispatcher.core.events import AnswerRefused, JobSplit
from dispatcher.core.fleet import Fleet
from dispatcher.core.holders import late_answer
from dispatcher.core.job import Job
from dispatcher.core.replies import DONE, Decision, Reason, Refused
from dispatcher.core.submissions import submitted_parts

__all__ = ["fault_of", "split"]


def split(fleet: Fleet, film: Job, command: SplitJob, at: datetime) -> Decision:
    """Submit the parts of a film, and let its job wait for them."""
    engine_id, attempt = command.engine_id, command.attempt
    is_of_this_attempt = (film.last_holder, film.attempt) == (engine_id, attempt)
    if film.ties.parts and film.holder is None and is_of_this_attempt:
        made, told = len(film.ties.parts), len(command.parts)
        if made != told:
            other = f"it was split before, into {made} parts, and this plan has {told}"
            return _not_to_be_split(film, other)
        return Decision((), DONE)
    if (why := late_answer(film, command)) is not None:
        refusal = AnswerRefused(film.job_id, engine_id, attempt, "split", why)
        return Decision((refusal,), Refused(Reason.NOT_THE_HOLDER, why))
    if (fault := fault_of(film)) is not None:
        return _not_to_be_split(film, fault)
    parts = submitted_parts(fleet, film, command.parts, at)
    ids = tuple(it.job_id for it in parts)
    return Decision((JobSplit(film.job_id, engine_id, attempt, ids), *parts), DONE)


def _not_to_be_split(film: Job, fault: str) -> Decision:
    why = f"Conflict: job {film.job_id} can't be split: {fault}."
    return Decision((), Refused(Reason.NOT_TO_BE_SPLIT, why))


def fault_of(film: Job) -> str | None:
    """Return why a job can't be split, whoever holds it; `None` if it can."""
    if film.ties.parent is not None:
        return "it is itself a part of a film"
    if film.ties.parts:
        return "it was split before, and its parts are done"
    if film.ties.is_whole:
        return "it was found out that it can't be cut exactly"
    return None
