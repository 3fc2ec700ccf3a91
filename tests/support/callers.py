"""Callers of each role, and what the log says of who did what."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Final, NamedTuple

import httpx2

from dispatcher.serving.keys import ApiKeys, Key, Role
from tests.support.servers import Running, client_of

__all__ = ["NAMES", "SECRETS", "Callers", "Done", "callers_of", "done_in", "keys_of_all"]

NAMES: Final = {
    Role.CLIENT: "anna",
    Role.ENGINE: "rack-1",
    Role.OPERATOR: "olga",
    Role.MONITOR: "mona",
}
SECRETS: Final = {role: f"the secret of {name}" for role, name in NAMES.items()}


class Callers(NamedTuple):
    """A dispatcher, and one caller of each role."""

    server: Running
    anna: httpx2.AsyncClient
    rack: httpx2.AsyncClient
    olga: httpx2.AsyncClient
    mona: httpx2.AsyncClient

    def of(self, role: Role) -> httpx2.AsyncClient:
        return {
            Role.CLIENT: self.anna,
            Role.ENGINE: self.rack,
            Role.OPERATOR: self.olga,
            Role.MONITOR: self.mona,
        }[role]


class Done(NamedTuple):
    """An event: what happened, whose doing it was, and by which request."""

    type: str
    actor: str
    request_id: str | None


def keys_of_all() -> ApiKeys:
    return ApiKeys(Key.of(NAMES[role], role, SECRETS[role]) for role in Role)


@asynccontextmanager
async def callers_of(server: Running) -> AsyncIterator[Callers]:
    async with AsyncExitStack() as opened:
        clients = [
            await opened.enter_async_context(client_of(server, SECRETS[role])) for role in Role
        ]
        yield Callers(server, *clients)


def done_in(db: Path) -> list[Done]:
    """Read all that is committed, past the dispatcher."""
    with closing(sqlite3.connect(f"{db.as_uri()}?mode=ro", uri=True)) as connection:
        rows = connection.execute("SELECT type, actor, request_id FROM events ORDER BY seq")
        return [Done(*row) for row in rows]
