"""Look at a web source before it is streamed: whether ffmpeg can read it from its server.

What a server can't do for ffmpeg is no fault of the source, which then is fetched as a whole.

Laws:
- Looking fails nothing: what is wrong is told by whoever reads the source.
- Only the beginning is asked for, within seconds, from addresses that `SourceNetworks` permits.
"""

import asyncio
import re
from contextlib import suppress
from typing import Final, NamedTuple

import httpx2

from dispatcher.engine.fetching import answer_to
from dispatcher.engine.networks import SourceNetworks
from dispatcher.engine.source_errors import SourceError

__all__ = ["Look", "is_playlist", "look_at"]

_BEGIN_BYTES: Final = 4_096
_BEGIN_S: Final = 2
_PART: Final = 206
_PLAYLISTS: Final = frozenset(
    {
        "application/vnd.apple.mpegurl",
        "application/x-mpegurl",
        "application/mpegurl",
        "audio/mpegurl",
        "audio/x-mpegurl",
        "application/dash+xml",
        "video/vnd.mpeg.dash.mpd",
    }
)
_TOTAL: Final = re.compile(r"bytes \d+-\d+/\d+")
_BOX: Final = 8
_LARGE_BOX: Final = 16


def is_playlist(media_type: str) -> bool:
    """Whether a `Content-Type` is that of a playlist (RFC 8216, ISO/IEC 23009-1)."""
    return media_type.partition(";")[0].strip().lower() in _PLAYLISTS


class Look(NamedTuple):
    """What a server has told of a source: its type, how it can be asked, and the beginning."""

    media_type: str
    is_secret: bool
    has_length: bool
    has_parts: bool
    begin: bytes

    @property
    def must_be_fetched(self) -> str | None:
        """Why ffmpeg could not stream it; `None` if it can."""
        if self.is_secret and not self.has_length:
            return "its server does not tell its length, and in a tunnel no end can be seen"
        if not self.has_parts and is_index_last(self.begin):
            return "its index is at its end, and its server gives out no parts"
        return None


async def look_at(url: str, networks: SourceNetworks) -> Look | None:
    """Ask for the beginning of a source; `None` if there is no good answer."""
    wanted = {"Range": f"bytes=0-{_BEGIN_BYTES - 1}", "Connection": "close"}
    try:
        async with answer_to(url, networks, wanted) as response:
            if not response.is_success:
                return None
            begin = b""
            with suppress(TimeoutError):
                async with asyncio.timeout(_BEGIN_S):
                    async for piece in response.aiter_raw():
                        begin += piece
                        if len(begin) >= _BEGIN_BYTES:
                            break
            fields = response.headers
            has_parts = response.status_code == _PART
            has_length = (
                _TOTAL.fullmatch(fields.get("Content-Range", "")) is not None
                if has_parts
                else "Content-Length" in fields
            )
            return Look(
                fields.get("Content-Type", ""),
                response.url.scheme == "https",
                has_length,
                has_parts,
                begin[:_BEGIN_BYTES],
            )
    except (SourceError, TimeoutError, OSError, httpx2.HTTPError, httpx2.InvalidURL):
        return None


def is_index_last(begin: bytes) -> bool:
    """Whether an mp4 or QuickTime file begins with its data: its index (`moov`) is behind them."""
    at = 0
    while len(box := begin[at : at + _LARGE_BOX]) >= _BOX:
        size, kind = int.from_bytes(box[:4], "big"), box[4:_BOX]
        if kind == b"mdat":
            return True
        if size == 1:
            size = int.from_bytes(box[_BOX:], "big")
        if size < _BOX or kind not in _BOXES_BEFORE:
            return False
        at += size
    return False


_BOXES_BEFORE: Final = frozenset({b"ftyp", b"free", b"skip", b"wide", b"uuid", b"pnot", b"styp"})
