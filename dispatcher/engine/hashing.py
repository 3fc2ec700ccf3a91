"""Hash a source while something else is done with it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path

from dispatcher.client import digest_of
from dispatcher.engine.ffmpeg import Input

__all__ = ["hashed"]


@asynccontextmanager
async def hashed(source: Input) -> AsyncIterator[Awaitable[str | None]]:
    """Hash a source that is a file while the block works; a stream has no bytes to come back to."""
    if source.proxy_port is not None:
        unknown: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        unknown.set_result(None)
        yield unknown
        return
    hashing = asyncio.create_task(digest_of(Path(source.url.removeprefix("file:"))))
    try:
        yield hashing
    finally:
        hashing.cancel()
        await asyncio.gather(hashing, return_exceptions=True)
