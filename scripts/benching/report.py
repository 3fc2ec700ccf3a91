"""What a run found: on the screen, and as the page docs/benchmarks.md."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from rich.console import Console
from rich.table import Table as ScreenTable

from . import machine
from .obstacles import obstacle
from .plan import Plan

__all__ = ["Part", "Picture", "Skipped", "Table", "Target", "show", "write"]


class Table(NamedTuple):
    """Figures side by side."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


class Picture(NamedTuple):
    """A curve or bars, as SVG."""

    name: str
    title: str
    svg: str


class Target(NamedTuple):
    """What was aimed at, and what was found. `met` is `None` where it could not be measured."""

    name: str
    aim: str
    found: str
    met: bool | None

    @property
    def verdict(self) -> str:
        """Say it in a word."""
        return "not measured" if self.met is None else "met" if self.met else "missed"


class Skipped(NamedTuple):
    """A contestant that is not there, and why."""

    name: str
    reason: str


class Part(NamedTuple):
    """All that one part found, and how."""

    letter: str
    title: str
    how: str
    tables: Sequence[Table]
    pictures: Sequence[Picture]
    targets: Sequence[Target]
    skipped: Sequence[Skipped] = ()


NUMBERS: Final = "A figure is the median of the rounds, with the least and the greatest behind it."
_PATH: Final = re.compile(r"(/[\w.+-]+){2,}")
"""Of no use to who reads the page elsewhere."""
TARGETS: Final = ("target", "aim", "found", "verdict")


def show(console: Console, part: Part) -> None:
    """Put a part on the screen."""
    console.rule(f"{part.letter}. {part.title}")
    for table in part.tables:
        _on_screen(console, table)
    _on_screen(console, Table("Targets", TARGETS, [_row(target) for target in part.targets]))
    for skipped in part.skipped:
        console.print(f"Skipped {skipped.name}: {skipped.reason}", markup=False)


def write(path: Path, parts: Sequence[Part], plan: Plan, command: str) -> None:
    """Write the page, with its pictures in a directory of its name beside it."""
    pictures = path.with_suffix("")
    pictures.mkdir(parents=True, exist_ok=True)
    for old in pictures.glob("*.svg"):
        old.unlink()
    for part in parts:
        for picture in part.pictures:
            (pictures / f"{picture.name}.svg").write_text(picture.svg)
    path.write_text("\n".join(_page(parts, plan, command, pictures.name)))


def _page(parts: Sequence[Part], plan: Plan, command: str, pictures: str) -> list[str]:
    targets = [target for part in parts for target in part.targets]
    return [
        "# Benchmarks",
        "",
        f"Made by `{command}`, and by nothing else; don't edit it.",
        f"Alternating rounds: {plan.rounds}. One measurement of load: {plan.burst_s:g} s.",
        NUMBERS,
        "",
        *_table(Table("The machine", ("what", "is"), machine.about(plan.work))),
        *_table(Table("Versions", ("what", "version"), machine.versions())),
        *_table(Table("Targets", TARGETS, [_row(target) for target in targets])),
        *_missed(targets),
        *(line for part in parts for line in _section(part, pictures)),
    ]


def _missed(targets: Sequence[Target]) -> list[str]:
    missed = [target for target in targets if target.met is False]
    if not missed:
        return []
    lines = [f"- {target.name}: {obstacle(target.name)}" for target in missed]
    return ["### What stands in the way of those missed", "", *lines, ""]


def _section(part: Part, pictures: str) -> list[str]:
    lines = [f"## {part.letter}. {part.title}", "", part.how, ""]
    for table in part.tables:
        lines += _table(table, "###")
    for picture in part.pictures:
        lines += [f"![{picture.title}]({pictures}/{picture.name}.svg)", ""]
    if part.skipped:
        lines += ["Skipped:", ""]
        lines += [f"- {it.name}: {_PATH.sub('…', it.reason)}" for it in part.skipped]
        lines.append("")
    return lines


def _table(table: Table, heading: str = "##") -> list[str]:
    return [
        f"{heading} {table.title}",
        "",
        _line(table.columns),
        _line(["---"] * len(table.columns)),
        *(_line(row) for row in table.rows),
        "",
    ]


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _row(target: Target) -> tuple[str, ...]:
    return (target.name, target.aim, target.found, target.verdict)


def _on_screen(console: Console, table: Table) -> None:
    shown = ScreenTable(title=table.title, title_justify="left")
    for number, column in enumerate(table.columns):
        shown.add_column(column, overflow="fold", no_wrap=number == 0)
    for row in table.rows:
        shown.add_row(*(cell.replace("[", "\\[") for cell in row))
    console.print(shown)
