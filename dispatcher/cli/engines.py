"""`dispatcher engines`, `drain`, `resume` and `forget`."""

from typing import Annotated

import typer

from dispatcher.cli.asking import ask
from dispatcher.cli.columns import ENGINES
from dispatcher.cli.moments import as_of_wire
from dispatcher.cli.options import DEFAULT_SERVER, ApiKey, AsJson, AsOf, Server, Utc, Wide
from dispatcher.cli.output import print_json, print_text
from dispatcher.cli.tables import print_rows

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
    ask(server, api_key, lambda client: client.drain_engine(engine_id))
    print_text(f"Engine {engine_id} drained")


def resume(engine_id: EngineId, server: Server = DEFAULT_SERVER, api_key: ApiKey = None) -> None:
    """Give a drained or blocked engine jobs again."""
    ask(server, api_key, lambda client: client.resume_engine(engine_id))
    print_text(f"Engine {engine_id} resumed")


def forget(engine_id: EngineId, server: Server = DEFAULT_SERVER, api_key: ApiKey = None) -> None:
    """Take an engine off the list; a job that it holds is re-queued."""
    ask(server, api_key, lambda client: client.forget_engine(engine_id))
    print_text(f"Engine {engine_id} forgotten")
