"""The one place where commands become events, and events become what readers see.

    execute(command) → the core decides → effects → queue ─┐ one synchronous step
                        group_commit: log.append(batch) ───┤ one transaction, at most 1,000 events
                                project → render  ◄────────┘

All rules are in the core's `Dispatcher`. The service drives it with the wall clock, the loop's
monotonic clock and a log. `group_commit` writes the events to the log, and `feed` streams them to
subscribers.

Laws:
- Deciding and enqueueing is one synchronous step on the event loop, so commands take effect in one
  order. No request holds a transaction, and cancelling a request never splits its events.
- Every answer depends on durable events only: refusals, empty outcomes and reads of the projections
  all wait for, or show, committed events only.
- The core is ahead of the log by the events that are being committed. If a commit fails, all
  callers whose answers are queued get an error, and the core restarts from the log before the next
  decision. Callers that wait for work go on waiting.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeVar, assert_never

import stamina

from dispatcher.core.commands import Caller, Command, RetryJob, SubmitJob
from dispatcher.core.dependencies import retry_concerns
from dispatcher.core.dispatcher import TICK_S, Dispatcher, Effect, Settle, StoodStill, Wait
from dispatcher.core.events import Recorded
from dispatcher.core.fleet import Fleet
from dispatcher.core.placing import picture_of
from dispatcher.core.policy import DEFAULT_POLICY, Policy
from dispatcher.index.steps import drop_unshown
from dispatcher.log import Log, LogError
from dispatcher.log.serialization import LogEntry
from dispatcher.progress import Progress, silent
from dispatcher.recipes import Recipe
from dispatcher.serving.as_of import Past
from dispatcher.serving.batches import Batches
from dispatcher.serving.callbacks import Callbacks
from dispatcher.serving.catching_up import CatchingUp
from dispatcher.serving.feed import Feed
from dispatcher.serving.forecasts import Forecasts, Waiting
from dispatcher.serving.group_commit import GroupCommit
from dispatcher.serving.keeping import Keeping
from dispatcher.serving.memory import Memory
from dispatcher.serving.metrics import Metrics, Replication
from dispatcher.serving.quotas import Asker, Quotas
from dispatcher.serving.sealing import Sealing
from dispatcher.serving.tickets import Render, Ticket, UnavailableError, UndoneError
from dispatcher.state.replay import State, fold, replay
from dispatcher.store import Store
from projections import Projections
from projections.forecasting import Outlook, outlook_of

__all__ = ["Service"]

T = TypeVar("T")
RETRY_S: Final = 5.0
"""The longest pause between two attempts to write again after a fault."""

logger = logging.getLogger(__name__)


class Service:
    """A log with the state derived from it. Call `start` before use and `close` after it.

    `recipes` are those that a submission can name, and `callbacks` say where it may be called back.
    The caller opens and closes the `store`, too.
    """

    def __init__(  # noqa: PLR0913 - it has as many parts
        self,
        log: Log,
        policy: Policy = DEFAULT_POLICY,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        *,
        past: Past | None = None,
        sealing: Sealing | None = None,
        quotas: Quotas | None = None,
        recipes: Mapping[str, Recipe] | None = None,
        callbacks: Callbacks | None = None,
        store: Store | None = None,
        commits: type[GroupCommit] = GroupCommit,
    ) -> None:
        self.log = log
        self.recipes = {} if recipes is None else recipes
        self.callbacks = callbacks
        self.quotas = Quotas() if quotas is None else quotas
        self._clock = clock
        self.past = past
        self.sealing = sealing
        self.store = store
        self._keeping = None if store is None else Keeping(store, self)
        self._core = Dispatcher(policy)
        self._loop = asyncio.get_running_loop()  # looking it up is a system call each time
        self._now_s = self._loop.time
        self._ticker: asyncio.Task[None] | None = None
        self._writer: asyncio.Task[None] | None = None
        self.projections = Projections()
        self.metrics = Metrics()
        self.catching_up = CatchingUp(lambda: self.projections.seq)
        self._commits = commits(log, self._show, self._recover, self.metrics)
        self.memory = Memory(
            log, lambda: self._core.fleet, lambda: self.projections, self._commits, past
        )
        self._batches = Batches(self._commits, self.memory, self._decide, lambda: self._core.fleet)
        self.forecasts = Forecasts(
            self._outlook,
            lambda: self.projections.seq,
            self._waiting,
            None if past is None else past.forecast,
        )
        self.feed = Feed(
            log, lambda: self.projections, trail=self.memory.trail, places=self.quotas.streams
        )

    async def start(self, progress: Progress = silent) -> None:
        """Rebuild the state from the log, then accept commands.

        `progress` is called with the number of events read and their total. `LogError` if the log
        can't be read.
        """
        self._carry_out(await self._rebuild(progress))
        self._writer = self._start_task(self._commits.run(), "log-writer")
        self._ticker = self._start_task(self._tick(), "timers")
        if self.sealing is not None:
            self.sealing.start()
        if self._keeping is not None:
            self._keeping.start()

    async def close(self) -> None:
        """Commit what has been decided, then stop. The caller closes the log."""
        if self._writer is None or self._ticker is None:
            return
        self.dismiss_waiters()
        self.feed.end()
        await self._stop_task(self._ticker)
        if self.sealing is not None:
            await self.sealing.close()
        if self._keeping is not None:
            await self._keeping.close()
        await self._becomes_durable()
        self._commits.refuse("the dispatcher is stopping")
        await self._stop_task(self._writer)
        if self.past is not None:
            is_whole = self._core.seq == self.projections.seq == self.log.head
            state = State(self._core.fleet, self.projections) if is_whole else None
            await self.past.close(state, self.log.tree)

    @property
    def fault(self) -> str | None:
        """Why writes are refused at the moment, or `None` if they are accepted."""
        return self._commits.fault

    @property
    def is_ready(self) -> bool:
        """Whether a balancer should send requests here."""
        return self.fault is None

    @property
    def replication(self) -> Replication | None:
        """How this dispatcher stands to others on its log; `None` without others."""
        return None

    @property
    def warning(self) -> str | None:
        """What an operator should see to, though all works; or `None`."""
        warning = None if self.sealing is None else self.sealing.warning
        return warning or (None if self._keeping is None else self._keeping.warning)

    def execute(self, command: Command, caller: Caller, render: Render[T]) -> Awaitable[T]:
        """Execute a command, and return an awaitable answer that waits until it is durable.

        `render` makes the answer, with the projections as of the command's last event.
        `RefusedError` if a rule refuses it, `UnavailableError` if the log can't be written.
        """
        if self.memory.lacks(command):
            return self._execute_completed(command, caller, render)
        ticket, _ = self._take(command, caller, render)
        return ticket.answer

    async def submit_all(
        self,
        submissions: Sequence[SubmitJob],
        caller: Caller,
        render: Render[list[T]],
        *,
        is_atomic: bool = False,
    ) -> list[T]:
        """Carry out many submissions in one commit, and return an answer to each of them.

        `render` makes the answers to some of them from one `Submitted`. If it `is_atomic` and a
        rule refuses one, none is carried out: `NoneSubmittedError`. `UnavailableError` if the log
        can't be written.
        """
        return await self._batches.submit(submissions, caller, render, is_atomic=is_atomic)

    async def _execute_completed(self, command: Command, caller: Caller, render: Render[T]) -> T:
        """Execute a command about what may be in the index only."""
        await self.memory.complete(command)
        ticket, _ = self._take(command, caller, render)
        return await ticket.answer

    async def wait_for_work(
        self,
        command: Command,
        caller: Caller,
        render: Render[T],
        *,
        wait_s: float,
        until_gone: Callable[[], Coroutine[Any, Any, None]],
    ) -> T:
        """Execute a request for work, and wait up to `wait_s` for a job if there is none.

        `until_gone` returns when the caller has disconnected. `TooManyError` if too many requests
        of the caller wait. See `execute` for the rest.
        """
        with self.quotas.polls.holding(Asker(caller.name, is_operator=False)):
            return await self._wait_for_work(command, caller, render, wait_s, until_gone)

    async def _wait_for_work(
        self,
        command: Command,
        caller: Caller,
        render: Render[T],
        wait_s: float,
        until_gone: Callable[[], Coroutine[Any, Any, None]],
    ) -> T:
        ticket, wait = self._take(command, caller, render, wait_s)
        if wait is None:
            return await ticket.answer

        async def end_wait_when_gone() -> None:
            await until_gone()
            self._carry_out(self._core.end_wait(ticket))

        disconnect_watch = asyncio.create_task(end_wait_when_gone())
        try:
            await asyncio.wait({ticket.answer}, timeout=wait.seconds)
            if not ticket.answer.done():
                self._carry_out(self._core.end_wait(ticket))
            return await ticket.answer
        finally:
            disconnect_watch.cancel()
            if not ticket.answer.done():  # this request was cancelled
                self._core.hang_up(ticket)
                ticket.answer.cancel()
            elif not ticket.answer.cancelled():
                ticket.answer.exception()  # nobody else may look at it

    def dismiss_waiters(self) -> None:
        """Answer all callers that wait for work, now or later, that there is none.

        Nor does anybody wait any longer for the projections to catch up.
        """
        self.catching_up.end()
        self._carry_out(self._core.close())

    async def explain(self, question: Callable[[Fleet], T]) -> T:
        """Answer a question about the fleet that decisions are based on; see `explanations`.

        `UnavailableError` while commands are refused: the core may be ahead of the log then.
        """
        if self._commits.refusal is not None:
            raise UnavailableError(self._commits.refusal)
        found = question(self._core.fleet)
        await self._commits.durable()
        return found

    async def catch_up(self) -> None:
        """Return when the projections have all that anybody was told before; here, at once."""

    def status_of(self, job_id: str) -> str | None:
        """Return the status of a job that the next decision sees, which may not be durable yet."""
        job = self._core.fleet.jobs.get(job_id)
        return None if job is None else job.status

    def _waiting(self) -> Waiting:
        return Waiting(self.projections.statistics.waiting, self._core.fleet.queue.parts)

    async def _outlook(self) -> Outlook:
        """Return what a forecast is made of: the fleet and what readers see, at one seq.

        `UnavailableError` while commands are refused: the core may be ahead of the log then.
        """
        if self._commits.refusal is not None:
            raise UnavailableError(self._commits.refusal)
        picture = picture_of(self._core.fleet)
        return await self._commits.when_durable(lambda: outlook_of(picture, self.projections))

    def _take(
        self, command: Command, caller: Caller, render: Render[T], wait_s: float = 0.0
    ) -> tuple[Ticket[T], Wait | None]:
        """Let the core decide a command, carry out the effects, and return the wait if it waits."""
        if self._commits.refusal is not None:
            raise UndoneError(self._commits.refusal)
        if self._batches.claimed:
            self._batches.check_unclaimed(command)
        if self._keeping is not None and type(command) is RetryJob:
            self._keeping.use_files(retry_concerns(self._core.fleet, command.job_id))
        return self._decide(command, caller, render, wait_s)

    def _decide(
        self, command: Command, caller: Caller, render: Render[T], wait_s: float = 0.0
    ) -> tuple[Ticket[T], Wait | None]:
        ticket = Ticket(render, self.projections, self._loop.create_future())
        effects = self._core.take(
            command,
            caller,
            at=self._clock(),
            now_s=self._now_s(),
            ticket=ticket,
            wait_s=wait_s,
        )
        self._carry_out(effects)
        wait = next((effect for effect in effects if isinstance(effect, Wait)), None)
        return ticket, wait

    def _carry_out(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case Settle():
                    self._commits.settle(effect)
                case StoodStill(seconds):
                    logger.warning("Stood still for %.0f s; all leases begin anew", seconds)
                case Wait():
                    pass  # `wait_for_work` does this
                case _:
                    assert_never(effect)

    def _show(self, recorded: Recorded, entry: LogEntry) -> None:
        """Apply a newly durable event to the projections, and publish it."""
        self.projections.apply(recorded)
        if self._keeping is not None:
            self._keeping.notice(recorded.event)
        self.metrics.happened(recorded, self.projections.jobs)
        self._announce(recorded, entry)

    def _announce(self, recorded: Recorded, entry: LogEntry) -> None:
        """Tell all that wait for it of an event that the projections include now."""
        if self.catching_up.is_awaited:
            self.catching_up.notice(recorded.seq)
        if self.feed.streams:
            self.feed.publish(recorded.event, entry)
        self.memory.notice()
        if self.sealing is not None:
            self.sealing.notice(recorded.seq)

    async def _recover(self, error: LogError) -> None:
        """Retry until the log accepts writes, then accept commands again."""
        logger.error("%s; refusing writes until the log takes them again", error)
        async for attempt in stamina.retry_context(
            on=LogError, attempts=None, timeout=None, wait_initial=0.1, wait_max=RETRY_S
        ):
            with attempt:
                await self.log.recover()
                effects = await self._rebuild()
        self._commits.accept()
        self._carry_out(effects)
        logger.warning("The log takes writes again, from seq %d", self._core.seq)

    async def _tick(self) -> None:
        """Tick the core for as long as the dispatcher runs."""
        while True:
            await asyncio.sleep(TICK_S)
            # While the log hangs or fails, heartbeats can't be recorded, so no lease may expire.
            while await self._becomes_durable():
                effects = self._core.tick(
                    at=self._clock(), now_s=self._now_s(), durable_seq=self.projections.seq
                )
                self._carry_out(effects)
                if not effects:
                    break

    async def _becomes_durable(self) -> bool:
        try:
            await self._commits.durable()
        except UnavailableError:
            return False
        return self._commits.fault is None

    def _start_task(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Start a task that runs until `_stop_task`."""
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(self._on_task_end)
        return task

    async def _stop_task(self, task: asyncio.Task[None]) -> None:
        task.remove_done_callback(self._on_task_end)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    def _on_task_end(self, task: asyncio.Task[None]) -> None:
        """Fail all waiting callers when the writer or the timers end without `close`."""
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        logger.critical("%s died; restart the dispatcher", task.get_name(), exc_info=error)
        self._commits.refuse(f"the dispatcher's {task.get_name()} died: {error!r}")

    async def _rebuild(self, progress: Progress = silent) -> list[Effect]:
        """Restart the core from the log, and bring the projections up to the log's head."""
        state = await replay(self.log, progress=progress, origin=self.past)
        if self._writer is None:  # at the start
            self.projections = state.projections
        else:  # waiting tickets refer to these projections
            await fold(self.log, self.projections, state.seq)
            drop_unshown(state.fleet, self.projections)
        self.catching_up.notice(self.projections.seq)
        self.feed.reset()
        self.memory.notice()
        return self._core.restart(state.fleet, state.seq, at=self._clock(), now_s=self._now_s())
