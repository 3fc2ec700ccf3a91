"""The `dispatcher` command.

Exit codes: 0 success; 1 a job that was waited for failed, or the command itself did; 2 the command
line is wrong; 3 the dispatcher can't be reached or can't write; 4 it refused the request.
Results go to standard output, everything else to standard error.
"""

import sys
from typing import Annotated

import typer

from dispatcher import __version__
from dispatcher.cli import (
    archive,
    audit,
    engine,
    engines,
    history,
    jobs,
    key,
    replay,
    serve,
    simulate,
    tail,
    transfer,
)
from dispatcher.cli.output import complain
from dispatcher.errors import DispatcherError

__all__ = ["app", "main"]

app = typer.Typer(
    help="Give transcoding jobs to the engines of a farm, and remember everything.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
for command in (
    serve.serve,
    engine.engine,
    jobs.submit,
    jobs.jobs,
    jobs.job,
    jobs.why,
    jobs.cancel,
    jobs.retry,
    history.history,
    tail.tail,
    engines.engines,
    engines.drain,
    engines.resume,
    engines.forget,
    replay.replay,
    audit.audit,
    transfer.export,
    transfer.backup,
    archive.archive,
    simulate.simulate,
):
    app.command()(command)
app.add_typer(key.app, name="key")
app.command("import")(transfer.import_log)  # `import` is a reserved word


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line. Every foreseen error becomes a message and an exit code."""
    try:
        app()
    except DispatcherError as error:
        complain(str(error))
        sys.exit(error.exit_code)
