"""Group commit: what is decided while one transaction is under way goes into the next.

Laws:
- Events are appended in the order in which they were decided, each command's whole.
- A caller is answered when its events, and all those before them, are durable and projected.
- If a batch can't be appended, everybody who waits is told so, and nobody is let in until `accept`.
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
"""Events in one commit, at most."""
QUEUED_COMMANDS: Final = 20_000
"""Commands that may wait for the disk; beyond that callers are told to come back."""


class GroupCommit:
    """What is on its way to the log. `run` carries it there.

    `project` is given each event, and its entry, once it is durable. `recover` is awaited when a
    batch could not be appended, and calls `accept` in the end.
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
        self.refusal: UnavailableError | None = None  # why nothing more can be decided now

    def settle(self, settle: Settle) -> None:
        """Queue what is to be settled once it, and all that came before it, is durable.

        During a fault there is nothing to wait for: what was not durable is undone.
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
        """Fail everybody who waits, and whoever comes, until `accept`."""
        self.fault = self.refusal = fault
        queue, self._queue = self._queue, []
        for settle in queue:
            if isinstance(settle.ticket, Ticket):
                settle.ticket.fail(fault)

    def accept(self) -> None:
        """Let commands in again."""
        self.fault = self.refusal = None

    async def run(self) -> None:
        """Commit whatever has queued, batch by batch, until cancelled."""
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
                    self._queue = [*batch, *self._queue]  # to be refused with the others
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
