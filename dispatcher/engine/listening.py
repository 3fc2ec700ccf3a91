"""A server that an engine runs for its own ffmpeg alone."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

__all__ = ["Serve", "listening"]

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


@asynccontextmanager
async def listening(serve: Serve, *, head_bytes: int) -> AsyncIterator[int]:
    """Serve each connection in a task of its own until the block ends; gives the port.

    It listens on 127.0.0.1. A head may have up to `head_bytes`. What is under way at the end is
    cancelled.
    """
    calls: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        call = asyncio.create_task(serve(reader, writer))
        calls.add(call)
        call.add_done_callback(calls.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0, limit=head_bytes)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        under_way = list(calls)
        for call in under_way:
            call.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        await server.wait_closed()
