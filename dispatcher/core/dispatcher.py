"""The dispatcher without an event loop, a disk or a clock: calls go in, effects come out.

    take(command) ─► decide ─► evolve the fleet ─► set deadlines ─► serve waiters ─► [Effect, …]
    tick()        ─► the same, for a command that is due

The driver passes the time and carries out the effects, in order. There are two drivers:
`serving.service` with a log and real time, `simulation` with a simulated farm. Neither makes
decisions.

Laws:
- Each call is one whole step. When it returns, its decisions are applied to the fleet, and waiting
  requests have been given the work that became available.
- The fleet may be ahead of the log by the effects that are not yet durable. If those are lost,
  `restart` starts over from the state in the log.
- A ticket is answered once: by the `Settle` that carries it, or by the driver if that is lost. It
  is never answered if its caller hung up.
- The driver waits until all that was decided is durable before it calls `tick`. So a disk that
  hangs makes the tick late, and a late tick counts as the dispatcher's own absence, in which no
  engine can be heard.
"""

from collections.abc import Hashable, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from dispatcher.core import events
from dispatcher.core.asking import Asking
from dispatcher.core.commands import AssignJob, Caller, Command, ReportHeartbeat
from dispatcher.core.deadlines import TIMED, Deadlines
from dispatcher.core.decider import decide, held_by
from dispatcher.core.due import Due
from dispatcher.core.events import Event, Recorded, job_of
from dispatcher.core.fleet import Fleet, evolve
from dispatcher.core.policy import DEFAULT_POLICY, Policy
from dispatcher.core.replies import NO_WORK, Decision, Refused, Reply
from dispatcher.core.reports import Reports
from dispatcher.core.waiting import Waiter, Waiting

__all__ = ["TICK_S", "Dispatcher", "Effect", "Settle", "StoodStill", "Wait"]

TICK_S: Final = 0.25
"""The interval between ticks."""
LATE_TICK_S: Final = 2.0
"""A tick that is later than this means that the dispatcher itself stood still."""
ITSELF: Final = Caller("dispatcher")
"""The caller of the commands that the dispatcher issues itself."""


class Settle(NamedTuple):
    """Make these records durable, then send the reply to the ticket, if there is one.

    Without records, the reply still waits until all earlier decisions are durable. `command` is the
    command that is answered.
    """

    command: Command
    records: Sequence[Recorded]
    reply: Reply
    ticket: Hashable | None


class Wait(NamedTuple):
    """There is no answer yet: call `end_wait` after this many seconds."""

    ticket: Hashable
    seconds: float


class StoodStill(NamedTuple):
    """A tick came this many seconds late: leases were renewed, and time-outs put off by as long."""

    seconds: float


Effect = Settle | Wait | StoodStill


class Dispatcher:
    """The fleet, the requests that wait for work, and the deadlines.

    Times are `at` (UTC) and `now_s` (monotonic). `seq` is that of the newest event decided.
    """

    def __init__(self, policy: Policy = DEFAULT_POLICY, tick_s: float = TICK_S) -> None:
        self.fleet = Fleet()
        self.seq = 0
        self._policy = policy
        self._tick_s = tick_s
        self._next_tick_s = 0.0
        self._waiting = Waiting()
        self._deadlines = Deadlines(policy)
        self._asking = Asking(policy)
        self._reports = Reports(policy)
        self._is_closed = False

    def waiting(self) -> list[Hashable]:
        """List the tickets of the requests that wait for work, the longest wait first."""
        return [*self._waiting.by_ticket]

    def restart(self, fleet: Fleet, seq: int, *, at: datetime, now_s: float) -> list[Effect]:
        """Start, or start over, with a fleet that is durable up to `seq`; take ownership of it.

        Waiting requests go on waiting, and are served if the fleet has a job for them.
        """
        self.fleet, self.seq = fleet, seq
        away_s = max(0.0, now_s - self._next_tick_s)  # it is not ticked while the log fails
        self._next_tick_s = now_s + self._tick_s
        self._deadlines.restart(fleet, at, now_s, away_s)
        effects: list[Effect] = []
        for waiter in self._waiting.all():
            self._serve(waiter, at, now_s, effects)
        return effects

    def take(  # noqa: PLR0913 - a command, its caller, and its times
        self,
        command: Command,
        caller: Caller,
        *,
        at: datetime,
        now_s: float,
        ticket: Hashable | None = None,
        wait_s: float = 0.0,
    ) -> list[Effect]:
        """Carry out a command. An `AssignJob` that finds no job waits up to `wait_s` for one.

        If too many wait for the same engine then, the oldest of them is answered; see `waiting`.
        """
        effects: list[Effect] = []
        if type(command) is AssignJob:
            own = self._asking.asked(self.fleet, command, now_s, wait_s)
            if own is not None:
                self._carry_out(own, at, now_s, effects)
        elif type(command) is ReportHeartbeat:
            self._asking.heard(self.fleet, command)
            command = self._reports.timed(command, now_s)
        decision = decide(self.fleet, command, at, self._policy)
        if (
            wait_s > 0
            and decision.reply is NO_WORK
            and isinstance(command, AssignJob)
            and ticket is not None
            and not self._is_closed
        ):
            replaced = self._waiting.join(Waiter(command, caller, ticket))
            dismissed = self._dismiss([] if replaced is None else [replaced])
            return [*effects, Wait(ticket, wait_s), *dismissed]
        self._settle(decision, command, caller, ticket, at, now_s, effects)
        return effects

    def tick(self, *, at: datetime, now_s: float, durable_seq: int) -> list[Effect]:
        """Let time pass. A call carries out at most one due command; repeat it until it has none.

        Between calls, the effects are made durable, and engines can be heard.
        """
        effects: list[Effect] = []
        lag_s = now_s - self._next_tick_s
        self._next_tick_s = now_s + self._tick_s
        self._deadlines.settled(durable_seq)
        if lag_s > LATE_TICK_S:
            self._deadlines.excuse(lag_s, now_s)
            effects.append(StoodStill(lag_s))
        if (command := self._deadlines.take_due(now_s, self.seq)) is not None:
            self._carry_out(command, at, now_s, effects)
        return effects

    def end_wait(self, ticket: Hashable) -> list[Effect]:
        """Answer a request whose wait is over. Do nothing if it was answered already."""
        waiter = self._waiting.leave(ticket)
        return [] if waiter is None else [self._without_work(waiter)]

    def hang_up(self, ticket: Hashable) -> None:
        """Forget a request whose caller is gone."""
        self._waiting.leave(ticket)

    def close(self) -> list[Effect]:
        """Answer all waiting requests, and let no request wait from now on."""
        self._is_closed = True
        return self._dismiss([*self._waiting.by_ticket.values()])

    def _carry_out(self, command: Due, at: datetime, now_s: float, effects: list[Effect]) -> None:
        """Carry out a command of the dispatcher's own."""
        decision = decide(self.fleet, command, at, self._policy)
        self._settle(decision, command, ITSELF, None, at, now_s, effects)

    def _settle(  # noqa: PLR0913, PLR0917 - the parts of a step
        self,
        decision: Decision,
        command: Command,
        caller: Caller,
        ticket: Hashable | None,
        at: datetime,
        now_s: float,
        effects: list[Effect],
    ) -> None:
        """Apply a decision, and serve the waiting requests for which it makes work available."""
        happened = decision.events
        news: Sequence[Event] = ()
        if self._waiting.by_ticket:
            news = [event for event in happened if not self._is_routine(event)]
        records = []
        for event in happened:
            self.seq += 1
            recorded = Recorded(self.seq, at, caller.name, event, caller.request_id)
            records.append(recorded)
            evolve(self.fleet, event)
            if type(event) in TIMED:
                self._deadlines.notice(recorded, now_s)
                if type(event) is events.EngineReported:
                    self._reports.recorded(event.engine_id, now_s)
                elif type(event) is events.EngineForgotten:
                    self._asking.forget(event.engine_id)
                    self._reports.forget(event.engine_id)
        effects.append(Settle(command, records, decision.reply, ticket))
        for event in news:
            if isinstance(event, events.EngineLost | events.EngineForgotten):
                # A request from before the engine fell silent is no sign of life.
                effects += self._dismiss(self._waiting.of_engine(event.engine_id))
        # First whoever may have a job that is back, in their order; then whom only the engine
        # concerns that had it.
        for event in sorted(news, key=lambda event: job_of(event) is None):
            for waiter in self._waiting.concerned(self.fleet, event):
                self._serve(waiter, at, now_s, effects)

    def _is_routine(self, event: Event) -> bool:
        """Whether an event only shows that an online engine is alive, as most events do."""
        if type(event) is not events.EngineSeen:
            return False
        engine = self.fleet.engines.get(event.engine_id)
        return engine is not None and engine.online

    def _serve(self, waiter: Waiter, at: datetime, now_s: float, effects: list[Effect]) -> None:
        """Assign a job to a waiting request, if there is one for it."""
        decision = decide(self.fleet, waiter.command, at, self._policy)
        # It may also be refused by now: another instance took over the engine.
        if decision.events or isinstance(decision.reply, Refused):
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
