"""TLS of the server: its certificate, which may be renewed while it serves, and the handshakes.

Laws:
- A certificate or key that can't be used changes nothing that is in force.
- A connection keeps the certificate of its handshake. The next one gets what is in force then.
- A connection counts from the moment when it is accepted. One whose handshake is not over within
  `receive_s` is closed, like one that does not send its request.
- What is no handshake costs a number in the log, as what is no HTTP does, and no line of its own.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Sized
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from cryptography import x509

from dispatcher.errors import DispatcherError
from dispatcher.http_limits import Entrance, Refusal
from dispatcher.http_protocol import LimitedProtocol

__all__ = ["Certificate", "CertificateError", "Handshakes"]

logger = logging.getLogger(__name__)

SHUTDOWN_S: Final = 5
"""How long a client may take to agree that the connection ends."""
PAUSE_S: Final = 1
"""How long nobody is let in when the system has no more files or memory for connections."""


class CertificateError(DispatcherError):
    """A certificate or its key can't be used."""


class _Stamp(NamedTuple):
    """What changes when a file is replaced or written to."""

    inode: int
    size: int
    mtime_ns: int


class Certificate:
    """A certificate with its key, from files in PEM, of which `context` is made.

    `path` has the certificate, and after it those of the authorities between it and a known one.
    `key` has its private key, without a password. `CertificateError` says why they can't be used.
    """

    context: ssl.SSLContext

    def __init__(self, path: Path, key: Path) -> None:
        self.path = path
        self.key = key
        self._stamps: list[_Stamp | None] = []
        self.reload()

    def reload(self) -> None:
        """Read both files again. `CertificateError` if they can't be used; then nothing changes."""
        self._stamps = self._stamped()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.set_alpn_protocols(["http/1.1"])
        for path in (self.path, self.key):
            try:
                path.read_bytes()
            except OSError as error:
                raise CertificateError(f"{path}: can't be read: {error.strerror}") from error
        try:
            context.load_cert_chain(self.path, self.key, _no_password)
            first = x509.load_pem_x509_certificates(self.path.read_bytes())[0]
        except (ssl.SSLError, ValueError, OSError) as error:
            raise CertificateError(
                f"{self.path} and {self.key} are no certificate with its key, in PEM and without a "
                f"password: {getattr(error, 'reason', None) or error}"
            ) from error
        self.context = context
        self._until = first.not_valid_after_utc

    def has_changed(self) -> bool:
        """Return whether a file is another one than when they were read last."""
        return self._stamped() != self._stamps

    def __str__(self) -> str:
        return f"valid until {self._until:%Y-%m-%d %H:%M} UTC"

    def _stamped(self) -> list[_Stamp | None]:
        return [_stamp_of(path) for path in (self.path, self.key)]


def _stamp_of(path: Path) -> _Stamp | None:
    with suppress(OSError):
        found = path.stat()
        return _Stamp(found.st_ino, found.st_size, found.st_mtime_ns)
    return None


def _no_password() -> str:
    raise ValueError("the key has a password; the server needs one without")


class Handshakes:
    """Accepts connections, and makes a protocol for each, which begins when TLS is agreed.

    asyncio would do both in one, but neither count nor refuse what is not agreed yet. `connections`
    are those that have begun and not ended.
    """

    def __init__(
        self,
        certificate: Certificate,
        entrance: Entrance,
        connections: Sized,
        create_protocol: Callable[[], LimitedProtocol],
    ) -> None:
        self._certificate = certificate
        self._entrance = entrance
        self._connections = connections
        self._create_protocol = create_protocol
        self._under_way: set[asyncio.Task[None]] = set()

    async def accept(self, listener: socket.socket) -> None:
        """Accept connections until this is cancelled; the handshakes under way end then, too."""
        listener.setblocking(False)
        loop = asyncio.get_running_loop()
        try:
            while True:
                try:
                    connection, address = await loop.sock_accept(listener)
                except ConnectionError:  # it was gone before it was accepted
                    continue
                except OSError as error:
                    logger.error("no connection can be accepted: %s", error)  # noqa: TRY400
                    await asyncio.sleep(PAUSE_S)
                    continue
                there = str(address[0])
                others = len(self._connections) + len(self._under_way)
                if not self._entrance.admit(there, others):
                    connection.close()
                    continue
                task = loop.create_task(self._shake_hands(connection, there))
                self._under_way.add(task)
                task.add_done_callback(self._under_way.discard)
        finally:
            for task in self._under_way:
                task.cancel()
            await asyncio.gather(*self._under_way, return_exceptions=True)

    async def _shake_hands(self, connection: socket.socket, address: str) -> None:
        protocol = self._create_protocol()
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: protocol,
                connection,
                ssl=self._certificate.context,
                ssl_handshake_timeout=self._entrance.limits.receive_s,
                ssl_shutdown_timeout=SHUTDOWN_S,
            )
        except ConnectionAbortedError:  # asyncio's word for one that takes too long
            self._entrance.refuse(Refusal.SILENT)
        except OSError:  # an `SSLError` is one; and the client may have hung up
            self._entrance.refuse(Refusal.NO_TLS)
        finally:
            if not protocol.has_begun:
                self._entrance.leave(address)
                connection.close()
