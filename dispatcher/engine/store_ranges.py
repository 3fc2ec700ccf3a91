"""Give ffmpeg some of a file of the dispatcher's store, without fetching all of it.

A segment of a film is a few megabytes of a file that may have many gigabytes. ffmpeg asks for them
on loopback, where the web's proxy would be, and what it asks is asked of the dispatcher, with the
engine's key. So ffmpeg never has the key.

Laws:
- Nothing is given but this one file, as the dispatcher names it by its SHA-256.
- What breaks off is asked for again where it ended, while ffmpeg waits.
- The bytes can't be checked by their SHA-256: whoever uses them checks what comes of them.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final, NamedTuple
from urllib.parse import quote, urlsplit

from dispatcher.client import Client, DispatcherAwayError, RequestRefusedError
from dispatcher.engine.fetching import ANSWER_S, MB, Bounds
from dispatcher.engine.listening import listening
from dispatcher.engine.patience import retry_while_away
from dispatcher.store_urls import StoreUrl

__all__ = ["Served", "gives_some", "served_from_store"]

_END: Final = b"\r\n\r\n"
_HEAD_BYTES: Final = 1 << 16
_PAUSE_S: Final = 1.0
_RANGE: Final = re.compile(r"bytes=(\d+)-(\d*)")
_STATUS: Final = {404: "404 Not Found", 416: "416 Range Not Satisfiable"}
_HOST: Final = "store.invalid"
"""A name that no server has (RFC 6761): nobody but this one is ever asked for it."""


class Served(NamedTuple):
    """Where ffmpeg finds a file: a URL, and the port of the proxy that knows it."""

    url: str
    port: int


async def gives_some(client: Client, url: StoreUrl) -> bool:
    """Whether the dispatcher sends parts of a file of its store."""

    async def look() -> bool:
        async with client.some_of(url.sha256, 0, 0):
            return True

    try:
        return await retry_while_away(look)
    except RequestRefusedError:
        return False


@asynccontextmanager
async def served_from_store(client: Client, url: StoreUrl, bounds: Bounds) -> AsyncIterator[Served]:
    """Serve a file of the store to ffmpeg until the block ends."""
    path = f"/{url.sha256}/{quote(url.name, safe='')}"
    serving = _Serving(client, url.sha256, path, round(bounds.max_mb * MB))
    async with listening(serving.serve, head_bytes=_HEAD_BYTES) as port:
        yield Served(f"http://{_HOST}{path}", port)


class _Serving:
    def __init__(self, client: Client, sha256: str, path: str, most_bytes: int) -> None:
        self._client = client
        self._sha256 = sha256
        self._path = path
        self._left_bytes = most_bytes

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection of ffmpeg."""
        try:
            request = await asyncio.wait_for(reader.readuntil(_END), ANSWER_S)
            await self._answer(request.decode("latin-1"), writer)
        except (OSError, EOFError, asyncio.LimitOverrunError):
            writer.transport.abort()  # so that it can't pass for whole
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, request: str, writer: asyncio.StreamWriter) -> None:
        first, *lines = request.split("\r\n")
        if first.split()[:1] != ["GET"] or urlsplit(first.split()[1]).path != self._path:
            await _say(writer, "403 Forbidden")
            return
        fields = {name.strip().lower(): value.strip() for name, _, value in
                  (line.partition(":") for line in lines)}  # fmt: skip
        asked = _RANGE.fullmatch(fields.get("range", ""))
        at, last = (int(asked[1]), asked[2]) if asked else (0, "")
        to, has_begun = int(last) if last else None, False
        while to is None or at <= to:
            try:
                async with self._client.some_of(self._sha256, at, to) as some:
                    to = some.last
                    if not has_begun:
                        writer.write(_head(at, to, some.total, is_part=asked is not None))
                        has_begun = True
                    async for piece in some.pieces:
                        self._left_bytes -= len(piece)
                        if self._left_bytes < 0:
                            raise OSError("more than --max-source-mb")
                        writer.write(piece)
                        at += len(piece)
                        await writer.drain()
            except RequestRefusedError as error:
                if has_begun:
                    raise EOFError from error
                await _say(writer, _STATUS.get(error.status, "502 Bad Gateway"))
                return
            except DispatcherAwayError:
                await asyncio.sleep(_PAUSE_S)
                if writer.is_closing():
                    return


def _head(first: int, last: int, total: int, *, is_part: bool) -> bytes:
    lines = [
        "HTTP/1.1 206 Partial Content" if is_part else "HTTP/1.1 200 OK",
        *([f"Content-Range: bytes {first}-{last}/{total}"] if is_part else []),
        f"Content-Length: {last - first + 1}",
        "Accept-Ranges: bytes",
        "Content-Type: application/octet-stream",
        "Connection: close",
    ]
    return "\r\n".join(lines).encode() + _END


async def _say(writer: asyncio.StreamWriter, status: str) -> None:
    with suppress(OSError):
        writer.write(
            f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
        )
        await writer.drain()
