"""Options that several commands share."""

import os
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any, Final

import typer

__all__ = [
    "DEFAULT_SERVER",
    "ApiKey",
    "AsJson",
    "AsOf",
    "Db",
    "Server",
    "Utc",
    "Wide",
    "authorities",
    "ca_option",
]

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
_AUTHORITIES: Final = ContextVar[Path | None]("authorities", default=None)


def authorities() -> Path | None:
    """Return the file of `--ca`, whose certificates alone are trusted, or nothing."""
    return _AUTHORITIES.get()


def _remember(ca: Path | None) -> None:
    _AUTHORITIES.set(ca)


def _only_ca(
    _ca: Annotated[
        Path | None,
        typer.Option(
            "--ca",
            envvar="DISPATCHER_CA",
            show_envvar=True,
            show_default=False,
            callback=_remember,
            help="Trust the certificates in this file (PEM), and no others, to vouch for a "
            "dispatcher with https.",
        ),
    ] = None,
) -> None:
    """Have an option."""


def ca_option() -> Any:
    """Make the option `--ca`, which no command needs as a parameter: `authorities` gives it."""
    having = typer.Typer(add_completion=False)
    having.command()(_only_ca)
    (option,) = typer.main.get_command(having).params
    option.expose_value = False
    return option


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
