"""The dispatcher of a simulated farm: the real core, without an event loop, a log or a clock.

`serving.service` drives the core with a log and real time. This module drives it with the agenda
and the network. The dispatcher here can go down and restart from its events, stall, and have its
wall clock jump.

Laws:
- Every step is checked (see `ledger`).
- After a restart the fleet is folded from the events alone, and equals the fleet before it.
- The clock of the deadlines never jumps.
"""

import hashlib
from collections.abc import Callable, Hashable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple, assert_never

import msgspec

from dispatcher.core.commands import AssignJob, Caller, ReportHeartbeat
from dispatcher.core.dispatcher import Dispatcher as Core
from dispatcher.core.dispatcher import Effect, Settle, StoodStill, Wait
from dispatcher.core.events import EngineSeen, JobSubmitted, Recorded
from dispatcher.core.fleet import Fleet, evolve
from dispatcher.core.invariants import check_choices, check_decided, check_same
from dispatcher.core.job import NO_TIES, Ties
from dispatcher.core.replies import JobIs
from dispatcher.simulation.agenda import MICROS
from dispatcher.simulation.calls import Call
from dispatcher.simulation.ledger import Ledger
from dispatcher.simulation.world import World
from dispatcher.state.agreement import check_shown
from projections import Projections

__all__ = ["Assignment", "Dispatcher"]

START: Final = datetime(2026, 1, 1, tzinfo=UTC)
TICK_S: Final = 1.0
"""The interval of ticks, which do what is due. A tick that comes too late reveals a stall."""
SLACK_S: Final = 30.0
"""How long after its lease an engine may be lost: ticks may be late, and others come first."""
CHOICES: Final = 10
"""The number of engines whose choice of a job is compared with a scan of all pending jobs."""
PENDING: Final = 1_000
"""The comparison is made only up to this number of pending jobs."""


class Assignment(NamedTuple):
    """The response to a request for work: a job, its ties, and the number of the attempt."""

    job: JobSubmitted
    attempt: int
    ties: Ties = NO_TIES


class Dispatcher:
    """Takes calls from the network. `seen` is called with every event that is news.

    The event then has the true time, whatever the wall clock says.
    """

    def __init__(self, world: World, seen: Callable[[Recorded], None]) -> None:
        plan, agenda, self._network, self._story = world
        self._policy = plan.policy
        self._core = Core(plan.policy, TICK_S)
        self.jump_us = 0
        self.steps = 0
        self._agenda = agenda
        self._seen = seen
        self._ledger = Ledger(plan.leased_s)
        self._digest = hashlib.sha256()
        self._is_up = True
        self._life = 0
        self._stalled_until_us = 0
        # Folded from the events alone. The projections lag behind by the events in `_tail`.
        self._folded = Fleet()
        self._projections = Projections()
        self._submitted: dict[str, JobSubmitted] = {}  # a fleet does not keep all of these fields
        self._tail: list[Recorded] = []
        self._core.restart(Fleet(), 0, at=self._wall_time(), now_s=agenda.seconds())
        agenda.after(TICK_S, self._tick, self._life)

    @property
    def fleet(self) -> Fleet:
        """The fleet of the core: all jobs and engines."""
        return self._core.fleet

    @property
    def events(self) -> int:
        """The number of events so far."""
        return self._core.seq

    @property
    def digest(self) -> str:
        """A hash of all events so far. Equal runs have equal digests."""
        return self._digest.hexdigest()

    def receive(self, call: Call) -> None:
        """Handle a call."""
        if not self._is_up:
            self._network.refuse(call)
        elif self._agenda.now_us < self._stalled_until_us:
            self._agenda.at(self._stalled_until_us, self.receive, call)
        else:
            self._carry_out(
                self._core.take(
                    call.command,
                    Caller(call.sender.name),
                    at=self._wall_time(),
                    now_s=self._agenda.seconds(),
                    ticket=call,
                    wait_s=call.wait_s,
                )
            )

    def hung_up(self, call: Call) -> None:
        """Handle that a caller closed its connection."""
        self._core.hang_up(call)

    def stand_still(self, seconds: float) -> None:
        """Stall for a while, without noticing."""
        until_us = self._agenda.now_us + int(seconds * MICROS)
        self._stalled_until_us = max(self._stalled_until_us, until_us)

    def go_down(self, seconds: float) -> None:
        """Die, and restart after a while."""
        if self._is_up:
            self._is_up = False
            self._life += 1
            for call in self._core.waiting():
                if isinstance(call, Call):
                    self._network.refuse(call)
            self._agenda.after(seconds, self._come_back)

    def check(self) -> None:
        """Check the invariants of the whole fleet."""
        self.check_replay()
        check_decided(self.fleet)
        self._ledger.check_films()
        if len(self.fleet.queue) <= PENDING:
            check_choices(self.fleet, at_most=CHOICES)
        if self._is_up and self._agenda.now_us > self._stalled_until_us + SLACK_S * MICROS:
            self._ledger.overdue(self.fleet, self._agenda.seconds(), SLACK_S)

    def check_replay(self) -> None:
        """Check that folding the events gives the live fleet, and that the projections agree."""
        self._project()
        check_same(self.fleet, self._folded)
        check_shown(self.fleet, self._projections)

    def _project(self) -> None:
        for recorded in self._tail:
            self._projections.engines.apply(recorded)
            if not isinstance(recorded.event, EngineSeen):  # most are these: they change no job
                self._projections.jobs.apply(recorded)
        self._tail.clear()

    def _come_back(self) -> None:
        """Restart the core with the folded fleet. The fleet that was live is folded from now on."""
        self.check()
        was_live, seq = self._core.fleet, self._core.seq
        self._is_up, self._stalled_until_us = True, 0
        self._core = Core(self._policy, TICK_S)
        self._core.restart(self._folded, seq, at=self._wall_time(), now_s=self._agenda.seconds())
        self._folded = was_live
        self._ledger.leases_begin(self._agenda.seconds())
        self._agenda.after(TICK_S, self._tick, self._life)

    def _wall_time(self) -> datetime:
        return START + timedelta(microseconds=self._agenda.now_us + self.jump_us)

    def _tick(self, life: int) -> None:
        """Let the core do what is due, until nothing is due any more."""
        if life != self._life:
            return
        if self._agenda.now_us < self._stalled_until_us:
            self._agenda.at(self._stalled_until_us, self._tick, life)
            return
        while effects := self._core.tick(
            at=self._wall_time(), now_s=self._agenda.seconds(), durable_seq=self._core.seq
        ):
            self._carry_out(effects)
        self._agenda.after(TICK_S, self._tick, life)

    def _end_wait(self, life: int, call: Hashable) -> None:
        if life != self._life:
            return
        if self._agenda.now_us < self._stalled_until_us:
            self._agenda.at(self._stalled_until_us, self._end_wait, life, call)
        else:
            self._carry_out(self._core.end_wait(call))

    def _carry_out(self, effects: Sequence[Effect]) -> None:
        settled: list[Settle] = []
        for effect in effects:
            match effect:
                case Settle():
                    self._settle(effect)
                    settled.append(effect)
                case Wait(ticket, seconds):
                    self._agenda.after(seconds, self._end_wait, self._life, ticket)
                case StoodStill():
                    self._ledger.leases_begin(self._agenda.seconds())
                case _:
                    assert_never(effect)
        # Reply to the caller last, after the waiting callers that its command served. Random
        # numbers are drawn in this order, and the digests of earlier runs depend on it.
        for settle in (*settled[1:], *settled[:1]):
            self._reply(settle)

    def _settle(self, settle: Settle) -> None:
        """Check a step, and pass its events on."""
        self.steps += 1
        self._story.step(self._agenda.now_us, settle)
        records = settle.records
        if records and type(records[0].event) is not EngineSeen:
            self._ledger.answered(settle)
        for recorded in records:
            self._apply(recorded)

    def _reply(self, settle: Settle) -> None:
        command, reply, call = settle.command, settle.reply, settle.ticket
        if not isinstance(call, Call):
            return
        if isinstance(command, ReportHeartbeat) and reply == call.known:
            return  # the response would change nothing, and is not simulated
        if isinstance(command, AssignJob) and isinstance(reply, JobIs):
            job = self._folded.jobs[reply.job_id]
            self._network.reply(
                call, Assignment(self._submitted[job.job_id], job.attempt, job.ties)
            )
        else:
            self._network.reply(call, reply)

    def _apply(self, recorded: Recorded) -> None:
        """Enter an event in the ledger, and fold it again to compare with the live fleet."""
        event, folded, now_us = recorded.event, self._folded, self._agenda.now_us
        self._ledger.before(folded, event)
        # Half of all events are heartbeats without news of online engines. They change nothing.
        is_news = type(event) is not EngineSeen or not folded.engines[event.engine_id].online
        if is_news:
            evolve(folded, event)
        if isinstance(event, JobSubmitted):
            self._submitted[event.job_id] = event
        self._ledger.after(folded, event, now_us / MICROS)
        entry = (now_us, self.jump_us, type(event).__name__, event)
        self._digest.update(msgspec.json.encode(entry))
        if is_news:
            self._tail.append(recorded)
            true_time = START + timedelta(microseconds=now_us)
            self._seen(
                msgspec.structs.replace(recorded, at=true_time) if self.jump_us else recorded
            )
