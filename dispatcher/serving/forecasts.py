"""Forecasts of now, made without holding up the event loop.

Laws:
- What is small is made here, in steps. If many jobs wait, or in many lines, a worker process makes
  it from the log; so it does while the log can't be written. Without a past all is made here.
- One is made at a time. Whoever asks meanwhile shares the next one.
- A forecast is of a seq that is not before the one at which it was asked for, unless it takes long
  to make. Then the last one serves until making them takes no more than a share of the time.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

from dispatcher.serving.tickets import UnavailableError
from projections.forecast import Forecast
from projections.forecasting import Outlook, forecast

__all__ = ["MANY_PARTS", "MANY_WAIT", "Forecasts", "Waiting"]

PIECE_S: Final = 0.001
"""How long a forecast is made without a pause, but for a step that takes longer."""
PAUSE_S: Final = 0.001
"""The pause. The thread that commits needs the interpreter too, and gets it soon
only when the event loop is idle."""


SHORT_S: Final = 0.02
"""What takes no longer is made for whoever asks."""
REST: Final = 20
"""For so many times as long as a forecast took beyond that it is shown without another look."""


MANY_WAIT: Final = 20_000
MANY_PARTS: Final = 500
"""A copy of so many takes up to 10 ms of the event loop."""


class Waiting(NamedTuple):
    """How many jobs wait, and the `parts` of the queue: lines, and jobs in their pause."""

    jobs: int
    parts: int


class Forecasts:
    """The newest forecast, and the making of the next one.

    `outlook` returns that of now; `seq` is the seq of what readers see now. `elsewhere` makes the
    forecast of a seq in another process. `clock_s` gives seconds since any fixed moment.
    """

    def __init__(
        self,
        outlook: Callable[[], Awaitable[Outlook]],
        seq: Callable[[], int],
        waiting: Callable[[], Waiting],
        elsewhere: Callable[[int], Awaitable[Forecast]] | None = None,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._outlook = outlook
        self._seq = seq
        self._waiting = waiting
        self._elsewhere = elsewhere
        self._clock_s = clock_s
        self._newest: Forecast | None = None
        self._serves_until_s = 0.0
        self._making = asyncio.Lock()

    async def newest(self) -> Forecast:
        """Return a forecast of now, or one that is not old for the time that it took to make.

        `LogError` if the log can't be read; without a past, `UnavailableError` while it can't be
        written.
        """
        asked, now_s = self._seq(), self._clock_s
        async with self._making:
            newest = self._newest
            if newest is None or (newest.seq < asked and now_s() >= self._serves_until_s):
                newest, took_s = await self._made()
                self._serves_until_s = now_s() + REST * max(0.0, took_s - SHORT_S)
                self._newest = newest
            return newest

    async def _made(self) -> tuple[Forecast, float]:
        """Return a forecast of now, and how many seconds it took."""
        jobs, parts = self._waiting()
        if self._elsewhere is None or (jobs <= MANY_WAIT and parts <= MANY_PARTS):
            try:
                return await _in_steps(await self._outlook(), self._clock_s)
            except UnavailableError:  # but what is in the log can be told
                if self._elsewhere is None:
                    raise
        began_s = self._clock_s()
        return await self._elsewhere(self._seq()), self._clock_s() - began_s


async def _in_steps(outlook: Outlook, now_s: Callable[[], float]) -> tuple[Forecast, float]:
    """Return a forecast, and how many seconds it took without the pauses."""
    making = forecast(outlook)
    took_s = 0.0
    while True:
        began_s = now_s()
        while now_s() < began_s + PIECE_S:
            try:
                next(making)
            except StopIteration as made:
                found: Forecast = made.value
                return found, took_s + now_s() - began_s
        took_s += now_s() - began_s
        await asyncio.sleep(PAUSE_S)
