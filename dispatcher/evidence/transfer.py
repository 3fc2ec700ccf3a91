"""Export a log as text and import it again: for other tools, other machines and archives.

Laws:
- An export has the log's lines, byte for byte. An import of it has the same seqs, times and root.
- An import makes a complete log or none. It refuses a line that no log can have, with its number.
- Events are read in pages and written in batches, so memory use does not grow with the log.
"""

import csv
import io
from collections.abc import Callable, Sequence
from contextlib import aclosing
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

import msgspec

from dispatcher.evidence.new_files import merge_wal, new_log
from dispatcher.log import Log, LogError, serialization
from dispatcher.log.merkle import Frontier
from dispatcher.log.serialization import LogEntry, UndecodableError
from dispatcher.log.sqlite import SqliteLog
from dispatcher.progress import Progress, silent

__all__ = ["CSV_COLUMNS", "Form", "Imported", "export", "import_lines"]

CSV_COLUMNS: Final = ("seq", "time", "type", "version", "actor", "request_id", "data")

BATCH_EVENTS: Final = 2_000
BATCH_BYTES: Final = 8 << 20
"""An import commits a batch when it reaches either limit."""
LINE_LIMIT_BYTES: Final = 1 << 28
"""Far more than any event. A file that is no export is refused before it fills the memory."""


class Form(StrEnum):
    """The format of an export."""

    JSONL = "jsonl"
    CSV = "csv"


class Imported(NamedTuple):
    """The tree of an imported log. `is_ended` tells whether the last line had a line end."""

    tree: Frontier
    is_ended: bool


async def export(
    log: Log,
    write: Callable[[bytes], object],
    form: Form = Form.JSONL,
    after: int = 0,
    progress: Progress = silent,
) -> int:
    """Write the events after a seq, up to the log's present head, and return their number.

    Raises `LogError` if the log ends before that seq. Only JSONL can be imported: CSV does not
    distinguish a missing request id from an empty one.
    """
    head = log.head
    if after > head:
        raise LogError(f"the log ends at seq {head}; there is no seq {after} yet")
    text_of = _jsonl if form is Form.JSONL else _csv
    if form is Form.CSV:
        write(_rows([CSV_COLUMNS]))
    async with aclosing(log.entries(after, head)) as pages:
        async for page in pages:
            write(text_of(page))
            progress(page[-1].seq - after, head - after)
    return head - after


async def import_lines(
    lines: BinaryIO,
    source: str,
    path: Path,
    progress: Callable[[int], None] = lambda _bytes: None,
) -> Imported:
    """Make a new log at `path` from an export, which messages call `source`.

    `progress` is called with the bytes read. On failure raises `LogError`, which says what is
    wrong, and leaves nothing at `path`.
    """
    with new_log(path) as made:
        log = await SqliteLog.open(made)
        try:
            is_ended = await _fill(log, lines, source, progress)
        finally:
            await log.close()
        merge_wal(made)
    return Imported(log.tree, is_ended)


async def _fill(log: Log, lines: BinaryIO, source: str, progress: Callable[[int], None]) -> bool:
    """Append all lines to an empty log. Return whether the last one had a line end."""
    batch: list[LogEntry] = []
    seq = batch_bytes = read_bytes = 0
    is_ended = True
    while text := _next_line(lines, source):
        seq += 1
        is_ended = text.endswith(b"\n")
        try:
            batch.append(_parsed(text.removesuffix(b"\n"), seq))
        except UndecodableError as error:
            cut = "" if is_ended else " (it has no line end: the file may have been cut)"
            raise LogError(f"{source}, line {seq}: {error}{cut}; nothing was imported") from error
        batch_bytes += len(text)
        if len(batch) == BATCH_EVENTS or batch_bytes >= BATCH_BYTES:
            await log.append(batch, log.head)
            read_bytes += batch_bytes
            progress(read_bytes)
            batch, batch_bytes = [], 0
    if batch:
        await log.append(batch, log.head)
    return is_ended


def _next_line(lines: BinaryIO, source: str) -> bytes:
    try:
        return lines.readline(LINE_LIMIT_BYTES)
    except OSError as error:
        raise LogError(
            f"{source}: can't be read: {error.strerror}; nothing was imported"
        ) from error


def _parsed(line: bytes, seq: int) -> LogEntry:
    """Parse a line, which must be that of event `seq`. Raises `UndecodableError` if it is not."""
    if len(line) == LINE_LIMIT_BYTES:  # the line is longer than that
        raise UndecodableError(f"is longer than {LINE_LIMIT_BYTES} bytes, as no event is")
    entry = serialization.parse_line(line)
    if entry.seq != seq:
        raise UndecodableError(_misplaced(entry.seq, seq))
    serialization.decode(entry)
    try:
        line.decode()
        as_written = msgspec.json.format(line, indent=-1)
    except (UnicodeDecodeError, msgspec.DecodeError) as error:
        raise UndecodableError(f"is no line of a log: {error}") from error
    if as_written != line:  # its leaf hash, and so the root, would differ
        raise UndecodableError("has spaces between its values, which no dispatcher writes")
    return entry


def _misplaced(found: int, expected: int) -> str:
    if expected == 1:
        return (
            f"begins with seq {found}, but a log begins with seq 1; if this was exported with "
            f"--after {found - 1}, put the export of what comes before in front of it"
        )
    if found < expected:
        return f"has seq {found}, which came before; seq {expected} was to follow {expected - 1}"
    return f"has seq {found}, but seq {expected} was to follow {expected - 1}; some are missing"


def _jsonl(page: Sequence[LogEntry]) -> bytes:
    return b"".join(serialization.line(entry) + b"\n" for entry in page)


def _csv(page: Sequence[LogEntry]) -> bytes:
    return _rows(
        [
            (it.seq, it.time, it.type, it.version, it.actor, it.request_id, it.data.decode())
            for it in page
        ]
    )


def _rows(rows: Sequence[Sequence[object]]) -> bytes:
    """Format rows as CSV by RFC 4180."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()
