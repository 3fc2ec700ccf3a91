"""The board: the page on which people look at the farm.

It is a client of the public API like any other, made of the files in `page/`: HTML, CSS and ES
modules that a browser runs as they are. `dispatcher/api/board.py` serves them.
"""

import hashlib
from pathlib import Path
from typing import Final, NamedTuple, Self

__all__ = ["INDEX", "Board", "File"]

INDEX: Final = "index.html"

_PAGE: Final = Path(__file__).parent / "page"
_MEDIA_TYPES: Final = {
    ".css": b"text/css; charset=utf-8",
    ".html": b"text/html; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".svg": b"image/svg+xml",
}


class File(NamedTuple):
    """A file of the page; `etag` is a strong validator (RFC 9110, 8.8.3)."""

    content: bytes
    media_type: bytes
    etag: str


class Board(NamedTuple):
    """All files of the page by name, in memory: a request can reach nothing else."""

    files: dict[str, File]

    @classmethod
    def load(cls, folder: Path = _PAGE) -> Self:
        """Read every file of the page. `KeyError` names an ending that has no media type."""
        return cls({path.name: _read(path) for path in sorted(folder.iterdir())})


def _read(path: Path) -> File:
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    return File(content, _MEDIA_TYPES[path.suffix], f'"{digest[:32]}"')
