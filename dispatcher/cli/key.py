"""`dispatcher key new`, `list` and `revoke`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from dispatcher.cli.options import AsJson
from dispatcher.cli.output import print_json, print_text, say
from dispatcher.cli.tables import Column, print_rows
from dispatcher.serving.keys_file import Key, Role, new_key, read_keys, revoke_key

__all__ = ["app"]

app = typer.Typer(help="Make, list and revoke keys, with names and roles.", no_args_is_help=True)


Keys = Annotated[Path, typer.Option(help="The keys file.")]
_NEXT: Final = "A dispatcher that runs with --keys {} knows of it after `dispatcher reload`."


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
    say(_NEXT.format(keys))


@app.command("list")
def list_keys(keys: Keys = Path("keys.toml"), as_json: AsJson = False) -> None:
    """List the keys of a file: names, roles, and the engines that they are bound to."""
    found = read_keys(keys)
    if as_json:
        print_json([{"name": it.name, "role": it.role, "engine": it.engine} for it in found])
    else:
        print_rows(_COLUMNS, found)


@app.command()
def revoke(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The key's name.")],
    keys: Keys = Path("keys.toml"),
) -> None:
    """Remove a key from the file, so that it can be used no more."""
    revoked = revoke_key(keys, name)
    print_text(f"Key '{name}' ({revoked.role}) revoked")
    say(_NEXT.format(keys))


_COLUMNS: Final[Sequence[Column[Key]]] = (
    Column("key", lambda key: key.name),
    Column("role", lambda key: key.role, 1),
    Column("engine", lambda key: key.engine or "", 2),
)
