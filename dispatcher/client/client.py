"""The client class: one method for each route of the dispatcher's API, with typed results.

async with Client("http://127.0.0.1:8080", api_key) as client:
    job = await client.submit("file:///videos/clip.mov", "vp9")
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from dispatcher.client.calls import decode
from dispatcher.client.connection import Connection
from dispatcher.client.engines import EngineCalls
from dispatcher.client.films import FilmCalls
from dispatcher.client.health import HealthView, time_of
from dispatcher.client.jobs import JobCalls
from dispatcher.client.keys import KeyView, SignIn
from dispatcher.client.log import LogCalls
from dispatcher.client.statistics import StatisticsCalls
from dispatcher.client.webhooks import WebhookCalls

__all__ = ["Client"]


class Client(JobCalls, EngineCalls, StatisticsCalls, FilmCalls, LogCalls, WebhookCalls):
    """A client of a dispatcher. Every method may raise the two errors of `errors`.

    `server` is its URL. Of several dispatchers of one log the client may know all, as a list or as
    a text with commas; it then turns to another when one is away (see `servers`). `ca` is a file of
    certificates (PEM): then these alone are trusted to vouch for a dispatcher with `https`, and not
    the authorities that the system knows. `RequestRefusedError` if it can't be used.
    """

    def __init__(
        self,
        server: str | Sequence[str],
        api_key: str | None = None,
        *,
        timeout_s: float = 30,
        ca: Path | None = None,
    ) -> None:
        self._connection = Connection(server, api_key, timeout_s, ca)
        self.server = self._connection.server

    async def __aenter__(self) -> Self:
        """Use as a context manager, so that the connections are closed at the end."""
        await self._connection.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connections."""
        await self._connection.__aexit__(kind, error, traceback)

    @property
    def asked_first(self) -> str:
        """The URL of the dispatcher that is asked first: the one that answered last."""
        return self._connection.asked_first

    async def key(self) -> KeyView:
        """Say whose key the client has, and which role."""
        return decode(await self._connection.call("GET", "/key"), KeyView)

    async def health(self) -> tuple[HealthView, datetime | None]:
        """Say whether the dispatcher is well, also if it is not; and its time, to the second."""
        response = await self._connection.call("GET", "/health", accept=503)
        return decode(response, HealthView), time_of(response)

    async def sign_in(self) -> SignIn:
        """Make a token with which a browser gets the client's key, once, at `/#token=…`."""
        return decode(await self._connection.call("POST", "/sign_in"), SignIn)

    async def recipes(self) -> list[dict[str, Any]]:
        """List the recipes that a job can name, each with its `name` and its fields."""
        response = await self._connection.call("GET", "/recipes/")
        return decode(response, list[dict[str, Any]])

    async def reload(self) -> list[str]:
        """Have the dispatcher read its files of keys and recipes again; return what it says."""
        return (await self._connection.call("POST", "/reload")).text.splitlines()
