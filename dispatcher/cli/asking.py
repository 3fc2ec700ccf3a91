"""One session with a dispatcher, and what to do if it does not come about."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from http import HTTPStatus
from typing import TypeVar

from dispatcher.cli.options import DEFAULT_SERVER, authorities
from dispatcher.cli.settings import chosen, key_for
from dispatcher.client import Client, DispatcherAwayError, RequestRefusedError

__all__ = ["ask"]

T = TypeVar("T")


def ask(server: Sequence[str], api_key: str | None, work: Callable[[Client], Awaitable[T]]) -> T:
    """Call `work` with a client of one dispatcher or several, and return its result.

    Without an API key, that of the context is used, if the dispatcher is the context's.
    """
    key = key_for(server) if api_key is None else api_key

    async def session() -> T:
        async with Client(server, key, ca=authorities()) as client:
            try:
                return await work(client)
            except RequestRefusedError as error:
                if error.status != HTTPStatus.UNAUTHORIZED:
                    raise
                where = "DISPATCHER_API_KEY" if api_key is not None else _of_context()
                raise RequestRefusedError(
                    error.status, _way_in(client.server, key, where)
                ) from error
            except DispatcherAwayError as error:
                if error.is_undone and [*server] == DEFAULT_SERVER and chosen.get() is None:
                    text = f"{error}. No other was named: set DISPATCHER_SERVER, or give --server"
                    raise DispatcherAwayError(text, is_undone=True) from error
                raise

    return asyncio.run(session())


def _of_context() -> str:
    context = chosen.get()
    return "it" if context is None else f"that of the context {context.name}"


def _way_in(server: str, key: str | None, where: str) -> str:
    if key is None:
        return (
            f"{server} needs an API key, and none was given: set DISPATCHER_API_KEY, or the "
            "key_file of a context (dispatcher config). Whoever runs it makes one with "
            "`dispatcher key new NAME --role client`"
        )
    return (
        f"{server} does not know this API key: is {where} the key of that dispatcher, and is it "
        "still valid there?"
    )
