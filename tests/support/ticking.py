"""Timers whose clock the tests turn."""

from datetime import timedelta
from typing import Final

from dispatcher.core.commands import Command
from dispatcher.core.deadlines import Timers
from dispatcher.core.events import (
    Event,
    Recorded,
)
from dispatcher.core.policy import Policy
from projections import Projections
from tests.support.given import START

__all__ = ["LEASE", "Ticking"]

LEASE: Final = Policy(lease_s=60.0)


class Clock:
    """A monotonic clock that stands still unless it is turned."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Ticking:
    """Timers, their clock, and what they have handed out."""

    def __init__(self, policy: Policy = LEASE) -> None:
        self.clock = Clock()
        self.timers = Timers(policy, self.clock)

    def notice(self, *events: Event) -> None:
        for event in events:
            self.timers.notice(Recorded(1, START, "tester", event))

    def due_after(self, seconds: float) -> list[Command]:
        self.clock.now_s += seconds
        taken = []
        while self.timers._is_due():
            taken.append(self.timers._take_due()[1])
        return taken

    def start(self, *events: Event, now_s: float = 0.0) -> None:
        projections = Projections()
        for seq, event in enumerate(events, 1):
            projections.apply(Recorded(seq, START, "tester", event))
        self.timers.start(projections, START + timedelta(seconds=now_s))
