"""Where a replicated log is: the nodes of NATS, and the name of the stream."""

import re
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from dispatcher.cluster import ClusterError

__all__ = ["DEFAULT_PORT", "Address"]

DEFAULT_PORT: Final = 4222
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_FORM: Final = "nats://HOST[:PORT],HOST[:PORT],…/NAME"


class Address(NamedTuple):
    """The URLs of the nodes, one at least, and the name of the stream and of its subjects.

    A node may have a user and a password, as in `nats://user:secret@host:4222`.
    """

    nodes: tuple[str, ...]
    name: str

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Parse `nats://a,b:4223,c/NAME`. Raises `ClusterError` for anything else."""
        scheme, separator, rest = text.partition("://")
        hosts, slash, name = rest.partition("/")
        if scheme not in {"nats", "tls"} or not separator or not slash or not hosts:
            raise ClusterError(f"{_without_secrets(text)}: is no address of a log; it is {_FORM}")
        if _NAME.fullmatch(name) is None:
            raise ClusterError(
                f"{_without_secrets(text)}: the name of a stream has 1 to 64 letters, digits, - "
                f"and _; the address is {_FORM}"
            )
        return cls(tuple(_node(scheme, host, text) for host in hosts.split(",")), name)

    def __str__(self) -> str:
        """Return the address without passwords."""
        hosts = ",".join(node.partition("://")[2].rpartition("@")[2] for node in self.nodes)
        return f"{self.nodes[0].partition('://')[0]}://{hosts}/{self.name}"


def _node(scheme: str, host: str, text: str) -> str:
    try:
        parts = urlsplit(f"{scheme}://{host}")
        port = parts.port or DEFAULT_PORT
    except ValueError:
        parts, port = None, 0
    if parts is None or not parts.hostname or parts.path or parts.query or parts.fragment:
        raise ClusterError(
            f"{_without_secrets(text)}: has a node that is no HOST or HOST:PORT; it is {_FORM}"
        )
    user, at, place = host.rpartition("@")
    return f"{scheme}://{user}{at}{place if parts.port else f'{place}:{port}'}"


def _without_secrets(text: str) -> str:
    return re.sub(r"(?<=[/,])[^/,@]*@", "…@", text)
