"""Group commit: events decided during one transaction go into the next.

Laws:
- Events are appended in the order in which they were decided. A command's events are never split.
- A caller is answered when its events, and all earlier ones, are durable and projected.
- If a batch can't be appended, all callers whose answers are queued get an error, and new commands
  are refused until `accept`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

from dispatcher.core.dispatcher import Settle
from dispatcher.core.events import Recorded
from dispatcher.core.replies import JobIs
from dispatcher.log import Log, LogError, serialization
from dispatcher.log.serialization import LogEntry
from dispatcher.serving.tickets import UnavailableError, ticket_of

__all__ = ["GroupCommit"]

BATCH_EVENTS: Final = 1_000
"""Most events in one commit, unless a single command has more."""
QUEUED_COMMANDS: Final = 20_000
"""Most commands that may wait for the disk; further ones are refused for the moment."""


class GroupCommit:
    """A queue of decided events on their way to the log. `run` commits them.

    `project` is called with each event and its entry once it is durable. `recover` is awaited when
    a batch could not be appended, and calls `accept` in the end.
    """

    def __init__(
        self,
        log: Log,
        project: Callable[[Recorded, LogEntry], None],
        recover: Callable[[LogError], Awaitable[None]],
    ) -> None:
        self._log = log
        self._project = project
        self._recover = recover
        self._queue: list[Settle | asyncio.Future[None]] = []
        self._work = asyncio.Event()
        self._committing = False
        self._batch: list[Settle | asyncio.Future[None]] = []
        self.fault: str | None = None
        self.refusal: str | None = None  # why no command is accepted now

    def settle(self, settle: Settle) -> None:
        """Queue events with their reply, which is given once they and all earlier ones are durable.

        During a fault, a reply without events need not wait: whatever was not durable is undone.
        But one that names a job fails, since the job may be the engine's by what is undone.
        """
        if settle.records or (self.fault is None and (self._queue or self._committing)):
            self._put(settle)
        elif (ticket := ticket_of(settle)) is not None:
            if self.fault is not None and isinstance(settle.reply, JobIs):
                ticket.fail(self.fault)
            else:
                ticket.settle(settle)

    def durable(self) -> Awaitable[None]:
        """Wait until all that is queued now is durable. `UnavailableError` if it can't be."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.fault is not None:
            done.set_exception(UnavailableError(self.fault))
        elif self._queue or self._committing:
            self._put(done)
        else:
            done.set_result(None)
        return done

    def in_flight(self) -> Iterator[Settle]:
        """Yield what was decided and is not shown yet."""
        for item in (*self._batch, *self._queue):
            if isinstance(item, Settle):
                yield item

    def _put(self, item: Settle | asyncio.Future[None]) -> None:
        self._queue.append(item)
        self._work.set()
        if len(self._queue) >= QUEUED_COMMANDS and self.refusal is None:
            self.refusal = f"{QUEUED_COMMANDS} commands are waiting for the disk already"

    def refuse(self, fault: str) -> None:
        """Fail all callers whose answers are queued, and refuse new commands until `accept`."""
        self.fault = self.refusal = fault
        queue, self._queue = self._queue, []
        for item in queue:
            if isinstance(item, asyncio.Future):
                if not item.done():
                    item.set_exception(UnavailableError(fault))
            elif (ticket := ticket_of(item)) is not None:
                ticket.fail(fault)

    def accept(self) -> None:
        """Accept commands again."""
        self.fault = self.refusal = None

    async def run(self) -> None:
        """Commit the queue, batch by batch, until cancelled."""
        while True:
            await self._work.wait()
            self._work.clear()
            while self._queue:
                batch = self._take_batch()
                self._committing, self._batch = True, batch
                try:
                    await self._commit(batch)
                except LogError as error:
                    self._queue = [*batch, *self._queue]
                    self.refuse(str(error))
                    await self._recover(error)
                except BaseException:
                    self._queue = [*batch, *self._queue]  # so that `refuse` fails it too
                    raise
                finally:
                    self._committing, self._batch = False, []

    def _take_batch(self) -> list[Settle | asyncio.Future[None]]:
        taken = events = 0
        for item in self._queue:
            events += 0 if isinstance(item, asyncio.Future) else len(item.records)
            if taken and events > BATCH_EVENTS:
                break
            taken += 1
        batch, self._queue = self._queue[:taken], self._queue[taken:]
        if self.fault is None:
            self.refusal = None
        return batch

    async def _commit(self, batch: list[Settle | asyncio.Future[None]]) -> None:
        settles = (item for item in batch if not isinstance(item, asyncio.Future))
        records = [recorded for settle in settles for recorded in settle.records]
        entries = serialization.encode_all(records)
        if entries:
            await self._log.append(entries, expected_head=entries[0].seq - 1)
        durable = iter(entries)
        for item in batch:
            if isinstance(item, asyncio.Future):
                if not item.done():
                    item.set_result(None)
                continue
            for recorded in item.records:
                self._project(recorded, next(durable))
            if (ticket := ticket_of(item)) is not None:
                ticket.settle(item)
