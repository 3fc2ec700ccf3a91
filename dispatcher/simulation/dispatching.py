"""The dispatcher as `service.Service` runs it, but without an event loop, a disk and a clock.

The rules, the fleet, the timers and those who wait for work are the real ones. It goes down and
comes back from its events, stands still, and has a wall clock that jumps.

Laws:
- Every step is checked (see `ledger`).
- What comes back is folded from the events alone, and equals what went down.
- The timers' clock never jumps.
"""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import msgspec

from dispatcher.core.commands import AssignJob, Command, ReportHeartbeat
from dispatcher.core.deadlines import Timers
from dispatcher.core.decider import Rejected, decide
from dispatcher.core.events import EngineSeen, Event, JobAssigned, JobSubmitted, Recorded
from dispatcher.core.fleet import Fleet, evolve
from dispatcher.core.waiting import Waiter, Waiters
from dispatcher.simulation.agenda import MICROS
from dispatcher.simulation.laws import check_fleet, check_same, check_shown
from dispatcher.simulation.ledger import Ledger
from dispatcher.simulation.network import Call
from dispatcher.simulation.world import World
from projections import Projections

__all__ = ["DRAIN", "GO_ON", "Assignment", "Dispatcher", "Orders"]

START: Final = datetime(2026, 1, 1, tzinfo=UTC)
TICK_S: Final = 1.0
"""How often the timers are looked at; a stall is noticed by a tick that comes too late."""
SLACK_S: Final = 30.0
"""How much later than its lease an engine may be lost: its timer ticks, and others come first."""


class Assignment(NamedTuple):
    """The answer to an ask: a job, and which attempt at it this is."""

    job: JobSubmitted
    attempt: int


class Orders(NamedTuple):
    """The answer to a heartbeat: an attempt that is not the engine's own any more, and the rest."""

    cancel: tuple[str | None, int | None] | None
    drain: bool


GO_ON: Final = Orders(None, drain=False)
DRAIN: Final = Orders(None, drain=True)


class Dispatcher:
    """Takes calls from the network. `seen` is called with every event, at the true time."""

    def __init__(self, world: World, seen: Callable[[Recorded], None]) -> None:
        plan, agenda, self._network, self._story = world
        self.fleet = Fleet()
        self.jump_us = 0
        self.events = 0
        self.steps = 0
        self._policy = plan.policy
        self._agenda = agenda
        self._seen = seen
        self._ledger = Ledger(plan.leased_s)
        self._waiters = Waiters()
        self._waiting: dict[Call, Waiter] = {}
        self._timers = Timers(self._policy, agenda.seconds)
        self._digest = hashlib.sha256()
        self._is_up = True
        self._life = 0
        self._still_until_us = 0
        # What follows from the events alone; those in the tail are yet to be folded.
        self._folded = Fleet()
        self._projections = Projections()
        self._submitted: dict[str, JobSubmitted] = {}  # the fleet keeps less of a job
        self._tail: list[Recorded] = []
        agenda.after(TICK_S, self._tick, self._life, TICK_S)

    @property
    def digest(self) -> str:
        """Sum up every event so far: the same for the same run."""
        return self._digest.hexdigest()

    def receive(self, call: Call) -> None:
        """Take a call in."""
        if not self._is_up:
            self._network.refuse(call)
        elif self._agenda.now_us < self._still_until_us:
            self._agenda.at(self._still_until_us, self.receive, call)
        elif isinstance(call.command, ReportHeartbeat):
            self._beat(call, call.command)
        elif isinstance(call.command, AssignJob):
            self._assign(call, call.command)
        else:
            self._network.reply(call, self._step(call.sender.name, call.command))

    def hung_up(self, call: Call) -> None:
        """Learn that a caller closed its connection."""
        if (waiter := self._waiting.pop(call, None)) is not None:
            self._waiters.leave(waiter)

    def stand_still(self, seconds: float) -> None:
        """Do nothing for a while, and not know of it."""
        until_us = self._agenda.now_us + int(seconds * MICROS)
        self._still_until_us = max(self._still_until_us, until_us)

    def go_down(self, seconds: float) -> None:
        """Die, and come back after a while."""
        if self._is_up:
            self._is_up = False
            self._life += 1
            for call in self._waiting:
                self._network.refuse(call)
            self._agenda.after(seconds, self._come_back)

    def check(self) -> None:
        """Check all that must be true of everything together."""
        self._fold()  # a day has too many events to keep them all
        check_fleet(self.fleet)
        if self._is_up and self._agenda.now_us > self._still_until_us + SLACK_S * MICROS:
            self._ledger.overdue(self.fleet, self._agenda.seconds(), SLACK_S)

    def check_replay(self) -> None:
        """Fold the newest events too, and check that this gives what is live; then go on with it.

        What was live becomes what the next events will be folded into.
        """
        self._fold()
        check_same(self.fleet, self._folded)
        check_shown(self.fleet, self._projections)
        self.fleet, self._folded = self._folded, self.fleet

    def _fold(self) -> None:
        for recorded in self._tail:
            evolve(self._folded, recorded.event)
            self._projections.engines.apply(recorded)
            if not isinstance(recorded.event, EngineSeen):  # most are, and no job's view is in them
                self._projections.jobs.apply(recorded)
        self._tail.clear()

    def _come_back(self) -> None:
        self.check_replay()
        check_fleet(self.fleet)
        self._is_up, self._still_until_us = True, 0
        self._waiters, self._waiting = Waiters(), {}
        self._timers = Timers(self._policy, self._agenda.seconds)
        self._timers.start(self._projections, self._wall())
        self._ledger.leases_begin(self._agenda.seconds())
        self._agenda.after(TICK_S, self._tick, self._life, self._agenda.seconds() + TICK_S)

    def _wall(self) -> datetime:
        return START + timedelta(microseconds=self._agenda.now_us + self.jump_us)

    def _tick(self, life: int, due_s: float) -> None:
        """Do what `Timers.run` does at each of its ticks."""
        if life != self._life:
            return
        if self._agenda.now_us < self._still_until_us:
            self._agenda.at(self._still_until_us, self._tick, life, due_s)
            return
        if self._timers.woke(due_s):
            self._ledger.leases_begin(self._agenda.seconds())
        while (command := self._timers.take_due()) is not None:
            self._step("dispatcher", command)
        self._agenda.after(TICK_S, self._tick, life, self._agenda.seconds() + TICK_S)

    def _beat(self, call: Call, beat: ReportHeartbeat) -> None:
        self._step(call.sender.name, beat)
        engine = self.fleet.engines[beat.engine_id]
        orders = DRAIN if engine.drained else GO_ON
        if beat.current_job is not None:
            job = self.fleet.jobs[beat.current_job]
            if engine.holds != beat.current_job or beat.attempt != job.attempt:
                orders = Orders((beat.current_job, beat.attempt), engine.drained)
        if orders != call.known:  # else the answer would change nothing, and is not simulated
            self._network.reply(call, orders)

    def _assign(self, call: Call, command: AssignJob) -> None:
        """Answer an ask as `Service.assign` does, at once or when there is a job."""
        outcome = self._step(call.sender.name, command)
        has_answer = isinstance(outcome, Rejected) or outcome or self._held_by(command) is not None
        if has_answer or call.wait_s <= 0:
            self._network.reply(call, self._answer(command, outcome))
            return

        def give() -> bool:
            if call not in self._waiting:
                return False
            outcome = self._step(call.sender.name, command)
            if isinstance(outcome, Rejected) or not outcome:
                return False
            self._waiting.pop(call, None)
            self._network.reply(call, self._answer(command, outcome))
            return True

        waiter = Waiter(command.engine_id, give, lambda: self._dismissed(call, command))
        self._waiters.join(waiter)
        self._waiting[call] = waiter
        self._agenda.after(call.wait_s, self._waited, call, command)

    def _waited(self, call: Call, command: AssignJob) -> None:
        if self._agenda.now_us < self._still_until_us:
            self._agenda.at(self._still_until_us, self._waited, call, command)
        elif call in self._waiting:
            self.hung_up(call)
            self._network.reply(call, self._held_by(command))

    def _dismissed(self, call: Call, command: AssignJob) -> None:
        self._waiting.pop(call, None)
        self._network.reply(call, self._held_by(command))

    def _answer(
        self, command: AssignJob, outcome: list[Event] | Rejected
    ) -> Assignment | Rejected | None:
        if isinstance(outcome, Rejected):
            return outcome
        given = next((e.job_id for e in outcome if isinstance(e, JobAssigned)), None)
        return self._held_by(command) if given is None else self._assignment(given)

    def _held_by(self, command: AssignJob) -> Assignment | None:
        """Give the job that a resuming engine has already."""
        engine = self.fleet.engines.get(command.engine_id or "")
        if not command.resume or engine is None or engine.holds is None:
            return None
        return self._assignment(engine.holds)

    def _assignment(self, job_id: str) -> Assignment:
        return Assignment(self._submitted[job_id], self.fleet.jobs[job_id].attempt)

    def _step(self, caller: str, command: Command) -> list[Event] | Rejected:
        """Decide, make the events true, and check."""
        self.steps += 1
        at = self._wall()
        outcome = decide(self.fleet, command, at, self._policy)
        events = outcome.events if isinstance(outcome, Rejected) else outcome
        self._story.step(self._agenda.now_us, caller, command, outcome)
        # A plain sign of life concerns only who waits for any engine, and nobody here does.
        is_news = bool(events) and type(events[0]) is not EngineSeen
        if is_news:
            self._ledger.answered(command, outcome, events)
        for event in events:
            self._happen(event, at, caller)
        if is_news:
            self._waiters.notice(self.fleet, events)
        return outcome

    def _happen(self, event: Event, at: datetime, caller: str) -> None:
        fleet, now_us = self.fleet, self._agenda.now_us
        self._ledger.before(fleet, event)
        # Half of all events are signs of life of who is known to live, from which nothing follows.
        is_news = type(event) is not EngineSeen or not fleet.engines[event.engine_id].online
        evolve(fleet, event)
        if isinstance(event, JobSubmitted):
            self._submitted[event.job_id] = event
        self._ledger.after(fleet, event, now_us / MICROS)
        self.events += 1
        recorded = Recorded(self.events, at, caller, event)
        self._timers.notice(recorded)
        told = (now_us, self.jump_us, type(event).__name__, event)
        self._digest.update(msgspec.json.encode(told))
        if is_news:
            self._tail.append(recorded)
            true = START + timedelta(microseconds=now_us)
            self._seen(Recorded(self.events, true, caller, event) if self.jump_us else recorded)
