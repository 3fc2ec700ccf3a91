"""How Sphinx makes a site of these pages: `scripts/docs`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from dispatcher import __version__

project = "Dispatcher"
author = "the authors of Dispatcher"
release = version = __version__
html_title = f"Dispatcher {__version__}"

extensions = ["myst_parser", "sphinxcontrib.mermaid"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
nitpicky = True  # a reference that leads nowhere is a warning, and a warning ends the build

myst_heading_anchors = 4  # the same anchors as where the repository is shown
myst_fence_as_directive = ["mermaid"]
myst_links_external_new_tab = False
suppress_warnings = ["misc.highlighting_failure"]  # examples that leave out something with …

html_theme = "furo"
html_show_copyright = False
html_copy_source = False
