"""The dispatcher without a loop, a disk or a clock: commands, ticks and hang-ups in, effects out.

    take(command) ─► decide ─► evolve the fleet ─► set deadlines ─► serve who waits ─► [Effect, …]
    tick()        ─► what is due, as commands of its own

Whoever drives it gives the time and carries out the effects, in their order: `serving.service`
with a log and real time, `simulation` with a made-up farm. Neither decides anything.

Laws:
- Each call is one whole step: what it decides is true in the fleet when it returns, and whoever
  waits for what has become possible has it in the same step.
- The fleet may be ahead of the log by the effects that are not yet durable. If those are lost,
  `restart` begins again from what the log has.
- A ticket is answered once: with the `Settle` that carries it, or never if its caller hung up.
- `tick` is called only when all that was decided is durable, so that an engine whose heartbeat
  waits for the disk is never lost for it; a late tick is the dispatcher's own absence.
"""

from collections.abc import Hashable, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from dispatcher.core import events
from dispatcher.core.commands import AssignJob, Caller, Command
from dispatcher.core.deadlines import TIMED, Deadlines
from dispatcher.core.decider import Decision, decide, held_by
from dispatcher.core.events import Event, Recorded
from dispatcher.core.fleet import Fleet, evolve
from dispatcher.core.policy import DEFAULT_POLICY, Policy
from dispatcher.core.replies import NO_WORK, Reply
from dispatcher.core.waiting import Waiter, Waiting

__all__ = ["TICK_S", "Dispatcher", "Effect", "Settle", "StoodStill", "Wait"]

TICK_S: Final = 0.25
"""How often it is to be ticked."""
STALL_S: Final = 2.0
"""A tick that comes so much too late means that the dispatcher itself stood still."""
ITSELF: Final = Caller("dispatcher")
"""The caller of what the dispatcher does of its own accord."""


class Settle(NamedTuple):
    """Make these records durable, then give the reply to the ticket; `None` is nobody's.

    Without records the reply still waits for all that was decided before it. `command` is what it
    answers; whoever only waits for what was decided has none.
    """

    command: Command | None
    records: Sequence[Recorded]
    reply: Reply
    ticket: Hashable | None


class Wait(NamedTuple):
    """There is nothing to answer yet: call `end_wait` when so many seconds are over."""

    ticket: Hashable
    seconds: float


class StoodStill(NamedTuple):
    """A tick came so many seconds too late, and all leases have begun anew."""

    seconds: float


Effect = Settle | Wait | StoodStill


class Dispatcher:
    """The fleet, who waits for work, and what is due. Times are `at` (UTC) and `now_s` (monotonic).

    `seq` is that of the newest event decided.
    """

    def __init__(self, policy: Policy = DEFAULT_POLICY, tick_s: float = TICK_S) -> None:
        self.fleet = Fleet()
        self.seq = 0
        self._policy = policy
        self._tick_s = tick_s
        self._next_tick_s = 0.0
        self._waiting = Waiting()
        self._deadlines = Deadlines(policy)
        self._is_closed = False

    def waiting(self) -> list[Hashable]:
        """List the tickets of the asks that wait for work, whoever has waited longest first."""
        return [*self._waiting.by_ticket]

    def restart(self, fleet: Fleet, seq: int, *, at: datetime, now_s: float) -> list[Effect]:
        """Begin, or begin again, with a fleet that is durable up to `seq`. It is ours from now on.

        Who waits goes on waiting, and is served if the fleet has a job for him.
        """
        self.fleet, self.seq = fleet, seq
        self._next_tick_s = now_s + self._tick_s
        self._deadlines.restart(fleet, at, now_s)
        effects: list[Effect] = []
        for waiter in self._waiting.all():
            self._try(waiter, at, now_s, effects)
        return effects

    def take(  # noqa: PLR0913 - a command, who gave it, and when
        self,
        command: Command,
        caller: Caller,
        *,
        at: datetime,
        now_s: float,
        ticket: Hashable | None = None,
        wait_s: float = 0.0,
    ) -> list[Effect]:
        """Take a command in. An ask that finds no job waits up to `wait_s` for one."""
        decision = decide(self.fleet, command, at, self._policy)
        if (
            wait_s > 0
            and decision.reply is NO_WORK
            and isinstance(command, AssignJob)
            and ticket is not None
            and not self._is_closed
        ):
            self._waiting.join(Waiter(command, caller, ticket))
            return [Wait(ticket, wait_s)]
        effects: list[Effect] = []
        self._settle(decision, command, caller, ticket, at, now_s, effects)
        return effects

    def tick(self, *, at: datetime, now_s: float) -> list[Effect]:
        """Let time have passed: at most one thing that is due is done, so call it until it is none.

        In between the effects are made durable, and engines can be heard.
        """
        effects: list[Effect] = []
        lag_s = now_s - self._next_tick_s
        self._next_tick_s = now_s + self._tick_s
        self._deadlines.settled()
        if lag_s > STALL_S:
            self._deadlines.renew_leases(now_s)
            effects.append(StoodStill(lag_s))
        if (command := self._deadlines.take_due(now_s)) is not None:
            decision = decide(self.fleet, command, at, self._policy)
            self._settle(decision, command, ITSELF, None, at, now_s, effects)
        return effects

    def end_wait(self, ticket: Hashable) -> list[Effect]:
        """Answer an ask whose time is over. One that was answered already is none of these."""
        waiter = self._waiting.leave(ticket)
        return [] if waiter is None else [self._without_work(waiter)]

    def hang_up(self, ticket: Hashable) -> None:
        """Forget an ask whose caller is gone."""
        self._waiting.leave(ticket)

    def close(self) -> list[Effect]:
        """Answer everybody who waits, and let nobody wait from now on."""
        self._is_closed = True
        return self._dismiss(self._waiting.all())

    def _settle(  # noqa: PLR0913, PLR0917 - all that there is to a step
        self,
        decision: Decision,
        command: Command,
        caller: Caller,
        ticket: Hashable | None,
        at: datetime,
        now_s: float,
        effects: list[Effect],
    ) -> None:
        """Make a decision true, and serve those for whom it has made something possible."""
        happened = decision.events
        news: Sequence[Event] = ()
        if self._waiting.by_ticket:
            news = [event for event in happened if not self._is_known(event)]
        records = []
        for event in happened:
            self.seq += 1
            records.append(Recorded(self.seq, at, caller.name, event, caller.request_id))
            evolve(self.fleet, event)
            if type(event) in TIMED:
                self._deadlines.notice(event, at, now_s)
        effects.append(Settle(command, records, decision.reply, ticket))
        for event in news:
            if isinstance(event, events.EngineLost | events.EngineForgotten):
                # An ask from before the engine fell silent is no sign of life.
                effects += self._dismiss(self._waiting.of_engine(event.engine_id))
            for waiter in self._waiting.concerned(self.fleet, event):
                self._try(waiter, at, now_s, effects)

    def _is_known(self, event: Event) -> bool:
        """Whether an event is a sign of life of an engine that is known to live: most are."""
        if type(event) is not events.EngineSeen:
            return False
        engine = self.fleet.engines.get(event.engine_id)
        return engine is not None and engine.online

    def _try(self, waiter: Waiter, at: datetime, now_s: float, effects: list[Effect]) -> None:
        """Give a waiter a job, if there is one for him."""
        decision = decide(self.fleet, waiter.command, at, self._policy)
        if decision.events:
            caller, ticket = waiter.caller, waiter.ticket
            self._settle(decision, waiter.command, caller, ticket, at, now_s, effects)
            self._waiting.leave(ticket)

    def _dismiss(self, waiters: list[Waiter]) -> list[Effect]:
        for waiter in waiters:
            self._waiting.leave(waiter.ticket)
        return [self._without_work(waiter) for waiter in waiters]

    def _without_work(self, waiter: Waiter) -> Settle:
        reply = held_by(self.fleet, waiter.command) or NO_WORK
        return Settle(waiter.command, (), reply, waiter.ticket)
