"""`dispatcher serve`."""

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
import uvloop

from dispatcher import server
from dispatcher.api.app import BODY_LIMIT_BYTES
from dispatcher.cli.options import ApiKey, Db
from dispatcher.cli.output import say

__all__ = ["serve"]


def serve(  # noqa: PLR0913, PLR0917 - a command has as many parameters as options
    db: Db = Path("events.db"),
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(help="The port to listen on; 0 takes a free one.", min=0, max=65535)
    ] = 8080,
    api_key: ApiKey = None,
    no_auth: Annotated[
        bool, typer.Option("--no-auth", help="Serve anybody, without a key.")
    ] = False,
    body_limit_bytes: Annotated[
        int, typer.Option(help="The largest request body taken.", min=1)
    ] = BODY_LIMIT_BYTES,
) -> None:
    """Run the dispatcher until SIGTERM or Ctrl-C."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING)
    keys = _keys(api_key, no_auth=no_auth)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(server.serve(db, host, port, keys, body_limit_bytes=body_limit_bytes, say=say))


def _keys(api_key: str | None, *, no_auth: bool) -> Mapping[str, str] | None:
    if no_auth:
        if api_key:
            raise typer.BadParameter("--no-auth and an API key contradict each other; drop one")
        return None
    if not api_key:
        raise typer.BadParameter(
            "the dispatcher needs an API key: give one with --api-key KEY or in "
            "DISPATCHER_API_KEY, or serve anybody with --no-auth"
        )
    return {"operator": api_key}
