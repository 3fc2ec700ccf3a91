"""Answers whose body is made while it is sent."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from litestar.types import Receive, Scope, Send

__all__ = ["Streamed"]


class Streamed:
    """An answer that sends `pieces` as they come, each when the one before is on its way.

    The generator is closed at once when it is not needed any more, also when the client hangs up.
    What it raises before its first piece is answered like the error of any handler; later, there
    is nothing left to do but to break the connection off.
    """

    def __init__(
        self,
        pieces: AsyncGenerator[bytes, None],
        media_type: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        named = {"content-type": media_type, **(headers or {})}
        self._headers = [(k.lower().encode(), v.encode("latin-1")) for k, v in named.items()]
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer."""
        del scope
        async with aclosing(self._pieces) as pieces:
            first = await anext(pieces, b"")
            await send({"type": "http.response.start", "status": 200, "headers": self._headers})
            sending = asyncio.create_task(_send(first, pieces, send))
            leaving = asyncio.create_task(_hang_up(receive))
            try:
                await asyncio.wait({sending, leaving}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                sending.cancel()
                leaving.cancel()
                await asyncio.gather(sending, leaving, return_exceptions=True)
            if not sending.cancelled():
                sending.result()


async def _send(piece: bytes, pieces: AsyncGenerator[bytes, None], send: Send) -> None:
    await send({"type": "http.response.body", "body": piece, "more_body": True})
    async for later in pieces:
        await send({"type": "http.response.body", "body": later, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _hang_up(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
