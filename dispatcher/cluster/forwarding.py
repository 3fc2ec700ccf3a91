"""Forwarding: what the clients of a dispatcher want that does not lead.

    execute ──► pending ──► request, up to 500 asks ──► the leader's `desk`
                   ▲
                   ├── a message of the log has its id: its events, and the reply
                   └── an answer without events, as of a seq

Laws:
- The log tells what became of a command: its id is in a message, or another term begins first. Then
  it never happened, and is handed in again, to the new leader or here.
- An answer is rendered when this dispatcher has folded all that the leader had. So whoever was
  answered here finds here what he was told.
- A request has the number after that of the one before. The leader takes none that is older, so
  nothing is done twice that is sent twice; see `desk`.
- A command that nobody answers for long fails with `UnavailableError`, and is not sent again. Only
  the log can tell then whether it took effect.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any, Final, TypeVar

import msgspec
from nats.aio.msg import Msg

from dispatcher.cluster import DEPOSED, ClusterError
from dispatcher.cluster.messages import Answered, Message
from dispatcher.cluster.pending import Pending
from dispatcher.cluster.stream import NoLeaderError, Stream
from dispatcher.cluster.wire import (
    Ack,
    Answer,
    Answers,
    Ask,
    Request,
    command_to,
    packed,
    reply_from,
    unpacked,
)
from dispatcher.core.commands import Caller, Command, SubmitJob
from dispatcher.core.dispatcher import Settle
from dispatcher.core.events import Recorded
from dispatcher.core.replies import Refused
from dispatcher.serving.batches import NoneSubmittedError
from dispatcher.serving.memory import Memory
from dispatcher.serving.tickets import Render, UnavailableError
from projections import Projections

__all__ = ["UNKNOWN", "Forwarding"]

logger = logging.getLogger(__name__)

T = TypeVar("T")
UNKNOWN: Final = (
    "no leading dispatcher has answered; only the log can tell whether this took effect"
)
ASKS: Final = 500
"""Commands in one request."""
REQUEST_BYTES: Final = 1 << 20
"""A request ends with the command that reaches so many bytes."""
PENDING: Final = 20_000
"""Most commands that may be on their way; then others are refused."""
AGAIN_S: Final = 2.0
"""A command that has no answer for so long is sent again: it may have been lost."""
LOOK_S: Final = 0.2
"""How often the times of what is pending are looked at."""
PAUSE_S: Final = 0.05
"""The pause before a request is tried again."""


class Forwarding:
    """The commands of one dispatcher that are on their way to the leader.

    `place` gives the term and the position in the stream that this dispatcher has folded. `on_gone`
    is called when nobody listens for commands.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - what a follower has
        self,
        stream: Stream,
        member: str,
        place: Callable[[], tuple[int, int]],
        projections: Callable[[], Projections],
        memory: Memory,
        on_gone: Callable[[], None],
    ) -> None:
        self._stream = stream
        self._member = member
        self._place = place
        self._projections = projections
        self._memory = memory
        self._on_gone = on_gone
        self.forwarded = 0
        """Commands that a leader took, those counted again that were sent again."""
        self._pending: dict[str, Pending[Any]] = {}
        self._unsent: dict[str, Pending[Any]] = {}
        self._hangups: list[str] = []
        self._answers: list[Answer] = []
        self._answering: set[asyncio.Task[None]] = set()
        self._work = asyncio.Event()
        self._ids = 0
        self._requests = 0
        self._look_again_s = 0.0
        self._lets_wait = True
        self._now_s = asyncio.get_running_loop().time

    async def execute(self, command: Command, caller: Caller, render: Render[T]) -> T:
        """Forward a command; see `Service.execute`.

        `UnavailableError` with the text `DEPOSED`: it never happened, and this one leads now.
        """
        kind, fields = command_to(command)
        ask = Ask(self._next_id(), caller.name, caller.request_id, kind, fields)
        return await self._answer(Pending(ask, command, render, 0.0, self._now_s()))

    async def submit(
        self,
        submissions: Sequence[SubmitJob],
        caller: Caller,
        render: Render[list[T]],
        *,
        is_atomic: bool,
    ) -> list[T]:
        """Forward many submissions; see `Service.submit_all` and `execute`."""
        if not submissions:
            return []
        ask = Ask(
            self._next_id(),
            caller.name,
            caller.request_id,
            submissions=tuple(submissions),
            is_atomic=is_atomic,
        )
        return await self._answer(Pending(ask, None, render, 0.0, self._now_s()))

    async def wait_for_work(
        self,
        command: Command,
        caller: Caller,
        render: Render[T],
        until_s: float,
        until_gone: Callable[[], Coroutine[Any, Any, None]],
    ) -> T:
        """Forward a request that may wait for work until a time; see `Service.wait_for_work`."""
        kind, fields = command_to(command)
        ask = Ask(self._next_id(), caller.name, caller.request_id, kind, fields)
        now_s = self._now_s()
        pending = Pending(ask, command, render, until_s if self._lets_wait else now_s, now_s)

        async def hang_up_when_gone() -> None:
            await until_gone()
            self._end_wait(pending)

        watch = asyncio.create_task(hang_up_when_gone())
        try:
            return await self._answer(pending)
        finally:
            watch.cancel()

    def end_waits(self) -> None:
        """Let no command wait for work, now or later: the leader answers what it has."""
        self._lets_wait = False
        now_s = self._now_s()
        for pending in self._pending.values():
            if pending.until_s > now_s:
                self._end_wait(pending)

    def _end_wait(self, pending: Pending[Any]) -> None:
        pending.until_s = self._now_s()
        self._hangups.append(pending.ask.id)
        self._work.set()

    async def catch_up(self) -> None:
        """Return when this dispatcher has all that was acknowledged anywhere before."""
        ask = Ask(self._next_id(), "dispatcher")
        await self._answer(Pending[None](ask, None, _nothing, 0.0, self._now_s()))

    async def _answer(self, pending: Pending[T]) -> T:
        if len(self._pending) >= PENDING:
            raise UnavailableError(f"{PENDING} commands are on their way to the leader already")
        self._pending[pending.ask.id] = self._unsent[pending.ask.id] = pending
        self._work.set()
        try:
            return await pending.answer
        finally:
            self._pending.pop(pending.ask.id, None)
            self._unsent.pop(pending.ask.id, None)
            if pending.may_be_there and pending.answer.cancelled():
                self._hangups.append(pending.ask.id)
                self._work.set()

    def _next_id(self) -> str:
        self._ids += 1
        return f"{self._member}:{self._ids}"

    # What becomes of them

    def submissions_in(self, message: Message) -> list[Command]:
        """Return the submissions of batches of ours that a message answers."""
        found = list[Command]()
        for answered in message.answered:
            pending = self._pending.get(answered.id)
            if pending is not None and pending.command is None:
                found += pending.jobs_wanted()
        return found

    def settle(self, answered: Answered, records: Sequence[Recorded]) -> None:
        """Answer a command whose events, with others before them, were folded just now."""
        if (pending := self._pending.get(answered.id)) is None:
            return
        try:
            reply = answered.to_reply()
        except (ValueError, msgspec.ValidationError) as error:
            pending.fail(UnavailableError(f"its reply can't be read: {error}"))
        else:
            pending.settle(reply, records, self._projections())

    def take(self, told: Answers) -> None:
        """Take the leader's answers without events. Each waits until its seq is folded here.

        Those of an earlier term are too late: the commands were handed in again.
        """
        if told.term == self._place()[0]:
            self._answers += told.answers
            self.settle_due()

    def settle_due(self) -> None:
        """Give the answers whose seq has been folded by now."""
        if not self._answers:
            return
        seq = self._projections().seq
        due = [it for it in self._answers if it.seq <= seq]
        self._answers = [it for it in self._answers if it.seq > seq]
        for answer in due:
            if (pending := self._pending.get(answer.id)) is None:
                continue
            if any(map(self._memory.lacks, pending.jobs_wanted())):
                task = asyncio.create_task(self._complete_and_settle(pending, answer))
                self._answering.add(task)
                task.add_done_callback(self._answering.discard)
            else:
                self._settle_alone(pending, answer)

    async def _complete_and_settle(self, pending: Pending[Any], answer: Answer) -> None:
        try:
            await self._memory.complete(*pending.jobs_wanted())
        except UnavailableError as error:
            pending.fail(error)
        else:
            self._settle_alone(pending, answer)

    def _settle_alone(self, pending: Pending[Any], answer: Answer) -> None:
        try:
            if answer.fault is not None:
                pending.fail(UnavailableError(answer.fault))
            elif answer.refusals is not None:
                pending.fail(NoneSubmittedError([_refused(it) for it in answer.refusals]))
            elif pending.is_question:
                if not pending.answer.done():
                    pending.answer.set_result(None)
            else:
                for told in answer.replies:
                    pending.settle(reply_from(told), (), self._projections())
        except (ValueError, msgspec.ValidationError) as error:
            pending.fail(UnavailableError(f"the leader's answer can't be read: {error}"))

    def begin_term(self) -> None:
        """Hand in again what has not happened: a later claim was folded."""
        self._answers.clear()
        self._unsent = dict(self._pending)
        self._work.set()

    def hand_back(self) -> None:
        """Give back what has not happened, since this dispatcher leads now."""
        self._answers.clear()
        self.fail_all(DEPOSED)

    def fail_all(self, why: str) -> None:
        """Fail all that is on its way."""
        for pending in self._pending.values():
            pending.fail(UnavailableError(why))
        self._unsent.clear()

    # Sending

    async def run(self) -> None:
        """Send what is to be sent, until cancelled."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S if self._pending else None):
                    await self._work.wait()
            self._work.clear()
            self._look_at_times()
            while self._unsent or self._hangups:
                if not await self._send():
                    await asyncio.sleep(PAUSE_S)
                    self._look_at_times()

    def _look_at_times(self) -> None:
        now_s = self._now_s()
        if now_s < self._look_again_s:
            return
        self._look_again_s = now_s + LOOK_S
        for pending in list(self._pending.values()):
            if now_s > pending.give_up_s:
                pending.fail(UnavailableError(UNKNOWN))
                self._unsent.pop(pending.ask.id, None)
            elif (
                pending.sent_s is not None
                and now_s > max(pending.sent_s, pending.until_s) + AGAIN_S
            ):
                pending.sent_s = None
                self._unsent[pending.ask.id] = pending

    async def _send(self) -> bool:
        """Send one request; return whether the leader took it."""
        chosen, hangups = self._next_ones(), self._hangups[:ASKS]
        now_s = self._now_s()
        term, position = self._place()
        self._requests += 1
        asks = [
            msgspec.structs.replace(it.ask, wait_ms=max(0, int((it.until_s - now_s) * 1_000)))
            if it.until_s
            else it.ask
            for it in chosen
        ]
        for pending in chosen:
            pending.may_be_there = True
        request = Request(self._member, term, self._requests, position, asks, hangups)
        try:
            reply = await self._stream.ask("commands", packed(request))
            ack = msgspec.json.decode(reply, type=Ack)
        except NoLeaderError:
            self._on_gone()
            return False
        except (ClusterError, msgspec.DecodeError):
            return False
        if not ack.taken:
            return False
        self.forwarded += sum(not it.is_question for it in chosen)
        del self._hangups[: len(hangups)]
        if self._place()[0] != term:
            return False  # another term has begun meanwhile, and all is handed in again
        for pending in chosen:
            pending.sent_s = now_s
            self._unsent.pop(pending.ask.id, None)
        return True

    def _next_ones(self) -> list[Pending[Any]]:
        chosen, size = list[Pending[Any]](), 0
        for pending in self._unsent.values():
            chosen.append(pending)
            size += len(pending.ask.command) + 400 * (1 + len(pending.ask.submissions))
            if len(chosen) >= ASKS or size >= REQUEST_BYTES:
                break
        return chosen

    async def on_answers(self, message: Msg) -> None:
        """Take what the leader sends to this dispatcher."""
        try:
            self.take(unpacked(message.data, Answers))
        except ValueError as error:
            logger.warning("Answers of the leader can't be read: %s", error)


def _nothing(_settled: Settle, _projections: Projections) -> None:
    """Render the answer to a question of how far the log reaches."""


def _refused(told: list[Any] | None) -> Refused | None:
    if told is None:
        return None
    reply = reply_from(told)
    if not isinstance(reply, Refused):
        raise ValueError(f"{told!r:.80} is no refusal")  # noqa: TRY004 - of what was sent
    return reply
