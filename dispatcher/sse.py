"""Server-sent events, as defined in the WHATWG HTML standard (section 9.2).

A block ends with an empty line. A block with `data` is an event. A block with only an `id` is not
an event, but the client remembers the id and resumes from it.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

__all__ = ["MEDIA_TYPE", "Block", "Parser", "event", "opening", "ping"]

MEDIA_TYPE: Final = "text/event-stream"
RETRY_MS: Final = 1_000
"""How long a client waits before it connects again."""


def event(seq: int, line: bytes) -> bytes:
    """Format an event as a block. `line` has no line end."""
    return b"id: %d\ndata: %b\n\n" % (seq, line)


def opening(cursor: int | None) -> bytes:
    """Format the first block. `cursor` is given if the client did not name one itself."""
    return b"retry: %d\n%b\n" % (RETRY_MS, _id_line(cursor))


def ping(cursor: int | None) -> bytes:
    """Format a ping. `cursor` is given if it has moved past events that the filter left out."""
    return b": ping\n%b\n" % _id_line(cursor)


def _id_line(cursor: int | None) -> bytes:
    return b"" if cursor is None else b"id: %d\n" % cursor


class Block(NamedTuple):
    """A block: an id to resume from, an event, or both."""

    id: int | None
    data: bytes | None


class Parser:
    """Parses a stream that arrives in arbitrary pieces."""

    def __init__(self) -> None:
        self._rest = b""
        self._id: int | None = None
        self._data: list[bytes] = []

    def feed(self, piece: bytes) -> Iterator[Block]:
        """Yield the blocks that end in this piece."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            name, _, value = line.removesuffix(b"\r").partition(b":")
            value = value.removeprefix(b" ")
            if not name and not value:
                if self._id is not None or self._data:
                    yield Block(self._id, b"\n".join(self._data) if self._data else None)
                self._id, self._data = None, []
            elif name == b"data":
                self._data.append(value)
            elif name == b"id" and value.isdigit():
                self._id = int(value)
