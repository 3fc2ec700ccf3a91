"""Engines that wait for work with an open request (`wait_s` of `POST /assign_job/`).

Laws:
- Whoever has waited longest is asked first.
- A job that becomes ready is offered to those who may have it, until one takes it, and to nobody
  else; a waiter is woken only with a job in its hand, or at the end of its time.
- A waiter that is gone, or whose engine has fallen silent, is given nothing.
"""

from collections.abc import Callable, Iterable

from dispatcher.core.events import (
    EngineBenchmarked,
    EngineBlocked,
    EngineDrained,
    EngineForgotten,
    EngineLost,
    EngineReported,
    EngineResumed,
    EngineSeen,
    Event,
    JobCancelled,
    JobCompleted,
    JobFailedPermanently,
    JobReleased,
    JobRequeued,
    JobRetried,
    JobSubmitted,
)
from dispatcher.core.fleet import Fleet
from dispatcher.core.scheduling import may_free_jobs, obstacle

__all__ = ["Waiter", "Waiters"]


class Waiter:
    """A request that waits for a job for an engine, or for any (`None`).

    `give` tries at once to assign it one, and says whether that went well. `dismiss` ends the
    wait.
    """

    def __init__(
        self, engine_id: str | None, give: Callable[[], bool], dismiss: Callable[[], None]
    ) -> None:
        self.engine_id = engine_id
        self.give = give
        self.dismiss = dismiss


class Waiters:
    """Everybody who waits, in order of arrival."""

    def __init__(self) -> None:
        self._waiting: dict[Waiter, int] = {}
        self._by_engine: dict[str | None, dict[Waiter, None]] = {}
        self._joined = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def join(self, waiter: Waiter) -> None:
        """Begin to wait."""
        self._joined += 1
        self._waiting[waiter] = self._joined
        self._by_engine.setdefault(waiter.engine_id, {})[waiter] = None

    def leave(self, waiter: Waiter) -> None:
        """Wait no more."""
        if self._waiting.pop(waiter, None) is not None:
            of_engine = self._by_engine[waiter.engine_id]
            del of_engine[waiter]
            if not of_engine:
                del self._by_engine[waiter.engine_id]

    def notice(self, fleet: Fleet, events: Iterable[Event]) -> None:
        """Offer what these events, which the fleet has folded, have made possible."""
        for event in events:
            if not self._waiting:
                return
            match event:
                case JobSubmitted(job_id) | JobReleased(job_id) | JobRetried(job_id):
                    self._offer(fleet, job_id)
                case JobRequeued(job_id, engine_id):
                    self._offer(fleet, job_id)
                    self._ask(engine_id)
                case (
                    JobCompleted(engine_id=engine_id)
                    | JobCancelled(engine_id=engine_id)
                    | JobFailedPermanently(engine_id=engine_id)
                    | EngineSeen(engine_id=engine_id)
                    | EngineBenchmarked(engine_id=engine_id)
                    | EngineResumed(engine_id=engine_id)
                ):
                    self._ask(engine_id)
                case EngineReported(engine_id, report) if not may_free_jobs(report):
                    self._ask(engine_id)
                case EngineLost(engine_id) | EngineForgotten(engine_id):
                    self._dismiss(engine_id)
                    self.ask_all()
                case EngineReported() | EngineBlocked() | EngineDrained():
                    # Jobs that were kept for this engine may now go back to one that failed them.
                    self.ask_all()
                case _:
                    pass

    def dismiss_all(self) -> None:
        """Send everybody home."""
        for waiter in list(self._waiting):
            waiter.dismiss()
            self.leave(waiter)

    def ask_all(self) -> None:
        """Let everybody try."""
        for waiter in list(self._waiting):
            self._give(waiter)

    def _offer(self, fleet: Fleet, job_id: str) -> None:
        """Offer a job, until somebody has taken it."""
        for waiter in list(self._waiting):
            job = fleet.jobs.get(job_id)
            if job is None or job.status != "pending":
                return
            engine = fleet.engines.get(waiter.engine_id) if waiter.engine_id is not None else None
            if waiter.engine_id is None or (
                engine is not None and obstacle(fleet, engine, job) is None
            ):
                self._give(waiter)

    def _ask(self, engine_id: str | None) -> None:
        """Let those try whom a change of this engine may concern.

        Every heartbeat comes by here, so nobody else is looked at.
        """
        concerned = [*self._by_engine.get(None, ())]
        if engine_id is not None:
            concerned += self._by_engine.get(engine_id, ())
        for waiter in sorted(concerned, key=self._waiting.__getitem__):
            self._give(waiter)

    def _dismiss(self, engine_id: str) -> None:
        """Send an engine home: an ask from before it fell silent is no sign of life."""
        for waiter in [*self._by_engine.get(engine_id, ())]:
            waiter.dismiss()
            self.leave(waiter)

    def _give(self, waiter: Waiter) -> None:
        if waiter.give():
            self.leave(waiter)
