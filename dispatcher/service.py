"""The one place where commands become events, and events become what readers see.

    execute(command) → decide → evolve the fleet → queue ─┐ one synchronous step
                          writer: log.append(batch) ──────┤ one transaction for all that queued
                                  project → answer  ◄─────┘

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
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final, Generic, TypeVar

import stamina

from dispatcher.commands import Command
from dispatcher.decider import Rejected, decide
from dispatcher.events import Recorded
from dispatcher.fleet import Fleet, evolve
from dispatcher.log import Log, LogError
from projections import Projections

__all__ = ["RefusedError", "Service", "UnavailableError"]

T = TypeVar("T")

BATCH_EVENTS: Final = 1_000
"""Events in one commit, at most."""
QUEUED_COMMANDS: Final = 20_000
"""Commands that may wait for the disk; beyond that callers are told to come back."""
RETRY_S: Final = 5.0
"""The longest pause between two tries to write again after a fault."""

logger = logging.getLogger(__name__)


class RefusedError(Exception):
    """The rules say no."""

    def __init__(self, rejected: Rejected) -> None:
        super().__init__(rejected.reason.value)
        self.rejected = rejected


class UnavailableError(Exception):
    """The log can't take writes now. Whether the command took effect is for the log to say."""


class _Waiting(Generic[T]):
    """A command that has been decided and waits for its events to be durable."""

    def __init__(self, records: list[Recorded], answer: Callable[[Sequence[Recorded]], T]) -> None:
        self.records = records
        self.answer = answer
        self.done: asyncio.Future[T] = asyncio.get_running_loop().create_future()

    def succeed(self) -> None:
        if not self.done.done():
            try:
                self.done.set_result(self.answer(self.records))
            except Exception as error:  # noqa: BLE001 - it is the caller's, not the writer's
                self.done.set_exception(error)

    def fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)


class Service:
    """A log with the state that follows from it. Use `start` before and `close` after."""

    def __init__(self, log: Log, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._log = log
        self._clock = clock
        self._fleet = Fleet()
        self._decided = 0  # the seq of the newest event decided, durable or not
        self._queue: list[_Waiting[object]] = []
        self._work = asyncio.Event()
        self._committing = False
        self._fault: UnavailableError | None = None
        self._writer: asyncio.Task[None] | None = None
        self.projections = Projections()

    async def start(self, progress: Callable[[int, int], None] = lambda _done, _of: None) -> None:
        """Rebuild everything from the log and take commands; `LogError` if it can't be read.

        `progress` is called with the events read and the events there are.
        """
        await self._rebuild(progress)
        self._writer = asyncio.create_task(self._write(), name="log-writer")
        self._writer.add_done_callback(self._writer_ended)

    async def close(self) -> None:
        """Commit what has been decided, then stop. The log stays open: it is its opener's."""
        if self._writer is None or self._writer.done():
            return
        if self._fault is None:
            with suppress(UnavailableError):
                await self._settled(lambda _: None)
        self._refuse(UnavailableError("the dispatcher is stopping"))
        self._writer.cancel()
        with suppress(asyncio.CancelledError):
            await self._writer

    @property
    def fault(self) -> str | None:
        """Why writes are refused at this moment; `None` when all is well."""
        return None if self._fault is None else str(self._fault)

    def new_job_id(self) -> str:
        """Make an id of protocol.md's form `{microseconds}_{counter}` that no job has yet."""
        at = self._clock()
        micros = int(at.timestamp()) * 1_000_000 + at.microsecond
        counter = 0
        while (job_id := f"{micros}_{counter}") in self._fleet.jobs:
            counter += 1
        return job_id

    async def execute(
        self, command: Command, actor: str, answer: Callable[[Sequence[Recorded]], T]
    ) -> T:
        """Carry out a command and return what `answer` makes of its events once they are durable.

        `answer` is called with the projections at the command's last event. `RefusedError` if a
        rule says no, `UnavailableError` if the log can't be written.
        """
        if self._fault is not None:
            raise self._fault
        if len(self._queue) >= QUEUED_COMMANDS:
            raise UnavailableError(f"{QUEUED_COMMANDS} commands are waiting for the disk already")
        outcome = decide(self._fleet, command)
        if isinstance(outcome, Rejected):
            await self._settled(lambda _: None)
            raise RefusedError(outcome)
        at = self._clock()
        records = [Recorded(self._decided + n, at, actor, e) for n, e in enumerate(outcome, 1)]
        for recorded in records:
            evolve(self._fleet, recorded.event)
        self._decided += len(records)
        return await self._settled(answer, records)

    async def _settled(
        self, answer: Callable[[Sequence[Recorded]], T], records: Sequence[Recorded] = ()
    ) -> T:
        """Wait until these events, and all those that they were decided upon, are durable."""
        if not records and not self._queue and not self._committing:
            return answer(records)
        waiting = _Waiting(list(records), answer)
        self._queue.append(waiting)  # type: ignore[arg-type]
        self._work.set()
        return await waiting.done

    async def _write(self) -> None:
        """Commit whatever has queued, batch by batch, for as long as the service runs."""
        while True:
            await self._work.wait()
            self._work.clear()
            while self._queue:
                batch = self._take_batch()
                self._committing = True
                try:
                    await self._commit(batch)
                except LogError as error:
                    await self._recover(batch, error)
                finally:
                    self._committing = False

    def _take_batch(self) -> list[_Waiting[object]]:
        taken = events = 0
        for waiting in self._queue:
            events += len(waiting.records)
            if taken and events > BATCH_EVENTS:
                break
            taken += 1
        batch, self._queue = self._queue[:taken], self._queue[taken:]
        return batch

    async def _commit(self, batch: list[_Waiting[object]]) -> None:
        records = [recorded for waiting in batch for recorded in waiting.records]
        if records:
            await self._log.append(records, expected_head=records[0].seq - 1)
        for waiting in batch:
            for recorded in waiting.records:
                self.projections.apply(recorded)
            waiting.succeed()

    async def _recover(self, batch: list[_Waiting[object]], error: LogError) -> None:
        """Tell everybody who waits, then come back by ourselves once the log takes writes."""
        logger.error("%s; refusing writes until the log takes them again", error)
        self._queue = [*batch, *self._queue]
        self._refuse(UnavailableError(str(error)))
        async for attempt in stamina.retry_context(
            on=LogError, attempts=None, timeout=None, wait_initial=0.1, wait_max=RETRY_S
        ):
            with attempt:
                await self._log.recover()
                await self._rebuild(lambda _done, _of: None)
        self._fault = None
        logger.warning("The log takes writes again, from seq %d", self._decided)

    def _refuse(self, fault: UnavailableError) -> None:
        """Fail everybody who waits, and whoever comes, until the fault is lifted."""
        self._fault = fault
        queue, self._queue = self._queue, []
        for waiting in queue:
            waiting.fail(fault)

    def _writer_ended(self, writer: asyncio.Task[None]) -> None:
        """Leave nobody waiting for a writer that died of a defect."""
        if not writer.cancelled() and (error := writer.exception()) is not None:
            logger.critical("The log's writer has died; restart the dispatcher", exc_info=error)
            self._refuse(UnavailableError(f"the log's writer has died: {error!r}"))

    async def _rebuild(self, progress: Callable[[int, int], None]) -> None:
        """Fold the log into a new fleet, and into the projections what they have not seen."""
        fleet, seq, head = Fleet(), 0, self._log.head
        async for page in self._log.read():
            for recorded in page:
                evolve(fleet, recorded.event)
                if recorded.seq > self.projections.seq:
                    self.projections.apply(recorded)
            seq = page[-1].seq
            progress(seq, head)
        self._fleet, self._decided = fleet, seq
