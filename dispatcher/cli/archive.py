"""`dispatcher archive`."""

from pathlib import Path
from typing import Annotated

import typer

from dispatcher.cli.options import Db
from dispatcher.cli.output import print_text, say
from dispatcher.evidence import archive as archives
from dispatcher.progress import ProgressLines

__all__ = ["archive"]


def archive(
    dest: Annotated[
        Path | None,
        typer.Argument(metavar="DIR", help="The folder to move them to.", show_default=False),
    ] = None,
    db: Db = Path("events.db"),
    keep: Annotated[
        int, typer.Option(metavar="N", help="Leave the newest N segments where they are.", min=0)
    ] = 0,
    back: Annotated[
        bool, typer.Option("--back", help="Copy all archived segments back instead.")
    ] = False,
) -> None:
    """Move sealed segments to a folder, from where they are read. A dispatcher may be running."""
    if (dest is None) != back:
        raise typer.BadParameter("name either the folder to move segments to, or --back")
    if dest is None:
        moved = archives.bring_back(db, ProgressLines(say, f"Bringing back {db}", "segments"))
        print_text(f"{db}: {moved.segments:,} segments, {moved.size_bytes:,} bytes, are back")
    else:
        moved = archives.archive(db, dest, keep, ProgressLines(say, f"Archiving {db}", "segments"))
        print_text(f"{dest}: {moved.segments:,} segments, {moved.size_bytes:,} bytes, moved there")
