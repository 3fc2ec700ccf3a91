"""Requests for work that found no job and are kept open (`wait_s` of `POST /assign_job/`).

Laws:
- The request that has waited longest is tried first.
- Requests for one engine ask the same question, and so do all requests for any engine. When one of
  them was tried in vain, the others are not tried. So a change costs as much work as there are
  engines that it concerns, however many requests wait.
- Few requests wait for one engine, and few of one caller for any engine. A newer one ends the
  oldest: an engine that asks again has often lost the connection of its earlier request, and a job
  that is given to a lost connection is done by nobody.
- A job that becomes ready concerns the requests that may have it, until one has taken it, and no
  others.
- A change of an engine concerns its own requests and those for any engine. If it may end that jobs
  are kept for that engine, it also concerns the requests of the engines that these are kept from.
"""

from collections.abc import Hashable, Iterable, Iterator
from typing import Final

import msgspec

from dispatcher.core import events
from dispatcher.core.commands import AssignJob, Caller
from dispatcher.core.events import Event
from dispatcher.core.fleet import Fleet
from dispatcher.core.scheduling import may_free_jobs, obstacle

__all__ = ["FOR_ANY_ENGINE", "PER_ENGINE", "Waiter", "Waiting"]

PER_ENGINE: Final = 4
"""The most requests that wait for one engine. An engine needs one."""
FOR_ANY_ENGINE: Final = 100
"""The most requests of one caller that wait for any engine."""


class Waiter(msgspec.Struct, frozen=True, eq=False):
    """A waiting request. `ticket` says whom to answer, in the driver's own terms."""

    command: AssignJob
    caller: Caller
    ticket: Hashable


class Waiting:
    """All waiting requests, in order of arrival. `by_ticket` is changed here only."""

    def __init__(self) -> None:
        self.by_ticket: dict[Hashable, Waiter] = {}
        self._by_engine: dict[str, dict[Waiter, None]] = {}
        self._by_caller: dict[str, dict[Waiter, None]] = {}
        """Those for any engine."""
        self._places: dict[Waiter, int] = {}
        self._joined = 0

    def join(self, waiter: Waiter) -> Waiter | None:
        """Add a waiting request. Returns the one that it takes the place of, which has to leave."""
        self._joined += 1
        self._places[waiter] = self._joined
        self.by_ticket[waiter.ticket] = waiter
        groups, name, at_most = self._group(waiter)
        group = groups.setdefault(name, {})
        group[waiter] = None
        return next(iter(group)) if len(group) > at_most else None

    def leave(self, ticket: Hashable) -> Waiter | None:
        """Remove and return a waiting request; `None` if none has this ticket."""
        if (waiter := self.by_ticket.pop(ticket, None)) is not None:
            del self._places[waiter]
            groups, name, _ = self._group(waiter)
            del groups[name][waiter]
            if not groups[name]:
                del groups[name]
        return waiter

    def _group(self, waiter: Waiter) -> tuple[dict[str, dict[Waiter, None]], str, int]:
        """Return where a request stands with its like, under which name, and how many may."""
        if waiter.command.engine_id is None:
            return self._by_caller, waiter.caller.name, FOR_ANY_ENGINE
        return self._by_engine, waiter.command.engine_id, PER_ENGINE

    def of_engine(self, engine_id: str) -> list[Waiter]:
        """List the waiting requests of one engine."""
        return [*self._by_engine.get(engine_id, ())]

    def concerned(self, fleet: Fleet, event: Event) -> Iterator[Waiter]:
        """Yield the requests for which there may be a job now that the fleet has folded this event.

        A request that is given a job leaves before the next one is yielded.
        """
        match event:
            case (
                events.JobSubmitted(job_id)
                | events.JobReleased(job_id)
                | events.JobRetried(job_id)
                | events.JobMadeWhole(job_id)
            ):
                yield from self._eligible(fleet, job_id)
            case events.JobRequeued(job_id, engine_id):
                yield from self._eligible(fleet, job_id)
                yield from self._of_engine_or_any(engine_id)
            case (
                events.JobCompleted(engine_id=engine_id)
                | events.JobCancelled(engine_id=engine_id)
                | events.JobFailedPermanently(engine_id=engine_id)
                | events.JobSplit(engine_id=engine_id)
                | events.EngineSeen(engine_id=engine_id)
                | events.EngineBenchmarked(engine_id=engine_id)
                | events.EngineResumed(engine_id=engine_id)
                | events.EngineUnblocked(engine_id=engine_id)
                | events.EngineReplaced(engine_id=engine_id)
            ):
                yield from self._of_engine_or_any(engine_id)
            case events.EngineReported(engine_id, report) if not may_free_jobs(report):
                yield from self._of_engine_or_any(engine_id)
            case events.EngineReported(engine_id=engine_id):
                yield from self._of_engine_or_any(engine_id, fleet.queue.kept_from())
            case (
                events.EngineBlocked()
                | events.EngineDrained()
                | events.EngineLost()
                | events.EngineForgotten()
            ):
                if kept_from := fleet.queue.kept_from():
                    yield from self._of_engine_or_any(None, kept_from)
            case _:
                pass

    def all(self) -> Iterator[Waiter]:
        """Yield all waiting requests, the longest wait first."""
        yield from self._in_turn(self.by_ticket.values())

    def _in_turn(self, waiters: Iterable[Waiter]) -> Iterator[Waiter]:
        """Yield those that need to be tried. Those that are given a job leave meanwhile."""
        in_vain: set[str | None] = set()
        for waiter in [*waiters]:
            engine_id = waiter.command.engine_id
            if engine_id not in in_vain:
                yield waiter
                if waiter in self._places:
                    in_vain.add(engine_id)

    def _eligible(self, fleet: Fleet, job_id: str) -> Iterator[Waiter]:
        """Yield the requests that may have a job, until one has taken it."""
        for waiter in self.all():
            job, engine_id = fleet.jobs.get(job_id), waiter.command.engine_id
            if job is None or job.status != "pending":
                return
            engine = None if engine_id is None else fleet.engines.get(engine_id)
            if engine_id is None or (engine is not None and obstacle(fleet, engine, job) is None):
                yield waiter

    def _of_engine_or_any(
        self, engine_id: str | None, others: Iterable[str] = ()
    ) -> Iterator[Waiter]:
        """Yield the requests that a change of this engine concerns, and those of some others.

        Every heartbeat may call this, so it looks at no other requests.
        """
        found = [waiter for group in self._by_caller.values() for waiter in group]
        for name in {engine_id, *others}:
            if name is not None:
                found += self._by_engine.get(name, ())
        yield from self._in_turn(sorted(found, key=self._places.__getitem__))
