"""`dispatcher engines`, `drain`, `resume` and `forget`."""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Annotated

import typer

from dispatcher.cli.asking import ask
from dispatcher.cli.columns import ENGINES
from dispatcher.cli.moments import as_of_wire
from dispatcher.cli.options import DEFAULT_SERVER, ApiKey, AsJson, AsOf, Server, Utc, Wide
from dispatcher.cli.output import print_json, print_text
from dispatcher.cli.tables import print_rows
from dispatcher.client import Client, RequestRefusedError

__all__ = ["drain", "engines", "forget", "resume"]

EngineId = Annotated[str, typer.Argument(metavar="ENGINE")]


def engines(  # noqa: PLR0913, PLR0917 - a command has as many parameters as options
    server: Server = DEFAULT_SERVER,
    api_key: ApiKey = None,
    as_json: AsJson = False,
    wide: Wide = False,
    as_of: AsOf = None,
    utc: Utc = False,
) -> None:
    """List all engines."""
    moment = as_of_wire(as_of, utc=utc)
    found = ask(server, api_key, lambda client: client.engines(as_of=moment))
    if as_json:
        print_json([engine.wire() for engine in found])
    else:
        print_rows(ENGINES, found, wide=wide)


def drain(engine_id: EngineId, server: Server = DEFAULT_SERVER, api_key: ApiKey = None) -> None:
    """Let an engine finish its job and give it no more."""
    _steer(server, api_key, engine_id, Client.drain_engine)
    print_text(f"Engine {engine_id} drained")


def resume(engine_id: EngineId, server: Server = DEFAULT_SERVER, api_key: ApiKey = None) -> None:
    """Give a drained or blocked engine jobs again."""
    _steer(server, api_key, engine_id, Client.resume_engine)
    print_text(f"Engine {engine_id} resumed")


def forget(engine_id: EngineId, server: Server = DEFAULT_SERVER, api_key: ApiKey = None) -> None:
    """Take an engine off the list; a job that it holds is re-queued."""
    _steer(server, api_key, engine_id, Client.forget_engine)
    print_text(f"Engine {engine_id} forgotten")


def _steer(
    server: list[str],
    api_key: str | None,
    engine_id: str,
    call: Callable[[Client, str], Awaitable[None]],
) -> None:
    """Do something with an engine; the error names one that is not there."""
    try:
        ask(server, api_key, lambda client: call(client, engine_id))
    except RequestRefusedError as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
        raise RequestRefusedError(
            error.status, f"Engine not found: {engine_id!r}; `dispatcher engines` lists them"
        ) from error
