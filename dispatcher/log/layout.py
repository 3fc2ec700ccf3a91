"""The tables and triggers that a log is made with, and what is otherwise in a file.

Laws:
- The words of SQLite's own table are compared byte for byte with those of `schema.SCHEMAS`.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing
from functools import cache
from typing import Any, Final, NamedTuple

from dispatcher.log.schema import SCHEMA_VERSION, SCHEMAS

__all__ = ["LAYOUT", "Change", "changes", "changes_of_rules"]

LAYOUT: Final = "SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL"
"""Selects what `changes` compares. Its rows may have text or bytes."""

_RULES: Final = ("table", "trigger")


class Change(NamedTuple):
    """A difference; `verb` follows the kind and the name of the thing."""

    kind: str
    name: str
    verb: str

    def __str__(self) -> str:
        """Return it as a sentence."""
        return f"the {self.kind} {self.name} {self.verb}"


def changes(rows: Iterable[Iterable[Any]], schema: int = SCHEMA_VERSION) -> Iterator[Change]:
    """Compare what `LAYOUT` selects with that of a new log of a schema; yield the differences."""
    expected, found = _made_with(schema), _by_name(rows)
    for kind, name in sorted(expected.keys() | found.keys()):
        if (kind, name) not in found:
            yield Change(kind, name, "was taken off the file")
        elif (kind, name) not in expected:
            yield Change(kind, name, "is none of a log's")
        elif found[kind, name] != expected[kind, name]:
            yield Change(kind, name, "was changed")


def changes_of_rules(rows: Iterable[Iterable[Any]]) -> Iterator[Change]:
    """Yield the differences that can keep an event from being recorded as it was given.

    An index, a view and the statistics of ANALYZE can't.
    """
    for change in changes(rows):
        if change.kind in _RULES and not change.name.startswith("sqlite_stat"):
            yield change


@cache
def _made_with(schema: int) -> dict[tuple[str, str], list[str]]:
    with closing(sqlite3.connect(":memory:")) as fresh:
        fresh.executescript(SCHEMAS[schema])
        return _by_name(fresh.execute(LAYOUT).fetchall())


def _by_name(rows: Iterable[Iterable[Any]]) -> dict[tuple[str, str], list[str]]:
    """Group the SQL by kind and name: a file that was tampered with may have a name twice."""
    found = dict[tuple[str, str], list[str]]()
    for kind, name, sql in rows:
        found.setdefault((_text(kind), _text(name)), []).append(_text(sql))
    return found


def _text(value: Any) -> str:
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else str(value)
