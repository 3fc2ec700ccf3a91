"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["DEFAULT_SERVER", "ApiKey", "AsJson", "Db", "Server"]

ApiKey = Annotated[
    str | None,
    typer.Option(
        envvar="DISPATCHER_API_KEY",
        show_envvar=True,
        help="The API key. Prefer the variable: a command line can be read by other users.",
    ),
]
Server = Annotated[
    str, typer.Option(envvar="DISPATCHER_SERVER", show_envvar=True, help="The dispatcher's URL.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
Db = Annotated[Path, typer.Option(help="The log.")]

DEFAULT_SERVER = "http://127.0.0.1:8080"
