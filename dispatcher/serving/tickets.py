"""Tickets: callers that wait for an answer, and the errors that they may get."""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

import msgspec

from dispatcher.core.dispatcher import Settle
from dispatcher.core.replies import Refused
from projections import Projections

__all__ = ["RefusedError", "Render", "Ticket", "UnavailableError", "UndoneError", "ticket_of"]

T = TypeVar("T")
Render = Callable[[Settle, Projections], T]
"""Makes an answer from a reply that is not a refusal. The projections are as of its last event."""


class RefusedError(Exception):
    """A rule refuses the command."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(refused.text)
        self.refused = refused


class UnavailableError(Exception):
    """The log can't be written now. Only the log can show whether the command took effect."""


class UndoneError(UnavailableError):
    """The log can't be written now, and the command was certainly not carried out."""


class Ticket(msgspec.Struct, Generic[T], eq=False):
    """A caller that waits for its answer, which is set when the reply is durable.

    The answer is what `render` makes of the reply; `RefusedError` if a rule refuses the command,
    and `UnavailableError` if its events could not be recorded.
    """

    render: Render[T]
    projections: Projections
    answer: asyncio.Future[T]

    def settle(self, settle: Settle) -> None:
        """Set the answer, unless the caller no longer waits."""
        if self.answer.done():
            return
        if isinstance(settle.reply, Refused):
            self.answer.set_exception(RefusedError(settle.reply))
            return
        try:
            self.answer.set_result(self.render(settle, self.projections))
        except Exception as error:  # noqa: BLE001 - it concerns the caller, not the writer
            self.answer.set_exception(error)

    def fail(self, why: str) -> None:
        """Fail the answer, because the events could not be recorded."""
        if not self.answer.done():
            self.answer.set_exception(UnavailableError(why))


def ticket_of(settle: Settle) -> Ticket[object] | None:
    """Return the ticket that a `Settle` answers, if it answers one."""
    if settle.ticket is None or isinstance(settle.ticket, Ticket):
        return settle.ticket
    raise TypeError(f"{settle.ticket!r} is no ticket of the service")
