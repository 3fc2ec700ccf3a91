"""What is due when: leases, time-outs and pauses.

Laws:
- A timer that is due becomes a command like any other, and only its events change anything.
- Time is the event loop's monotonic clock: a wall clock that jumps expires nothing.
- Nothing expires for the dispatcher's own absence. After it was down, stood still, or could not
  write its log, every engine has one whole lease to be heard again.
- Timers follow from what was decided, whether or not it is durable yet: an engine that has been
  heard is not lost because the disk is slow. A timer that proves to be about nothing does nothing.
"""

import asyncio
import heapq
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final

from dispatcher.core.attempts import LONGEST_BACKOFF_S
from dispatcher.core.commands import Command, LoseEngine, ReleaseJob, TimeOutJob
from dispatcher.core.events import (
    EngineBenchmarked,
    EngineForgotten,
    EngineReported,
    EngineSeen,
    JobAssigned,
    JobCancelled,
    JobCompleted,
    JobFailedPermanently,
    JobProgressed,
    JobRequeued,
    JobSubmitted,
    Recorded,
)
from dispatcher.core.policy import Policy
from projections import Projections

__all__ = ["Timers"]

TICK_S: Final = 0.25
"""How often the clock is looked at."""
STALL_S: Final = 2.0
"""A tick that comes so much too late means that the dispatcher itself stood still."""

logger = logging.getLogger(__name__)


class Timers:
    """Deadlines by name; the newest deadline of a name counts."""

    def __init__(self, policy: Policy, clock: Callable[[], float]) -> None:
        self._policy = policy
        self._clock = clock
        self._due: dict[str, tuple[float, Command]] = {}
        self._heap: list[tuple[float, str]] = []

    def start(self, projections: Projections, now: datetime) -> None:
        """Begin anew: a lease for every engine that counts as online, and what jobs wait for.

        An attempt that had its bound before keeps it.
        """
        bounds = {name: due for name, due in self._due.items() if isinstance(due[1], TimeOutJob)}
        self._due.clear()
        self._heap.clear()
        for engine in projections.engines.all():
            if engine.online:
                self._lease(engine.engine_id)
        for job in projections.jobs.all():
            if job.status == "assigned":
                self._bound(job.job_id, job.attempt)
                before = bounds.get(_job(job.job_id))
                if before is not None and before[1] == self._due[_job(job.job_id)][1]:
                    self._set(_job(job.job_id), before[0] - self._clock(), before[1])
            elif job.status == "pending" and job.not_before is not None:
                self._release_in(job.job_id, (job.not_before - now).total_seconds())

    def notice(self, recorded: Recorded) -> None:
        """Set and clear what an event means for the time to come."""
        match recorded.event:  # the usual ones first: patterns are tried in order
            case JobSubmitted():
                pass
            case JobAssigned(job_id, engine_id, attempt):
                self._lease(engine_id)
                self._bound(job_id, attempt)
            case JobCompleted(job_id) | JobFailedPermanently(job_id) | JobCancelled(job_id):
                self._due.pop(_job(job_id), None)
            case (
                EngineReported(engine_id)
                | EngineSeen(engine_id)
                | EngineBenchmarked(engine_id)
                | JobProgressed(engine_id=engine_id)
            ):
                self._lease(engine_id)
            case EngineForgotten(engine_id):
                self._due.pop(_engine(engine_id), None)
            case JobRequeued(job_id):
                self._due.pop(_job(job_id), None)
                if recorded.event.not_before is not None:
                    pause = recorded.event.not_before - recorded.at
                    self._release_in(job_id, pause.total_seconds())
            case _:
                pass

    async def run(
        self,
        settled: Callable[[], Awaitable[bool]],
        execute: Callable[[Command], Awaitable[bool]],
    ) -> None:
        """Hand out what is due, for as long as the dispatcher runs.

        `settled` waits until all that was decided is durable; both say whether the log took it.
        """
        while True:
            before = self._clock()
            await asyncio.sleep(TICK_S)
            self.woke(before + TICK_S)
            while self._is_due():
                before = self._clock()
                # While the log hangs or fails, engines can't be heard: that is no silence.
                went_well = await settled()
                if went_well and not self._stood_still_since(before) and self._is_due():
                    name, command = self._take_due()
                    if not (went_well := await execute(command)):
                        self._set(name, TICK_S, command)
                if not went_well or self._stood_still_since(before):
                    self._renew_leases()
                    break

    def woke(self, due: float) -> bool:
        """Begin all leases anew if it is so long after `due` that the dispatcher stood still."""
        if stood_still := self._stood_still_since(due):
            self._renew_leases()
        return stood_still

    def take_due(self) -> Command | None:
        """Take the first of what is due, if anything is."""
        return self._take_due()[1] if self._is_due() else None

    def _stood_still_since(self, moment: float) -> bool:
        lag_s = self._clock() - moment
        if lag_s > STALL_S:
            logger.warning("Stood still for %.0f s; all leases begin anew", lag_s)
        return lag_s > STALL_S

    def _is_due(self) -> bool:
        """Bring the heap up to date, and say whether its first is due."""
        now = self._clock()
        while self._heap and self._heap[0][0] <= now:
            name = self._heap[0][1]
            if name in self._due and self._due[name][0] <= now:
                return True
            heapq.heappop(self._heap)
            if name in self._due:  # it was put off since it came onto the heap
                heapq.heappush(self._heap, (self._due[name][0], name))
        return False

    def _take_due(self) -> tuple[str, Command]:
        """Take the first of what is due; there must be something."""
        _, name = heapq.heappop(self._heap)
        return name, self._due.pop(name)[1]

    def _set(self, name: str, after_s: float, command: Command) -> None:
        due = self._clock() + after_s
        known = self._due.get(name)
        self._due[name] = (due, command)
        # A name that is on the heap with an earlier time will be put off when that time comes.
        if known is None or due < known[0]:
            heapq.heappush(self._heap, (due, name))

    def _lease(self, engine_id: str) -> None:
        lease_s = self._policy.lease_s
        self._set(_engine(engine_id), lease_s, LoseEngine(engine_id, lease_s))

    def _renew_leases(self) -> None:
        for _, command in list(self._due.values()):
            if isinstance(command, LoseEngine):
                self._lease(command.engine_id)

    def _bound(self, job_id: str, attempt: int) -> None:
        timeout_s = self._policy.job_timeout_s
        if timeout_s > 0:
            self._set(_job(job_id), timeout_s, TimeOutJob(job_id, attempt, timeout_s))

    def _release_in(self, job_id: str, after_s: float) -> None:
        # No longer than any pause, even if the clock was set back meanwhile.
        self._set(_job(job_id), min(max(0.0, after_s), LONGEST_BACKOFF_S), ReleaseJob(job_id))


def _engine(engine_id: str) -> str:
    return f"engine {engine_id}"


def _job(job_id: str) -> str:
    return f"job {job_id}"
