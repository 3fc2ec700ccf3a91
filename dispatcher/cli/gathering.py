"""The sources that a person names: URLs, files, folders, patterns, and lists of all these.

Laws:
- What is there under the name that was given is meant, whatever characters are in it. Only what is
  not there may be a pattern (`films/*.mov`, `films/**/*.mkv`).
- A folder stands for the films in it and below it, by their names' endings, in order. Links to
  other folders are not followed, and hidden files are left out.
- A list has a source a line. Empty lines and those that begin with # are left out.
- A film that is found twice is submitted once; what is named twice by itself, twice.
"""

import glob
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, TextIO
from urllib.parse import urlsplit

import typer

from dispatcher.cli.placing import Source
from dispatcher.urls import masked

__all__ = ["described", "sources_of"]

FILMS: Final = frozenset(
    {
        *(".3gp", ".asf", ".avi", ".dv", ".f4v", ".flv", ".gxf", ".m2ts", ".m2v", ".m4v", ".mkv"),
        *(".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogm", ".ogv", ".rm", ".rmvb", ".ts"),
        *(".vob", ".webm", ".wmv", ".y4m"),
    }
)
"""The endings of names by which a folder's films are known."""
_BYTES_A_MB: Final = 1_000_000


def sources_of(named: Iterable[str], list_file: str | None) -> list[str | Path]:
    """Return what is to be submitted, in order. `BadParameter` names what is not there."""
    found: list[str | Path] = []
    for name in named:
        _add(found, name, "")
    if list_file is not None:
        for number, name in _listed(list_file):
            _add(found, name, f"{list_file}:{number}: ")
    if not found:
        raise typer.BadParameter("name a SOURCE, or a list of sources with --from")
    return found


def described(source: str | Path, size_mb: float | None) -> Source:
    """Return a source and its size in MB."""
    if isinstance(source, Path):
        size = source.stat().st_size / _BYTES_A_MB if size_mb is None else size_mb
        return Source(source, size)
    return Source(source, size_mb or 0.0)


def _add(found: list[str | Path], name: str, where: str) -> None:
    path = Path(name).absolute()
    try:
        if path.is_dir():
            films = list(_films_in(path))
            if not films:
                raise typer.BadParameter(
                    f"{where}{name}: has no films: no file that ends with .mkv, .mp4, .mov or the "
                    "like; name others one by one, or as a pattern"
                )
            found += [film for film in films if film not in found]
            return
        if path.is_file():
            found.append(path)
            return
        if path.exists():
            raise typer.BadParameter(f"{where}{name}: is neither a file nor a folder")
    except ValueError:  # no file can have such a name
        pass
    try:
        scheme = urlsplit(name).scheme
    except ValueError as error:
        raise typer.BadParameter(f"{where}{masked(name)}: is no URL") from error
    if scheme:
        found.append(name)
        return
    if glob.has_magic(name):
        if not (files := _matching(name)):
            raise typer.BadParameter(f"{where}{masked(name)}: no file matches this pattern")
        found += [file for file in files if file not in found]
        return
    raise typer.BadParameter(
        f"{where}{masked(name)}: there is no such file or folder; give a path or a URL"
    )


def _matching(pattern: str) -> list[Path]:
    """Return the files that match a pattern; hidden ones only if it names what is hidden."""
    path = Path(pattern)
    anchor = Path(path.anchor) if path.anchor else Path()
    try:
        found = sorted(anchor.glob(str(path.relative_to(path.anchor))))
    except ValueError:  # it is no pattern after all
        return []
    shows_hidden = any(map(_is_hidden, path.parts))
    return [
        it.absolute()
        for it in found
        if it.is_file() and (shows_hidden or not any(map(_is_hidden, it.parts)))
    ]


def _is_hidden(name: str) -> bool:
    return name.startswith(".") and name not in {".", ".."}


def _films_in(folder: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise typer.BadParameter(f"{error.filename}: can't be read: {error.strerror}") from error

    for here, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(here, name)
            is_film = path.suffix.lower() in FILMS and not name.startswith(".")
            if is_film and path.is_file():
                yield path


def _listed(name: str) -> Iterator[tuple[int, str]]:
    """Yield the sources of a list, each with the number of its line."""
    try:
        if name == "-":
            yield from _lines(sys.stdin)
        else:
            with Path(name).open(encoding="utf-8-sig") as file:
                yield from _lines(file)
    except OSError as error:
        raise typer.BadParameter(f"--from {name}: can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise typer.BadParameter(f"--from {name}: is no text in UTF-8: {error}") from error


def _lines(file: TextIO) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(file, 1):
        source = line.strip()
        if source and not source.startswith("#"):
            yield number, source
