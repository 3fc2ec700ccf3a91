"""What kind of network an address is in: public, private, loopback and others.

Laws:
- An IPv6 address that stands for an IPv4 address is judged as that one.
- Where a cloud keeps a machine's credentials is no public address, wherever it is.
"""

from collections.abc import Container, Iterable
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Final

__all__ = ["KINDS", "Address", "Network", "kind_of", "permits"]

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

KINDS: Final = ("public", "private", "loopback", "link-local")
"""The kinds that can be permitted by name. No other can."""

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


def permits(address: Address, kinds: Container[str], networks: Iterable[Network]) -> bool:
    """Whether an address is of one of these kinds, or in one of these networks."""
    meant = _meant_by(address)
    if any(meant in network for network in networks if _is_for(network, meant)):
        return True
    return kind_of(address) in kinds


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
