"""Group commit: what is decided while one transaction is under way goes into the next.

Laws:
- Events are appended in the order in which they were decided, each command's whole.
- A caller is answered when its events, and all those before them, are durable and projected.
- If a batch can't be appended, everybody who waits is told so, and nobody is let in until `accept`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar

from dispatcher.core.events import Recorded
from dispatcher.log import Log, LogError, serialization
from dispatcher.log.serialization import Entry

__all__ = ["GroupCommit", "UnavailableError"]

T = TypeVar("T")

BATCH_EVENTS: Final = 1_000
"""Events in one commit, at most."""
QUEUED_COMMANDS: Final = 20_000
"""Commands that may wait for the disk; beyond that callers are told to come back."""


class UnavailableError(Exception):
    """The log can't take writes now. Whether the command took effect is for the log to say."""


class _Waiting(Generic[T]):
    """A command that has been decided and waits for its events to be durable."""

    __slots__ = ("answer", "done", "records")

    def __init__(
        self,
        records: list[Recorded],
        answer: Callable[[Sequence[Recorded]], T],
        done: asyncio.Future[T],
    ) -> None:
        self.records = records
        self.answer = answer
        self.done = done

    def succeed(self) -> None:
        if not self.done.done():
            try:
                self.done.set_result(self.answer(self.records))
            except Exception as error:  # noqa: BLE001 - it is the caller's, not the writer's
                self.done.set_exception(error)

    def fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)


class GroupCommit:
    """What is on its way to the log. `run` carries it there.

    `project` is given each event, and its entry, once it is durable. `recover` is awaited when a
    batch could not be appended, and calls `accept` in the end.
    """

    def __init__(
        self,
        log: Log,
        project: Callable[[Recorded, Entry], None],
        recover: Callable[[LogError], Awaitable[None]],
    ) -> None:
        self._log = log
        self._project = project
        self._recover = recover
        self._loop = asyncio.get_running_loop()  # to ask each time would be a system call
        self._queue: list[_Waiting[object]] = []
        self._work = asyncio.Event()
        self._committing = False
        self.fault: UnavailableError | None = None

    @property
    def is_full(self) -> bool:
        """Whether as much waits for the disk as may."""
        return len(self._queue) >= QUEUED_COMMANDS

    def let_in(self) -> None:
        """Raise `UnavailableError` if nothing more can be decided now."""
        if self.fault is not None:
            raise self.fault
        if self.is_full:
            raise UnavailableError(f"{QUEUED_COMMANDS} commands are waiting for the disk already")

    def settle(
        self, records: list[Recorded], answer: Callable[[Sequence[Recorded]], T]
    ) -> Awaitable[T]:
        """Queue events; what is returned waits for them, and for all that came before them.

        During a fault there is nothing to wait for: what was not durable is undone.
        """
        done: asyncio.Future[T] = self._loop.create_future()
        waiting = _Waiting(records, answer, done)
        if not records and (self.fault is not None or not (self._queue or self._committing)):
            waiting.succeed()
        else:
            self._queue.append(waiting)  # type: ignore[arg-type]
            self._work.set()
        return waiting.done

    def refuse(self, fault: UnavailableError) -> None:
        """Fail everybody who waits, and whoever comes, until `accept`."""
        self.fault = fault
        queue, self._queue = self._queue, []
        for waiting in queue:
            waiting.fail(fault)

    def accept(self) -> None:
        """Let commands in again."""
        self.fault = None

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
        entries = [
            serialization.encode(recorded) for waiting in batch for recorded in waiting.records
        ]
        if entries:
            await self._log.append(entries, expected_head=entries[0].seq - 1)
        durable = iter(entries)
        for waiting in batch:
            for recorded in waiting.records:
                self._project(recorded, next(durable))
            waiting.succeed()
