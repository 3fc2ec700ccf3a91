"""The proxy through which ffmpeg streams a web source: it connects to what the engine permits.

ffmpeg opens more than it is told to: redirects, and what playlists name. So it gets no network but
this proxy on loopback (`http_proxy`, and on Linux Landlock), which looks up each host, judges the
addresses, and connects to those. It serves one source, and ends with it.

Laws:
- Nothing is connected to but an address that `SourceNetworks` permits, for each connection anew.
- What arrives is counted and timed over all connections. The first fault ends the source: it is
  told to `on_fault` once, and nothing is passed on any more.
- A chunked answer that breaks off is such a fault: ffmpeg would take it for whole.
- Of an answer of a known length that breaks off the rest is asked for, if its server can give it.
  In a tunnel (https) nothing can be seen of that: ffmpeg tells.
"""

import asyncio
import logging
import struct
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from socket import SO_LINGER, SOL_SOCKET
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from dispatcher.engine.fetching import ANSWER_S, MB, SILENCE_S, Bounds, Pace, encoding_fault
from dispatcher.engine.framing import Chunks
from dispatcher.engine.listening import listening
from dispatcher.engine.networks import SourceNetworks
from dispatcher.engine.resuming import Resumable
from dispatcher.engine.source_errors import (
    SourceAwayError,
    SourceError,
    SourceTooLargeError,
    SourceTooSlowError,
)

__all__ = ["checking_proxy"]

_CHUNK_BYTES: Final = 1 << 16
_HEAD_BYTES: Final = 1 << 16
_END: Final = b"\r\n\r\n"
# These are for one connection alone, or replaced.
_DROPPED: Final = frozenset(
    {"connection", "keep-alive", "proxy-connection", "proxy-authorization", "accept-encoding"}
)
_RANGED: Final = frozenset({"range", "if-range"})

logger = logging.getLogger(__name__)


class _Asked(NamedTuple):
    """A request of ffmpeg, and whom it goes to."""

    method: str
    host: str
    port: int
    path: str
    headers: Sequence[str]

    def head(self, *, only: str | None = None) -> bytes:
        """Return the head to send, with the range of an answer's rest if that is all to be had."""
        first = f"{self.method} {self.path} HTTP/1.1"
        if only is None:
            return _head(first, self.headers, "Accept-Encoding: identity")
        kept = [line for line in self.headers if _name_of(line) not in _RANGED]
        return _head(first, kept, "Accept-Encoding: identity", only)


@asynccontextmanager
async def checking_proxy(
    networks: SourceNetworks, bounds: Bounds, on_fault: Callable[[SourceError], None]
) -> AsyncIterator[int]:
    """Run a proxy for one source until the block ends; gives its port on 127.0.0.1."""
    proxy = _Proxy(networks, bounds, on_fault)
    async with listening(proxy.serve, head_bytes=_HEAD_BYTES) as port:
        yield port


class _Proxy:
    def __init__(
        self, networks: SourceNetworks, bounds: Bounds, on_fault: Callable[[SourceError], None]
    ) -> None:
        self._networks = networks
        self._bounds = bounds
        self._on_fault = on_fault
        self._received = 0
        self._waited_s = 0.0
        self._faulty = False

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection of ffmpeg."""
        try:
            await self._pass_on(reader, writer)
        except SourceError as error:
            self._fail(error)
            await _answer(writer, "403 Forbidden")
        except (OSError, EOFError, asyncio.LimitOverrunError, ValueError):
            # ffmpeg tells what it makes of a server that is away or breaks off.
            await _answer(writer, "502 Bad Gateway")
        finally:
            await _close(writer)

    def _fail(self, fault: SourceError) -> None:
        if not self._faulty:
            self._faulty = True
            self._on_fault(fault)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await asyncio.wait_for(reader.readuntil(_END), ANSWER_S)
        first, *headers = request[: -len(_END)].decode("latin-1").split("\r\n")
        method, _, target = first.partition(" ")
        target, _, _ = target.rpartition(" ")
        if self._faulty or method not in {"CONNECT", "GET", "HEAD"}:
            await _answer(writer, "403 Forbidden")
            return
        tunnels = method == "CONNECT"
        parts = urlsplit(f"//{target}" if tunnels else target)
        if parts.hostname is None or (not tunnels and parts.scheme.lower() != "http"):
            raise ValueError(target)
        port = parts.port or (443 if tunnels else 80)
        if tunnels:
            there, to_there = await self._connect(parts.hostname, port)
            try:
                writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
                await self._tunnel(reader, writer, there, to_there)
            finally:
                await _close(to_there)
        else:
            path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
            asked = _Asked(method, parts.hostname, port, path, headers)
            if (rest := await self._answer_to(asked, writer)) is not None:
                await self._go_on(asked, writer, rest)

    async def _connect(
        self, host: str, port: int
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        fault: OSError | None = None
        for address in await self._networks.addresses_of(host, port):
            try:
                opening = asyncio.open_connection(address, port, limit=_HEAD_BYTES)
                return await asyncio.wait_for(opening, SILENCE_S)
            except OSError as error:  # TimeoutError is one too
                fault = fault or error
        assert fault is not None  # noqa: S101 - there is an address
        raise fault

    async def _answer_to(self, asked: _Asked, writer: asyncio.StreamWriter) -> Resumable | None:
        """Ask, and pass on what is answered; gives what it has promised, if the rest can be had."""
        there, to_there = await self._connect(asked.host, asked.port)
        try:
            to_there.write(asked.head())
            first, headers, fields = await _head_from(there)
            writer.write(_head(first, headers))
            rest = Resumable.of(asked.method, first, dict(fields))
            await self._pump(there, writer, Chunks.of(asked.method, first, fields), rest)
            return rest
        finally:
            await _close(to_there)

    async def _go_on(self, asked: _Asked, writer: asyncio.StreamWriter, rest: Resumable) -> None:
        """Ask for what is missing of an answer, a few times. Of what then is, ffmpeg tells."""
        while not rest.is_over and not writer.is_closing():
            if (pause_s := rest.pause_s()) is None:
                return
            logger.info("%s broke off; asking for the rest in %g s", asked.host, pause_s)
            await asyncio.sleep(pause_s)
            try:
                await self._rest_of(asked, writer, rest)
            except SourceError as error:
                self._fail(error)
                _break_off(writer)
            except (OSError, EOFError, asyncio.LimitOverrunError):
                pass  # it is asked again

    async def _rest_of(self, asked: _Asked, writer: asyncio.StreamWriter, rest: Resumable) -> None:
        """Ask for the rest of an answer, and pass it on if it is that."""
        there, to_there = await self._connect(asked.host, asked.port)
        try:
            to_there.write(asked.head(only=rest.range))
            first, _, fields = await _head_from(there)
            if rest.goes_on(first, dict(fields)):
                await self._pump(there, writer, None, rest)
        finally:
            await _close(to_there)

    async def _tunnel(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        there: asyncio.StreamReader,
        to_there: asyncio.StreamWriter,
    ) -> None:
        async def ask() -> None:
            while data := await reader.read(_CHUNK_BYTES):
                to_there.write(data)
                await to_there.drain()

        asking = asyncio.create_task(ask())
        try:
            await self._pump(there, writer)
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)

    async def _pump(
        self,
        there: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        chunks: Chunks | None = None,
        rest: Resumable | None = None,
    ) -> None:
        """Pass on what a server sends. Waiting for ffmpeg, which may be slow, is not counted.

        The answer has begun: what goes wrong now breaks it off, so that it can't pass for whole.
        """
        pace = Pace(self._bounds)
        try:
            while True:
                since = time.monotonic()
                try:
                    data = await there.read(_CHUNK_BYTES)
                except ConnectionError:
                    if rest is None:
                        raise
                    data = b""
                waited_s = time.monotonic() - since
                if self._faulty:
                    _break_off(writer)
                    return
                if not data:
                    if chunks is not None and not chunks.are_whole:
                        raise SourceAwayError("the server broke off its answer")
                    return
                if chunks is not None:
                    chunks.feed(data)
                if rest is not None:
                    rest.received(len(data))
                self._count(len(data), waited_s)
                pace.received(len(data), waited_s)
                writer.write(data)
                await writer.drain()
        except SourceError as error:
            self._fail(error)
            _break_off(writer)
        except OSError:
            _break_off(writer)

    def _count(self, size: int, waited_s: float) -> None:
        self._received += size
        if self._received > self._bounds.max_mb * MB:
            raise SourceTooLargeError(
                f"sent more than {self._bounds.max_mb:g} MB (--max-source-mb of this engine)"
            )
        if waited_s < SILENCE_S:
            self._waited_s += waited_s
        if self._waited_s > self._bounds.timeout_s:
            raise SourceTooSlowError(
                f"took more than {self._bounds.timeout_s:g} s (--source-timeout-s)"
            )


async def _head_from(
    there: asyncio.StreamReader,
) -> tuple[str, list[str], list[tuple[str, str]]]:
    """Read the head of an answer: its first line, its other lines, and these as fields."""
    answer = await asyncio.wait_for(there.readuntil(_END), ANSWER_S)
    first, *headers = answer[: -len(_END)].decode("latin-1").split("\r\n")
    fields = [(_name_of(line), line.partition(":")[2].strip()) for line in headers]
    for name, value in fields:
        if name == "content-encoding" and (fault := encoding_fault(value)) is not None:
            raise SourceError(fault)
    return first, headers, fields


def _name_of(line: str) -> str:
    return line.partition(":")[0].strip().lower()


def _head(first: str, headers: Iterable[str], *added: str) -> bytes:
    """Write a head for a connection that ends after one exchange."""
    kept = [line for line in headers if _name_of(line) not in _DROPPED]
    return "\r\n".join([first, *kept, *added, "Connection: close"]).encode("latin-1") + _END


async def _answer(writer: asyncio.StreamWriter, status: str) -> None:
    with suppress(OSError):
        writer.write(
            f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
        )
        await writer.drain()


def _break_off(writer: asyncio.StreamWriter) -> None:
    """Close a connection by a reset instead of an orderly end."""
    socket: Any = writer.get_extra_info("socket")
    socket.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
