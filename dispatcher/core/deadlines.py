"""Deadlines: leases, time-outs, pauses, and the ends of blocks.

Laws:
- A deadline that passes issues a command like any other. Only the resulting events change state.
- Times are seconds of a monotonic clock, and are passed in. A wall clock that jumps expires
  nothing.
- Nothing expires because the dispatcher itself was absent. After it was down, stood still, or could
  not write its log, every engine has one whole lease to be heard from again, and the absence does
  not count against an attempt. (After a restart of the process, attempts have their whole time
  again.)
- Deadlines follow from decided events, durable or not: an engine that was heard from is not lost
  because the disk is slow. A deadline that no longer applies does nothing.
"""

import heapq
from datetime import datetime
from typing import Final

from dispatcher.core import events
from dispatcher.core.attempts import LONGEST_BACKOFF_S, LONGEST_BLOCK_S
from dispatcher.core.commands import (
    ForgetLostEngine,
    LoseEngine,
    ReleaseJob,
    TimeOutJob,
    UnblockEngine,
)
from dispatcher.core.due import Due
from dispatcher.core.events import Event, Recorded
from dispatcher.core.fleet import Fleet
from dispatcher.core.policy import Policy

__all__ = ["TIMED", "Deadlines"]

TIMED: Final[frozenset[type[Event]]] = frozenset(
    {
        events.JobAssigned,
        events.JobCompleted,
        events.JobFailedPermanently,
        events.JobCancelled,
        events.JobRequeued,
        events.JobProgressed,
        events.JobSplit,
        events.EngineReported,
        events.EngineSeen,
        events.EngineBenchmarked,
        events.EngineLost,
        events.EngineBlocked,
        events.EngineForgotten,
    }
)
"""The events that set or clear a deadline."""


class Deadlines:
    """Deadlines by name. A new deadline replaces an older one of the same name."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._due: dict[str, tuple[float, Due]] = {}
        self._heap: list[tuple[float, str]] = []
        # By job, in order: when which attempt has shown no progress for too long. All wait equally
        # long, so the newest is always the last, and none needs a place in the heap.
        self._stalls: dict[str, tuple[float, int]] = {}
        # The time-outs of attempts whose end is decided, and the seq from which it is durable.
        self._ended: list[tuple[int, TimeOutJob, float]] = []

    def restart(self, fleet: Fleet, at: datetime, now_s: float, away_s: float = 0.0) -> None:
        """Start over: a lease for each online engine, time-outs for each attempt, all other ends.

        An attempt that already had time-outs keeps them, even if its end was decided but could not
        be recorded. The `away_s` for which no report was taken do not count.
        """
        earlier = {due: due_s for due_s, due in self._due.values() if isinstance(due, TimeOutJob)}
        earlier |= {due: due_s for _, due, due_s in self._ended}
        earlier |= {self._stall(it, attempt): at_s for it, (at_s, attempt) in self._stalls.items()}
        self._due, self._heap, self._ended, self._stalls = {}, [], [], {}
        for engine in fleet.engines.values():
            if engine.online:
                self._set_lease(engine.engine_id, now_s)
            else:
                lost_s = (at - (engine.lost_since or at)).total_seconds()
                self._set_forgetting(engine.engine_id, now_s, lost_s)
            if engine.blocked_until is not None:
                self._set_unblocking(engine.engine_id, engine.blocked_until, at, now_s)
            if engine.holds is not None:
                job = fleet.jobs[engine.holds]
                self._moved(job.job_id, job.attempt, now_s)
                stall = self._stall(job.job_id, job.attempt)
                if stall in earlier:
                    self._stalls[job.job_id] = earlier[stall] + away_s, job.attempt
                due = TimeOutJob(job.job_id, job.attempt, self._policy.job_timeout_s)
                due_s = earlier[due] + away_s if due in earlier else now_s + due.after_s
                self._set_timeout(due, due_s)
        self._stalls = dict(sorted(self._stalls.items(), key=lambda it: it[1][0]))
        for job_id, not_before in fleet.queue.paused.items():
            self._set_release(job_id, (not_before - at).total_seconds(), now_s)

    def notice(self, recorded: Recorded, now_s: float) -> None:
        """Set and clear deadlines according to an event."""
        event, timeout_s = recorded.event, self._policy.job_timeout_s
        match event:  # the most frequent first: patterns are tried in order
            case events.JobAssigned(job_id, engine_id, attempt):
                self._set_lease(engine_id, now_s)
                due = TimeOutJob(job_id, attempt, timeout_s)
                self._set_timeout(due, now_s + timeout_s)
                self._moved(job_id, attempt, now_s)
            case (
                events.JobCompleted(job_id)
                | events.JobFailedPermanently(job_id)
                | events.JobCancelled(job_id)
                | events.JobSplit(job_id)
            ):
                self._attempt_ended(job_id, recorded.seq)
                self._due.pop(_pause(job_id), None)
            case (
                events.EngineReported(engine_id)
                | events.EngineSeen(engine_id)
                | events.EngineBenchmarked(engine_id)
            ):
                self._set_lease(engine_id, now_s)
            case events.JobProgressed(job_id, engine_id, attempt):
                self._set_lease(engine_id, now_s)
                self._moved(job_id, attempt, now_s)
            case events.EngineLost(engine_id):
                self._set_forgetting(engine_id, now_s)
            case events.EngineBlocked(engine_id, _, until):
                self._due.pop(_block(engine_id), None)
                if until is not None:
                    self._set_unblocking(engine_id, until, recorded.at, now_s)
            case events.EngineForgotten(engine_id):
                for name in (_engine(engine_id), _block(engine_id), _absence(engine_id)):
                    self._due.pop(name, None)
            case events.JobRequeued(job_id):
                self._attempt_ended(job_id, recorded.seq)
                if event.not_before is not None:
                    pause_s = (event.not_before - recorded.at).total_seconds()
                    self._set_release(job_id, pause_s, now_s)
            case _:
                pass

    def take_due(self, now_s: float, seq: int) -> Due | None:
        """Remove and return a command that is due, or `None`; `seq` is that of the newest event."""
        while self._heap and self._heap[0][0] <= now_s:
            _, name = heapq.heappop(self._heap)
            if (due := self._due.get(name)) is None:
                continue
            if due[0] <= now_s:
                del self._due[name]
                if isinstance(due[1], TimeOutJob):
                    self._ended.append((seq + 1, due[1], due[0]))
                return due[1]
            heapq.heappush(self._heap, (due[0], name))  # it was postponed since it was pushed
        for job_id, (due_s, attempt) in self._stalls.items():
            if due_s > now_s:
                break
            del self._stalls[job_id]
            stall = self._stall(job_id, attempt)
            self._ended.append((seq + 1, stall, due_s))
            return stall
        return None

    def excuse(self, away_s: float, now_s: float) -> None:
        """After an absence, renew all leases and put off all time-outs by as long as it took."""
        for due_s, due in list(self._due.values()):
            if isinstance(due, LoseEngine):
                self._set_lease(due.engine_id, now_s)
            elif isinstance(due, TimeOutJob):
                self._set_timeout(due, due_s + away_s)
            elif isinstance(due, ForgetLostEngine):
                self._set(_absence(due.engine_id), due_s + away_s, due)
        self._stalls = {
            job_id: (due_s + away_s, attempt) for job_id, (due_s, attempt) in self._stalls.items()
        }

    def settled(self, durable_seq: int) -> None:
        """Note what is durable: an attempt whose end is durable can't come back."""
        if self._ended:
            self._ended = [ended for ended in self._ended if ended[0] > durable_seq]

    def _attempt_ended(self, job_id: str, seq: int) -> None:
        self._stalls.pop(job_id, None)
        due_s, due = self._due.pop(_attempt(job_id), (0.0, None))
        if isinstance(due, TimeOutJob):
            self._ended.append((seq, due, due_s))

    def _moved(self, job_id: str, attempt: int, now_s: float) -> None:
        """Note that an attempt began or progressed."""
        if (stall_s := self._policy.stall_timeout_s) > 0:
            self._stalls.pop(job_id, None)
            self._stalls[job_id] = (now_s + stall_s, attempt)

    def _stall(self, job_id: str, attempt: int) -> TimeOutJob:
        return TimeOutJob(job_id, attempt, self._policy.stall_timeout_s, is_stalled=True)

    def _set(self, name: str, due_s: float, due: Due) -> None:
        known = self._due.get(name)
        self._due[name] = (due_s, due)
        # If the heap has the name with an earlier time, `take_due` postpones it then.
        if known is None or due_s < known[0]:
            heapq.heappush(self._heap, (due_s, name))

    def _set_lease(self, engine_id: str, now_s: float) -> None:
        lease_s = self._policy.lease_s
        self._set(_engine(engine_id), now_s + lease_s, LoseEngine(engine_id, lease_s))

    def _set_timeout(self, due: TimeOutJob, due_s: float) -> None:
        if due.after_s > 0:
            self._set(_attempt(due.job_id), due_s, due)

    def _set_release(self, job_id: str, after_s: float, now_s: float) -> None:
        # At most the longest pause, even if the clock was set back in the meantime.
        pause_s = min(max(0.0, after_s), LONGEST_BACKOFF_S)
        self._set(_pause(job_id), now_s + pause_s, ReleaseJob(job_id))

    def _set_unblocking(self, engine_id: str, until: datetime, at: datetime, now_s: float) -> None:
        block_s = min(max(0.0, (until - at).total_seconds()), LONGEST_BLOCK_S)
        self._set(_block(engine_id), now_s + block_s, UnblockEngine(engine_id))

    def _set_forgetting(self, engine_id: str, now_s: float, lost_s: float = 0.0) -> None:
        """Have an engine forgotten that was lost so long ago, but never without a lease's grace."""
        if (forget_s := self._policy.forget_engine_after_s) > 0:
            left_s = min(max(forget_s - lost_s, self._policy.lease_s), forget_s)
            self._set(_absence(engine_id), now_s + left_s, ForgetLostEngine(engine_id))


def _engine(engine_id: str) -> str:
    return f"engine {engine_id}"


def _attempt(job_id: str) -> str:
    return f"attempt {job_id}"


def _block(engine_id: str) -> str:
    return f"block {engine_id}"


def _absence(engine_id: str) -> str:
    return f"absence {engine_id}"


def _pause(job_id: str) -> str:
    return f"pause {job_id}"
