"""What a forecast says of the jobs that run and wait; `forecasting` makes it."""

from datetime import datetime
from typing import Final, Literal

import msgspec

__all__ = ["MOST_SHOWN", "Forecast", "How", "RunningJob", "WaitingJob"]

MOST_SHOWN: Final = 1_000
"""The most jobs that wait of which a forecast tells each by itself."""

How = Literal["progress", "engine", "codec", "unknown", "unplaced", "waits"]
"""How a time was got: from the job's own progress, from the past of its codec on that engine or on
the farm; or that there was no such past, or no engine that takes the job now, or that it waits for
other jobs."""


class RunningJob(msgspec.Struct, frozen=True):
    """A job that runs, and when it will be done."""

    job_id: str
    engine_id: str
    expected_at: datetime | None
    how: How


class WaitingJob(msgspec.Struct, frozen=True):
    """A job that waits, and when it begins and ends.

    Its place in the queue is `None` in a pause, and while it waits for other jobs.
    """

    job_id: str
    place: int | None
    expected_start: datetime | None
    expected_at: datetime | None
    how: How


class Forecast(msgspec.Struct, frozen=True):
    """What runs and what waits, and when it will be done.

    `done_at` is when the last of the jobs that an engine takes will be done; `None` if there is
    none, or if it can't be known. `work_s` is how long a single engine would need for all that runs
    and waits, as far as that is known: of `unknown` jobs it is not. `unplaced` jobs wait that no
    engine takes now.
    """

    seq: int
    time: datetime | None
    done_at: datetime | None
    work_s: float | None
    unplaced: int
    how: str
    running: list[RunningJob]
    waiting: list[WaitingJob]
    unknown: int = 0
