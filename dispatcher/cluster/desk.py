"""The leader's desk, where the commands of the other dispatchers are handed in.

    request ──► asks that are new ──► decided, in the order of the request
                                        ├── with events: the message of these tells the reply
                                        └── without: an answer to whoever asked

Laws:
- A command is done once, however often it is sent. Its id is known while it is being done; while
  whoever sent it may not have folded the message that answers it; and, if it had no events, for a
  while after it was answered.
- Requests of one dispatcher are taken in the order of their numbers. One that comes late is
  dropped: what it asks for has been asked again since.
- Requests of another term are not taken. When the term ends, whatever was not stored never
  happened, and nobody is answered any more.
"""

import asyncio
import logging
from collections.abc import Awaitable
from functools import partial
from typing import Any, Final, Protocol

import msgspec
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from dispatcher.cluster import DEPOSED, ClusterError
from dispatcher.cluster.stream import Stream
from dispatcher.cluster.wire import (
    Ack,
    Answer,
    Answers,
    Ask,
    Request,
    packed,
    reply_to,
    unpacked,
)
from dispatcher.core.dispatcher import Settle
from dispatcher.serving.batches import NoneSubmittedError
from dispatcher.serving.tickets import RefusedError, Render, UnavailableError
from projections import Projections

__all__ = ["Desk", "Forwarded", "Serves", "inbox_of"]

logger = logging.getLogger(__name__)

ANSWERS: Final = 500
"""Answers that are sent at once."""
REMEMBERED_S: Final = 10.0
"""How long an answer without events is remembered. A request is on its way for a second at most."""


class Forwarded:
    """Renders the reply to a forwarded command. It `is_stored` if a message tells the reply."""

    def __init__(self, command_id: str) -> None:
        self.id = command_id
        self.is_stored = False

    def __call__(self, settled: Settle, _projections: Projections) -> list[list[Any]]:
        """Return the reply in its form for dispatchers."""
        return [reply_to(settled.reply)]


class Serves(Protocol):
    """What carries out commands here; see `service`."""

    def carry_out(
        self, ask: Ask, render: Render[list[Any]], gone: asyncio.Event
    ) -> Awaitable[list[Any]]:
        """Carry out what was asked, as `Service` does, and return what `render` makes of it."""

    def place(self) -> tuple[int, int]:
        """Return the term, and the position in the stream, that are durable and shown."""

    def shown_seq(self) -> int:
        """Return the seq that is durable and shown."""


class _Member:
    """What is known of one dispatcher that hands commands in."""

    def __init__(self) -> None:
        self.number = 0
        self.stored: dict[str, int] = {}
        """Ids, and a position in the stream at which they were stored at the latest."""
        self.outbox: list[Answer] = []


class Desk:
    """Takes requests in one term, from `open` to `close`."""

    def __init__(self, stream: Stream, serves: Serves) -> None:
        self._stream = stream
        self._serves = serves
        self._term = 0
        self._subscription: Subscription | None = None
        self._members: dict[str, _Member] = {}
        self._in_hand: dict[str, asyncio.Event] = {}
        self._answered: dict[str, tuple[Answer, float]] = {}
        self._tasks = set[asyncio.Future[Any]]()
        self._sending: asyncio.Task[None] | None = None
        self._now_s = asyncio.get_running_loop().time

    @property
    def is_open(self) -> bool:
        """Whether requests are taken."""
        return self._subscription is not None

    async def open(self, term: int) -> None:
        """Begin to take requests of a term. `ClusterError` if there is no connection."""
        self._term = term
        self._subscription = await self._stream.subscribe("commands", self._on_request)

    async def close(self) -> None:
        """Take no more requests, and answer nobody."""
        self._term = 0
        subscription, self._subscription = self._subscription, None
        for gone in self._in_hand.values():
            gone.set()
        for task in [*self._tasks, *([self._sending] if self._sending else [])]:
            task.cancel()
        self._members.clear()
        self._in_hand.clear()
        self._answered.clear()
        if subscription is not None:
            await self._stream.unsubscribe(subscription)

    def forget(self, member: str) -> None:
        """Hang up for a dispatcher that is gone: nobody would hear of the jobs that are given."""
        for command_id, gone in self._in_hand.items():
            if command_id.startswith(f"{member}:"):
                gone.set()

    async def _on_request(self, message: Msg) -> None:
        term = self._term
        if not message.data:  # somebody asks whether anybody is here
            await self._acknowledge(message, Ack(term, taken=True))
            return
        try:
            request = unpacked(message.data, Request)
        except ValueError as error:
            logger.warning("A request of another dispatcher can't be read: %s", error)
            return
        if request.term > term:
            return  # another leads by now, and answers
        if request.term < term:
            await self._acknowledge(message, Ack(term, taken=False))
            return
        member = self._members.setdefault(request.member, _Member())
        if request.number <= member.number:
            return
        member.number = request.number
        for command_id in [it for it, at in member.stored.items() if at <= request.position]:
            del member.stored[command_id]
        self._forget_old_answers()
        for ask in request.asks:
            self._begin(ask, member)
        for command_id in request.hangups:
            if (gone := self._in_hand.get(command_id)) is not None:
                gone.set()
        await self._acknowledge(message, Ack(term, taken=True))

    async def _acknowledge(self, message: Msg, ack: Ack) -> None:
        try:
            await self._stream.reply(message, msgspec.json.encode(ack))
        except ClusterError as error:  # it will be sent again
            logger.debug("%s", error)

    def _begin(self, ask: Ask, member: _Member) -> None:
        if ask.id in self._in_hand or ask.id in member.stored:
            return
        if (known := self._answered.get(ask.id)) is not None:
            self._put(member, known[0])
            return
        self._in_hand[ask.id] = gone = asyncio.Event()
        render = Forwarded(ask.id)
        done = partial(self._done, ask.id, render, member, self._term)
        try:
            answer = asyncio.ensure_future(self._serves.carry_out(ask, render, gone))
        except Exception as error:  # noqa: BLE001 - told to whoever asked
            failed: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            failed.set_exception(error)
            done(failed)
        else:
            self._tasks.add(answer)
            answer.add_done_callback(done)

    def _done(
        self,
        command_id: str,
        render: Forwarded,
        member: _Member,
        term: int,
        answer: asyncio.Future[list[Any]],
    ) -> None:
        self._tasks.discard(answer)
        if answer.cancelled():
            return
        error = answer.exception()
        if term != self._term or str(error) == DEPOSED:
            return  # whoever asked hands it in again
        self._in_hand.pop(command_id, None)
        seq = self._serves.shown_seq()
        if render.is_stored and (error is None or isinstance(error, RefusedError)):
            member.stored[command_id] = self._serves.place()[1]
            return
        match error:
            case None:
                told = Answer(command_id, seq, answer.result())
            case RefusedError():
                told = Answer(command_id, seq, [reply_to(error.refused)])
            case NoneSubmittedError():
                refusals = [None if it is None else reply_to(it) for it in error.refusals]
                told = Answer(command_id, seq, refusals=refusals)
            case UnavailableError():
                told = Answer(command_id, 0, fault=str(error))
            case _:
                logger.error("A forwarded command failed", exc_info=error)
                told = Answer(command_id, 0, fault="the leader failed; see its own log")
        self._answered[command_id] = told, self._now_s()
        self._put(member, told)

    def _forget_old_answers(self) -> None:
        old_s = self._now_s() - REMEMBERED_S
        while self._answered:
            first, (_, at_s) = next(iter(self._answered.items()))
            if at_s > old_s:
                break
            del self._answered[first]

    def _put(self, member: _Member, answer: Answer) -> None:
        member.outbox.append(answer)
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send(self._term), name="answers")

    async def _send(self, term: int) -> None:
        while term == self._term:
            waiting = [(name, it) for name, it in self._members.items() if it.outbox]
            if not waiting:
                return
            for name, member in waiting:
                told, member.outbox = member.outbox[:ANSWERS], member.outbox[ANSWERS:]
                try:
                    await self._stream.tell(inbox_of(name), packed(Answers(term, told)))
                except ClusterError as error:  # they will be asked for again
                    logger.debug("%s", error)


def inbox_of(member: str) -> str:
    """Return the subject of answers to one dispatcher."""
    return f"answers.{member.rpartition('#')[2]}"
