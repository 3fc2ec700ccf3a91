"""Whether a chunked HTTP answer is whole (RFC 9112, section 7.1).

ffmpeg does not tell one that breaks off from one that ends. Of an answer with a length it does.
"""

from collections.abc import Sequence
from typing import Final, Self

__all__ = ["Chunks"]

_LINE_BYTES: Final = 4_096
_BODILESS: Final = ("204", "304")


class Chunks:
    """The chunks of one answer, of which `feed` is given all that comes."""

    def __init__(self) -> None:
        self.are_whole = False
        self._left = 0
        self._line = b""
        self._is_last = False

    @classmethod
    def of(cls, method: str, status: str, fields: Sequence[tuple[str, str]]) -> Self | None:
        """Return what an answer with this head needs, or `None` if it has no chunks."""
        words = status.split()
        has_body = method != "HEAD" and len(words) > 1 and words[1] not in _BODILESS
        is_chunked = any(n == "transfer-encoding" and "chunked" in v.lower() for n, v in fields)
        return cls() if has_body and is_chunked else None

    def feed(self, data: bytes) -> None:
        """Take in what has come. What is no framing at all is never whole."""
        while data and not self.are_whole:
            if self._left:
                taken = min(self._left, len(data))
                self._left, data = self._left - taken, data[taken:]
                continue
            part, newline, data = data.partition(b"\n")
            self._line = (self._line + part)[:_LINE_BYTES]
            if newline:
                line, self._line = self._line.strip(), b""
                self._read(line)

    def _read(self, line: bytes) -> None:
        if self._is_last:  # trailers, and the empty line after them
            self.are_whole = not line
        elif line:  # the size of a chunk; the line break after its data is an empty line
            try:
                self._left = max(0, int(line.partition(b";")[0], 16))
            except ValueError:
                return
            self._is_last = self._left == 0
