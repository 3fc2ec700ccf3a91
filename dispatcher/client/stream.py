"""Following the live feed over HTTP, across broken connections.

Laws:
- No event is left out or yielded twice, however often the connection breaks or the dispatcher
  restarts: a stream is resumed after the last seq received.
- Of several dispatchers another one is asked when the stream breaks; if it has not come as far, it
  is waited for (see `servers`).
- An unreachable dispatcher is an error only at the very beginning. Later, `follow` waits for it.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final

from dispatcher.client.connection import Connection
from dispatcher.client.errors import DispatcherAwayError
from dispatcher.log.serialization import LogEntry
from dispatcher.sse import Block, Parser

__all__ = ["follow"]

SILENCE_S: Final = 45.0
"""A stream that sends nothing for this long, which is three pings, is dead."""
FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 2.0
"""The pauses between attempts to resume a stream double from the first to the longest."""


async def follow(
    connection: Connection, asked: dict[str, Any], after: int | None
) -> AsyncGenerator[LogEntry, None]:
    """Yield the events asked for, after a seq or from now on, without an end."""
    has_begun, pause_s = False, FIRST_PAUSE_S
    while True:
        query = asked if after is None else asked | {"after": after}
        try:
            async with aclosing(_blocks(connection, query)) as blocks:
                async for seq, line in blocks:
                    has_begun, pause_s = True, FIRST_PAUSE_S
                    if seq is None or (after is not None and seq <= after):
                        continue
                    after = seq
                    connection.saw(seq)
                    if line is not None:
                        yield connection.entry(line)
        except DispatcherAwayError:
            if not has_begun:
                raise
        await asyncio.sleep(pause_s + connection.spread_s())
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


async def _blocks(connection: Connection, query: dict[str, Any]) -> AsyncGenerator[Block, None]:
    """Read one stream, from its beginning until it breaks or ends."""
    parser = Parser()
    async with aclosing(connection.pieces("/events/stream", query, SILENCE_S)) as pieces:
        async for piece in pieces:
            for block in parser.feed(piece):
                yield block
