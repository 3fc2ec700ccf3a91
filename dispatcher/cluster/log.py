"""The log that NATS JetStream replicates, with a SQLite log as this dispatcher's replica.

    append(batch) ──► one message, stored by most nodes ──► replica
    advance()     ──► messages of others, checked       ──► replica

Laws:
- The stream comes first: the replica never has an event that the stream lacks. All reads are from
  the replica.
- A batch is one message, sent until it is known what became of it (`sending`). If that can't be
  found out in time, nothing else is sent before `recover` did.
- Only who has claimed the lead appends. A claim is a message too, so the stream itself refuses an
  append after another's claim.
- A message is applied if it follows the replica without a gap, is of no earlier term, and leads to
  the root that it names. One that does not is read again from the stream's leader, since a node may
  be damaged. If it is still wrong, that is a `CorruptionError`, which stays.
- For `LEASE_S` after a dispatcher sent what was acknowledged last, it leads for certain: nobody
  claims so soon after a message (`leadership`). Otherwise `confirm` finds out.
"""

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Final, NamedTuple, Self

import stamina

from dispatcher.cluster import (
    ClusterError,
    CorruptionError,
    DeposedError,
    UnreachableError,
)
from dispatcher.cluster.address import Address
from dispatcher.cluster.checked import Applied, Checked, following
from dispatcher.cluster.messages import Answered, Message
from dispatcher.cluster.position import find_position
from dispatcher.cluster.replica import ReadFromReplica
from dispatcher.cluster.sending import PATIENCE_S, Sending
from dispatcher.cluster.stream import OutOfOrderError, Stored, Stream
from dispatcher.core.replies import Reply
from dispatcher.log import LogError, WrongHeadError, serialization
from dispatcher.log.merkle import Frontier, Growth
from dispatcher.log.serialization import LogEntry
from dispatcher.log.sqlite import SqliteLog, growth_of
from dispatcher.progress import Progress, silent

__all__ = ["LEASE_S", "JetStreamLog"]

logger = logging.getLogger(__name__)

LEASE_S: Final = 0.2
"""How long an acknowledged append proves that nobody else leads; less than `leadership.GONE_S`."""
OPEN_S: Final = 30.0
"""How long a start waits for the stream's leader."""
PAUSE_S: Final = 0.05
AT_ONCE: Final = 2_000
"""Events after which no further message joins those that are written to the replica at once."""


class _Note(NamedTuple):
    """The reply to a forwarded command with its last so many `events` up to seq `upto`."""

    upto: int
    id: str
    events: int
    reply: Reply


class JetStreamLog(ReadFromReplica):
    """A `dispatcher.log.Log`; see `open`. `member` is this process in the messages' `By`.

    `position` is the stream's sequence of the newest message in the replica, `term` the newest term
    that a message has, and it `leads` if the claim of that term is its own. `stored` counts
    its own messages that were acknowledged, claims and barriers too.
    """

    def __init__(self, replica: SqliteLog, stream: Stream, name: str, patience_s: float) -> None:
        super().__init__(replica)
        self.stream = stream
        self.member: Final = f"{name}#{secrets.token_hex(4)}"
        self.position = 0
        self.term = 0
        self.leads = False
        self.stored = 0
        self.corruption: CorruptionError | None = None
        self.replica_fault: LogError | None = None
        self._sending = Sending(stream, self.member, patience_s)
        self._turn = asyncio.Lock()
        self._notes = deque[_Note]()

    @classmethod
    async def open(  # noqa: PLR0913 - what a replica and a stream need
        cls,
        address: Address,
        db: Path,
        *,
        name: str = "dispatcher",
        verifier: Callable[[str | None], str | None] = lambda _known: None,
        patience_s: float = PATIENCE_S,
        migrating: Progress = silent,
        creating: Callable[[Path], None] = lambda _path: None,
        reading: Progress = silent,
    ) -> Self:
        """Open the replica at `db`, and bring it up to the stream, which is made if there is none.

        `name` is that of this dispatcher, for operators. For `verifier` see `Stream.prepare`.
        Raises `ClusterError` if NATS can't be used, or if the replica has events that the stream
        lacks, `CorruptionError` if it is not of this stream, `LogError` as `SqliteLog.open` does.
        """
        stream = await Stream.connect(address, name)
        try:
            replica = await SqliteLog.open(db, migrating, creating)
        except BaseException:
            await stream.close()
            raise
        log = cls(replica, stream, name, patience_s)
        try:
            await stream.prepare(verifier)
            async for attempt in stamina.retry_context(
                on=UnreachableError, attempts=None, timeout=OPEN_S, wait_initial=0.1, wait_max=1.0
            ):
                with attempt:
                    await log._catch_up(reading)
        except BaseException:
            await log.close()
            raise
        return log

    async def _catch_up(self, reading: Progress) -> None:
        """Find the replica's place in the stream, and read all that is there now."""
        self.position, self.term = await find_position(self.stream, self.replica)
        last = await self.stream.last()
        while self.position < last:
            await self.advance()
            reading(self.position, last)

    @property
    def is_confirmed(self) -> bool:
        """Whether it is certain without asking that nobody else leads now."""
        return self.leads and self._sending.acknowledged_s_ago() < LEASE_S

    @property
    def is_unsettled(self) -> bool:
        """Whether it is not known what became of the last message that was sent."""
        return self._sending.is_unsettled

    def note(self, command_id: str, upto: int, events: int, reply: Reply) -> None:
        """Tell in the message with the event `upto` what became of a forwarded command."""
        self._notes.append(_Note(upto, command_id, events, reply))

    async def append(self, batch: Sequence[LogEntry], expected_head: int) -> None:
        """Store a batch as one message, and in the replica; see `Log.append`.

        `DeposedError` if another dispatcher leads: then nothing was appended. After any other
        `ClusterError` the batch may have been stored, which `recover` finds out.
        """
        async with self._turn:
            self._check_usable()
            if expected_head != self.head:
                raise WrongHeadError(expected_head, self.head)
            _check_follows(batch, expected_head)
            lines = serialization.lines(batch)
            growth = await growth_of(self.tree, lines)
            answered = self._answered(expected_head + len(batch))
            await self._send(lines, growth.frontier, answered)
            for _ in answered:
                self._notes.popleft()
            await self._to_replica(batch, growth)

    async def confirm(self) -> None:
        """Append a barrier, to find out whether this dispatcher leads: `DeposedError` if not."""
        async with self._turn:
            self._check_usable()
            await self._send((), self.tree, ())

    async def claim(self) -> bool:
        """Claim the lead in the next term, and return whether it is this dispatcher's now.

        It is not if another message was stored meanwhile; `advance` then reads it.
        """
        async with self._turn:
            self._check_sound()
            try:
                await self._send((), self.tree, (), claims=True)
            except (DeposedError, OutOfOrderError):
                return False
            return self.leads

    async def recover(self) -> None:
        """Find out what became of what was sent; see `Log.recover`.

        Raises `DeposedError` if another dispatcher leads by now: then the log can be read up to
        where it was then, and accepts no appends.
        """
        async with self._turn:
            self._check_sound()
            led = self.leads  # before what follows, which may find that another leads
            await self._recover_replica()
            self._notes.clear()
            while True:
                while await self._advance(()):
                    if led and not self.leads:
                        break  # the new leader may append without end
                self._sending.is_unsettled = False
                if not self.leads:
                    if led:
                        raise DeposedError
                    return
                try:
                    await self._send((), self.tree, ())
                except OutOfOrderError:
                    await asyncio.sleep(PAUSE_S)  # what was sent earlier was stored after all
                else:
                    return

    async def recover_replica(self) -> None:
        """Find out what the replica has after a fault of its own, and where that is in the stream.

        It may have messages that `advance` has not returned, and never will.
        """
        async with self._turn:
            self._check_sound()
            await self._recover_replica()

    async def advance(self, offered: Sequence[Stored] = ()) -> list[Applied]:
        """Apply messages that others have stored; return them, or none if there is none.

        Those `offered` are used if they are the next; else a node is asked.
        """
        async with self._turn:
            self._check_sound()
            return await self._advance(offered)

    async def close(self) -> None:
        """Close the connection and the replica."""
        self._lose()
        try:
            await self.stream.close()
        finally:
            await self.replica.close()

    def _check_sound(self) -> None:
        if self.corruption is not None:
            raise self.corruption

    def _check_usable(self) -> None:
        self._check_sound()
        if not self.leads:
            raise DeposedError
        if self.is_unsettled or self.replica_fault is not None:
            raise LogError(
                f"{self.stream.address}: it is not known what became of the last batch; recover "
                "before the next"
            )

    def _answered(self, upto: int) -> list[Answered]:
        """Return what a message up to this seq tells of forwarded commands."""
        first = self.head + 1
        return [
            Answered.of(note.id, max(note.upto - first + 1, 0), note.events, note.reply)
            for note in takewhile(lambda note: note.upto <= upto, self._notes)
        ]

    async def _send(
        self,
        lines: Sequence[bytes],
        tree: Frontier,
        answered: Sequence[Answered],
        *,
        claims: bool = False,
    ) -> None:
        """Have a message stored as the next; see `Sending.send` for the errors."""
        message = Message(
            first=self.head + 1,
            term=self.term + 1 if claims else self.term,
            by=self.member,
            batch=secrets.token_hex(8),
            root=tree.root(),
            lines=lines,
            answered=answered,
            claim=self.member if claims else None,
        )
        try:
            self.position = await self._sending.send(message, self.position)
        except DeposedError:
            self._lose()
            raise
        self.term = message.term
        self.stored += 1
        if claims:
            self._notes.clear()  # of what was decided in vain in an earlier term
            self.leads = True

    def _lose(self) -> None:
        """Take note that another dispatcher leads, or claims to."""
        self.leads = False
        self._sending.forget()
        self._notes.clear()

    async def _to_replica(self, entries: Sequence[LogEntry], growth: Growth) -> None:
        try:
            await self.replica.append_grown(entries, growth)
        except LogError as error:
            self.replica_fault = error
            raise

    async def _recover_replica(self) -> None:
        await self.replica.recover()
        if self.replica_fault is not None:  # the stream has what it lacks
            self.position, term = await find_position(self.stream, self.replica)
            if term > self.term:  # after a claim that was never read here
                self.term = term
                self._lose()
            self.replica_fault = None

    async def _advance(self, offered: Sequence[Stored]) -> list[Applied]:
        if self.replica_fault is not None:
            await self._recover_replica()
        next_ones = following(offered, self.position)
        if not next_ones:
            next_ones = following(await self.stream.read_after(self.position), self.position)
        checked = Checked(self.head, self.term, self.tree)
        for stored in next_ones:
            try:
                await checked.add(stored)
            except CorruptionError as error:
                if checked.applied:
                    break  # those before it first
                await self._add_from_leader(checked, stored.sequence, error)
                break
            if len(checked.entries) >= AT_ONCE:
                break
        if checked.entries:
            await self._to_replica(checked.entries, checked.growth())
        for sequence, message, _ in checked.applied:
            self.position, self.term = sequence, message.term
            if message.claim is not None:
                self._lose()
                self.leads = message.claim == self.member
        return checked.applied

    async def _add_from_leader(
        self, checked: "Checked", sequence: int, error: CorruptionError
    ) -> None:
        """Add a message that a node gave wrongly, as the stream's leader has it."""
        stored = await self.stream.read(sequence)
        if stored is None:
            raise ClusterError(f"{self.stream.address}: lacks its message {sequence}") from error
        try:
            await checked.add(stored)
        except CorruptionError as confirmed:
            self.corruption = CorruptionError(
                f"message {sequence} of {self.stream.address} (by {stored.headers.get('By')}, from "
                f"seq {stored.headers.get('First')}) does not follow seq {self.head} of "
                f"{self.replica.path}: {confirmed}. If the other dispatchers are well, stop this "
                "one, move its log away, with its segments, snapshots and index, and start it "
                "again: it reads all from the stream. If they say the same, a node of NATS is "
                "damaged (`dispatcher cluster status`): stop that node, empty its JetStream folder "
                "and start it again. See docs/cluster.md"
            )
            raise self.corruption from confirmed
        logger.error(
            "%s: a node gave message %d wrongly (%s); the stream's leader has it right. See "
            "`dispatcher cluster status`, and have the damaged node start from an empty folder",
            self.stream.address,
            sequence,
            error,
        )


def _check_follows(batch: Sequence[LogEntry], head: int) -> None:
    for seq, entry in enumerate(batch, head + 1):
        if entry.seq != seq:
            raise LogError(f"a batch has seq {entry.seq} where seq {seq} follows")
