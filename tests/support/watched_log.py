"""The real log, with a hand on it: it can be watched, held up and made to fail."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Final

from dispatcher.log import Log
from dispatcher.log.merkle import Frontier, Subtree
from dispatcher.log.serialization import LogEntry

__all__ = ["DISK_FULL", "WatchedLog"]

DISK_FULL: Final = "events.db: can't be written: database or disk is full"


class WatchedLog:
    """Passes everything on to `log`.

    - `batches` are the sizes of the batches that were committed.
    - `replayed` are the seqs that were read with `entries`, in order.
    - `asked` is set when an `append` has come in; clear `gate` to hold it up.
    - `append_faults` and `recover_faults` are raised by the next calls, one each.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self.batches: list[int] = []
        self.replayed: list[int] = []
        self.asked = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()
        self.append_faults: list[Exception] = []
        self.recover_faults: list[Exception] = []
        self.recoveries = 0

    @property
    def head(self) -> int:
        return self._log.head

    @property
    def tree(self) -> Frontier:
        return self._log.tree

    async def append(self, batch: Sequence[LogEntry], expected_head: int) -> None:
        self.asked.set()
        await self.gate.wait()
        if self.append_faults:
            raise self.append_faults.pop(0)
        await self._log.append(batch, expected_head)
        self.batches.append(len(batch))

    async def entries(
        self, after: int = 0, upto: int | None = None
    ) -> AsyncGenerator[list[LogEntry], None]:
        async with aclosing(self._log.entries(after, upto)) as pages:
            async for page in pages:
                self.replayed += [entry.seq for entry in page]
                yield page

    async def page(
        self,
        after: int,
        limit: int,
        *,
        upto: int | None = None,
        event_type: str | None = None,
        at_most_bytes: int | None = None,
    ) -> list[LogEntry]:
        return await self._log.page(
            after, limit, upto=upto, event_type=event_type, at_most_bytes=at_most_bytes
        )

    async def pick(
        self, seqs: Sequence[int], *, at_most_bytes: int | None = None
    ) -> list[LogEntry]:
        return await self._log.pick(seqs, at_most_bytes=at_most_bytes)

    async def seq_at(self, moment: datetime) -> int:
        return await self._log.seq_at(moment)

    async def subtree_hashes(self, wanted: Sequence[Subtree]) -> list[bytes]:
        return await self._log.subtree_hashes(wanted)

    async def recover(self) -> None:
        self.recoveries += 1
        if self.recover_faults:
            raise self.recover_faults.pop(0)
        await self._log.recover()

    async def close(self) -> None:
        await self._log.close()
