"""Which files of a folder are whole: those that have not changed for a while. Reads no clock."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, Self

__all__ = ["FILMS", "Settling", "Stamp", "films_in"]

FILMS = frozenset(
    [
        *(".3gp", ".asf", ".avi", ".divx", ".dv", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4"),
        *(".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv", ".y4m"),
    ]
)
"""The ends of names that are taken for films."""


class Stamp(NamedTuple):
    """By what a file is known to have changed."""

    size: int
    changed_ns: int

    @classmethod
    def of(cls, path: Path) -> Self:
        """Return the stamp of a file. Raises `OSError`."""
        status = path.stat()
        return cls(status.st_size, status.st_mtime_ns)


class Settling:
    """Since when each file has looked as it does."""

    def __init__(self, settle_s: float) -> None:
        self._settle_s = settle_s
        self._since: dict[Path, tuple[Stamp, float]] = {}

    def whole(self, found: dict[Path, Stamp], now_s: float) -> list[Path]:
        """Return those of the files found now that have looked the same for long enough.

        What is not found any more is forgotten. An empty file is never whole.
        """
        self._since = {
            path: known
            if (known := self._since.get(path)) is not None and known[0] == stamp
            else (stamp, now_s)
            for path, stamp in found.items()
        }
        return [
            path
            for path, (stamp, since_s) in self._since.items()
            if stamp.size and now_s - since_s >= self._settle_s
        ]


def films_in(folder: Path, without: Iterable[Path] = ()) -> dict[Path, Stamp]:
    """Return the films below a folder, but not those below others, nor hidden ones, nor links."""
    found, others = dict[Path, Stamp](), {*without}
    for at, folders, names in os.walk(folder):
        folders[:] = [it for it in folders if not it.startswith(".") and Path(at, it) not in others]
        for name in names:
            path = Path(at, name)
            if name.startswith(".") or path.suffix.lower() not in FILMS or path.is_symlink():
                continue
            try:
                if path.is_file():
                    found[path] = Stamp.of(path)
            except OSError:
                continue  # it has just gone
    return found
