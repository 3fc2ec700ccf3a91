"""The `dispatcher` command.

Exit codes: 0 success; 1 a job that was waited for failed, or the command itself did; 2 the command
line is wrong; 3 the dispatcher can't be reached or can't write; 4 it refused the request.
Results go to standard output, everything else to standard error.
"""

import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Annotated, Any, Final, cast

import typer
from typer.core import TyperGroup

from dispatcher import __version__
from dispatcher.cli.options import ca_option
from dispatcher.cli.output import complain
from dispatcher.errors import DispatcherError

__all__ = ["app", "main"]

_MODULES: Final = {
    "serve": "serve",
    "engine": "engine",
    "board": "board",
    "submit": "submit",
    "wait": "wait",
    "top": "top",
    "jobs": "jobs",
    "job": "jobs",
    "why": "jobs",
    "cancel": "changing",
    "retry": "changing",
    "fetch": "fetch",
    "priority": "changing",
    "recipes": "recipes",
    "history": "history",
    "certificate": "certificate",
    "checkpoint": "proofs",
    "prove": "proofs",
    "verify": "proofs",
    "tail": "tail",
    "engines": "engines",
    "drain": "engines",
    "resume": "engines",
    "forget": "engines",
    "replay": "replay",
    "audit": "audit",
    "export": "transfer",
    "import": "transfer",
    "backup": "transfer",
    "archive": "archive",
    "log": "log",
    "cluster": "cluster",
    "simulate": "simulate",
    "doctor": "doctor",
    "config": "config",
    "key": "key",
    "reload": "reload",
    "webhooks": "webhooks",
}
"""The module of each command, in the order in which they are listed."""
_FUNCTIONS: Final = {"import": "import_log"}  # `import` is a reserved word
_WITHOUT_CONTEXT: Final = frozenset(
    {
        *("serve", "engine", "replay", "audit", "export", "import", "backup", "archive", "log"),
        *("cluster", "simulate", "config", "key", "verify"),
    }
)
"""Commands that ask no dispatcher, or not as a person: settings do not concern them."""


class _Commands(Mapping[str, Any]):
    """The commands. The module of one is imported when it is asked for: all take a second."""

    def __getitem__(self, name: str) -> Any:
        module = import_module(f"dispatcher.cli.{_MODULES[name]}")
        if isinstance(group := getattr(module, "app", None), typer.Typer):
            return typer.main.get_group(group)
        alone = typer.Typer(add_completion=False)
        alone.command(name)(getattr(module, _FUNCTIONS.get(name, name)))
        command = typer.main.get_command(alone)
        if any(parameter.name == "server" for parameter in command.params):
            command.params.append(ca_option())
        return command

    def __iter__(self) -> Iterator[str]:
        return iter(_MODULES)

    def __len__(self) -> int:
        return len(_MODULES)


class _Group(TyperGroup):
    def __init__(self, **attrs: Any) -> None:
        super().__init__(**attrs)
        self.commands = cast("Any", _Commands())


app = typer.Typer(
    cls=_Group,
    help="Give transcoding jobs to the engines of a farm, and remember everything.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    ctx: typer.Context,
    context: Annotated[
        str | None,
        typer.Option(
            envvar="DISPATCHER_CONTEXT",
            show_envvar=True,
            metavar="NAME",
            help="The farm that is meant, of those that `dispatcher config` lists.",
            show_default=False,
        ),
    ] = None,
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    name = ctx.invoked_subcommand
    if name is not None and name not in _WITHOUT_CONTEXT:
        from dispatcher.cli.defaults import apply_context  # noqa: PLC0415 - imports the client

        apply_context(ctx, _Commands()[name], name, context)


def main() -> None:
    """Run the command line. Every foreseen error becomes a message and an exit code."""
    try:
        app()
    except DispatcherError as error:
        complain(str(error))
        sys.exit(error.exit_code)
