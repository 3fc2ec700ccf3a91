"""Group commit: events decided during one transaction go into the next.

Laws:
- Events are appended in the order in which they were decided. A command's events are never split,
  nor are those of commands that are decided `together`.
- A caller is answered when its events, and all earlier ones, are durable and projected.
- If a batch can't be appended, all callers whose answers are queued get an error, and new commands
  are refused until `accept`.
- A large batch is encoded and projected piece by piece, and others use the event loop in between.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any, Final, Generic, TypeVar

from dispatcher.core.dispatcher import Settle
from dispatcher.core.events import Recorded
from dispatcher.core.replies import JobIs
from dispatcher.log import Log, LogError, serialization
from dispatcher.log.serialization import LogEntry
from dispatcher.serving.metrics import Metrics
from dispatcher.serving.tickets import UnavailableError, ticket_of

__all__ = ["GroupCommit", "Item"]

T = TypeVar("T")
BATCH_EVENTS: Final = 1_000
"""Most events in one commit, unless some that must not be split are more."""
QUEUED_EVENTS: Final = 20_000
"""Most events, or replies without one, that may wait for the disk; then commands are refused."""
PIECE_EVENTS: Final = 250
"""Events that are encoded or projected at a time, which takes a millisecond or two."""


class _Look(Generic[T]):
    """Somebody who looks once all that was decided before is durable and projected."""

    def __init__(self, look: Callable[[], T]) -> None:
        self.look = look
        self.found: asyncio.Future[T] = asyncio.get_running_loop().create_future()

    def now(self) -> None:
        """Look, unless the caller no longer waits."""
        if self.found.done():
            return
        try:
            self.found.set_result(self.look())
        except Exception as error:  # noqa: BLE001 - it concerns the caller, not the writer
            self.found.set_exception(error)

    def fail(self, why: str) -> None:
        """Fail, because what was decided before could not be recorded."""
        if not self.found.done():
            self.found.set_exception(UnavailableError(why))


Item = Settle | _Look[Any]
"""What waits for the disk: what was decided, or somebody who looks then."""


class Together:
    """What is decided in one block, and goes into one commit. `fault` says why it never will."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        self.fault: str | None = None


class GroupCommit:
    """A queue of decided events on their way to the log. `run` commits them.

    `project` is called with each event and its entry once it is durable. `recover` is awaited when
    a batch could not be appended, and calls `accept` in the end. `metrics` counts the commits.
    """

    def __init__(
        self,
        log: Log,
        project: Callable[[Recorded, LogEntry], None],
        recover: Callable[[LogError], Awaitable[None]],
        metrics: Metrics,
    ) -> None:
        self._log = log
        self._project = project
        self._recover = recover
        self._metrics = metrics
        self._queue: list[Item | Together] = []
        self._queued_events = 0
        self._together: Together | None = None
        self._work = asyncio.Event()
        self._committing = False
        self._batch: list[Item] = []
        self.fault: str | None = None
        self.refusal: str | None = None  # why no command is accepted now

    def settle(self, settle: Settle) -> None:
        """Queue events with their reply, which is given once they and all earlier ones are durable.

        During a fault, a reply without events need not wait: whatever was not durable is undone.
        But one that names a job fails, since the job may be the engine's by what is undone.
        """
        if settle.records or (self.fault is None and self._is_busy()):
            self._put(settle)
        elif (ticket := ticket_of(settle)) is not None:
            if self.fault is not None and isinstance(settle.reply, JobIs):
                ticket.fail(self.fault)
            else:
                ticket.settle(settle)

    def durable(self) -> Awaitable[None]:
        """Wait until all that is queued now is durable. `UnavailableError` if it can't be."""
        return self.when_durable(lambda: None)

    def when_durable(self, look: Callable[[], T]) -> Awaitable[T]:
        """Return what `look` finds when just what is queued now is durable and projected.

        `UnavailableError` if that can't be.
        """
        it = _Look(look)
        if self.fault is not None:
            it.fail(self.fault)
        elif self._is_busy():
            self._put(it)
        else:
            it.now()
        return it.found

    @contextmanager
    def together(self) -> Iterator[Together]:
        """Put all that is queued until the block ends into one commit, which begins then.

        A block may await, but not overlap another one. If a commit fails meanwhile, what was queued
        in the block is lost, its `fault` says why, and the rest is none of its concern.
        """
        if self._together is not None:
            raise RuntimeError("another block's decisions go together already")
        self._together = whole = Together()
        try:
            yield whole
        finally:
            if self._together is whole:
                self._together = None
                if whole.items:
                    self._queue.append(whole)
                    self._work.set()

    def in_flight(self) -> Iterator[Settle]:
        """Yield what was decided and is not shown yet."""
        together = [] if self._together is None else self._together.items
        for item in (*self._batch, *_flat(self._queue), *together):
            if isinstance(item, Settle):
                yield item

    def _is_busy(self) -> bool:
        return bool(self._queue) or self._committing or self._together is not None

    def _put(self, item: Item) -> None:
        if self._together is not None:
            self._together.items.append(item)
        else:
            self._queue.append(item)
            self._work.set()
        self._queued_events += _weight(item)
        if self._queued_events >= QUEUED_EVENTS and self.refusal is None:
            self.refusal = f"{QUEUED_EVENTS} events are waiting for the disk already"

    def refuse(self, fault: str) -> None:
        """Fail all callers whose answers are queued, and refuse new commands until `accept`."""
        self.fault = self.refusal = fault
        queue, self._queue, self._queued_events = self._queue, [], 0
        if self._together is not None:
            self._together.fault = fault
            queue.append(self._together)
            self._together = None
        for item in _flat(queue):
            if isinstance(item, _Look):
                item.fail(fault)
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

    def _take_batch(self) -> list[Item]:
        taken = events = 0
        for item in self._queue:
            events += _events_of(item)
            if taken and events > BATCH_EVENTS:
                break
            taken += 1
        batch, self._queue = _flat(self._queue[:taken]), self._queue[taken:]
        self._queued_events -= sum(map(_weight, batch))
        if self.fault is None:
            self.refusal = None
        return batch

    async def _commit(self, batch: list[Item]) -> None:
        settles = (item for item in batch if isinstance(item, Settle))
        records = [recorded for settle in settles for recorded in settle.records]
        entries: list[LogEntry] = []
        for first in range(0, len(records), PIECE_EVENTS):
            if first:
                await asyncio.sleep(0)
            entries += serialization.encode_all(records[first : first + PIECE_EVENTS])
        if entries:
            began_s = perf_counter()
            await self._log.append(entries, expected_head=entries[0].seq - 1)
            self._metrics.appended(len(entries), perf_counter() - began_s)
        durable, shown = iter(entries), 0
        for item in batch:
            if isinstance(item, _Look):
                item.now()
                continue
            for recorded in item.records:
                self._project(recorded, next(durable))
            if (ticket := ticket_of(item)) is not None:
                ticket.settle(item)
            shown += len(item.records)
            if shown >= PIECE_EVENTS:
                shown = 0
                await asyncio.sleep(0)


def _flat(queue: Iterable[Item | Together]) -> list[Item]:
    return [item for one in queue for item in (one.items if isinstance(one, Together) else (one,))]


def _events_of(item: Item | Together) -> int:
    match item:
        case Settle(_, records):
            return len(records)
        case Together():
            return sum(map(_events_of, item.items))
        case _:
            return 0


def _weight(item: Item) -> int:
    """Return what an item counts of `QUEUED_EVENTS`."""
    return max(1, _events_of(item))
