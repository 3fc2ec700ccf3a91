"""Group commit: events decided during one transaction go into the next.

Laws:
- Events are appended in the order in which they were decided. A command's events are never split.
- A caller is answered when its events, and all earlier ones, are durable and projected.
- If a batch can't be appended, all waiting callers get an error, and new commands are refused until
  `accept`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from dispatcher.core.dispatcher import Settle
from dispatcher.core.events import Recorded
from dispatcher.log import Log, LogError, serialization
from dispatcher.log.serialization import LogEntry
from dispatcher.serving.tickets import Ticket, UnavailableError

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
        self._queue: list[Settle] = []
        self._work = asyncio.Event()
        self._committing = False
        self.fault: UnavailableError | None = None
        self.refusal: UnavailableError | None = None  # why no command is accepted now

    def settle(self, settle: Settle) -> None:
        """Queue events with their reply, which is given once they and all earlier ones are durable.

        During a fault a reply without events need not wait: whatever was not durable is undone.
        """
        is_first = not (self._queue or self._committing)
        if not settle.records and (self.fault is not None or is_first):
            if isinstance(settle.ticket, Ticket):
                settle.ticket.settle(settle)
            return
        self._queue.append(settle)
        self._work.set()
        if len(self._queue) >= QUEUED_COMMANDS and self.refusal is None:
            self.refusal = UnavailableError(
                f"{QUEUED_COMMANDS} commands are waiting for the disk already"
            )

    def refuse(self, fault: UnavailableError) -> None:
        """Fail all waiting callers, and refuse new commands until `accept`."""
        self.fault = self.refusal = fault
        queue, self._queue = self._queue, []
        for settle in queue:
            if isinstance(settle.ticket, Ticket):
                settle.ticket.fail(fault)

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
                self._committing = True
                try:
                    await self._commit(batch)
                except LogError as error:
                    self._queue = [*batch, *self._queue]
                    self.refuse(UnavailableError(str(error)))
                    await self._recover(error)
                except BaseException:
                    self._queue = [*batch, *self._queue]  # so that `refuse` fails it too
                    raise
                finally:
                    self._committing = False

    def _take_batch(self) -> list[Settle]:
        taken = events = 0
        for settle in self._queue:
            events += len(settle.records)
            if taken and events > BATCH_EVENTS:
                break
            taken += 1
        batch, self._queue = self._queue[:taken], self._queue[taken:]
        if self.fault is None:
            self.refusal = None
        return batch

    async def _commit(self, batch: list[Settle]) -> None:
        records = [recorded for settle in batch for recorded in settle.records]
        entries = serialization.encode_all(records)
        if entries:
            await self._log.append(entries, expected_head=entries[0].seq - 1)
        durable = iter(entries)
        for settle in batch:
            for recorded in settle.records:
                self._project(recorded, next(durable))
            if isinstance(settle.ticket, Ticket):
                settle.ticket.settle(settle)
