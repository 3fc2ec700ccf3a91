"""The real log, with a hand on it: it can be watched, held up and made to fail."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Final

from dispatcher.events import Recorded
from dispatcher.log import Log

__all__ = ["DISK_FULL", "WatchedLog"]

DISK_FULL: Final = "events.db: can't be written: database or disk is full"


class WatchedLog:
    """Passes everything on to `log`.

    - `batches` are the sizes of the batches that were committed.
    - `asked` is set when an `append` has come in; clear `gate` to hold it up.
    - `append_faults` and `recover_faults` are raised by the next calls, one each.
    """

    def __init__(self, log: Log) -> None:
        self._log = log
        self.batches: list[int] = []
        self.asked = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()
        self.append_faults: list[Exception] = []
        self.recover_faults: list[Exception] = []
        self.recoveries = 0

    @property
    def head(self) -> int:
        return self._log.head

    async def append(self, batch: Sequence[Recorded], expected_head: int) -> None:
        self.asked.set()
        await self.gate.wait()
        if self.append_faults:
            raise self.append_faults.pop(0)
        await self._log.append(batch, expected_head)
        self.batches.append(len(batch))

    def read(self, after: int = 0) -> AsyncGenerator[list[Recorded], None]:
        return self._log.read(after)

    async def recover(self) -> None:
        self.recoveries += 1
        if self.recover_faults:
            raise self.recover_faults.pop(0)
        await self._log.recover()

    async def close(self) -> None:
        await self._log.close()
