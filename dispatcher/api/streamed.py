"""Responses whose body is made while it is sent."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from litestar.types import Receive, Scope, Send

from dispatcher.api.requests import until_gone
from dispatcher.log import LogError
from dispatcher.store import StoreError

__all__ = ["Streamed"]

logger = logging.getLogger(__name__)


class Streamed:
    """A response that sends `pieces` as they come, each after the one before has been sent.

    The generator is closed as soon as it is not needed any more, also if the client disconnects. An
    error before its first piece gets the same response as an error of any handler. A later error
    can only break the connection; one of the log or the store is then a line of the dispatcher's
    own log.
    """

    def __init__(
        self,
        pieces: AsyncGenerator[bytes, None],
        media_type: str,
        headers: Mapping[str, str] | None = None,
        status: int = 200,
    ) -> None:
        named = {"content-type": media_type, **(headers or {})}
        self._headers = [(k.lower().encode(), v.encode("latin-1")) for k, v in named.items()]
        self._pieces = pieces
        self._status = status

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response."""
        del scope
        async with aclosing(self._pieces) as pieces:
            first = await anext(pieces, b"")
            await send(
                {"type": "http.response.start", "status": self._status, "headers": self._headers}
            )
            sending = asyncio.create_task(_send(first, pieces, send))
            disconnecting = asyncio.create_task(until_gone(receive))
            try:
                await asyncio.wait({sending, disconnecting}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                sending.cancel()
                disconnecting.cancel()
                await asyncio.gather(sending, disconnecting, return_exceptions=True)
            if not sending.cancelled():
                try:
                    sending.result()
                except (LogError, StoreError) as error:
                    logger.warning("A response was broken off: %s", error)


async def _send(piece: bytes, pieces: AsyncGenerator[bytes, None], send: Send) -> None:
    await send({"type": "http.response.body", "body": piece, "more_body": True})
    async for later in pieces:
        await send({"type": "http.response.body", "body": later, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
