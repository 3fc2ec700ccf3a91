"""What a person has set once for all commands: farms by their names, in `config.toml`.

    context = "home"                       # the one that is meant unless another is named

    [contexts.home]
    url = "http://dispatcher.example.com:8080"
    key_file = "~/.config/dispatcher/home.key"

    [contexts.home.submit]                 # defaults of a command's options
    codec = "av1"

Laws:
- What a command line says counts first, then the environment, then the context, then the default.
- The key of a context goes to the dispatcher of that context, and to no other that a command line
  or the environment names.
- A file that has an error is refused as a whole. The error names the file and the line.
- A file with a key that others can read or write is refused.
"""

import os
import tomllib
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any, Final, NamedTuple

import platformdirs

from dispatcher.client import RequestRefusedError, is_sendable
from dispatcher.client.servers import server_urls
from dispatcher.errors import DispatcherError

__all__ = [
    "Context",
    "Settings",
    "SettingsError",
    "chosen",
    "config_path",
    "key_for",
    "parsed",
    "read_settings",
]

_OWN: Final = frozenset({"url", "key", "key_file"})
"""The fields of a context. Its tables are the defaults of commands."""
_OTHERS: Final = 0o077


class SettingsError(DispatcherError):
    """The settings can't be used. The text names the file, and the line if there is one."""


class Context(NamedTuple):
    """A farm: the URLs of its dispatchers, where its key is, and the defaults of commands."""

    name: str
    urls: tuple[str, ...] = ()
    key: str | None = None
    key_file: Path | None = None
    defaults: Mapping[str, Mapping[str, Any]] = {}


class Settings(NamedTuple):
    """The contexts of a file, and the one that is meant unless another is named.

    `text` is that of the file, to find the lines of errors in.
    """

    path: Path
    text: str = ""
    default: str | None = None
    contexts: Mapping[str, Context] = {}

    def context(self, named: str | None) -> Context | None:
        """Return the context of a name, or the default one; `SettingsError` if it is not there."""
        name = named or self.default
        if name is None:
            return None
        if name not in self.contexts:
            there = ", ".join(sorted(self.contexts)) or "none"
            raise SettingsError(f"{self.path}: there is no context {name!r}; there are: {there}")
        return self.contexts[name]

    def fault(self, text: str, *keys: str) -> SettingsError:
        """Make the error about what stands at these keys."""
        line = _line_of(self.text, keys)
        where = f"{self.path}:{line}" if line else f"{self.path}"
        return SettingsError(f"{where}: {'.'.join(keys)} {text}")


chosen: Final[ContextVar[Context | None]] = ContextVar("chosen", default=None)
"""The context of the command that runs, if there is one."""


def config_path() -> Path:
    """Return where the settings are."""
    return platformdirs.user_config_path("dispatcher") / "config.toml"


def read_settings(path: Path | None = None) -> Settings:
    """Read the settings; none if there is no file. Raises `SettingsError`."""
    path = path or config_path()
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return Settings(path)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: can't be read: {error}") from error
    found = parsed(path, text)
    for context in found.contexts.values():
        if context.key is not None and _is_open(path):
            raise found.fault(
                f"is a key, and others can read this file; run: chmod 600 {path}",
                *("contexts", context.name, "key"),
            )
    return found


def parsed(path: Path, text: str) -> Settings:
    """Parse the settings of a file. Raises `SettingsError`."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: is no TOML: {error}") from error
    empty = Settings(path, text)
    if unknown := table.keys() - {"context", "contexts"}:
        raise empty.fault("is no setting; there are: context, contexts", min(unknown))
    default = table.get("context")
    if default is not None and not isinstance(default, str):
        raise empty.fault("must be the name of a context, in quotes", "context")
    tables = table.get("contexts", {})
    if not isinstance(tables, dict):
        raise empty.fault("must be a table, such as [contexts.home]", "contexts")
    contexts = {name: _context(empty, name, it) for name, it in tables.items()}
    if default is not None and default not in contexts:
        raise empty.fault(f"names {default!r}, and there is no [contexts.{default}]", "context")
    return Settings(path, text, default, contexts)


def key_for(server: Sequence[str]) -> str | None:
    """Return the key of the chosen context, if these URLs are its own."""
    context = chosen.get()
    if context is None or not context.urls or server_urls(server) != [*context.urls]:
        return None
    if context.key_file is None:
        return context.key
    path = context.key_file
    try:
        key = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: can't be read: {error}") from error
    if _is_open(path):
        raise SettingsError(f"{path}: others can read this key; run: chmod 600 {path}")
    if not key or not is_sendable(key):
        raise SettingsError(f"{path}: is no key: one line of printable ASCII")
    return key


def _context(settings: Settings, name: str, table: Any) -> Context:
    at = ("contexts", name)
    if not isinstance(table, dict):
        raise settings.fault(f"must be a table: [contexts.{name}]", *at)
    urls: tuple[str, ...] = ()
    if "url" in table:
        given = [table["url"]] if isinstance(table["url"], str) else table["url"]
        if not isinstance(given, list) or not all(isinstance(it, str) for it in given):
            raise settings.fault("must be a URL, or a list of URLs", *at, "url")
        try:
            urls = tuple(server_urls(given))
        except RequestRefusedError as error:
            raise settings.fault(f"is wrong: {error.text}", *at, "url") from error
    texts = {field: table[field] for field in ("key", "key_file") if field in table}
    for field, text in texts.items():
        if not isinstance(text, str) or not text:
            raise settings.fault("must be a text", *at, field)
        if not urls:
            raise settings.fault("needs a url beside it, to which the key may go", *at, field)
    if len(texts) > 1:
        raise settings.fault("and key contradict each other; keep one", *at, "key_file")
    if "key" in texts and not is_sendable(texts["key"]):
        raise settings.fault("has characters that no request can carry", *at, "key")
    defaults = {field: it for field, it in table.items() if field not in _OWN}
    for field, options in defaults.items():
        if not isinstance(options, dict):
            known = ", ".join(sorted(_OWN))
            raise settings.fault(
                f"is no setting; there are: {known}, and a table for each command", *at, field
            )
    key_file = texts.get("key_file")
    path = None if key_file is None else settings.path.parent / Path(key_file).expanduser()
    return Context(name, urls, texts.get("key"), path, defaults)


def _is_open(path: Path) -> bool:
    return os.name != "nt" and bool(path.stat().st_mode & _OTHERS)


def _line_of(text: str, keys: Sequence[str]) -> int | None:
    """Return the line at which something stands, or what it is in; `None` if that is not found."""
    table: list[str] = []
    found: tuple[int, int] | None = None
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("["):
            table = here = _keys_of(line)
        elif "=" in line:
            here = [*table, *_keys_of(f"{line.partition('=')[0]} = 0")]
        else:
            continue
        depth = len(here)
        if here and here == [*keys[:depth]] and (found is None or depth > found[0]):
            found = depth, number
    return None if found is None else found[1]


def _keys_of(line: str) -> list[str]:
    """Return the keys of a line of TOML that names a single thing."""
    try:
        it: Any = tomllib.loads(line)
    except tomllib.TOMLDecodeError:
        return []
    keys = []
    while isinstance(it, dict) and len(it) == 1:
        ((key, it),) = it.items()
        keys.append(key)
    return keys
