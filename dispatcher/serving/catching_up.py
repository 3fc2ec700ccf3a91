"""Waiting until the projections show what a caller has seen already, at another dispatcher.

Laws:
- The event itself wakes those that wait for it; nothing polls. While nobody waits, an event costs
  one look.
- Nobody waits longer than `WAIT_S`, or when the dispatcher stops. A log that never gets there, as
  it is another one, can't be told from one that is late: that is the same error.
"""

import asyncio
import itertools
from collections.abc import Callable
from typing import Final

from sortedcontainers import SortedList

__all__ = ["BehindError", "CatchingUp"]

WAIT_S: Final = 2.0


class BehindError(Exception):
    """The projections do not include an event, and did not come to it in time."""


class CatchingUp:
    """Those that wait for an event. `seq` tells how far the projections are."""

    def __init__(self, seq: Callable[[], int]) -> None:
        self._seq = seq
        # The number keeps two futures from being compared.
        self._waiting: SortedList[tuple[int, int, asyncio.Future[None]]] = SortedList()
        self._numbers = itertools.count()
        self._has_ended = False

    @property
    def is_awaited(self) -> bool:
        """Whether anybody waits."""
        return bool(self._waiting)

    async def until(self, seq: int) -> None:
        """Return when the projections include the event `seq`; `BehindError` if that takes long."""
        if self._seq() >= seq:
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiter = (seq, next(self._numbers), woken)
        if not self._has_ended:
            self._waiting.add(waiter)
            try:
                await asyncio.wait({woken}, timeout=WAIT_S)
            finally:
                self._waiting.discard(waiter)
        if (here := self._seq()) < seq:
            raise BehindError(
                f"this dispatcher's log is at seq {here}, and its client has seen seq {seq}, which "
                f"has not come here within {WAIT_S:.0f} s. Ask another dispatcher, or this one "
                "later; a log that never comes to it is another one, or an older copy"
            )

    def notice(self, seq: int) -> None:
        """Wake those that wait for the event `seq` or an earlier one."""
        while self._waiting and self._waiting[0][0] <= seq:
            _, _, woken = self._waiting.pop(0)
            if not woken.done():
                woken.set_result(None)

    def end(self) -> None:
        """Let nobody wait any more."""
        self._has_ended = True
        for _, _, woken in self._waiting:
            if not woken.done():
                woken.set_result(None)
