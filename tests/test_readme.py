"""The pages for readers: whole tables, and every command in one of them."""

import re
from pathlib import Path
from typing import Final

import pytest
import typer

from dispatcher.cli import app

ROOT: Final = Path(__file__).parent.parent
PAGES: Final = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def tables_in(text: str) -> list[list[str]]:
    """The rows of each table of a page."""
    return [table.splitlines() for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_row_of_a_table_has_as_many_cells_as_its_heading(page: Path) -> None:
    for table in tables_in(page.read_text()):
        widths = {row: len(re.findall(r"(?<!\\)\|", row)) for row in table}
        assert set(widths.values()) == {widths[table[0]]}, widths


def test_every_command_is_in_the_readme() -> None:
    rows = [row for table in tables_in(PAGES[0].read_text()) for row in table]
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert len(commands) > 10
    for name in commands:
        assert any(re.search(rf"`(dispatcher )?{name}\b", row) for row in rows), name


@pytest.mark.parametrize("command", ["serve", "engine"])
def test_every_setting_is_in_a_table_of_the_readme(command: str) -> None:
    rows = "\n".join(row for table in tables_in(PAGES[0].read_text()) for row in table)
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    settings = [name for option in commands[command].params for name in option.opts]
    assert len(settings) > 10
    assert [name for name in settings if f"`{name}`" not in rows] == []
