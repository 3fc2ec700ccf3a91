"""Where a replicated log is, and how to get in: nodes of NATS, the name of the stream, secrets.

Law: `tls://` means that nothing is sent in the clear, whatever a node says.
"""

import re
import ssl
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, urlsplit

from dispatcher.cluster import ClusterError

__all__ = ["DEFAULT_PORT", "Address"]

DEFAULT_PORT: Final = 4222
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_FORM: Final = "nats://HOST[:PORT],HOST[:PORT],…/NAME"
_FILES: Final = ("ca", "cert", "key", "nkey")


class Address(NamedTuple):
    """The URLs of the nodes, one at least, and the name of the stream and of its subjects.

    A node may have a user and a password, as in `nats://user:secret@host:4222`. `ca` is a file of
    certificates that vouch for the nodes, instead of the system's; `cert` and `key` are this
    dispatcher's own; `nkey` is a file with the seed of its nkey.
    """

    nodes: tuple[str, ...]
    name: str
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    nkey: Path | None = None

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Parse `nats://a,b:4223,c/NAME?nkey=FILE`. Raises `ClusterError` for anything else."""
        whole, _, query = text.partition("?")
        scheme, separator, rest = whole.partition("://")
        hosts, slash, name = rest.partition("/")
        if scheme not in {"nats", "tls"} or not separator or not slash or not hosts:
            raise ClusterError(f"{_without_secrets(text)}: is no address of a log; it is {_FORM}")
        if _NAME.fullmatch(name) is None:
            raise ClusterError(
                f"{_without_secrets(text)}: the name of a stream has 1 to 64 letters, digits, - "
                f"and _; the address is {_FORM}"
            )
        files = _files(query, text)
        if scheme != "tls" and not files.keys() <= {"nkey"}:
            raise ClusterError(
                f"{_without_secrets(text)}: ca, cert and key are for TLS; begin it with tls://"
            )
        return cls(tuple(_node(scheme, host, text) for host in hosts.split(",")), name, **files)

    def tls(self) -> ssl.SSLContext | None:
        """Return what checks the nodes; `None` without TLS. `ClusterError` if a file is no good."""
        if not self.nodes[0].startswith("tls://"):
            return None
        try:
            context = ssl.create_default_context(cafile=self.ca)
            if self.cert is not None:
                context.load_cert_chain(self.cert, self.key)
        except OSError as error:  # SSLError is one
            files = ", ".join(str(it) for it in (self.ca, self.cert, self.key) if it is not None)
            raise ClusterError(f"{self}: {files}: can't be used for TLS: {error}") from error
        return context

    def __str__(self) -> str:
        """Return the address without passwords and files."""
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


def _files(query: str, text: str) -> dict[str, Path]:
    """Return the files that an address names."""
    pairs = parse_qsl(query, keep_blank_values=True)
    files = {name: Path(value) for name, value in pairs if name in _FILES and value}
    if len(files) != len(pairs) or ("key" in files and "cert" not in files):
        raise ClusterError(
            f"{_without_secrets(text)}: after the ? it may name files, each once: "
            "ca=FILE&cert=FILE&key=FILE&nkey=FILE, and no key without a cert"
        )
    return files


def _without_secrets(text: str) -> str:
    return re.sub(r"(?<=[/,])[^/,@]*@", "…@", text)
