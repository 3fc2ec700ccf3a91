"""Moving a log into a cluster, and comparing the two.

Laws:
- A log is published by a claim and then its events, in messages whose roots are those of the log at
  the same places. Nothing is published into a stream that has other events.
- What was broken off is continued: the messages that are there are a beginning of the log, or it is
  refused.
- `verify` trusts nothing that a message says of itself: it computes each root from the lines.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from typing import Final, NamedTuple

from nats.aio.msg import Msg

from dispatcher.cluster import ClusterError, CorruptionError, UnreachableError
from dispatcher.cluster.checked import Checked
from dispatcher.cluster.messages import Message
from dispatcher.cluster.stream import OutOfOrderError, Stored, Stream
from dispatcher.log import LogError, TooLargeError, serialization
from dispatcher.log.merkle import Frontier, subtrees
from dispatcher.log.serialization import LogEntry
from dispatcher.log.sqlite import SqliteLog, growth_of
from dispatcher.progress import Progress, silent

__all__ = ["Verified", "publish", "verify"]

MESSAGE_EVENTS: Final = 1_000
LISTEN_S: Final = 1.0
"""How long beats of dispatchers are listened for."""
TRIES: Final = 60


class Verified(NamedTuple):
    """What a stream has: messages, events, and the root of these.

    `compared` is the seq up to which the replica has the same; `None` if there was none to compare.
    """

    messages: int
    events: int
    root: bytes
    compared: int | None


async def publish(stream: Stream, log: SqliteLog, publishing: Progress = silent) -> Verified:
    """Put the events of a log into a stream that is empty or has the first of them.

    `ClusterError` if dispatchers use the stream, or it has others. The stream's root is the log's
    in the end.
    """
    await _refuse_dispatchers(stream)
    there = await verify(stream, log)
    position, head = there.messages, there.events
    if head > log.head:
        raise ClusterError(f"{stream.address}: has {head:,} events, but {log.path} {log.head:,}")
    term = 1 + (await _term(stream, position))
    by = f"publish#{secrets.token_hex(4)}"
    tree = Frontier(head, await log.subtree_hashes(subtrees(0, head)))
    position = await _put(
        stream, Message(head + 1, term, by, _nonce(), tree.root(), claim=by), position
    )
    while head < log.head:
        entries = await log.page(head, MESSAGE_EVENTS)
        position, tree = await _put_some(stream, entries, term, by, position, tree)
        head += len(entries)
        publishing(head, log.head)
    if tree.root() != log.tree.root():
        raise LogError(f"{log.path}: has another root than its events; run `dispatcher audit`")
    return Verified(position, head, tree.root(), head)


async def _put_some(  # noqa: PLR0913, PLR0917 - where the stream stands
    stream: Stream,
    entries: Sequence[LogEntry],
    term: int,
    by: str,
    position: int,
    tree: Frontier,
) -> tuple[int, Frontier]:
    """Put some events into one message, or into more if they do not fit."""
    lines = serialization.lines(entries)
    grown = (await growth_of(tree, lines)).frontier
    message = Message(entries[0].seq, term, by, _nonce(), grown.root(), lines)
    try:
        return await _put(stream, message, position), grown
    except TooLargeError:
        if len(entries) == 1:
            raise
    middle = len(entries) // 2
    for half in (entries[:middle], entries[middle:]):
        position, tree = await _put_some(stream, half, term, by, position, tree)
    return position, tree


async def _put(stream: Stream, message: Message, position: int) -> int:
    headers, body = message.encode()
    for last_try in [*[False] * TRIES, True]:
        try:
            return await stream.publish(headers, body, position)
        except OutOfOrderError as error:
            stored = await stream.read(position + 1)
            if stored is not None and stored.headers.get("Batch") == message.batch:
                return stored.sequence
            raise ClusterError(
                f"{stream.address}: somebody else appends to it; stop the dispatchers, and publish "
                "into an empty stream"
            ) from error
        except UnreachableError:
            if last_try:
                raise
            await asyncio.sleep(0.2)
    raise AssertionError  # the last try has raised


async def verify(
    stream: Stream, replica: SqliteLog | None = None, verifying: Progress = silent
) -> Verified:
    """Read a stream from its beginning, check each message, and compare it with a replica.

    `CorruptionError` names the first message that is wrong, or after which the two differ.
    """
    checked = Checked(0, 0, Frontier())
    last = await stream.last()
    sequence, compared = 0, None if replica is None else 0
    async for stored in _messages(stream, last):
        try:
            await checked.add(stored)
        except CorruptionError as error:
            raise CorruptionError(
                f"message {stored.sequence} of {stream.address} is wrong: {error}; see "
                "`dispatcher cluster status` for damaged nodes"
            ) from error
        sequence = stored.sequence
        (one,) = checked.applied
        if replica is not None and one.message.upto <= replica.head:
            root = Frontier(
                one.message.upto, await replica.subtree_hashes(subtrees(0, one.message.upto))
            ).root()
            if root != one.message.root:
                raise CorruptionError(
                    f"{replica.path}: differs from {stream.address} in its events "
                    f"{one.message.first} to {one.message.upto} (message {sequence}): the root "
                    f"there is {one.message.root.hex()}, and here {root.hex()}"
                )
            compared = one.message.upto
        checked.forget()
        verifying(sequence, last)
    if sequence < last:
        raise CorruptionError(f"{stream.address}: lacks its message {sequence + 1} of {last}")
    return Verified(sequence, checked.head, checked.tree.root(), compared)


async def _messages(stream: Stream, last: int) -> AsyncIterator[Stored]:
    """Yield the messages of a stream; each is that of the stream's leader if a node lacks it."""
    sequence = 0
    while sequence < last:
        for stored in await stream.read_after(sequence):
            if stored.sequence != sequence + 1:
                break
            sequence = stored.sequence
            yield stored
            if sequence == last:
                return
        else:
            continue
        missing = await stream.read(sequence + 1)
        if missing is None:
            return
        sequence = missing.sequence
        yield missing


async def _term(stream: Stream, position: int) -> int:
    stored = await stream.read(position) if position else None
    return 0 if stored is None else Message.decode(stored.headers, stored.body).term


async def _refuse_dispatchers(stream: Stream) -> None:
    heard = asyncio.Event()

    async def on_beat(_message: Msg) -> None:
        heard.set()

    beats = await stream.subscribe("beat", on_beat)
    try:
        async with asyncio.timeout(LISTEN_S):
            await heard.wait()
    except TimeoutError:
        return
    finally:
        await stream.unsubscribe(beats)
    raise ClusterError(f"{stream.address}: dispatchers run on it; stop them before you publish")


def _nonce() -> str:
    return secrets.token_hex(8)
