"""Forecasts of now, made without holding up the event loop.

Laws:
- One is made at a time. Whoever asks meanwhile shares the next one.
- A forecast is of a seq that is not before the one at which it was asked for, unless it takes long
  to make. Then the last one serves until making them takes no more than a share of the time.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from projections.forecast import Forecast
from projections.forecasting import Outlook, forecast

__all__ = ["Forecasts"]

PIECE_S: Final = 0.001
"""How long a forecast is made without a pause, but for a step that takes longer."""
PAUSE_S: Final = 0.001
"""The pause. The thread that commits needs the interpreter too, and gets it soon
only when the event loop is idle."""


SHORT_S: Final = 0.02
"""What takes no longer is made for whoever asks."""
REST: Final = 20
"""For so many times as long as a forecast took beyond that it is shown without another look."""


class Forecasts:
    """The newest forecast, and the making of the next one.

    `outlook` returns that of now; `seq` is the seq of what readers see now.
    """

    def __init__(self, outlook: Callable[[], Awaitable[Outlook]], seq: Callable[[], int]) -> None:
        self._outlook = outlook
        self._seq = seq
        self._newest: Forecast | None = None
        self._serves_until_s = 0.0
        self._making = asyncio.Lock()

    async def newest(self) -> Forecast:
        """Return a forecast of now, or one that is not old for the time that it took to make.

        `UnavailableError` while the log can't be written.
        """
        asked, now_s = self._seq(), asyncio.get_running_loop().time
        async with self._making:
            newest = self._newest
            if newest is None or (newest.seq < asked and now_s() >= self._serves_until_s):
                newest, took_s = await _in_steps(await self._outlook())
                self._serves_until_s = now_s() + REST * max(0.0, took_s - SHORT_S)
                self._newest = newest
            return newest


async def _in_steps(outlook: Outlook) -> tuple[Forecast, float]:
    """Return a forecast, and how many seconds it took without the pauses."""
    making, now_s = forecast(outlook), asyncio.get_running_loop().time
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
