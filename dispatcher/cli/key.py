"""`dispatcher key new`."""

from pathlib import Path
from typing import Annotated

import typer

from dispatcher.cli.output import print_text, say
from dispatcher.serving.keys import Role, new_key

__all__ = ["app"]

app = typer.Typer(help="Make keys, with names and roles.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    pass


@app.command()
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What the events will call it.")],
    role: Annotated[Role, typer.Option(help="What it is for; an operator may do everything.")],
    engine: Annotated[
        str | None,
        typer.Option(help="The id of the only engine that it may act for; with the role engine."),
    ] = None,
    keys: Annotated[Path, typer.Option(help="The keys file; made if there is none.")] = Path(
        "keys.toml"
    ),
) -> None:
    """Make a key, note its name, role and SHA-256 in the keys file, and print it, once."""
    print_text(new_key(keys, name, role, engine))
    bound = "" if engine is None else f", for engine {engine} alone"
    say(
        f"This is the key '{name}' ({role}{bound}). It is kept nowhere, so put it where it "
        "belongs now: in DISPATCHER_API_KEY of whoever is to use it."
    )
    say(f"A dispatcher that runs with --keys {keys} takes it after a SIGHUP.")
