"""Ask a dispatcher that may be away: an engine waits for it, however long that takes."""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import stamina

from dispatcher.client import DispatcherAwayError

__all__ = ["AWAY_S", "retry_while_away"]

AWAY_S: Final = 10.0
"""The longest pause between two attempts to reach a dispatcher that is away."""

T = TypeVar("T")


async def retry_while_away(call: Callable[[], Awaitable[T]]) -> T:
    """Call the dispatcher until it answers."""
    async for attempt in stamina.retry_context(
        on=DispatcherAwayError, attempts=None, timeout=None, wait_initial=0.2, wait_max=AWAY_S
    ):
        with attempt:
            return await call()
    raise AssertionError  # retry_context without limits does not end
