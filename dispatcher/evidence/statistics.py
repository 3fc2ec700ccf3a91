"""Statistics of a log: a pure fold of its events, like a projection."""

from datetime import datetime
from typing import assert_never

import msgspec

from dispatcher.core import events
from dispatcher.core.attempts import is_failure
from dispatcher.core.events import Recorded

__all__ = ["EngineTotals", "Spread", "Statistics", "Totals"]


class Spread(msgspec.Struct, frozen=True):
    """A distribution of durations: the count and the percentiles 50 and 95 (nearest rank)."""

    count: int
    p50_s: float
    p95_s: float


class EngineTotals(msgspec.Struct):
    """Totals of one engine. `busy_s` is the total length of its ended attempts."""

    engine_id: str
    attempts: int = 0
    completed: int = 0
    failed: int = 0
    busy_s: float = 0.0


class Totals(msgspec.Struct, frozen=True):
    """The totals of a log.

    `waits` are from a submission to its first assignment, `attempts` from an assignment to its
    end; `retries` are the attempts that ended without an output and were not the last.
    """

    events: int
    jobs: dict[str, int]
    retries: int
    refused_answers: int
    waits: Spread | None
    attempts: Spread | None
    busiest_engines: list[EngineTotals]


class Statistics:
    """Totals over recorded events. Durations are never negative, even if the clock was set back."""

    def __init__(self) -> None:
        self._events = 0
        self._outcomes: dict[str, str] = {}
        self._submitted: dict[str, datetime] = {}
        self._running: dict[str, tuple[str, datetime]] = {}
        self._engines: dict[str, EngineTotals] = {}
        self._waits_s: list[float] = []
        self._attempts_s: list[float] = []
        self._retries = 0
        self._refused = 0

    def apply(self, recorded: Recorded) -> None:
        """Fold one event."""
        self._events += 1
        event, at = recorded.event, recorded.at
        match event:
            case events.JobSubmitted(job_id):
                self._outcomes[job_id] = "pending"
                self._submitted[job_id] = at
            case events.JobAssigned(job_id, engine_id):
                if (since := self._submitted.pop(job_id, None)) is not None:
                    self._waits_s.append(_seconds(since, at))
                self._outcomes[job_id] = "assigned"
                self._running[job_id] = engine_id, at
                self._engine(engine_id).attempts += 1
            case events.JobCompleted(job_id):
                self._end(job_id, "completed", at)
            case events.JobRequeued(job_id):
                self._retries += is_failure(event)
                self._end(job_id, "pending", at, failed=is_failure(event))
            case events.JobFailedPermanently(job_id):
                self._end(job_id, "failed_permanently", at, failed=is_failure(event))
            case events.JobCancelled(job_id):
                self._end(job_id, "cancelled", at)
            case events.JobRetried(job_id):
                self._outcomes[job_id] = "pending"
            case events.JobSplit(job_id):
                self._end(job_id, "pending", at)
            case events.AnswerRefused():
                self._refused += 1
            case (
                events.JobReleased()
                | events.JobMadeWhole()
                | events.JobReprioritized()
                | events.JobProgressed()
                | events.EngineReported()
                | events.EngineReplaced()
                | events.EngineFenced()
                | events.EngineAsked()
                | events.EngineSeen()
                | events.EngineBenchmarked()
                | events.EngineLost()
                | events.EngineBlamed()
                | events.EngineBlocked()
                | events.EngineUnblocked()
                | events.EngineDrained()
                | events.EngineResumed()
                | events.EngineForgotten()
            ):
                pass
            case _:
                assert_never(event)

    def totals(self) -> Totals:
        """Return the totals so far, with the busiest engine first."""
        outcomes = list(self._outcomes.values())
        return Totals(
            self._events,
            {status: outcomes.count(status) for status in sorted(set(outcomes))},
            self._retries,
            self._refused,
            _spread(self._waits_s),
            _spread(self._attempts_s),
            sorted(self._engines.values(), key=lambda it: (-it.busy_s, it.engine_id)),
        )

    def _end(self, job_id: str, outcome: str, at: datetime, *, failed: bool = False) -> None:
        self._outcomes[job_id] = outcome
        self._submitted.pop(job_id, None)
        if (running := self._running.pop(job_id, None)) is None:
            return
        engine_id, since = running
        engine, took_s = self._engine(engine_id), _seconds(since, at)
        engine.busy_s += took_s
        self._attempts_s.append(took_s)
        engine.completed += outcome == "completed"
        engine.failed += failed

    def _engine(self, engine_id: str) -> EngineTotals:
        return self._engines.setdefault(engine_id, EngineTotals(engine_id))


def _seconds(since: datetime, until: datetime) -> float:
    return max(0.0, (until - since).total_seconds())


def _spread(values: list[float]) -> Spread | None:
    if not values:
        return None
    ranked = sorted(values)
    p50, p95 = (ranked[-(-len(ranked) * percent // 100) - 1] for percent in (50, 95))
    return Spread(len(ranked), p50, p95)
