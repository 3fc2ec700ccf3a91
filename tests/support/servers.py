"""The real dispatcher, in the test's own event loop or as a process of its own."""

import asyncio
import os
import re
import signal
import sqlite3
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx2

from dispatcher.api.app import BODY_LIMIT_BYTES
from dispatcher.buckets import ObjectUrl
from dispatcher.core.policy import DEFAULT_POLICY, Policy
from dispatcher.http_limits import DEFAULT_HTTP_LIMITS, HttpLimits
from dispatcher.server import NO_WEBHOOKS, serve
from dispatcher.serving.keys import ApiKeys, Key, Role
from dispatcher.serving.named_recipes import NamedRecipes
from dispatcher.serving.quotas import DEFAULT_KEY_LIMITS, KeyLimits
from dispatcher.store import DEFAULT_STORE_LIMITS, StoreLimits
from dispatcher.tls import Certificate
from dispatcher.webhooks.opening import WebhookSettings

__all__ = ["ACTOR", "KEY", "Child", "Running", "child", "client_of", "events_in", "running"]

KEY: Final = "the key of these tests"
ACTOR: Final = "tester"
HOST: Final = "127.0.0.1"
STOP_S: Final = 30

_GREETING = re.compile(r"Dispatcher ready on (https?://\S+), log")


@dataclass
class Running:
    """A dispatcher in this process: where it answers and what it has said."""

    url: str
    db: Path
    said: list[str] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])


@dataclass
class Child:
    """A dispatcher in a process of its own."""

    url: str
    process: Process

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])


@asynccontextmanager
async def running(
    db: Path,
    *,
    port: int = 0,
    keys: ApiKeys | None = None,
    policy: Policy = DEFAULT_POLICY,
    body_limit_bytes: int = BODY_LIMIT_BYTES,
    new: bool = False,
    http_limits: HttpLimits = DEFAULT_HTTP_LIMITS,
    key_limits: KeyLimits = DEFAULT_KEY_LIMITS,
    recipes: NamedRecipes | None = None,
    store: Path | ObjectUrl | None = None,
    store_limits: StoreLimits = DEFAULT_STORE_LIMITS,
    webhooks: WebhookSettings = NO_WEBHOOKS,
    certificate: Certificate | None = None,
) -> AsyncIterator[Running]:
    """Serve until the block ends, then stop as an operator would: with SIGTERM.

    Unless others are given there is one key, `KEY`, which may do everything. Signals go to the
    newest server of an event loop, so let one end before the next begins.
    """
    said: list[str] = []
    greeted: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def say(line: str) -> None:
        said.append(line)
        if (greeting := _GREETING.match(line)) is not None:
            greeted.set_result(greeting[1])

    serving = asyncio.create_task(
        serve(
            db,
            HOST,
            port,
            keys or ApiKeys([Key.of(ACTOR, Role.OPERATOR, KEY)]),
            policy=policy,
            body_limit_bytes=body_limit_bytes,
            new=new,
            http_limits=http_limits,
            key_limits=key_limits,
            recipes=recipes,
            store=store,
            store_limits=store_limits,
            webhooks=webhooks,
            certificate=certificate,
            say=say,
        )
    )
    either: list[asyncio.Future[Any]] = [serving, greeted]
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        await serving  # it could not start, and says why
    try:
        yield Running(greeted.result(), db, said)
    finally:
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(STOP_S):
            await serving
        for signum in (signal.SIGTERM, signal.SIGINT):  # give them back to pytest
            asyncio.get_running_loop().remove_signal_handler(signum)


@asynccontextmanager
async def child(db: Path, *options: str) -> AsyncIterator[Child]:
    """Serve from another process, in a session of its own, which is gone when the block ends."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "dispatcher", "serve"),
        *("--db", str(db), "--host", HOST, "--port", "0", *options),
        env=os.environ | {"DISPATCHER_API_KEY": KEY},
        stdin=DEVNULL,
        stdout=DEVNULL,
        stderr=PIPE,
        start_new_session=True,
    )
    try:
        yield Child(await _greeting_of(process), process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def _greeting_of(process: Process) -> str:
    assert process.stderr is not None
    said = ""
    while line := (await process.stderr.readline()).decode():
        said += line
        if (greeting := _GREETING.search(line)) is not None:
            return greeting[1]
    raise AssertionError(f"the dispatcher did not start; it said:\n{said}")


def client_of(server: Running | Child, key: str = KEY) -> httpx2.AsyncClient:
    """Make a client that carries a key and reaches no proxy."""
    return httpx2.AsyncClient(
        base_url=server.url, headers={"X-API-Key": key}, timeout=30, trust_env=False
    )


def events_in(db: Path) -> list[tuple[int, str, str]]:
    """Read seq, type and data of all that is committed, past the dispatcher."""
    with closing(sqlite3.connect(f"{db.as_uri()}?mode=ro", uri=True)) as connection:
        return connection.execute("SELECT seq, type, data FROM events ORDER BY seq").fetchall()
