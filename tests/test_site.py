"""The site that Sphinx makes of docs/: nothing leads nowhere, and no page is left out."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parent.parent
DOCS: Final = ROOT / "docs"
TIMEOUT_S: Final = 250


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `scripts/docs` does: a warning is an error."""
    made = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet"),
            *("--builder", "html", "--doctree-dir", str(made / ".doctrees"), DOCS, made),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return made


def test_every_page_is_in_the_site_and_in_its_contents(site: Path) -> None:
    contents = (site / "index.html").read_text()
    for page in DOCS.glob("*.md"):
        assert (site / f"{page.stem}.html").exists()
        assert page.stem == "index" or f'href="{page.stem}.html"' in contents


def test_every_link_within_the_site_leads_to_a_page_and_a_place_on_it(site: Path) -> None:
    """Also those that Sphinx does not check, such as links to files."""
    for page in site.glob("*.html"):
        for target in re.findall(r'href="([^"#:?]*)(?:#[^"]*)?"', page.read_text()):
            assert not target or (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_page_of_commands_is_what_the_program_tells() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/reference.py", "--check"],
        cwd=ROOT,
        check=False,
        timeout=TIMEOUT_S,
    )
    assert done.returncode == 0, "write docs/commands.md again with scripts/reference.py"
