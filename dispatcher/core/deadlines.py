"""What is due when: leases, time-outs and pauses.

Laws:
- What is due becomes a command like any other, and only its events change anything.
- Time is a monotonic clock's, in seconds, and is given: a wall clock that jumps expires nothing.
- Nothing expires for the dispatcher's own absence. After it was down, stood still, or could not
  write its log, every engine has one whole lease to be heard again.
- Deadlines follow from what was decided, whether or not it is durable yet: an engine that has been
  heard is not lost because the disk is slow. One that proves to be about nothing does nothing.
"""

import heapq
from datetime import datetime
from typing import Final

from dispatcher.core import events
from dispatcher.core.attempts import LONGEST_BACKOFF_S
from dispatcher.core.commands import LoseEngine, ReleaseJob, TimeOutJob
from dispatcher.core.events import Event
from dispatcher.core.fleet import Fleet
from dispatcher.core.policy import Policy

__all__ = ["TIMED", "Deadlines", "Due"]

Due = LoseEngine | TimeOutJob | ReleaseJob
"""What the passing of time can wish for."""

TIMED: Final[frozenset[type[Event]]] = frozenset(
    {
        events.JobAssigned,
        events.JobCompleted,
        events.JobFailedPermanently,
        events.JobCancelled,
        events.JobRequeued,
        events.JobProgressed,
        events.EngineReported,
        events.EngineSeen,
        events.EngineBenchmarked,
        events.EngineForgotten,
    }
)
"""The events that set or clear a deadline."""


class Deadlines:
    """Deadlines by name; the newest deadline of a name counts."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._due: dict[str, tuple[float, Due]] = {}
        self._heap: list[tuple[float, str]] = []
        self._ended: dict[str, tuple[float, Due]] = {}  # bounds of attempts that ended of late

    def restart(self, fleet: Fleet, at: datetime, now_s: float) -> None:
        """Begin anew: a lease for every engine that counts as online, and what jobs wait for.

        An attempt that had its bound before keeps it, even if its end was decided and then could
        not be recorded.
        """
        bounds = self._ended | self._due
        self._due, self._heap, self._ended = {}, [], {}
        for engine in fleet.engines.values():
            if engine.online:
                self._lease(engine.engine_id, now_s)
            if engine.holds is not None:
                job, name = fleet.jobs[engine.holds], _job(engine.holds)
                self._bound(job.job_id, job.attempt, now_s)
                before = bounds.get(name)
                if before is not None and before[1] == self._due[name][1]:
                    self._set(name, *before)
        for job_id, not_before in fleet.queue.paused.items():
            self._release_in(job_id, (not_before - at).total_seconds(), now_s)

    def notice(self, event: Event, at: datetime, now_s: float) -> None:
        """Set and clear what an event means for the time to come."""
        match event:  # the usual ones first: patterns are tried in order
            case events.JobAssigned(job_id, engine_id, attempt):
                self._lease(engine_id, now_s)
                self._bound(job_id, attempt, now_s)
            case (
                events.JobCompleted(job_id)
                | events.JobFailedPermanently(job_id)
                | events.JobCancelled(job_id)
            ):
                self._attempt_ended(job_id)
            case (
                events.EngineReported(engine_id)
                | events.EngineSeen(engine_id)
                | events.EngineBenchmarked(engine_id)
                | events.JobProgressed(engine_id=engine_id)
            ):
                self._lease(engine_id, now_s)
            case events.EngineForgotten(engine_id):
                self._due.pop(_engine(engine_id), None)
            case events.JobRequeued(job_id):
                self._attempt_ended(job_id)
                if event.not_before is not None:
                    pause_s = (event.not_before - at).total_seconds()
                    self._release_in(job_id, pause_s, now_s)
            case _:
                pass

    def take_due(self, now_s: float) -> Due | None:
        """Take the first of what is due, if anything is."""
        while self._heap and self._heap[0][0] <= now_s:
            _, name = heapq.heappop(self._heap)
            if (due := self._due.get(name)) is None:
                continue
            if due[0] <= now_s:
                del self._due[name]
                if isinstance(due[1], TimeOutJob):
                    self._ended[name] = due
                return due[1]
            heapq.heappush(self._heap, (due[0], name))  # it was put off since it came here
        return None

    def renew_leases(self, now_s: float) -> None:
        """Give every engine that has a lease a whole one."""
        for _, due in list(self._due.values()):
            if isinstance(due, LoseEngine):
                self._lease(due.engine_id, now_s)

    def settled(self) -> None:
        """Note that all that was decided is durable, so that no attempt that ended comes back."""
        self._ended.clear()

    def _attempt_ended(self, job_id: str) -> None:
        name = _job(job_id)
        if (due := self._due.pop(name, None)) is not None:
            self._ended[name] = due

    def _set(self, name: str, due_s: float, due: Due) -> None:
        known = self._due.get(name)
        self._due[name] = (due_s, due)
        # A name that is on the heap with an earlier time will be put off when that time comes.
        if known is None or due_s < known[0]:
            heapq.heappush(self._heap, (due_s, name))

    def _lease(self, engine_id: str, now_s: float) -> None:
        lease_s = self._policy.lease_s
        self._set(_engine(engine_id), now_s + lease_s, LoseEngine(engine_id, lease_s))

    def _bound(self, job_id: str, attempt: int, now_s: float) -> None:
        timeout_s = self._policy.job_timeout_s
        if timeout_s > 0:
            self._set(_job(job_id), now_s + timeout_s, TimeOutJob(job_id, attempt, timeout_s))

    def _release_in(self, job_id: str, after_s: float, now_s: float) -> None:
        # No longer than any pause, even if the clock was set back meanwhile.
        pause_s = min(max(0.0, after_s), LONGEST_BACKOFF_S)
        self._set(_job(job_id), now_s + pause_s, ReleaseJob(job_id))


def _engine(engine_id: str) -> str:
    return f"engine {engine_id}"


def _job(job_id: str) -> str:
    return f"job {job_id}"
