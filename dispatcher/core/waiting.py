"""Requests for work that found no job and are kept open (`wait_s` of `POST /assign_job/`).

Laws:
- The request that has waited longest is tried first.
- A job that becomes ready concerns the requests that may have it, until one has taken it, and no
  others.
- A change of an engine concerns its own requests and those for any engine, unless jobs were kept
  for that engine: then it concerns all requests.
"""

from collections.abc import Hashable, Iterator

import msgspec

from dispatcher.core import events
from dispatcher.core.commands import AssignJob, Caller
from dispatcher.core.events import Event
from dispatcher.core.fleet import Fleet
from dispatcher.core.scheduling import may_free_jobs, obstacle

__all__ = ["Waiter", "Waiting"]


class Waiter(msgspec.Struct, frozen=True, eq=False):
    """A waiting request. `ticket` says whom to answer, in the driver's own terms."""

    command: AssignJob
    caller: Caller
    ticket: Hashable


class Waiting:
    """All waiting requests, in order of arrival. `by_ticket` is changed here only."""

    def __init__(self) -> None:
        self.by_ticket: dict[Hashable, Waiter] = {}
        self._by_engine: dict[str | None, dict[Waiter, None]] = {}
        self._places: dict[Waiter, int] = {}
        self._joined = 0

    def join(self, waiter: Waiter) -> None:
        """Add a waiting request."""
        self._joined += 1
        self._places[waiter] = self._joined
        self.by_ticket[waiter.ticket] = waiter
        self._by_engine.setdefault(waiter.command.engine_id, {})[waiter] = None

    def leave(self, ticket: Hashable) -> Waiter | None:
        """Remove and return a waiting request; `None` if none has this ticket."""
        if (waiter := self.by_ticket.pop(ticket, None)) is not None:
            del self._places[waiter]
            of_engine = self._by_engine[waiter.command.engine_id]
            del of_engine[waiter]
            if not of_engine:
                del self._by_engine[waiter.command.engine_id]
        return waiter

    def of_engine(self, engine_id: str) -> list[Waiter]:
        """List the waiting requests of one engine."""
        return [*self._by_engine.get(engine_id, ())]

    def concerned(self, fleet: Fleet, event: Event) -> Iterator[Waiter]:
        """Yield the requests for which there may be a job now that the fleet has folded this event.

        A request that is given a job leaves before the next one is yielded.
        """
        match event:
            case (
                events.JobSubmitted(job_id) | events.JobReleased(job_id) | events.JobRetried(job_id)
            ):
                yield from self._eligible(fleet, job_id)
            case events.JobRequeued(job_id, engine_id):
                yield from self._eligible(fleet, job_id)
                yield from self._of_engine_or_any(engine_id)
            case (
                events.JobCompleted(engine_id=engine_id)
                | events.JobCancelled(engine_id=engine_id)
                | events.JobFailedPermanently(engine_id=engine_id)
                | events.EngineSeen(engine_id=engine_id)
                | events.EngineBenchmarked(engine_id=engine_id)
                | events.EngineResumed(engine_id=engine_id)
                | events.EngineReplaced(engine_id=engine_id)
            ):
                yield from self._of_engine_or_any(engine_id)
            case events.EngineReported(engine_id, report) if not may_free_jobs(report):
                yield from self._of_engine_or_any(engine_id)
            case (
                events.EngineReported()
                | events.EngineBlocked()
                | events.EngineUnblocked()
                | events.EngineDrained()
                | events.EngineLost()
                | events.EngineForgotten()
            ):
                # Jobs that were kept for this engine may now return to one that failed them.
                yield from self.all()
            case _:
                pass

    def all(self) -> list[Waiter]:
        """List all waiting requests, the longest wait first."""
        return [*self.by_ticket.values()]

    def _eligible(self, fleet: Fleet, job_id: str) -> Iterator[Waiter]:
        """Yield the requests that may have a job, until one has taken it."""
        for waiter in self.all():
            job, engine_id = fleet.jobs.get(job_id), waiter.command.engine_id
            if job is None or job.status != "pending":
                return
            engine = None if engine_id is None else fleet.engines.get(engine_id)
            if engine_id is None or (engine is not None and obstacle(fleet, engine, job) is None):
                yield waiter

    def _of_engine_or_any(self, engine_id: str | None) -> list[Waiter]:
        """List the requests that a change of this engine concerns.

        Every heartbeat may call this, so it looks at no other requests.
        """
        found = [*self._by_engine.get(None, ())]
        if engine_id is not None:
            found += self._by_engine.get(engine_id, ())
        return sorted(found, key=self._places.__getitem__)
