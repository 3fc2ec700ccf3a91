"""Tables: one line a thing, as wide as the terminal; in a pipe, tab-separated and whole.

Laws:
- A table fits the terminal's width. What matters least is left out first, as is a column that has
  nothing to tell; a long text is cut where it says least, and an id never. With `wide` nothing is.
- Where the output is no terminal there is neither a heading nor padding: a line has the values of
  all columns, with tabs between them. No value has a tab or a line end in it.
- What is shown is plain (see `output`).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import repeat
from typing import Final, Generic, Literal, NamedTuple, TypeVar

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from dispatcher.cli.output import plain
from dispatcher.urls import masked

__all__ = ["Column", "print_fields", "print_rows"]

T = TypeVar("T")

Cut = Literal["never", "begin", "end", "wrap"]
"""Where a text that is too long for its column loses characters; `wrap` takes several lines."""

_GAP: Final = "  "
_ELLIPSIS: Final = "…"
_LEAST: Final[Mapping[Cut, int]] = {"begin": 24, "end": 10, "wrap": 24}
"""The fewest cells of a column whose texts are cut; before that, others are left out."""


class Column(NamedTuple, Generic[T]):
    """A column: its heading, its text and style for a thing, and what happens without room.

    The lower the `rank`, the longer it stays.
    """

    name: str
    text: Callable[[T], str]
    rank: int = 0
    cut: Cut = "never"
    is_number: bool = False
    style: Callable[[T], str] = lambda _: ""


def print_rows(columns: Sequence[Column[T]], things: Iterable[T], *, wide: bool = False) -> None:
    """Print a line for each thing; a heading comes first if the output is a terminal."""
    listed = list(things)
    rows = [[plain(masked(column.text(thing))) for column in columns] for thing in listed]
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        for row in rows:
            print("\t".join(row))  # noqa: T201
        return
    texts = list(zip(*rows, strict=True)) if rows else [() for _ in columns]
    natural = [
        max(map(cell_len, (column.name, *cells))) if wide or not rows or any(cells) else 0
        for column, cells in zip(columns, texts, strict=True)
    ]
    widths = natural if wide else _fitting(columns, natural, console.width)
    if any(column.name for column in columns):
        headings = [
            _cut(column.name, width, "end") for column, width in zip(columns, widths, strict=True)
        ]
        console.print(_line(columns, headings, widths, repeat("bold")))
    for thing, row in zip(listed, rows, strict=True):
        styles = [column.style(thing) for column in columns]
        for part in _parts(console, columns, row, widths):
            console.print(_line(columns, part, widths, styles))


def print_fields(fields: Iterable[tuple[str, str]]) -> None:
    """Print the fields of one thing, one a line: its name and its value."""
    columns: list[Column[tuple[str, str]]] = [
        Column("", lambda it: it[0]),
        Column("", lambda it: it[1], cut="wrap"),
    ]
    print_rows(columns, fields)


def _fitting(columns: Sequence[Column[T]], natural: Sequence[int], room: int) -> list[int]:
    """Return the width of each column; 0 for those that are left out."""
    told = (at for at, width in enumerate(natural) if width)
    ranked = sorted(told, key=lambda at: (columns[at].rank, at))
    kept = ranked
    while len(kept) > 1 and _taken(least := _least(columns, natural, kept)) > room:
        kept = kept[:-1]
    least = _least(columns, natural, kept)
    widths = {at: natural[at] for at in kept}
    excess = _taken(widths) - room
    # The widest that can lose something is cut first, down to the next one.
    while excess > 0 and (able := [at for at in kept if widths[at] > least[at]]):
        widest = max(able, key=widths.__getitem__)
        others = [widths[at] for at in able if widths[at] < widths[widest]]
        to = max(least[widest], max(others, default=0), widths[widest] - excess)
        to = min(to, widths[widest] - 1)
        excess -= widths[widest] - to
        widths[widest] = to
    return [widths.get(at, 0) for at in range(len(columns))]


def _least(
    columns: Sequence[Column[T]], natural: Sequence[int], kept: Sequence[int]
) -> dict[int, int]:
    return {at: min(natural[at], _LEAST.get(columns[at].cut, natural[at])) for at in kept}


def _taken(widths: dict[int, int]) -> int:
    return sum(widths.values()) + len(_GAP) * (len(widths) - 1)


def _parts(
    console: Console, columns: Sequence[Column[T]], row: Sequence[str], widths: Sequence[int]
) -> Iterable[list[str]]:
    """Cut the texts of a row to their widths; the lines of one that wraps follow each other."""
    cut = [
        _wrapped(console, text, width) if column.cut == "wrap" else [_cut(text, width, column.cut)]
        for column, text, width in zip(columns, row, widths, strict=True)
    ]
    for number in range(max(map(len, cut), default=0)):
        yield [lines[number] if number < len(lines) else "" for lines in cut]


def _cut(text: str, width: int, where: Cut) -> str:
    if cell_len(text) <= width or width == 0:
        return text
    if where == "begin":
        while cell_len(text) > width - 1:
            text = text[1:]
        return _ELLIPSIS + text
    return set_cell_size(text, width - 1).rstrip() + _ELLIPSIS


def _wrapped(console: Console, text: str, width: int) -> list[str]:
    if width == 0:
        return [""]
    lines = Text(text).wrap(console, width, overflow="fold")
    return [line.plain.rstrip() for line in lines] or [""]


def _line(
    columns: Sequence[Column[T]], cells: Sequence[str], widths: Sequence[int], styles: Iterable[str]
) -> Text:
    line = Text(no_wrap=True, overflow="ignore")
    for column, cell, width, style in zip(columns, cells, widths, styles, strict=False):
        if width == 0:
            continue
        space = " " * max(0, width - cell_len(cell))
        if line:
            line.append(_GAP)
        line.append(f"{space}{cell}" if column.is_number else f"{cell}{space}", style)
    line.rstrip()
    return line
