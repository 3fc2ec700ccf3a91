"""`dispatcher export`, `import` and `backup`."""

import asyncio
import base64
import os
import signal
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO

import typer

from dispatcher.cli.options import AsJson, Db
from dispatcher.cli.output import print_json, print_text, say
from dispatcher.evidence import backup as backups
from dispatcher.evidence import transfer
from dispatcher.evidence.new_files import new_file
from dispatcher.evidence.segments import segment_bytes
from dispatcher.evidence.transfer import Form
from dispatcher.log import LogError
from dispatcher.log.merkle import Frontier
from dispatcher.log.sqlite import SqliteLog
from dispatcher.progress import ProgressLines

__all__ = ["backup", "export", "import_log"]


def export(
    db: Db = Path("events.db"),
    after: Annotated[
        int, typer.Option(metavar="SEQ", help="Only the events after this one.", min=0)
    ] = 0,
    form: Annotated[
        Form, typer.Option("--format", help="JSON lines, which can be imported, or CSV.")
    ] = Form.JSONL,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A new file, instead of standard output.")
    ] = None,
) -> None:
    """Write the log as text, a line an event. A dispatcher may be running."""
    with _standard_output() if output is None else _new_file(output) as write:
        count = asyncio.run(_export(db, write, form, after))
    if output is not None:
        say(f"{output}: {count:,} events")


def import_log(
    source: Annotated[str, typer.Argument(metavar="FILE", help="An export; - is standard input.")],
    db: Annotated[Path, typer.Option(metavar="NEW", help="The log to make.")],
    as_json: AsJson = False,
) -> None:
    """Make a new log of an export, with the same seqs, times and root."""
    name = "standard input" if source == "-" else source
    with _opened(source) as lines:
        made = asyncio.run(transfer.import_lines(lines, name, db, _reading(lines, name)))
    if not made.is_ended:
        say(f"{name}: the last line has no line end; it is whole, but the file may have been cut")
    _show(db, made.tree, as_json=as_json)


def backup(
    dest: Annotated[Path, typer.Argument(metavar="DEST", help="The file to make.")],
    db: Db = Path("events.db"),
    as_json: AsJson = False,
) -> None:
    """Copy the log to one file and check the copy. A dispatcher may be running."""
    copying = ProgressLines(say, f"Copying {db}", "pages")
    checking = ProgressLines(say, f"Checking {dest}")
    _show(dest, backups.backup(db, dest, copying, checking), as_json=as_json)


def _show(path: Path, tree: Frontier, *, as_json: bool) -> None:
    size_bytes, root = path.stat().st_size, tree.root()
    segments, in_segments = segment_bytes(path)
    in_hex, in_base64 = root.hex(), base64.b64encode(root).decode()
    if as_json:
        shown = {"seq": tree.size, "size_bytes": size_bytes, "root": in_base64, "root_hex": in_hex}
        if segments:
            shown |= {"segments": segments, "segment_bytes": in_segments}
        print_json(shown)
    else:
        print_text(f"{path}: up to seq {tree.size:,}, {size_bytes:,} bytes")
        if segments:
            print_text(f"segments: {segments:,}, {in_segments:,} bytes")
        print_text(f"root {in_base64}")
        print_text(f"that is {in_hex}")


async def _export(db: Path, write: Callable[[bytes], object], form: Form, after: int) -> int:
    async with await SqliteLog.open_for_reading(db) as log:
        return await transfer.export(log, write, form, after, ProgressLines(say, f"Exporting {db}"))


@contextmanager
def _standard_output() -> Iterator[Callable[[bytes], object]]:
    """Write to standard output. A reader that closes the pipe ends this process, like cat(1)."""
    if hasattr(signal, "SIGPIPE"):  # Windows has none
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    with _written("standard output", sys.stdout.fileno()) as write:
        yield write


@contextmanager
def _new_file(path: Path) -> Iterator[Callable[[bytes], object]]:
    with new_file(path) as made, _written(str(path), made) as write:
        yield write


@contextmanager
def _written(name: str, file: Path | int) -> Iterator[Callable[[bytes], object]]:
    """Write to a file. Errors of writing, and no others, are reported with its name."""

    def write(data: bytes) -> None:
        with _writing(name):
            out.write(data)

    with _writing(name):
        out = open(file, "wb", closefd=isinstance(file, Path))  # noqa: SIM115 - it is closed below
    try:
        yield write
    finally:
        with _writing(name):
            out.close()


@contextmanager
def _writing(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LogError(f"{name}: can't be written: {error.strerror}") from error


@contextmanager
def _opened(source: str) -> Iterator[BinaryIO]:
    if source == "-":
        yield sys.stdin.buffer
        return
    try:
        file = Path(source).open("rb")  # noqa: SIM115 - it is closed below
    except OSError as error:
        raise LogError(f"{source}: can't be read: {error.strerror}") from error
    with file:
        yield file


def _reading(lines: BinaryIO, name: str) -> Callable[[int], None]:
    """Return a callback that reports how far a file is read. It ignores a pipe: it has no end."""
    status = os.fstat(lines.fileno())
    if not stat.S_ISREG(status.st_mode):
        return lambda _bytes: None
    progress = ProgressLines(say, f"Importing {name}", "bytes")
    return lambda done: progress(done, status.st_size)
