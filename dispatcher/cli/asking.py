"""One session with a dispatcher."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from dispatcher.cli.options import authorities
from dispatcher.client import Client

__all__ = ["ask"]

T = TypeVar("T")


def ask(server: Sequence[str], api_key: str | None, work: Callable[[Client], Awaitable[T]]) -> T:
    """Call `work` with a client of one dispatcher or several, and return its result."""

    async def session() -> T:
        async with Client(server, api_key, ca=authorities()) as client:
            return await work(client)

    return asyncio.run(session())
