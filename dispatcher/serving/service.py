"""The one place where commands become events, and events become what readers see.

    execute(command) → decide → evolve the fleet → queue ─┐ one synchronous step
                         commits: log.append(batch) ──────┤ one transaction for all that queued
                                  project → answer  ◄─────┘

Who waits for work (`waiters`) is served within the same step that makes work ready; what is due
(`timers`) comes in as a command; `commits` carries events to the log, and `feed` shows them to
who watches.

Laws:
- Decide and enqueue is one synchronous step on the event loop, so commands take effect in one
  order. No request holds a transaction; a request that is cancelled leaves its events whole.
- Nobody is answered from what is not durable: a refusal, an empty outcome and a read of the
  projections all wait for, or show, committed events only.
- The fleet runs ahead of the log by what is being committed. If a commit fails, everybody who
  waited is told so, and the fleet is rebuilt from the log before the next decision.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import stamina

from dispatcher.core.commands import AssignJob, Caller, Command, SubmitJob
from dispatcher.core.deadlines import Timers
from dispatcher.core.decider import Rejected, decide
from dispatcher.core.events import Event, Recorded
from dispatcher.core.fleet import Fleet, evolve, microseconds
from dispatcher.core.policy import DEFAULT_POLICY, Policy
from dispatcher.core.waiting import Waiters
from dispatcher.log import Log, LogError
from dispatcher.log.serialization import Entry
from dispatcher.progress import Progress, silent
from dispatcher.serving.as_of import Past
from dispatcher.serving.feed import Feed
from dispatcher.serving.group_commit import GroupCommit, UnavailableError
from dispatcher.serving.long_poll import wait_among
from dispatcher.state.replay import State, fold, replay
from projections import Projections
from projections.jobs import JobView

__all__ = ["RefusedError", "Service", "UnavailableError"]

T = TypeVar("T")
Answer = Callable[[Sequence[Recorded]], T]
TIMER: Final = Caller("dispatcher")
"""The caller of what the dispatcher does of its own accord."""

RETRY_S: Final = 5.0
"""The longest pause between two tries to write again after a fault."""

logger = logging.getLogger(__name__)


class RefusedError(Exception):
    """The rules say no."""

    def __init__(self, rejected: Rejected) -> None:
        super().__init__(rejected.text)
        self.rejected = rejected


class Service:
    """A log with the state that follows from it. Use `start` before and `close` after."""

    def __init__(
        self,
        log: Log,
        policy: Policy = DEFAULT_POLICY,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        *,
        past: Past | None = None,
    ) -> None:
        self.log = log
        self._policy = policy
        self._clock = clock
        self.past = past
        self._waiters = Waiters()
        self._timers = Timers(policy, asyncio.get_running_loop().time)
        self._timing: asyncio.Task[None] | None = None
        self._fleet = Fleet()
        self._decided = 0  # the seq of the newest event decided, durable or not
        self._writer: asyncio.Task[None] | None = None
        self._is_dismissing = False
        self.projections = Projections()
        self.feed = Feed(log, lambda: self.projections.history)
        self._commits = GroupCommit(log, self._show, self._recover)

    async def start(self, progress: Progress = silent) -> None:
        """Rebuild everything from the log and take commands; `LogError` if it can't be read.

        `progress` is called with the events read and the events there are.
        """
        await self._rebuild(progress)
        self._writer = self._lasting(self._commits.run(), "log-writer")
        self._timers.start(self.projections, self._clock())
        self._timing = self._lasting(self._timers.run(self._is_settled, self._on_timer), "timers")

    async def close(self) -> None:
        """Commit what has been decided, then stop. The log stays open: it is its opener's."""
        if self._writer is None or self._timing is None:
            return
        self.dismiss_waiters()
        self.feed.end()
        await self._end(self._timing)
        await self._is_settled()
        self._commits.refuse(UnavailableError("the dispatcher is stopping"))
        await self._end(self._writer)
        if self.past is not None:
            is_whole = self._decided == self.projections.seq == self.log.head
            state = State(self._fleet, self.projections) if is_whole else None
            await self.past.close(state, self.log.tree)

    @property
    def fault(self) -> str | None:
        """Why writes are refused at this moment; `None` when all is well."""
        return None if self._commits.fault is None else str(self._commits.fault)

    def new_job_id(self) -> str:
        """Make an id of protocol.md's form `{microseconds}_{counter}` that no job has yet."""
        micros, counter = microseconds(self._clock()), 0
        while (job_id := f"{micros}_{counter}") in self._fleet.jobs:
            counter += 1
        return job_id

    def submission_of(self, command: SubmitJob) -> JobView:
        """Give the job that a submission made, or had made when it first came (durable)."""
        key = command.idempotency_key
        first = None if key is None else self._fleet.idempotent.get(key)
        job = self.projections.jobs.get(command.job_id if first is None else first.job_id)
        if job is None:
            raise LookupError(command.job_id)
        return job

    async def execute(self, command: Command, caller: Caller, answer: Answer[T]) -> T:
        """Carry out a command and return what `answer` makes of its events once they are durable.

        `answer` is called with the projections at the command's last event. `RefusedError` if a
        rule says no, `UnavailableError` if the log can't be written.
        """
        at, outcome = self._decide(command)
        return await self._carry_out(at, outcome, caller, answer)

    async def assign(
        self,
        command: AssignJob,
        caller: Caller,
        answer: Answer[T],
        *,
        wait_s: float,
        gone: Callable[[], Coroutine[Any, Any, None]],
    ) -> T:
        """Carry out an assignment, and wait up to `wait_s` for a job if there is none.

        `gone` returns when the caller has hung up. See `execute` for the rest.
        """
        at, outcome = self._decide(command)
        has_answer = isinstance(outcome, Rejected) or outcome or self._holds(command)
        if has_answer or wait_s <= 0 or self._is_dismissing:
            return await self._carry_out(at, outcome, caller, answer)

        def assigned() -> Awaitable[T] | None:
            if self._commits.is_full:
                return None
            at, outcome = self._decide(command)
            if isinstance(outcome, Rejected) or not outcome:
                return None
            return self._settle(self._happen(at, outcome, caller), answer)

        settling = await wait_among(
            self._waiters, command.engine_id, assigned, wait_s=wait_s, gone=gone
        )
        return await (self._settle([], answer) if settling is None else settling)

    def dismiss_waiters(self) -> None:
        """Answer everybody who waits for work, now and from now on, that there is none."""
        self._is_dismissing = True
        self._waiters.dismiss_all()

    async def explain(self, question: Callable[[Fleet], T]) -> T:
        """Ask about what decisions are made from; see `explanations`.

        `UnavailableError` during a fault: the fleet is ahead of the log then.
        """
        self._commits.let_in()
        found = question(self._fleet)
        return await self._settle([], lambda _: found)

    def _holds(self, command: AssignJob) -> bool:
        """Whether a resuming engine has its job already, so that there is nothing to wait for."""
        engine = self._fleet.engines.get(command.engine_id or "")
        return command.resume and engine is not None and engine.holds is not None

    def _decide(self, command: Command) -> tuple[datetime, list[Event] | Rejected]:
        """Give a command its time, and decide it."""
        self._commits.let_in()
        at = self._clock()
        return at, decide(self._fleet, command, at, self._policy)

    async def _carry_out(
        self, at: datetime, outcome: list[Event] | Rejected, caller: Caller, answer: Answer[T]
    ) -> T:
        if isinstance(outcome, Rejected):
            await self._settle(self._happen(at, outcome.events, caller), lambda _: None)
            raise RefusedError(outcome)
        return await self._settle(self._happen(at, outcome, caller), answer)

    def _happen(self, at: datetime, events: Sequence[Event], caller: Caller) -> list[Recorded]:
        """Make events true in the fleet; they are to be settled within the same step."""
        records = [
            Recorded(seq, at, caller.name, event, caller.request_id)
            for seq, event in enumerate(events, self._decided + 1)
        ]
        for recorded in records:
            evolve(self._fleet, recorded.event)
            self._timers.notice(recorded)
        self._decided += len(records)
        return records

    def _settle(self, records: list[Recorded], answer: Answer[T]) -> Awaitable[T]:
        """Queue events for the log; what is returned waits for them and all before them.

        Whoever waits for what they made possible has it next, in the log too.
        """
        settling = self._commits.settle(records, answer)
        self._waiters.notice(self._fleet, [recorded.event for recorded in records])
        return settling

    def _show(self, recorded: Recorded, entry: Entry) -> None:
        """Show what has become durable."""
        self.projections.apply(recorded)
        self.feed.publish(recorded.event, entry)
        if self.past is not None:
            self.past.notice(recorded.seq)

    async def _recover(self, error: LogError) -> None:
        """Come back by ourselves once the log takes writes."""
        logger.error("%s; refusing writes until the log takes them again", error)
        async for attempt in stamina.retry_context(
            on=LogError, attempts=None, timeout=None, wait_initial=0.1, wait_max=RETRY_S
        ):
            with attempt:
                await self.log.recover()
                await self._rebuild()
        self._commits.accept()
        self._timers.start(self.projections, self._clock())
        self._waiters.ask_all()
        logger.warning("The log takes writes again, from seq %d", self._decided)

    async def _is_settled(self) -> bool:
        if self._commits.fault is not None:
            return False
        try:
            await self._settle([], lambda _: None)
        except UnavailableError:
            return False
        return True

    async def _on_timer(self, command: Command) -> bool:
        try:
            await self.execute(command, TIMER, lambda _: None)
        except UnavailableError:
            return False
        return True

    def _lasting(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Begin what goes on until `_end`."""
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._ended)
        return task

    async def _end(self, task: asyncio.Task[None]) -> None:
        task.remove_done_callback(self._ended)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Leave nobody waiting for a writer or timers that ended otherwise than by `close`."""
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        logger.critical("%s died; restart the dispatcher", task.get_name(), exc_info=error)
        self._commits.refuse(
            UnavailableError(f"the dispatcher's {task.get_name()} died: {error!r}")
        )

    async def _rebuild(self, progress: Progress = silent) -> None:
        """Make the fleet anew from the log, and show what is durable and not shown yet."""
        state = await replay(self.log, progress=progress, origin=self.past)
        if self._writer is None:  # at the start
            self.projections = state.projections
        else:  # those who wait hold on to these
            await fold(self.log, self.projections, state.seq)
        self._fleet, self._decided = state.fleet, state.seq
        self.feed.reset(state.seq)
        if self.past is not None:
            self.past.notice(state.seq)
