"""Fetch a web source into a file, within the bounds of this engine.

Laws:
- Nothing is connected to but an address that `SourceNetworks` permits, at each redirect anew.
- What arrives is stored as it is, counted and timed: no content encoding, no proxy, no `.netrc`.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import httpx2
import msgspec

from dispatcher.addressed import AddressedTransport
from dispatcher.engine.networks import SourceNetworks
from dispatcher.engine.source_errors import (
    SourceAwayError,
    SourceError,
    SourceTooLargeError,
    SourceTooSlowError,
)
from dispatcher.urls import masked

__all__ = [
    "ANSWER_S",
    "MB",
    "SILENCE_S",
    "Bounds",
    "Pace",
    "answer_to",
    "encoding_fault",
    "fetch",
]

SILENCE_S: Final = 30
"""How long a server may send nothing."""
ANSWER_S: Final = 60
"""How long a server may take from the connection to the end of its answer's head."""
MAX_REDIRECTS: Final = 20
_LATER: Final = frozenset({408, 425, 429})
"""Request Timeout, Too Early, Too Many Requests: ask again later."""
_PASSING: Final = (httpx2.NetworkError, httpx2.TimeoutException, httpx2.RemoteProtocolError)
"""The errors that may be gone the next time; a connection that broke off is one."""
_WHOLE: Final = frozenset({200, 203})
"""OK, and the same from a proxy. A part (206) was not asked for."""
MB: Final = 1_000_000


class Bounds(msgspec.Struct, frozen=True):
    """What a source may cost.

    `max_mb` is the most that is received, `timeout_s` how long receiving may take altogether, and
    `min_bytes_per_s` the average that must arrive in each `window_s` of waiting for the server.
    """

    max_mb: float = 200_000
    timeout_s: float = 172_800
    min_bytes_per_s: float = 16_384
    window_s: float = 60


class Pace:
    """The average rate of one connection, over windows of waiting for its server."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._bytes = 0
        self._waited_s = 0.0

    def received(self, size: int, waited_s: float) -> None:
        """Count what arrived after a wait. Raises `SourceTooSlowError` at a slow window's end.

        A connection that was quite silent was not asked for anything, or will be given up for its
        silence: a new window begins.
        """
        if waited_s >= SILENCE_S:
            self._bytes, self._waited_s = 0, 0.0
            return
        self._bytes += size
        self._waited_s += waited_s
        if self._waited_s >= self._bounds.window_s:
            if self._bytes < self._bounds.min_bytes_per_s * self._waited_s:
                raise SourceTooSlowError(
                    f"the server sends too slowly: {self._bytes} bytes in {self._waited_s:.0f} s, "
                    f"and at least {self._bounds.min_bytes_per_s:.0f} a second are needed"
                )
            self._bytes, self._waited_s = 0, 0.0


def encoding_fault(encoding: str | None) -> str | None:
    """Return why a `Content-Encoding` is refused, or `None` if it is the identity."""
    if (encoding or "").strip().lower() in {"", "identity"}:
        return None
    return f"the server answered with Content-Encoding {encoding!r}, though asked for none"


async def fetch(url: str, path: Path, networks: SourceNetworks, bounds: Bounds) -> str:
    """Fetch a URL into a new file; gives the media type that the server tells, or "".

    Raises `SourceError` if that fails or exceeds the bounds.
    """
    try:
        async with asyncio.timeout(bounds.timeout_s), answer_to(url, networks) as response:
            await _store(response, path, bounds)
            return str(response.headers.get("Content-Type", ""))
    except SourceError as error:
        raise type(error)(f"{masked(url)}: {error}") from error
    except TimeoutError as error:
        raise SourceTooSlowError(
            f"{masked(url)}: did not arrive within {bounds.timeout_s:g} s (--source-timeout-s)"
        ) from error
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        fault_class = SourceAwayError if isinstance(error, _PASSING) else SourceError
        why = masked(str(error), [url]) or type(error).__name__
        raise fault_class(f"{masked(url)}: {why}") from error
    except OSError as error:
        raise OSError(f"{masked(url)}: can't be stored while it is fetched: {error}") from error


@asynccontextmanager
async def answer_to(
    url: str, networks: SourceNetworks, headers: Mapping[str, str] | None = None
) -> AsyncIterator[httpx2.Response]:
    """Ask, and follow redirects without reading their bodies, which may be of any size."""
    transport = _CheckedTransport(networks.addresses_of)
    async with httpx2.AsyncClient(transport=transport, trust_env=False, timeout=SILENCE_S) as http:
        request = http.build_request(
            "GET", url, headers={"Accept-Encoding": "identity", **(headers or {})}
        )
        for _ in range(MAX_REDIRECTS + 1):
            try:
                async with asyncio.timeout(ANSWER_S):
                    response = await http.send(request, stream=True, follow_redirects=False)
            except TimeoutError as error:
                raise SourceTooSlowError(
                    f"the server gave no answer within {ANSWER_S} s"
                ) from error
            try:
                if response.next_request is None:
                    yield response
                    return
                request = response.next_request
            finally:
                await response.aclose()
        raise SourceError(f"more than {MAX_REDIRECTS} redirects")


async def _store(response: httpx2.Response, path: Path, bounds: Bounds) -> None:
    if not response.is_success:
        is_away = response.is_server_error or response.status_code in _LATER
        fault_class = SourceAwayError if is_away else SourceError
        raise fault_class(f"the server answered {response.status_code}")
    if response.status_code not in _WHOLE:
        raise SourceError(f"the server answered {response.status_code}, not with the whole source")
    if (fault := encoding_fault(response.headers.get("Content-Encoding"))) is not None:
        raise SourceError(fault)
    too_large = SourceTooLargeError(
        f"has more than {bounds.max_mb:g} MB (--max-source-mb of this engine)"
    )
    declared = response.headers.get("Content-Length", "")
    if declared.isdecimal() and int(declared) > bounds.max_mb * MB:
        raise too_large
    pace, received, since = Pace(bounds), 0, time.monotonic()
    with path.open("wb") as file:
        async for piece in response.aiter_raw():
            received += len(piece)
            if received > bounds.max_mb * MB:
                raise too_large
            pace.received(len(piece), time.monotonic() - since)
            file.write(piece)
            since = time.monotonic()


class _CheckedTransport(AddressedTransport):
    """Connects to the addresses that the networks permit, of web servers only."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request to a permitted address of its host."""
        if request.url.scheme not in {"http", "https"} or not request.url.host:
            raise SourceError(
                f"redirects to {request.url.scheme}://, and only web servers are asked"
            )
        return await super().handle_async_request(request)
