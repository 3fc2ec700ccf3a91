"""The headers that say which bytes of a file are meant: `Range` and `Content-Range` (RFC 9110, 14).

Laws:
- A `Range` that is not understood is as if it were not there. Of several ranges none is served
  alone: the answer is the whole file, as RFC 9110 permits.
- A `Content-Range` of a request that is not understood is refused. To store its bytes in another
  place would be worse than not to store them.
"""

import re
from typing import Final, NamedTuple

from dispatcher.api.errors import HttpError

__all__ = ["Span", "Taken", "span_of", "taken_of"]

_RANGE: Final = re.compile(r"bytes=(\d{0,19})-(\d{0,19})", re.IGNORECASE)
_CONTENT_RANGE: Final = re.compile(
    r"bytes (?:(?P<first>\d{1,19})-(?P<last>\d{1,19})|\*)/(?P<total>\d{1,19})", re.IGNORECASE
)


class Span(NamedTuple):
    """The bytes of a file from `first` to before `end`, and whether that is an answer in part."""

    first: int
    end: int
    is_part: bool


class Taken(NamedTuple):
    """Where the bytes of a request belong: at `at`, in a file of `total`.

    Without `at` they are all of it.
    """

    at: int | None
    length: int
    total: int


def span_of(size: int, etag: str, headers: dict[bytes, bytes]) -> Span | None:
    """Return which bytes of a file of this size are asked for; `None` if it has none of them."""
    whole = Span(0, size, is_part=False)
    condition = headers.get(b"if-range", b"").decode("latin-1").strip()
    asked = _RANGE.fullmatch(headers.get(b"range", b"").decode("latin-1").strip())
    if asked is None or (condition and condition != etag):
        return whole
    first, last = asked.groups()
    if first:
        end = min(int(last) + 1, size) if last else size
        if last and int(last) < int(first):
            return whole
        return Span(int(first), end, is_part=True) if int(first) < size else None
    if not last:
        return whole
    return Span(max(0, size - int(last)), size, is_part=True) if int(last) and size else None


def taken_of(headers: dict[bytes, bytes]) -> Taken:
    """Return where the bytes of a request belong. Raises `HttpError`."""
    if b"transfer-encoding" in headers:
        raise HttpError(
            411, "Length Required: a file is sent with a Content-Length, or in parts that have one."
        )
    declared = headers.get(b"content-length", b"0")
    length = int(declared) if declared.isdigit() else 0
    said = headers.get(b"content-range")
    if said is None:
        return Taken(None, length, length)
    match = _CONTENT_RANGE.fullmatch(said.decode("latin-1").strip())
    if match is None:
        raise HttpError(
            400,
            "Bad Request: 'Content-Range' must be 'bytes FIRST-LAST/TOTAL', or 'bytes */TOTAL' "
            "without a body once all has been sent.",
        )
    total = int(match["total"])
    if match["first"] is None:
        if length:
            raise HttpError(400, "Bad Request: with 'Content-Range: bytes */TOTAL' goes no body.")
        return Taken(total, 0, total)
    first, end = int(match["first"]), int(match["last"]) + 1
    if not first < end <= total:
        raise HttpError(400, "Bad Request: 'Content-Range' must be FIRST <= LAST < TOTAL.")
    if length != end - first:
        raise HttpError(
            400,
            f"Bad Request: 'Content-Range' says {end - first:,} bytes, the body has {length:,}.",
        )
    return Taken(first, length, total)
