"""What clients ask of one dispatcher of several.

Laws:
- A command is decided here if this dispatcher leads, or else where the leader is. If it never
  happened, because another began to lead, it is handed in again (law 3 of the package).
- What the leader is asked by others it carries out as it does for its own clients, and notes the
  reply for the message that has the events.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final, TypeVar

from dispatcher.cluster import DEPOSED
from dispatcher.cluster.desk import Forwarded, Serves
from dispatcher.cluster.member import Member
from dispatcher.cluster.wire import Ask, command_from, packed
from dispatcher.core.commands import Caller, Command, SubmitJob, SubmitJobs
from dispatcher.core.dispatcher import Effect, Settle
from dispatcher.log import LogError, TooLargeError
from dispatcher.serving.tickets import Render, Ticket, UnavailableError

__all__ = ["ClusterService"]

T = TypeVar("T")

BATCH_BYTES: Final = 3 << 20
"""The most bytes of a batch of submissions, compressed; its events must fit into one message."""


class ClusterService(Member):
    """A `Service` on a replicated log."""

    def _serves(self) -> Serves:
        return self

    def execute(self, command: Command, caller: Caller, render: Render[T]) -> Awaitable[T]:
        """Execute a command here, or where it is decided; see `Service.execute`."""
        return self._handed_in(
            lambda: super(ClusterService, self).execute(command, caller, render),
            lambda: self._forwarding.execute(command, caller, render),
        )

    async def submit_all(
        self,
        submissions: Sequence[SubmitJob],
        caller: Caller,
        render: Render[list[T]],
        *,
        is_atomic: bool = False,
    ) -> list[T]:
        """Carry out many submissions in one message; see `Service.submit_all`.

        `TooLargeError` if they do not fit into one.
        """
        if (size := len(packed(SubmitJobs(tuple(submissions))))) > BATCH_BYTES:
            raise TooLargeError(
                f"the batch has {size:,} bytes, compressed, but a replicated log takes at most "
                f"{BATCH_BYTES:,} at once; submit it in parts"
            )
        here = super().submit_all
        return await self._handed_in(
            lambda: here(submissions, caller, render, is_atomic=is_atomic),
            lambda: self._forwarding.submit(submissions, caller, render, is_atomic=is_atomic),
        )

    async def _wait_for_work(
        self,
        command: Command,
        caller: Caller,
        render: Render[T],
        wait_s: float,
        until_gone: Callable[[], Coroutine[Any, Any, None]],
    ) -> T:
        here, until_s = super()._wait_for_work, self._now_s() + wait_s
        return await self._handed_in(
            lambda: here(command, caller, render, max(until_s - self._now_s(), 0), until_gone),
            lambda: self._forwarding.wait_for_work(command, caller, render, until_s, until_gone),
        )

    async def _handed_in(
        self, here: Callable[[], Awaitable[T]], there: Callable[[], Awaitable[T]]
    ) -> T:
        """Do something here if this dispatcher leads, or else there; again if it never happened."""
        while True:
            leads = self.is_leading
            if not leads and (fault := self.fault) is not None:
                raise UnavailableError(fault)
            try:
                return await (here() if leads else there())
            except UnavailableError as error:
                if str(error) != DEPOSED:
                    raise
                await asyncio.sleep(0)

    async def catch_up(self) -> None:
        """Return when all is shown here that anybody was told before; see `Service.catch_up`."""
        await self._handed_in(self._confirm, self._forwarding.catch_up)

    async def _confirm(self) -> None:
        await self._commits.durable()
        if not self._cluster.is_confirmed:
            try:
                await self._cluster.confirm()
            except LogError as error:
                raise UnavailableError(str(error)) from error

    # What the desk needs

    def carry_out(
        self, ask: Ask, render: Render[list[Any]], gone: asyncio.Event
    ) -> Awaitable[list[Any]]:
        """Carry out what another dispatcher asks; see `desk.Serves`."""
        caller = ask.by()
        if ask.submissions:
            return super().submit_all(ask.submissions, caller, render, is_atomic=ask.is_atomic)
        if not ask.kind:
            return self._how_far()
        command = command_from(ask.kind, ask.command)
        if ask.wait_ms:

            async def until_gone() -> None:
                await gone.wait()

            return super()._wait_for_work(command, caller, render, ask.wait_ms / 1_000, until_gone)
        return super().execute(command, caller, render)

    async def _how_far(self) -> list[Any]:
        await self._confirm()
        return []

    def _carry_out(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Settle) and isinstance(effect.ticket, Ticket):
                render = effect.ticket.render
                if isinstance(render, Forwarded):
                    self._note(effect, render)
        super()._carry_out(effects)

    def _note(self, settle: Settle, render: Forwarded) -> None:
        """Have the message with these events tell what became of a forwarded command."""
        events = len(settle.records)
        if events:
            render.is_stored = True
        elif not isinstance(settle.command, SubmitJobs):
            return  # a part of a batch is told with the other parts, though it has no events
        upto = settle.records[-1].seq if events else self._core.seq
        self._cluster.note(render.id, upto, events, settle.reply)
