"""Folding a message: each event in its order, and the answers at their places.

Laws:
- A forwarded command is answered when its last event was folded, before the next one is.
- Finished jobs that an answer of ours may show are put into memory first, and stay there meanwhile.
- A long message is folded piece by piece, and others use the event loop in between.
"""

import asyncio
from collections.abc import Callable
from contextlib import nullcontext, suppress
from typing import Final

from dispatcher.cluster.checked import Applied
from dispatcher.cluster.forwarding import Forwarding
from dispatcher.core.commands import SubmitJob
from dispatcher.core.events import Recorded
from dispatcher.log import decoded
from dispatcher.log.serialization import LogEntry
from dispatcher.serving.memory import Memory
from dispatcher.serving.tickets import UnavailableError
from dispatcher.state.replay import State

__all__ = ["Folding"]

PIECE_EVENTS: Final = 250
"""Events that are folded at a time, which takes a millisecond or two."""


class Folding:
    """Folds into the `state` of this moment. `announce` is called with each event after that."""

    def __init__(
        self,
        state: Callable[[], State],
        announce: Callable[[Recorded, LogEntry], None],
        forwarding: Forwarding,
        memory: Memory,
    ) -> None:
        self._state = state
        self._announce = announce
        self._forwarding = forwarding
        self._memory = memory

    async def fold(self, one: Applied) -> None:
        """Fold a message that the replica has now. `LogError` if an event can't be read."""
        batches = self._forwarding.submissions_in(one.message)
        if batches:
            with suppress(UnavailableError):  # it concerns who asked for these jobs
                await self._memory.complete(*batches)
        keys = frozenset(
            it.idempotency_key
            for it in batches
            if isinstance(it, SubmitJob) and it.idempotency_key is not None
        )
        with self._memory.keeping(keys) if keys else nullcontext():
            await self._fold(one)

    async def _fold(self, one: Applied) -> None:
        state, first = self._state(), one.message.first
        records = decoded(one.entries)
        known = len(one.message.lines) - len(records)  # events that the replica had before
        answered = sorted(one.message.answered, key=lambda it: it.upto)
        place = 0

        def settle_upto(upto: int) -> None:
            nonlocal place
            while place < len(answered) and answered[place].upto <= upto:
                it = answered[place]
                begin, end = it.upto - it.count - known, it.upto - known
                self._forwarding.settle(it, records[max(begin, 0) : max(end, 0)])
                place += 1

        settle_upto(known)
        for number, (recorded, entry) in enumerate(zip(records, one.entries, strict=True), 1):
            state.apply(recorded)
            self._announce(recorded, entry)
            if place < len(answered):
                settle_upto(recorded.seq - first + 1)
            if number % PIECE_EVENTS == 0:
                await asyncio.sleep(0)
