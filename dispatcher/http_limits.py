"""What a stranger may use of the server before any key is looked at, and what was refused.

`HttpLimits` has the numbers, `Entrance` counts; `dispatcher/http_protocol.py` asks them.

Laws:
- Time is counted in sweeps, one a second, not read from a clock. If the server stands still, what
  was sent to it meanwhile has not come too late.
- Refusals cost a number each. They are logged together, in at most one line a minute, so that
  whoever is refused can't fill the disk with the log.
"""

import ipaddress
import logging
from collections import Counter
from collections.abc import Iterable
from enum import StrEnum
from typing import Final, NamedTuple, Protocol

__all__ = ["BODY_IS_TIMED", "DEFAULT_HTTP_LIMITS", "Entrance", "HttpLimits", "Refusal"]

logger = logging.getLogger(__name__)

BODY_IS_TIMED: Final = "body_is_timed"
"""True in the state of a request whose handler itself bounds the time until its body is there."""
SAY_EVERY: Final = 60
"""Sweeps between two lines in the log."""
IPV6_PREFIX: Final = 64
"""Whoever has one IPv6 address has all that begin with the same 64 bits."""


class HttpLimits(NamedTuple):
    """How much, and for how long."""

    head_bytes: int = 64 << 10
    """The most bytes of a request's head, its trailers, a chunk's extensions, and blank lines."""
    headers: int = 100
    """The most headers of a request."""
    receive_s: float = 10
    """How long a connection may take to send a whole request, its body included."""
    unread_s: float = 60
    """How long a client may read nothing of an answer that is ready for it."""
    connections: int = 10_000
    """The most connections at the same time."""
    connections_per_address: int = 0
    """The most of them from one address; 0 for no limit."""


DEFAULT_HTTP_LIMITS: Final = HttpLimits()


class Refusal(StrEnum):
    """Why a connection was ended, as the log counts it."""

    CONNECTIONS = "connections over the limit"
    ADDRESS = "connections over the limit for one address"
    TOO_LARGE = "heads, trailers or chunk extensions too large"
    TOO_MANY = "requests with too many headers"
    INVALID = "requests that are not HTTP"
    NO_TLS = "handshakes that are not TLS, or were broken off"
    SLOW = "requests that took too long to arrive"
    SILENT = "silent connections"
    UNREAD = "answers that were not read"


class Connection(Protocol):
    """A connection that may be late."""

    def end_if_late(self) -> None:
        """End it, if its client has used up its time."""


class Entrance:
    """Whom the server lets in. `now` is the time in seconds, as the sweeps count it."""

    def __init__(self, limits: HttpLimits = DEFAULT_HTTP_LIMITS) -> None:
        self.limits = limits
        self.now = 0
        self._refused: Counter[Refusal] = Counter()
        self._by_address: Counter[str] = Counter()

    def admit(self, address: str, connections: int) -> bool:
        """Decide whether one more connection is let in, beside so many that are open.

        For each that was let in `leave` must be called with the same address.
        """
        if connections >= self.limits.connections:
            self.refuse(Refusal.CONNECTIONS)
            return False
        if self.limits.connections_per_address:
            origin = _origin(address)
            if self._by_address[origin] >= self.limits.connections_per_address:
                self.refuse(Refusal.ADDRESS)
                return False
            self._by_address[origin] += 1
        return True

    def leave(self, address: str) -> None:
        """Take note that a connection has ended."""
        if self.limits.connections_per_address:
            origin = _origin(address)
            self._by_address[origin] -= 1
            if not self._by_address[origin]:
                del self._by_address[origin]

    def refuse(self, refusal: Refusal) -> None:
        """Count a refusal, for the log."""
        self._refused[refusal] += 1

    def sweep(self, connections: Iterable[Connection]) -> None:
        """Let a second pass: end the connections that are late, and log once a minute."""
        self.now += 1
        for connection in list(connections):
            connection.end_if_late()
        if self.now % SAY_EVERY == 0:
            self.log_refusals()

    def log_refusals(self) -> None:
        """Log what was refused since the last time, if anything was."""
        if self._refused:
            told = ", ".join(f"{count:,} {kind}" for kind, count in sorted(self._refused.items()))
            logger.warning("Refused within the last minute: %s", told)
            self._refused.clear()


def _origin(address: str) -> str:
    """Reduce an address to what belongs to one client."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv4Address):
        return address
    if ip.ipv4_mapped is not None:
        return str(ip.ipv4_mapped)
    return str(ipaddress.ip_network((ip.packed, IPV6_PREFIX), strict=False))
