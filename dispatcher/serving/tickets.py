"""Whoever waits for an answer, and what may become of it."""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

import msgspec

from dispatcher.core.dispatcher import Settle
from dispatcher.core.replies import Refused
from projections import Projections

__all__ = ["RefusedError", "Render", "Ticket", "UnavailableError"]

T = TypeVar("T")
Render = Callable[[Settle, Projections], T]
"""Makes an answer of a reply that is no refusal, when the projections stand at its last event."""


class RefusedError(Exception):
    """The rules say no."""

    def __init__(self, refused: Refused) -> None:
        super().__init__(refused.text)
        self.refused = refused


class UnavailableError(Exception):
    """The log can't take writes now. Whether the command took effect is for the log to say."""


class Ticket(msgspec.Struct, Generic[T], eq=False):
    """A caller's place in the log's queue: `answer` is what he gets when it is his turn.

    That is what `render` makes of the reply; `RefusedError` if a rule says no, and
    `UnavailableError` if what was decided could not be recorded.
    """

    render: Render[T]
    projections: Projections
    answer: asyncio.Future[T]

    def settle(self, settle: Settle) -> None:
        """Answer, unless nobody waits any more."""
        if self.answer.done():
            return
        if isinstance(settle.reply, Refused):
            self.answer.set_exception(RefusedError(settle.reply))
            return
        try:
            self.answer.set_result(self.render(settle, self.projections))
        except Exception as error:  # noqa: BLE001 - it is the caller's, not the writer's
            self.answer.set_exception(error)

    def fail(self, error: UnavailableError) -> None:
        """Answer that what was decided could not be recorded."""
        if not self.answer.done():
            self.answer.set_exception(error)
