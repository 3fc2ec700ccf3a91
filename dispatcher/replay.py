"""What a log says was true at a seq."""

from collections.abc import Callable
from contextlib import aclosing
from typing import Protocol

from dispatcher.events import Recorded
from dispatcher.fleet import Fleet, evolve
from dispatcher.log import Log, LogError, decoded
from projections import Projections

__all__ = ["Origin", "State", "replay"]


class State:
    """All that follows from the log up to a seq: what decisions need, and what readers see."""

    def __init__(self, fleet: Fleet | None = None, projections: Projections | None = None) -> None:
        self.fleet = fleet or Fleet()
        self.projections = projections or Projections()

    @property
    def seq(self) -> int:
        """The seq of the newest event in it."""
        return self.projections.seq

    def apply(self, recorded: Recorded) -> None:
        """Fold one event."""
        evolve(self.fleet, recorded.event)
        self.projections.apply(recorded)


class Origin(Protocol):
    """Where a replay may begin; see `snapshots`."""

    async def newest(self, log: Log, upto: int) -> State | None:
        """Give a state that was true of the log at `upto` or not long before."""


async def replay(
    log: Log,
    at: int | None = None,
    progress: Callable[[int, int], None] = lambda _done, _of: None,
    *,
    origin: Origin | None = None,
) -> State:
    """Fold a log, up to and with seq `at` (`None`: all of it), from `origin` or from nothing.

    `LogError` if the log does not reach that far.
    """
    upto = log.head if at is None else at
    if upto > log.head:
        raise LogError(f"the log ends at seq {log.head}; there is no seq {upto} yet")
    state = (await origin.newest(log, upto) if origin is not None else None) or State()
    async with aclosing(log.entries(state.seq, upto)) as pages:
        async for page in pages:
            for recorded in decoded(page):
                state.apply(recorded)
            progress(state.seq, upto)
    return state
