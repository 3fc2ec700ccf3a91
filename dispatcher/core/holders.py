"""Who may answer for a job, that is, report an attempt as completed or failed, or split it.

Laws:
- An answer that names its engine or attempt is accepted only from the present holder.
- A caller that speaks for one engine answers only for that engine. If its answer does not name the
  engine, the job's newest attempt must be that engine's.
"""

from dispatcher.core.commands import CompleteJob, FailJob, SplitJob
from dispatcher.core.job import Job

__all__ = ["foreign_answer", "late_answer"]


def late_answer(job: Job, answer: CompleteJob | FailJob | SplitJob) -> str | None:
    """Return why an answer does not come from the present holder.

    `None` if it does, or if it names neither an engine nor an attempt.
    """
    if answer.engine_id is None and answer.attempt is None:
        return None
    held = job.holder is not None
    if held and answer.engine_id in {None, job.holder} and answer.attempt in {None, job.attempt}:
        return None
    if held:
        now = f"engine {job.holder} holds it now (attempt {job.attempt})"
    elif job.status == "pending":
        now = f"it waits for attempt {job.attempt + 1}"
    else:
        now = f"it is {job.status.replace('_', ' ')}"
    return f"Conflict: this answer to job {job.job_id} comes too late: {now}."


def foreign_answer(job: Job, answer: CompleteJob | FailJob | SplitJob) -> str | None:
    """Return why a caller that speaks for one engine may not give an answer; `None` if it may."""
    engine_id = answer.speaks_for
    if engine_id is None or engine_id == answer.engine_id:  # `late_answer` looks at the latter
        return None
    if answer.engine_id is None and job.last_holder == engine_id:
        return None
    return (
        f"Forbidden: this key speaks for engine {engine_id} alone, and the newest attempt at this "
        "job is not that engine's."
    )
