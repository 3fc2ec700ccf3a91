"""A request that waits for work: until it is given some, its time is over, or nobody listens."""

import asyncio
from asyncio import FIRST_COMPLETED
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from dispatcher.core.waiting import Waiter, Waiters

__all__ = ["wait_among"]

T = TypeVar("T")


async def wait_among(
    waiters: Waiters,
    engine_id: str | None,
    find: Callable[[], T | None],
    *,
    wait_s: float,
    gone: Callable[[], Coroutine[Any, Any, None]],
) -> T | None:
    """Wait among others until `find`, called in turn, has found something; give that.

    `None` when `wait_s` are over, when all are dismissed, and when `gone` returns.
    """
    found: asyncio.Future[T | None] = asyncio.get_running_loop().create_future()

    def give() -> bool:
        if leaving.done() or found.done() or (work := find()) is None:
            return False
        found.set_result(work)
        return True

    def dismiss() -> None:
        if not found.done():
            found.set_result(None)

    waiter = Waiter(engine_id, give, dismiss)
    leaving = asyncio.create_task(gone())
    waiters.join(waiter)
    try:
        ends: set[asyncio.Future[Any]] = {found, leaving}
        await asyncio.wait(ends, timeout=wait_s, return_when=FIRST_COMPLETED)
    finally:
        waiters.leave(waiter)
        leaving.cancel()
    return found.result() if found.done() else None
