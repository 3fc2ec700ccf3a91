"""Options that several commands share."""

import os
from pathlib import Path
from typing import Annotated, Final

import typer

__all__ = ["DEFAULT_SERVER", "ApiKey", "AsJson", "AsOf", "Db", "Server", "Utc", "Wide"]

_API_KEY: Final = "DISPATCHER_API_KEY"


def _remove_from_environment(api_key: str | None) -> str | None:
    """Remove the key from the environment, so that child processes do not inherit it."""
    os.environ.pop(_API_KEY, None)
    return api_key


ApiKey = Annotated[
    str | None,
    typer.Option(
        envvar=_API_KEY,
        callback=_remove_from_environment,
        show_envvar=True,
        help="The API key. Prefer the variable: a command line can be read by other users.",
    ),
]
Server = Annotated[
    list[str],
    typer.Option(
        envvar="DISPATCHER_SERVER",
        show_envvar=True,
        help="The dispatcher's URL. Of several dispatchers of one log all can be given, with "
        "commas between or each with the option; another is asked when one is away.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
Wide = Annotated[
    bool, typer.Option("--wide", help="Show all columns, however wide the terminal is.")
]
Utc = Annotated[
    bool, typer.Option("--utc", help="Show and read times in UTC, not in the local time zone.")
]
AsOf = Annotated[
    str | None,
    typer.Option(
        "--as-of",
        metavar="SEQ|TIME",
        help="As it was after this event, or at this time: 'yesterday 14:00', '5 minutes ago', …",
        show_default=False,
    ),
]
Db = Annotated[Path, typer.Option(help="The log.")]

DEFAULT_SERVER: Final = ["http://127.0.0.1:8080"]
