"""Where a client may have the dispatcher call back: only where the operator permits it.

    --callback-allow hooks.example.com,*.media.example.com,10.1.0.0/16

Laws:
- A host is permitted by its name, or if it is an address, by its network. `public` permits every
  name.
- Whatever its name, only public addresses are connected to, and those in networks that are listed.
"""

import asyncio
import socket
from collections.abc import Sequence
from ipaddress import ip_address, ip_network
from typing import Final, NamedTuple, Self
from urllib.parse import urlsplit

from dispatcher.errors import DispatcherError
from dispatcher.networks import KINDS, Network, kind_of, permits
from dispatcher.urls import masked

__all__ = ["Callbacks", "CallbacksError"]

LOOKUP_S: Final = 10.0
_MOST_SHOWN: Final = 64


class CallbacksError(DispatcherError):
    """What `--callback-allow` says can't be read; the text says why."""


class Callbacks(NamedTuple):
    """The hosts that may be called back, by names, kinds and networks. Make it with `parse`."""

    listed: str
    names: frozenset[str]
    kinds: frozenset[str]
    networks: tuple[Network, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a list of names, `*.` with a name, kinds of networks, and networks.

        Raises `CallbacksError`.
        """
        names, kinds, networks = set[str](), set[str](), list[Network]()
        for part in filter(None, (part.strip().lower() for part in text.split(","))):
            if part in KINDS:
                kinds.add(part)
            elif "/" in part or part.replace(".", "").isdecimal() or ":" in part:
                try:
                    networks.append(ip_network(part.strip("[]")))
                except ValueError as error:
                    raise CallbacksError(
                        f"--callback-allow: {part!r} is neither a host nor a network: {error}"
                    ) from error
            elif "*" in part.removeprefix("*."):
                raise CallbacksError(
                    f"--callback-allow: {part!r}: a star stands for the first parts of a name, "
                    "as in *.example.com"
                )
            else:
                names.add(part)
        return cls(text, frozenset(names), frozenset(kinds), tuple(networks))

    def fault(self, url: str) -> str | None:
        """Return why a URL may not be called back, or `None` if it may."""
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port
        except ValueError:
            host, parts = None, urlsplit("")
        if parts.scheme not in {"http", "https"} or not host:
            return "must be a URL with http:// or https:// and a host"
        if parts.username is not None or parts.password is not None:
            return "must have no name and no password: the message is signed instead"
        if self._permits_host(host.lower().rstrip(".")):
            return None
        return (
            f"may not be at {masked(host)[:_MOST_SHOWN]!r}: the operator of this dispatcher "
            f"permits {self.listed} (--callback-allow)"
        )

    def _permits_host(self, host: str) -> bool:
        try:
            address = ip_address(host)
        except ValueError:
            ends = (f"*.{host.split('.', n)[n]}" for n in range(1, host.count(".") + 1))
            is_named = host in self.names or any(end in self.names for end in ends)
            return is_named or "public" in self.kinds
        return permits(address, self.kinds, self.networks)

    async def addresses_of(self, host: str, port: int) -> Sequence[str]:
        """Look up a host and return those of its addresses that may be connected to.

        Raises `OSError` if there is none.
        """
        found = await addresses_of(host, port)
        kinds = {"public", *self.kinds}
        permitted = [it for it in found if permits(ip_address(it), kinds, self.networks)]
        if not permitted:
            is_at = " and ".join(sorted({kind_of(ip_address(it)) for it in found}))
            raise OSError(
                f"{host} is a {is_at} address, which is connected to only if --callback-allow "
                "lists its network"
            )
        return permitted


async def addresses_of(host: str, port: int) -> list[str]:
    """Look up a host. Raises `OSError` if it has no address."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(LOOKUP_S):
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except TimeoutError as error:
        raise OSError(f"{host}: looking up its address took too long") from error
    except UnicodeError as error:
        raise OSError(f"{host}: is no name of a host: {error}") from error
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))
