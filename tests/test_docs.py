"""The pages for developers name what is there."""

import re
from pathlib import Path
from typing import Final

import pytest

from dispatcher.log.serialization import NAMES
from tests.api.test_roles import ROUTES, SCHEMAS

ROOT: Final = Path(__file__).parent.parent
DOCS: Final = ROOT / "docs"
PAGES: Final = [ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
FOR_DEVELOPERS: Final = ["architecture.md", "contributing.md", "glossary.md"]
PATHS: Final = re.compile(r"`((?:dispatcher|projections|tests|scripts|docs)/[\w./-]+)`")
NAMED_IN: Final = re.compile(r"`([A-Za-z_][\w.]*)`(?: \(| in )`([\w/.-]+\.py)`")
"""A name and its file: `name` (`file`), or `name` in `file`."""
LINKS: Final = re.compile(r"\]\((?!https?:)([^)#]+)")


@pytest.mark.parametrize("page", FOR_DEVELOPERS)
def test_every_path_on_a_page_is_there(page: str) -> None:
    named = PATHS.findall((DOCS / page).read_text())
    assert len(named) > 10
    assert [path for path in named if "NAME" not in path and not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", FOR_DEVELOPERS)
def test_every_name_that_a_page_puts_in_a_file_is_in_that_file(page: str) -> None:
    named = NAMED_IN.findall((DOCS / page).read_text())
    assert len(named) > 10
    for name, path in named:
        text = (ROOT / path).read_text()
        for part in name.split("."):
            assert re.search(rf"\b{part}\b", text), f"{path} has no {part}"


def test_every_test_on_the_page_for_contributors_is_there() -> None:
    named = set(re.findall(r"`(test_\w+)`", (DOCS / "contributing.md").read_text()))
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert len(named) > 10
    assert [name for name in named if f"def {name}(" not in tests] == []


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted(DOCS.glob("*.md"))], ids=lambda p: p.name
)
def test_every_link_to_another_page_leads_somewhere(page: Path) -> None:
    linked = LINKS.findall(page.read_text())
    assert [link for link in linked if not (page.parent / link).exists()] == []


def test_the_glossary_is_in_order() -> None:
    rows = re.findall(r"^\| (\S[^|]*) \|", (DOCS / "glossary.md").read_text(), re.MULTILINE)
    words = [row.strip() for row in rows if row.strip() != "word"]
    assert words == sorted(words, key=str.lower)


def test_every_event_is_in_the_manual_of_the_log() -> None:
    manual = (DOCS / "log.md").read_text()
    assert [name for name in NAMES.values() if f"`{name}`" not in manual] == []


def test_every_route_is_in_the_manual_of_the_protocol() -> None:
    manual = (DOCS / "protocol.md").read_text()
    for method, path in ROUTES:
        if path not in SCHEMAS:
            assert re.search(rf"\b{method} {re.escape(path)}/?(?![\w/{{-])", manual), path
