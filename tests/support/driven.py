"""A dispatcher without a loop, a disk or a clock, driven call by call."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from dispatcher.core.commands import Caller, Command
from dispatcher.core.dispatcher import Dispatcher, Effect, Settle
from dispatcher.core.events import Event
from dispatcher.core.fleet import Fleet, evolve
from dispatcher.core.policy import Policy
from tests.support.given import START

__all__ = ["LEASE", "SOMEBODY", "Driven", "replies"]

LEASE: Final = Policy(lease_s=60.0)
SOMEBODY: Final = Caller("somebody", "request 1")


class Driven:
    """A dispatcher, its clock, and what is durable."""

    def __init__(self, *past: Event, policy: Policy = LEASE) -> None:
        self.core = Dispatcher(policy)
        self.now_s = 1000.0
        self.durable: list[Event] = []
        self.restart(*past)

    def restart(self, *durable: Event) -> Sequence[Effect]:
        """Begin again from what is durable, and these."""
        self.durable += durable
        fleet = Fleet()
        for event in self.durable:
            evolve(fleet, event)
        at = START + timedelta(seconds=self.now_s - 1000.0)
        return self.core.restart(fleet, len(self.durable), at=at, now_s=self.now_s)

    def take(
        self, command: Command, ticket: str | None = None, wait_s: float = 0.0
    ) -> Sequence[Effect]:
        at = START + timedelta(seconds=self.now_s - 1000.0)
        return self.core.take(
            command, SOMEBODY, at=at, now_s=self.now_s, ticket=ticket, wait_s=wait_s
        )

    def tick(self) -> Sequence[Effect]:
        at = START + timedelta(seconds=self.now_s - 1000.0)
        return self.core.tick(at=at, now_s=self.now_s, durable_seq=self.core.seq)

    def after(self, seconds: float) -> list[Command]:
        """Let time pass second by second, as it goes when nothing stands still; give what was due.

        All is made durable at once.
        """
        done = []
        for _ in range(int(seconds)):
            self.now_s += 1.0
            while effects := self.tick():
                done += [effect.command for effect in effects if isinstance(effect, Settle)]
        return done


def replies(effects: Sequence[Effect]) -> list[tuple[object, object]]:
    return [(it.ticket, it.reply) for it in effects if isinstance(it, Settle)]
