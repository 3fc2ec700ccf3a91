"""Deadlines by a clock that the tests turn."""

from datetime import timedelta
from typing import Final

from dispatcher.core.commands import Command
from dispatcher.core.deadlines import Deadlines
from dispatcher.core.events import Event, Recorded
from dispatcher.core.fleet import Fleet, evolve
from dispatcher.core.policy import Policy
from tests.support.given import START

__all__ = ["LEASE", "Ticking"]

LEASE: Final = Policy(lease_s=60.0)


class Ticking:
    """Deadlines, and a monotonic clock that stands still unless it is turned."""

    def __init__(self, policy: Policy = LEASE) -> None:
        self.now_s = 1000.0
        self.seq = 0
        self.deadlines = Deadlines(policy)

    def notice(self, *events: Event, at_s: float = 0.0) -> None:
        for event in events:
            self.seq += 1
            at = START + timedelta(seconds=at_s)
            self.deadlines.notice(Recorded(self.seq, at, "tester", event), self.now_s)

    def due_after(self, seconds: float) -> list[Command]:
        self.now_s += seconds
        taken: list[Command] = []
        while (due := self.deadlines.take_due(self.now_s, self.seq)) is not None:
            taken.append(due)
        return taken

    def pass_unseen(self, seconds: float) -> None:
        """Let time pass in which the dispatcher takes no report."""
        self.now_s += seconds
        self.deadlines.excuse(seconds, self.now_s)

    def start(self, *events: Event, now_s: float = 0.0) -> None:
        fleet = Fleet()
        for event in events:
            evolve(fleet, event)
        self.deadlines.restart(fleet, START + timedelta(seconds=now_s), self.now_s)
