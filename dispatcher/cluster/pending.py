"""A command that is on its way to the leader, and its answer."""

import asyncio
from collections.abc import Sequence
from typing import Any, Final, Generic, TypeVar

from dispatcher.cluster.wire import Ask
from dispatcher.core.commands import Command, SubmitJobs
from dispatcher.core.dispatcher import Settle
from dispatcher.core.events import Recorded
from dispatcher.core.replies import Reply, Submitted
from dispatcher.serving.tickets import Render, Ticket, UnavailableError
from projections import Projections

__all__ = ["Pending"]

T = TypeVar("T")
PATIENCE_S: Final = 15.0
"""How long a command may be on its way, in addition to the time that it may wait for work."""


class Pending(Generic[T]):
    """A command on its way. `until_s` is when its wait for work ends, `give_up_s` when all does.

    `sent_s` is when a leader took it, and it `may_be_there` from when it was sent.
    """

    def __init__(
        self, ask: Ask, command: Command | None, render: Render[T], until_s: float, now_s: float
    ) -> None:
        self.ask = ask
        self.command = command
        self.until_s = until_s
        self.give_up_s = max(until_s, now_s) + PATIENCE_S
        self.sent_s: float | None = None
        self.may_be_there = False
        self.answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._render = render
        self._parts = list[Any]()
        self._done = 0

    def settle(self, reply: Reply, records: Sequence[Recorded], projections: Projections) -> None:
        """Answer with a reply, or with what the replies so far make of a batch, if it is whole."""
        if self.command is not None:
            ticket = Ticket(self._render, projections, self.answer)
            ticket.settle(Settle(self.command, records, reply, None))
            return
        if not isinstance(reply, Submitted):
            self.fail(UnavailableError(f"the leader answered a batch with {reply!r:.80}"))
            return
        first, self._done = self._done, self._done + len(reply.replies)
        part = SubmitJobs(self.ask.submissions[first : self._done])
        try:
            self._parts += self._render(Settle(part, records, reply, None), projections)  # type: ignore[arg-type]  # of a batch
        except Exception as error:  # noqa: BLE001 - it concerns the caller
            self.fail(error)
        if self._done == len(self.ask.submissions) and not self.answer.done():
            self.answer.set_result(self._parts)  # type: ignore[arg-type]  # the same

    def fail(self, error: Exception) -> None:
        """Fail the answer, unless it was given."""
        if not self.answer.done():
            self.answer.set_exception(error)
            self.answer.exception()  # nobody else may look at it

    @property
    def is_question(self) -> bool:
        """Whether it asks only how far the log reaches."""
        return self.command is None and not self.ask.submissions

    def jobs_wanted(self) -> Sequence[Command]:
        """Return the commands whose jobs the answer may show, though they were finished before."""
        return self.ask.submissions if self.command is None else (self.command,)
