"""An HTTP transport that connects to the addresses that a lookup gives, and to nothing else.

So what was checked of an address is true of the one that is connected to, at each redirect anew.
"""

from collections.abc import Awaitable, Callable, Sequence

import httpx2

__all__ = ["AddressedTransport", "Lookup"]

Lookup = Callable[[str, int], Awaitable[Sequence[str]]]
"""Gives the addresses of a host and a port that may be connected to; raises `OSError`."""


class AddressedTransport(httpx2.AsyncBaseTransport):
    """Sends each request by a connection of its own to the first address that takes it."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        # A connection is never used again: kept ones are found by address, without the host that
        # their certificate was checked for.
        self._inner = httpx2.AsyncHTTPTransport(limits=httpx2.Limits(max_keepalive_connections=0))

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request to an address of its host."""
        url = request.url
        host = url.raw_host.decode("ascii").strip("[]")
        port = url.port or (443 if url.scheme == "https" else 80)
        fault: httpx2.ConnectError | httpx2.ConnectTimeout | None = None
        for address in await self._lookup(host, port):
            there = httpx2.Request(
                request.method,
                url.copy_with(host=address),
                headers=request.headers,
                stream=request.stream,
                extensions={**request.extensions, "sni_hostname": host},
            )
            try:
                return await self._inner.handle_async_request(there)
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
                fault = fault or error
        raise fault or OSError(f"{host} has no address")

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()
