"""`dispatcher config`: what is set for all commands; see `settings`."""

import os
import tomllib
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Annotated, Any, Final

import tomlkit
import typer
from tomlkit.exceptions import TOMLKitError

from dispatcher import files
from dispatcher.cli.options import AsJson
from dispatcher.cli.output import print_json, print_text
from dispatcher.cli.settings import Context, SettingsError, config_path, parsed, read_settings
from dispatcher.cli.tables import Column, print_rows
from dispatcher.locks import turn

__all__ = ["app"]

app = typer.Typer(
    help="Show and change the settings: farms by name, their keys, defaults of commands.",
    no_args_is_help=True,
)

Name = Annotated[
    str,
    typer.Argument(
        metavar="SETTING", help="Such as contexts.home.url or contexts.home.submit.codec."
    ),
]
_TEXTS: Final = frozenset({"context", "url", "key", "key_file"})
"""Settings that are texts, whatever they look like."""


@app.command()
def path() -> None:
    """Print where the settings are, whether or not there are any."""
    print_text(str(config_path()))


@app.command()
def show(as_json: AsJson = False) -> None:
    """List the contexts; a star is at the one that is meant unless another is named."""
    found = read_settings()
    named = os.environ.get("DISPATCHER_CONTEXT") or found.default
    contexts = [(it, it.name == named) for it in found.contexts.values()]
    if as_json:
        print_json([_told(it, is_chosen=is_chosen) for it, is_chosen in contexts])
    else:
        print_rows(_COLUMNS, contexts)


@app.command("set")
def set_(
    name: Name, value: Annotated[str, typer.Argument(help="A text, or a value of TOML.")]
) -> None:
    """Change a setting. Comments and all else in the file stay as they are."""
    keys = _keys(name)

    def change(table: Any) -> None:
        for key in keys[:-1]:
            if key not in table:
                table[key] = tomlkit.table(is_super_table=key == "contexts")
            table = table[key]
            if not isinstance(table, dict):
                raise SettingsError(f"{key} is no table, so {name} can't be in it")
        table[keys[-1]] = value if keys[-1] in _TEXTS else _value(value)

    _change(change)
    print_text(f"{name} is set")


@app.command()
def unset(name: Name) -> None:
    """Remove a setting, or a whole context."""
    keys = _keys(name)

    def change(table: Any) -> None:
        for key in keys[:-1]:
            table = table.get(key)
            if not isinstance(table, dict):
                raise SettingsError(f"{name} is not set")
        if keys[-1] not in table:
            raise SettingsError(f"{name} is not set")
        del table[keys[-1]]

    _change(change)
    print_text(f"{name} is no longer set")


@app.command()
def use(name: Annotated[str, typer.Argument(metavar="CONTEXT")]) -> None:
    """Make a context the one that is meant unless another is named."""

    def change(table: Any) -> None:
        table["context"] = name

    _change(change)
    print_text(f"The context is {name} from now on")


def _change(change: Callable[[Any], None]) -> None:
    """Change the file while nobody else does. What it would be must be without an error."""
    path = config_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = path.resolve()
        with turn(path.with_name(f"{path.name}.lock")):
            before = read_settings(path).text
            document = tomlkit.parse(before)
            change(document)
            text = tomlkit.dumps(document)
            parsed(path, text)
            files.write(path, text.encode(), path.with_name(f".{path.name}.draft"), mode=0o600)
    except OSError as error:
        raise SettingsError(f"{path}: can't be written: {error.strerror or error}") from error
    except TOMLKitError as error:
        raise SettingsError(f"{path}: can't be changed: {error}") from error


def _keys(name: str) -> list[str]:
    keys = name.split(".")
    if not all(keys):
        raise typer.BadParameter(f"{name!r} is no setting; name one such as contexts.home.url")
    return keys


def _value(text: str) -> Any:
    """Return the value of TOML that a text is, or the text."""
    with suppress(tomllib.TOMLDecodeError):
        return tomllib.loads(f"it = {text}")["it"]
    return text


def _told(context: Context, *, is_chosen: bool) -> dict[str, Any]:
    """Tell of a context; never its key."""
    return {
        "context": context.name,
        "chosen": is_chosen,
        "url": context.urls,
        "has_key": context.key is not None or context.key_file is not None,
        "key_file": None if context.key_file is None else str(context.key_file),
        "defaults": context.defaults,
    }


def _key(context: Context) -> str:
    if context.key_file is not None:
        return f"in {context.key_file}"
    return "none" if context.key is None else "in this file"


def _defaults(context: Context) -> str:
    return ", ".join(
        f"{command} --{option.replace('_', '-')} {value}"
        for command, options in context.defaults.items()
        for option, value in options.items()
    )


_COLUMNS: Final[Sequence[Column[tuple[Context, bool]]]] = (
    Column("", lambda it: "*" if it[1] else " ", 1),
    Column("context", lambda it: it[0].name),
    Column("url", lambda it: ", ".join(it[0].urls), 2, "end"),
    Column("key", lambda it: _key(it[0]), 3, "begin"),
    Column("defaults", lambda it: _defaults(it[0]), 4, "end"),
)
