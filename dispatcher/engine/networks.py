"""Which networks a job's source may be in, and the addresses of a host that are in them.

Laws:
- An address is judged, never a name: a name is looked up once, and the addresses that this gives
  are both the judged ones and those that are connected to.
- An IPv6 address that stands for an IPv4 address is judged as that one.
- A refusal tells the rule, not what the name stands for or what answers there.
"""

import asyncio
import socket
from collections.abc import Sequence
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Final, NamedTuple, Self
from urllib.parse import urlsplit

from dispatcher.engine.source_errors import SourceAwayError, SourceRefusedError
from dispatcher.errors import DispatcherError

__all__ = ["DEFAULT_NETWORKS", "SourceNetworks", "SourceNetworksError", "kind_of"]

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

DEFAULT_NETWORKS: Final = "public,private"
LOOKUP_S: Final = 30
"""How long looking up a name may take."""
_NAMED: Final = ("public", "private", "loopback", "link-local")
_WEB_PORTS: Final = {"http": 80, "https": 443}

_PRIVATE: Final = tuple(
    ip_network(text)
    # The last IPv4 network is the space that providers share, which many overlay networks use.
    for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
)
_GLOBAL_IPV6: Final = ip_network("2000::/3")
# Where clouds keep a machine's credentials, outside link-local: of AWS and Google by IPv6, of
# Alibaba, Oracle and Azure.
_METADATA: Final = frozenset(
    ip_address(text)
    for text in (
        *("fd00:ec2::254", "fd20:ce::254"),
        *("100.100.100.200", "192.0.0.192", "168.63.129.16"),
    )
)
# The last 32 bits of these are an IPv4 address: NAT64 (RFC 6052), and the forms of RFC 4291.
_IPV4_AT_THE_END: Final = tuple(
    ip_network(text) for text in ("64:ff9b::/96", "::/96", "::ffff:0:0:0/96")
)


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
            if part in _NAMED:
                names.add(part)
                continue
            try:
                networks.append(ip_network(part))
            except ValueError as error:
                raise SourceNetworksError(
                    f"--source-networks: {part!r} is none of {', '.join(_NAMED)}, and no network "
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
        meant = _meant_by(address)
        if any(meant in network for network in self.networks if _is_for(network, meant)):
            return True
        return kind_of(address) in self.names

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


def kind_of(address: Address) -> str:
    """Name the kind of an address: one of those that can be permitted by name, or another."""
    meant = _meant_by(address)
    if meant in _METADATA:
        return "metadata"
    if meant.is_loopback:
        return "loopback"
    if meant.is_link_local:
        return "link-local"
    if any(meant in network for network in _PRIVATE if _is_for(network, meant)):
        return "private"
    if meant.is_multicast:
        return "multicast"
    if meant.version == _GLOBAL_IPV6.version and meant not in _GLOBAL_IPV6:
        return "reserved"  # `is_global` also holds for what nobody has been given yet
    return "public" if meant.is_global and not meant.is_reserved else "reserved"


def _is_for(network: Network, address: Address) -> bool:
    """Whether a network holds an address on purpose: one of metadata must be listed alone."""
    if network.version != address.version:
        return False
    return network.num_addresses == 1 or address not in _METADATA


def _meant_by(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 address stands for, or the address without its zone."""
    if isinstance(address, IPv4Address):
        return address
    plain = IPv6Address(int(address))
    if plain.is_loopback or plain.is_unspecified:
        return plain
    if any(plain in network for network in _IPV4_AT_THE_END) or plain.ipv4_mapped is not None:
        return IPv4Address(int(plain) & 0xFFFFFFFF)
    if plain.sixtofour is not None:
        return plain.sixtofour
    if plain.teredo is not None:
        return plain.teredo[1]
    return plain


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
