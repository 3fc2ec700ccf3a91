"""The file of keys: a key has a name, which its caller is known by, and a role, which limits it.

The file has a block for each key. `dispatcher key new` adds one:

    [[key]]
    name = "anna"
    role = "client"
    sha256 = "…"

A key with the role `engine` may also have `engine = "farm-7"`. It is then bound to that engine, and
may act for no other. Several keys may be bound to one engine, so that a new key can replace an old
one.

Laws:
- The key itself is written nowhere, neither here nor in a log, an event or an error. No error
  quotes an invalid digest, because it may be the key.
- Names are unique, and so are keys: the actor of an event is one key.
- A file is accepted whole or not at all.
"""

import hashlib
import json
import logging
import os
import re
import secrets
import stat
import tomllib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, Self

import msgspec

from dispatcher import files
from dispatcher.errors import DispatcherError
from dispatcher.locks import turn

__all__ = [
    "ANONYMOUS",
    "Key",
    "KeysError",
    "Role",
    "new_key",
    "read_keys",
    "require_distinct",
    "revoke_key",
]

logger = logging.getLogger(__name__)

ANONYMOUS: Final = "anonymous"
"""The actor of every request when auth is off."""
RESERVED: Final = frozenset({ANONYMOUS, "dispatcher"})
"""Actors of events that no key has caused; keys can't have these names."""
KEY_BYTES: Final = 32

_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_SHA256: Final = re.compile(r"[0-9A-Fa-f]{64}", re.ASCII)
_BLOCK: Final = re.compile(r"^[ \t]*\[\[[ \t]*key[ \t]*\]\]", re.MULTILINE)
_FIELDS: Final = frozenset({"name", "role", "engine", "sha256"})
_NAME_RULE: Final = "must be 1 to 64 of the characters A-Z a-z 0-9 . _ -"
_ENGINE_RULE: Final = "must be the id of an engine: printable characters, at least one"
_HEADING: Final = (
    "# Who may ask for what. A change is in force after `dispatcher reload`, or SIGHUP."
)


class Role(StrEnum):
    """What a key is for. An operator may do everything, a monitor only read the metrics."""

    CLIENT = "client"
    ENGINE = "engine"
    OPERATOR = "operator"
    MONITOR = "monitor"


class KeysError(DispatcherError):
    """A keys file can't be used; the message says where the fault is and what to do."""


class Key(msgspec.Struct, frozen=True):
    """A key that is accepted. It is known only by its digest.

    `engine` is the id of the only engine that it may act for; `None` if its role alone limits it.
    """

    name: str
    role: Role
    sha256: bytes
    engine: str | None = None

    @classmethod
    def of(cls, name: str, role: Role, secret: str, engine: str | None = None) -> Self:
        """Make a key from its secret."""
        return cls(name, role, hashlib.sha256(secret.encode()).digest(), engine)


def read_keys(path: Path) -> list[Key]:
    """Return the keys of a file. Raises `KeysError` if it can't be used."""
    return _parse(_read_text(path), path)


def new_key(path: Path, name: str, role: Role, engine: str | None = None) -> str:
    """Make a key and add it to a keys file, which is created if it does not exist.

    With `engine` it is bound to that engine. Returns the secret, which is stored nowhere.
    Concurrent calls each add their key. A concurrent reader sees the file as it was before a change
    or after it.
    """
    if _NAME.fullmatch(name) is None:
        raise KeysError(f"{name!r} is no name of a key: it {_NAME_RULE}")
    if (fault := _binding_fault(role, engine)) is not None:
        raise KeysError(f"key '{name}': {fault}")
    secret = secrets.token_urlsafe(KEY_BYTES)
    key = Key.of(name, role, secret, engine)
    with _changing(path) as real:
        text = (_read_text(real) if real.exists() else "").rstrip() or _HEADING
        text = f"{text}\n\n{_format_key(key)}"
        require_distinct(_parse(text, real), real)
        _replace(real, text.encode())
    return secret


def revoke_key(path: Path, name: str) -> Key:
    """Remove the key of this name from a keys file, and return it. All else in it stays."""
    with _changing(path) as real:
        text = _read_text(real)
        keys = _parse(text, real)
        at = next((at for at, key in enumerate(keys) if key.name == name), None)
        if at is None:
            known = ", ".join(key.name for key in keys) or "none"
            raise KeysError(f"{real}: there is no key {name!r} in it; its keys: {known}")
        heads = [found.start() for found in _BLOCK.finditer(text)]
        ends = [_end_of_block(text[head:end]) + head for head, end in pairwise([*heads, len(text)])]
        others = [key for key in keys if key.name != name]
        is_usual = len(heads) == len(keys)
        left = text[: heads[at]] + text[ends[at] :].lstrip("\n") if is_usual else ""
        if not is_usual or not _is_of(left, real, others):
            raise KeysError(
                f"{real}: key '{name}' is written in a way that only a person should change; "
                "remove its block [[key]] in an editor"
            )
        _replace(real, left.encode())
    return keys[at]


def _end_of_block(text: str) -> int:
    """Return where a block ends: what is said after its last field is about what comes next."""
    lines = text.splitlines(keepends=True)
    while lines and (not lines[-1].strip() or lines[-1].lstrip().startswith("#")):
        lines.pop()
    return sum(map(len, lines))


def _is_of(text: str, path: Path, keys: list[Key]) -> bool:
    """Whether a text of a keys file has just these keys."""
    try:
        return _parse(text, path) == keys
    except KeysError:
        return False


@contextmanager
def _changing(path: Path) -> Iterator[Path]:
    """Change a keys file while nobody else does; the block is given its path without links."""
    path = path.resolve()
    try:
        with turn(path.with_name(f"{path.name}.lock")):
            yield path
    except OSError as error:
        raise KeysError(f"{path}: can't be written: {error.strerror}") from error


def _read_text(path: Path) -> str:
    try:
        if path.exists() and not path.is_file():  # reading a pipe would block
            raise KeysError(f"{path}: is no regular file, so it can be no keys file")
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & stat.S_IWOTH:
                logger.warning(
                    "%s: every user can write it, and so make keys of any role; "
                    "take that away with `chmod o-w`",
                    path,
                )
            return file.read().decode()
    except FileNotFoundError:
        raise KeysError(
            f"{path}: there is no such file; make it, and a first key, with "
            f"`dispatcher key new NAME --role ROLE --keys {path}`"
        ) from None
    except OSError as error:
        raise KeysError(f"{path}: can't be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise KeysError(f"{path}: is no text in UTF-8; a keys file is TOML") from None


def _parse(text: str, path: Path) -> list[Key]:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise KeysError(f"{path}: is no TOML: {error}") from error
    blocks = document.pop("key", [])
    if document:
        raise KeysError(f"{path}: there is no {min(document)!r} in a keys file, only [[key]]")
    if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
        raise KeysError(f"{path}: each key must be a block of its own that begins with [[key]]")
    return [_parse_key(block, number, path) for number, block in enumerate(blocks, 1)]


def _parse_key(block: dict[str, Any], number: int, path: Path) -> Key:
    name = block.get("name")
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        raise KeysError(f"{path}: key number {number}: 'name' {_NAME_RULE}")
    where = f"{path}: key '{name}'"
    if name in RESERVED:
        raise KeysError(f"{where}: events that no key has caused have this name; choose another")
    if unknown := block.keys() - _FIELDS:
        raise KeysError(
            f"{where}: there is no field {min(unknown)!r}; a key has 'name', 'role' and 'sha256', "
            "and an engine's may have 'engine'"
        )
    if (role := block.get("role")) not in list(Role):
        raise KeysError(f"{where}: 'role' must be one of {', '.join(repr(str(r)) for r in Role)}")
    engine = block.get("engine")
    if (fault := _binding_fault(Role(role), engine)) is not None:
        raise KeysError(f"{where}: {fault}")
    sha256 = block.get("sha256")
    if not isinstance(sha256, str) or _SHA256.fullmatch(sha256) is None:
        raise KeysError(
            f"{where}: 'sha256' must be 64 hexadecimal digits, the SHA-256 of the key and not the "
            "key; `dispatcher key new` makes both"
        )
    return Key(name, Role(role), bytes.fromhex(sha256), engine)


def _binding_fault(role: Role, engine: object) -> str | None:
    """Return why a key of this role can't be bound to this engine; `None` if it can."""
    if engine is None:
        return None
    if not isinstance(engine, str) or not engine or not engine.isprintable():
        return f"'engine' {_ENGINE_RULE}"
    if role is not Role.ENGINE:
        return (
            f"only a key with the role 'engine' can be bound to an engine, and this one has the "
            f"role '{role}'; leave 'engine' away, or make a key with the other role"
        )
    return None


def require_distinct(keys: Iterable[Key], path: Path) -> None:
    """Raise `KeysError` if two keys have one name, or are one key."""
    names: set[str] = set()
    holders: dict[bytes, str] = {}
    for key in keys:
        where = f"{path}: key '{key.name}'"
        if key.name in names:
            raise KeysError(
                f"{where}: another key has this name ('operator' is that of --api-key); events "
                "record it, so choose one of its own"
            )
        if key.sha256 in holders:
            raise KeysError(
                f"{where}: it is the same key as '{holders[key.sha256]}' ('operator' is that of "
                "--api-key or DISPATCHER_API_KEY); give each name a key of its own"
            )
        names.add(key.name)
        holders[key.sha256] = key.name


def _format_key(key: Key) -> str:
    # A string of JSON is one of TOML too, as long as all its characters are printable.
    engine = (
        "" if key.engine is None else f"engine = {json.dumps(key.engine, ensure_ascii=False)}\n"
    )
    head = f'[[key]]\nname = "{key.name}"\nrole = "{key.role}"\n'
    return f'{head}{engine}sha256 = "{key.sha256.hex()}"\n'


def _replace(path: Path, content: bytes) -> None:
    """Replace a file atomically, and keep its owner and permissions."""
    draft = path.with_name(f"{path.name}.draft")
    with files.drafted(path, draft), files.new(draft, 0o600) as file:
        file.write(content)
        if path.exists():
            old = path.stat()
            if hasattr(os, "fchown"):  # Windows has another kind of owner
                os.fchown(file.fileno(), old.st_uid, old.st_gid)
                os.fchmod(file.fileno(), stat.S_IMODE(old.st_mode))
