"""Forecasts of now, made without holding up the event loop.

Laws:
- A forecast is of a seq that is not before the one at which it was asked for.
- One is made at a time. Whoever asks meanwhile shares the next one.
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


class Forecasts:
    """The newest forecast, and the making of the next one.

    `outlook` returns that of now; `seq` is the seq of what readers see now.
    """

    def __init__(self, outlook: Callable[[], Awaitable[Outlook]], seq: Callable[[], int]) -> None:
        self._outlook = outlook
        self._seq = seq
        self._newest: Forecast | None = None
        self._making = asyncio.Lock()

    async def newest(self) -> Forecast:
        """Return a forecast of now, or of a moment since this was called.

        `UnavailableError` while the log can't be written.
        """
        asked = self._seq()
        async with self._making:
            if self._newest is None or self._newest.seq < asked:
                self._newest = await _in_steps(await self._outlook())
            return self._newest


async def _in_steps(outlook: Outlook) -> Forecast:
    making, now_s = forecast(outlook), asyncio.get_running_loop().time
    while True:
        until_s = now_s() + PIECE_S
        while now_s() < until_s:
            try:
                next(making)
            except StopIteration as made:
                found: Forecast = made.value
                return found
        await asyncio.sleep(PAUSE_S)
