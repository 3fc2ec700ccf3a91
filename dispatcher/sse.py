"""Server-sent events, as the HTML standard of the WHATWG has them (section 9.2).

A block ends with an empty line. One with `data` is an event. One with an `id` alone is none, but a
client remembers that id all the same, and resumes from it.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

__all__ = ["MEDIA_TYPE", "Block", "Parser", "event", "opening", "ping"]

MEDIA_TYPE: Final = "text/event-stream"
RETRY_MS: Final = 1_000
"""How long a client waits before it connects again."""


def event(seq: int, line: bytes) -> bytes:
    """Make the block of an event; a line of a log has no line end in it."""
    return b"id: %d\ndata: %b\n\n" % (seq, line)


def opening(cursor: int | None) -> bytes:
    """Make the first block; `cursor` is for a client that has named none itself."""
    return b"retry: %d\n%b\n" % (RETRY_MS, _told(cursor))


def ping(cursor: int | None) -> bytes:
    """Make a sign of life; `cursor` if it has moved on past events that were not asked for."""
    return b": ping\n%b\n" % _told(cursor)


def _told(cursor: int | None) -> bytes:
    return b"" if cursor is None else b"id: %d\n" % cursor


class Block(NamedTuple):
    """What a client is told at once: where it stands, an event, or both."""

    id: int | None
    data: bytes | None


class Parser:
    """Takes a stream in pieces, however it was cut, and gives the blocks that are whole."""

    def __init__(self) -> None:
        self._rest = b""
        self._id: int | None = None
        self._data: list[bytes] = []

    def feed(self, piece: bytes) -> Iterator[Block]:
        """Give the blocks that end in this piece."""
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
