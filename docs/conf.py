"""How Sphinx makes a site of these pages: `scripts/docs`."""

import re
import sys
from pathlib import Path

from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parent.parent))

from dispatcher import __version__

project = "Dispatcher"
author = "the authors of Dispatcher"
release = version = __version__
html_title = f"Dispatcher {__version__}"

extensions = ["myst_parser", "sphinxcontrib.mermaid"]
source_suffix = {".md": "markdown"}
nitpicky = True  # a reference that leads nowhere is a warning, and a warning ends the build

myst_heading_anchors = 4  # the same anchors as where the repository is shown
myst_fence_as_directive = ["mermaid"]
suppress_warnings = ["misc.highlighting_failure"]  # examples that leave out something with …

html_theme = "furo"
html_show_copyright = False
html_copy_source = False


def _add_contents(_app: Sphinx, page: str, source: list[str]) -> None:
    """Make the contents of the site from the lists of index.md, which stay plain Markdown."""
    if page != "index":
        return
    for caption, text in re.findall(r"^## (.+)\n((?:(?!## ).*\n)*)", source[0], re.MULTILINE):
        listed = "\n".join(re.findall(r"^- \[.*?\]\(([\w-]+)\.md\)", text, re.MULTILINE))
        source[0] += f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{listed}\n```\n"


def setup(app: Sphinx) -> None:
    """Register what is done to the pages."""
    app.connect("source-read", _add_contents)
