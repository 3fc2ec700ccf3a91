"""Which networks a job's source may be in, and the addresses of a host that are in them.

Laws:
- An address is judged, never a name: a name is looked up once, and the addresses that this gives
  are both the judged ones and those that are connected to.
- A refusal tells the rule, not what the name stands for or what answers there.
"""

import asyncio
import socket
from collections.abc import Sequence
from ipaddress import ip_address, ip_network
from typing import Final, NamedTuple, Self
from urllib.parse import urlsplit

from dispatcher.engine.source_errors import SourceAwayError, SourceRefusedError
from dispatcher.errors import DispatcherError
from dispatcher.networks import KINDS, Address, Network, kind_of, permits

__all__ = ["DEFAULT_NETWORKS", "SourceNetworks", "SourceNetworksError", "kind_of"]

DEFAULT_NETWORKS: Final = "public,private"
LOOKUP_S: Final = 30
"""How long looking up a name may take."""
_WEB_PORTS: Final = {"http": 80, "https": 443}


class SourceNetworksError(DispatcherError):
    """A list of networks can't be read; the text says why."""


class SourceNetworks(NamedTuple):
    """The networks that sources may be in, and the dispatchers, which they may always be on."""

    names: frozenset[str]
    networks: tuple[Network, ...] = ()
    dispatchers: tuple[tuple[str, int], ...] = ()

    @classmethod
    def parse(cls, text: str, *dispatcher_urls: str) -> Self:
        """Read a list such as `public,private,10.1.0.0/16`."""
        names: set[str] = set()
        networks: list[Network] = []
        for part in filter(None, (part.strip().lower() for part in text.split(","))):
            if part in KINDS:
                names.add(part)
                continue
            try:
                networks.append(ip_network(part))
            except ValueError as error:
                raise SourceNetworksError(
                    f"--source-networks: {part!r} is none of {', '.join(KINDS)}, and no network "
                    f"such as 10.1.0.0/16: {error}"
                ) from error
        found = (_host_and_port(url) for url in dispatcher_urls)
        return cls(frozenset(names), tuple(networks), tuple(it for it in found if it is not None))

    def with_server(self, url: str) -> Self:
        """Return these networks and the server of a URL, as if it were a dispatcher's."""
        found = _host_and_port(url)
        return self if found is None else self._replace(dispatchers=(*self.dispatchers, found))

    def permits(self, address: Address) -> bool:
        """Whether a source may be at this address. No dispatcher is looked at here."""
        return permits(address, self.names, self.networks)

    async def addresses_of(self, host: str, port: int) -> Sequence[str]:
        """Look up a host and return those of its addresses that sources may be at.

        Raises `SourceRefusedError` if there is none, and `SourceAwayError` if it has no address.
        """
        found = await _look_up(host, port)
        permitted = [text for text in found if self.permits(ip_address(text))]
        if not permitted:
            permitted = await self._at_a_dispatcher(found, port)
        if not permitted:
            kinds = sorted({kind_of(ip_address(text)) for text in found})
            raise SourceRefusedError(
                f"{host} is a {' and '.join(kinds)} address, and this engine fetches nothing from "
                "there; its operator can permit it with --source-networks"
            )
        return permitted

    async def _at_a_dispatcher(self, found: Sequence[str], port: int) -> list[str]:
        """Return those addresses that a dispatcher with this port is at."""
        at, away = set[str](), None
        for host, its_port in self.dispatchers:
            if its_port == port:
                try:
                    at.update(await _look_up(host, port))
                except SourceAwayError as error:
                    away = error
        permitted = [text for text in found if text in at]
        if not permitted and away is not None:
            raise away  # it may be at this one
        return permitted


def _host_and_port(url: str) -> tuple[str, int] | None:
    try:
        parts = urlsplit(url)
        port = parts.port or _WEB_PORTS.get(parts.scheme.lower())
    except ValueError:
        return None  # the client says what is wrong with it
    return (parts.hostname, port) if parts.hostname and port else None


async def _look_up(host: str, port: int) -> list[str]:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(LOOKUP_S):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except TimeoutError as error:
        raise SourceAwayError(f"{host}: looking up its address took too long") from error
    except (OSError, UnicodeError) as error:
        raise SourceAwayError(f"{host}: has no address: {error}") from error
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))
