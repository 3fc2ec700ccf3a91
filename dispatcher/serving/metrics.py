"""What this process has counted since it started, for `GET /metrics`; not what it read at a start.

Laws:
- Everything is bounded: the counts have as many names as there are types of events, causes, routes
  and statuses.
- Counting takes a fraction of a microsecond: it happens with each event and each request.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from itertools import accumulate
from typing import Final, NamedTuple, get_args

from dispatcher.core.events import (
    Cause,
    EngineLost,
    JobAssigned,
    JobCancelled,
    JobCompleted,
    JobFailedPermanently,
    JobRequeued,
    Recorded,
)
from projections.jobs import Jobs

__all__ = ["Histogram", "Metrics", "Replication"]

_APPEND_S: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
_BATCH_EVENTS: Final = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0)
_WAIT_S: Final = (0.1, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0, 14_400.0, 86_400.0)


class Histogram:
    """How many values were at most each of the bounds, and their sum."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.total = 0.0
        self._counts = [0] * (len(bounds) + 1)

    def observe(self, value: float) -> None:
        """Count a value."""
        self._counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def cumulative(self) -> list[int]:
        """Return the counts of values up to each bound, and of all."""
        return list(accumulate(self._counts))


class Replication(NamedTuple):
    """How one of several dispatchers stands to the others.

    `lag` is how many messages it has heard of and does not show. It is the leader of the `term` if
    it `leads`. Since it started it has had `stored` messages stored, and has handed `forwarded`
    commands to leaders.
    """

    leads: bool
    term: int
    lag: int
    stored: int
    forwarded: int


class Metrics:
    """The counts of a process.

    `attempts` has the ends of attempts: a cause of `core.events`, `completed` or `cancelled`.
    `requests` counts by method, route and status.
    """

    def __init__(self) -> None:
        self.assigned = 0
        self.lost_engines = 0
        self.attempts = Counter[str](dict.fromkeys((*get_args(Cause), "completed", "cancelled"), 0))
        self.requests = Counter[tuple[str, str, int]]()
        self.append_s = Histogram(_APPEND_S)
        self.batch_events = Histogram(_BATCH_EVENTS)
        self.first_wait_s = Histogram(_WAIT_S)

    def appended(self, events: int, took_s: float) -> None:
        """Count a commit."""
        self.append_s.observe(took_s)
        self.batch_events.observe(events)

    def happened(self, recorded: Recorded, jobs: Jobs) -> None:
        """Count an event that the jobs include."""
        event = recorded.event
        match event:
            case JobAssigned():
                self.assigned += 1
                if event.attempt == 1:
                    self._waited(event.job_id, recorded.at, jobs)
            case JobCompleted():
                self.attempts["completed"] += 1
            case JobRequeued() | JobFailedPermanently():
                self.attempts[event.cause] += 1
            case JobCancelled() if event.engine_id is not None:
                self.attempts["cancelled"] += 1
            case EngineLost():
                self.lost_engines += 1
            case _:
                pass

    def _waited(self, job_id: str, until: datetime, jobs: Jobs) -> None:
        job = jobs.get(job_id)
        if job is not None and job.submitted_at is not None:
            self.first_wait_s.observe(max((until - job.submitted_at).total_seconds(), 0.0))
