"""The state that follows from a log at a seq."""

import gc
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from typing import Protocol

from dispatcher.core.events import JobRetried, Recorded
from dispatcher.core.fleet import Fleet, evolve
from dispatcher.index import FinishedJobs
from dispatcher.index.steps import recall
from dispatcher.log import Log, LogError, decoded
from dispatcher.progress import Progress, silent
from projections import Projections

__all__ = ["Origin", "State", "fold", "replay"]


@contextmanager
def _without_collector() -> Iterator[None]:
    """Turn off the garbage collector while a state is built, since it would scan it repeatedly.

    There is nothing to collect, because everything built here is kept. A start is twice as fast.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class State:
    """All that follows from the log up to a seq: what decisions need, and what readers see.

    Finished jobs may have been evicted. `finished`, which has them then, is asked for one when an
    event retries it.
    """

    def __init__(
        self,
        fleet: Fleet | None = None,
        projections: Projections | None = None,
        finished: FinishedJobs | None = None,
    ) -> None:
        self.fleet = fleet or Fleet()
        self.projections = projections or Projections()
        self.finished = finished

    @property
    def seq(self) -> int:
        """The seq of the newest event folded."""
        return self.projections.seq

    def apply(self, recorded: Recorded) -> None:
        """Fold one event."""
        if self.finished is not None and type(recorded.event) is JobRetried:
            self._recall(recorded.event.job_id, self.finished)
        evolve(self.fleet, recorded.event)
        self.projections.apply(recorded)

    def _recall(self, job_id: str, finished: FinishedJobs) -> None:
        if job_id not in self.fleet.jobs and (found := finished.job(job_id, self.seq)) is not None:
            recall(self.fleet, self.projections, found)


class Origin(Protocol):
    """A source of states to start a replay from; see `shortcuts`."""

    async def newest(self, log: Log, upto: int) -> State | None:
        """Return a state of the log at `upto` or not long before, or `None`."""

    async def lighten(self, log: Log, state: State) -> None:
        """Let go of what is kept elsewhere. Called after each page that was folded."""


async def replay(
    log: Log,
    at: int | None = None,
    progress: Progress = silent,
    *,
    origin: Origin | None = None,
) -> State:
    """Fold a log up to and including seq `at` (`None`: all of it), from `origin` or from the start.

    Raises `LogError` if the log does not reach that far.
    """
    upto = log.head if at is None else at
    if upto > log.head:
        raise LogError(f"the log ends at seq {log.head}; there is no seq {upto} yet")
    with _without_collector():
        state = (await origin.newest(log, upto) if origin is not None else None) or State()
        async with aclosing(log.entries(state.seq, upto)) as pages:
            async for page in pages:
                for recorded in decoded(page):
                    state.apply(recorded)
                if origin is not None:
                    await origin.lighten(log, state)
                progress(state.seq, upto)
    return state


async def fold(log: Log, into: Projections, upto: int) -> None:
    """Fold the events after those already folded, up to and including seq `upto`."""
    async with aclosing(log.entries(into.seq, upto)) as pages:
        async for page in pages:
            for recorded in decoded(page):
                into.apply(recorded)
