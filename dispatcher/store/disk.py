"""Work that blocks, in threads of the store."""

import asyncio
import errno
import functools
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from dispatcher.store.errors import StoreFaultError, StoreFullError

__all__ = ["Disk", "uninterrupted"]

T = TypeVar("T")

THREADS: Final = 4
_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Disk:
    """A few threads that read, write and hash."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, "store")
        self._is_closed = False

    async def do(self, work: Callable[..., T], *given: object, **named: object) -> T:
        """Do something in a thread. It is waited for even if the caller is cancelled.

        Raises `StoreFaultError`, or `StoreFullError` if there is no room on the disk.
        """
        if self._is_closed:
            raise StoreFaultError("the store is closed")
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._threads, functools.partial(work, *given, **named))
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await asyncio.wait({future})
            future.exception()
            raise
        except OSError as error:
            if error.errno in _NO_ROOM:
                raise StoreFullError(
                    f"the store's disk is full: {error.strerror}; have its operator make room"
                ) from error
            raise StoreFaultError(f"the store can't do it: {error}") from error

    async def close(self) -> None:
        """Take no more work, and end the threads."""
        self._is_closed = True
        await asyncio.get_running_loop().run_in_executor(None, self._threads.shutdown)


async def uninterrupted(work: Coroutine[Any, Any, T]) -> T:
    """Do something to its end, even if the caller is cancelled."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        task.exception()
        raise
