"""What a list of jobs must have, found by looking at every job."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from random import Random
from typing import Final

import msgspec

from dispatcher.serving.listing import ListJobs
from dispatcher.serving.views import Shown
from projections.filters import JobFilter
from projections.jobs import JobView

__all__ = ["ids_in", "is_wanted", "naively", "wanted"]

STATUSES: Final = ("pending", "assigned", "completed", "cancelled", "failed_permanently")
WORDS: Final = ("broke", "MEDIA", "media/1", ".out", "é", "job", "nowhere", "2.mp4")
FINISHED: Final = {"completed", "cancelled", "failed_permanently"}


def wanted(random: Random, now: datetime) -> JobFilter:
    """Want something at random, often little."""

    def now_or_then() -> datetime | None:
        return random.choice([None, None, now - timedelta(seconds=random.randrange(2_000))])

    return JobFilter(
        frozenset(random.sample(STATUSES, random.choice([0, 0, 1, 1, 2, 3]))),
        random.choice([None, None, "vp9"]),
        random.choice([None, None, "é"]),
        tuple(it.lower() for it in random.sample(WORDS, random.choice([0, 0, 1, 2]))),
        now_or_then(),
        now_or_then(),
    )


def is_wanted(job: JobView, view: ListJobs) -> bool:
    """Whether a job is one of those that a list wants."""
    asked = view.wanted
    when = job.finished_at if job.status in FINISHED else job.submitted_at
    assert when is not None
    texts = (job.job_id, job.source_url, job.output_url, job.error_message, job.assigned_engine)
    return not (
        (asked.statuses and job.status not in asked.statuses)
        or (asked.codec is not None and asked.codec != job.target_codec)
        or (asked.engine is not None and asked.engine != job.assigned_engine)
        or any(all(word not in (text or "").lower() for text in texts) for word in asked.words)
        or (asked.since is not None and when < asked.since)
        or (asked.until is not None and when >= asked.until)
    )


def naively(view: ListJobs, jobs: Sequence[JobView]) -> list[str] | None:
    """Give the ids on a list of all these jobs; `None` if there is no job to begin after."""
    listed = list(reversed(jobs)) if view.newest else list(jobs)
    if view.after is not None:
        ids = [job.job_id for job in listed]
        if view.after not in ids:
            return None
        listed = listed[ids.index(view.after) + 1 :]
    return [job.job_id for job in listed if is_wanted(job, view)][: view.limit]


def ids_in(shown: Shown) -> list[str] | None:
    """Give the ids on a list that was shown; `None` if it was refused."""
    if shown.status != 200:
        return None
    return [job.job_id for job in msgspec.json.decode(shown.body, type=list[JobView])]
