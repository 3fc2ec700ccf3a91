"""The stream in JetStream: the one order of all messages, on three nodes.

Laws:
- A message is stored only after the sequence that its sender expects. So it is stored once, however
  often it is sent.
- What becomes of a message is asked of the stream's leader, never of another node.
- Nothing is sent later than it was given: without a connection, sending fails at once.
- Nothing here knows what a message means. What a node gives may be wrong; `log` checks it.
"""

import asyncio
import base64
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Final, NamedTuple, Self

import msgspec
import nkeys
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NatsTimeoutError

from dispatcher.cluster import ClusterError, UnreachableError
from dispatcher.cluster.address import Address
from dispatcher.cluster.settings import check_settings, settings_of

__all__ = ["NoLeaderError", "OutOfOrderError", "Stored", "Stream", "stored_of"]

REQUEST_S: Final = 1.0
"""How long an answer of NATS is waited for."""
CONNECT_S: Final = 20.0
"""How long a start tries to connect, and to find or make the stream."""
CLOSE_S: Final = 5.0
CANCEL_S: Final = 1.0
MOST_REASONS: Final = 3
"""Reasons that are told why no node could be reached."""
BATCH: Final = 500
"""Messages that are asked for at once."""
SILENT_REQUESTS: Final = 4
"""So many requests in a row without an answer, and the connection is made anew."""
_WRONG_SEQUENCE: Final = frozenset({10071, 10070})
_NO_MESSAGE: Final = 10037
_NO_STREAM: Final = 10059
_VERIFIER: Final = "verifier"
_FAILURES: Final = (NatsError, OSError, asyncio.TimeoutError)

Handler = Callable[[Msg], Awaitable[None]]


class NoLeaderError(UnreachableError):
    """Nobody receives what is sent to a subject."""


class OutOfOrderError(UnreachableError):
    """A message was not stored, because the stream is not where its sender has seen it last.

    `last` is the newest sequence of the stream, where NATS tells it.
    """

    def __init__(self, last: int | None) -> None:
        super().__init__("the stream is not where it was")
        self.last = last


class Stored(NamedTuple):
    """A message of the stream, as a node gave it."""

    sequence: int
    headers: Mapping[str, str]
    body: bytes


class _Error(msgspec.Struct):
    err_code: int = 0
    description: str = ""


class _Ack(msgspec.Struct):
    """What JetStream answers when it has stored a message, or not."""

    seq: int = 0
    error: _Error | None = None


_ack_decoder: Final = msgspec.json.Decoder(_Ack)


class Stream:
    """A connection to the stream of an address; see `connect`."""

    def __init__(self, address: Address, client: Client) -> None:
        self.address = address
        self._client = client
        self._silent = 0

    @classmethod
    async def connect(cls, address: Address, name: str) -> Self:
        """Connect to a node, under the name of this dispatcher. `ClusterError` if none answers."""
        client, said = Client(), list[str]()
        stream = cls(address, client)

        async def hear(error: Exception) -> None:
            if (text := _told(error)) not in said and len(said) < MOST_REASONS:
                said.append(text)

        connecting = await _done_within(
            CONNECT_S,
            client.connect(
                list(address.nodes),
                name=f"dispatcher {name}",
                error_cb=hear,
                max_reconnect_attempts=-1,
                reconnect_time_wait=0.1,  # type: ignore[arg-type]  # it is only slept
                connect_timeout=1,
                ping_interval=1,
                max_outstanding_pings=2,
                pending_size=0,
                **_access(address),
            ),
        )
        try:
            connecting.result()
        except (asyncio.CancelledError, *_FAILURES) as error:
            await stream.close()
            raise ClusterError(
                f"{address}: no node answers ({'; '.join(said) or _told(error)}); start NATS, or "
                "see to the nodes and files in the address"
            ) from error
        return stream

    async def close(self) -> None:
        """Close the connection."""
        closing = await _done_within(CLOSE_S, self._client.close())
        with contextlib.suppress(asyncio.CancelledError, *_FAILURES):
            closing.result()

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection to a node now."""
        return self._client.is_connected

    @property
    def node(self) -> str | None:
        """The host and port of the node that answers this dispatcher, if one does."""
        url = self._client.connected_url
        return None if url is None else f"{url.hostname}:{url.port}"

    def subject(self, kind: str) -> str:
        """Return a subject of this log: `events`, `stored`, `commands` and the like."""
        return f"{self.address.name}.{kind}"

    async def prepare(self, verifier: Callable[[str | None], str | None]) -> None:
        """Find the stream, or make it.

        `verifier` is called with the verifier key of the dispatchers that use the stream, `None` if
        there is none yet, and returns that of this one. `ClusterError` if they differ, or if the
        stream has other settings than a log's must have.
        """
        name = self.address.name
        config = settings_of(name, self.subject("events"), self.subject("stored"))
        deadline = asyncio.get_running_loop().time() + CONNECT_S
        while True:
            try:
                info = await self._api(f"STREAM.INFO.{name}", {})
                if info.get("error", {}).get("err_code") == _NO_STREAM:
                    if (own := verifier(None)) is not None:
                        config.metadata = {_VERIFIER: own}
                    info = await self._api(f"STREAM.CREATE.{name}", config.as_dict(), 5.0)
                if "error" not in info:
                    break
                fault = str(info["error"].get("description"))
            except ClusterError as error:
                fault = str(error)
            if asyncio.get_running_loop().time() > deadline:
                raise ClusterError(
                    f"{self.address}: the stream can't be found or made: {fault}; see whether most "
                    "nodes of the cluster run, with JetStream"
                )
            await asyncio.sleep(0.2)
        check_settings(self.address, info["config"], config)
        known = (info["config"].get("metadata") or {}).get(_VERIFIER)
        if (own := verifier(known)) != known and own is not None:
            raise ClusterError(
                f"{self.address}: its dispatchers sign with the key of {known}, but this one with "
                f"that of {own}; give it their signing key, with --signing-key"
            )

    async def info(self) -> dict[str, Any]:
        """Return what the stream's leader tells of it. `ClusterError` if it does not answer."""
        info = await self._api(f"STREAM.INFO.{self.address.name}", {})
        if "error" in info:
            raise UnreachableError(f"{self.address}: {info['error'].get('description')}")
        return info

    async def last(self) -> int:
        """Return the newest sequence that the stream's leader has; 0 if there is none."""
        return int((await self.info())["state"]["last_seq"])

    async def publish(self, headers: Mapping[str, str], body: bytes, expected: int) -> int:
        """Store a message after the sequence `expected`, and return its own.

        `OutOfOrderError`: it is not stored, unless it was by an earlier try. Any other
        `ClusterError`: it may be stored now, or later.
        """
        all_headers = {
            **headers,
            "Nats-Expected-Stream": self.address.name,
            "Nats-Expected-Last-Sequence": str(expected),
        }
        reply = await self._request(self.subject("events"), body, REQUEST_S, all_headers)
        try:
            ack = _ack_decoder.decode(reply)
        except msgspec.DecodeError as error:
            raise UnreachableError(f"{self.address}: an answer of NATS is none: {error}") from error
        if ack.error is None:
            return ack.seq
        if ack.error.err_code in _WRONG_SEQUENCE:
            last = ack.error.description.rpartition(": ")[2]
            raise OutOfOrderError(int(last) if last.isdigit() else None)
        raise UnreachableError(f"{self.address}: {ack.error.description}")

    async def read(self, sequence: int) -> Stored | None:
        """Return a message from the stream's leader; `None` if there is none (yet)."""
        told = await self._api(f"STREAM.MSG.GET.{self.address.name}", {"seq": sequence})
        if (error := told.get("error")) is not None:
            if error.get("err_code") == _NO_MESSAGE:
                return None
            raise UnreachableError(f"{self.address}: {error.get('description')}")
        message = told["message"]
        headers = _parse_headers(base64.b64decode(message.get("hdrs", "")))
        return Stored(int(message["seq"]), headers, base64.b64decode(message.get("data", "")))

    async def read_after(self, sequence: int) -> list[Stored]:
        """Return messages after a sequence, as any node has them; some, or none if it has none."""
        found: list[Stored] = []
        inbox = self._client.new_inbox()
        try:
            answers = await self._client.subscribe(inbox)
            try:
                await self._client.publish(
                    f"$JS.API.DIRECT.GET.{self.address.name}",
                    msgspec.json.encode({"seq": sequence + 1, "batch": BATCH}),
                    reply=inbox,
                )
                while (stored := _of(await answers.next_msg(REQUEST_S))) is not None:
                    found.append(stored)
            finally:
                await answers.unsubscribe()
        except _FAILURES as error:
            if not found:
                raise UnreachableError(
                    f"{self.address}: no node answers: {_told(error)}"
                ) from error
        return found

    async def subscribe(self, kind: str, handler: Handler) -> Subscription:
        """Call `handler` with what is sent to a subject, one message after the other."""
        try:
            return await self._client.subscribe(self.subject(kind), cb=handler)
        except _FAILURES as error:
            raise UnreachableError(f"{self.address}: {_told(error)}") from error

    async def unsubscribe(self, subscription: Subscription) -> None:
        """End a subscription, also without a connection."""
        with contextlib.suppress(*_FAILURES):
            await subscription.unsubscribe()

    async def tell(self, kind: str, body: bytes) -> None:
        """Send to a subject, to whoever listens. `ClusterError` if there is no connection."""
        try:
            await self._client.publish(self.subject(kind), body)
        except _FAILURES as error:
            raise UnreachableError(f"{self.address}: {_told(error)}") from error

    async def reply(self, message: Msg, body: bytes) -> None:
        """Answer whoever has sent a message. `ClusterError` if there is no connection."""
        try:
            await message.respond(body)
        except _FAILURES as error:
            raise UnreachableError(f"{self.address}: {_told(error)}") from error

    async def ask(self, kind: str, body: bytes, timeout_s: float = REQUEST_S) -> bytes:
        """Send to a subject and return the first answer. `NoLeaderError` if nobody listens."""
        return await self._request(self.subject(kind), body, timeout_s, None)

    async def _api(
        self, what: str, body: Mapping[str, Any], timeout_s: float = REQUEST_S
    ) -> dict[str, Any]:
        reply = await self._request(f"$JS.API.{what}", msgspec.json.encode(body), timeout_s, None)
        told: dict[str, Any] = msgspec.json.decode(reply)
        return told

    async def _request(
        self, subject: str, body: bytes, timeout_s: float, headers: dict[str, Any] | None
    ) -> bytes:
        try:
            reply = await self._client.request(subject, body, timeout_s, headers=headers)
        except NoRespondersError as error:
            raise NoLeaderError(f"{self.address}: nobody receives {subject}") from error
        except NatsTimeoutError as error:
            self._silent += 1
            if self._silent >= SILENT_REQUESTS:  # the inbox of replies may have died
                self._silent = 0
                await self._client.force_reconnect()
            raise UnreachableError(f"{self.address}: no answer within {timeout_s:g} s") from error
        except _FAILURES as error:
            raise UnreachableError(f"{self.address}: {_told(error)}") from error
        self._silent = 0
        return reply.data


async def _done_within(limit_s: float, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Do something, which is cancelled if it takes longer, and return the task, which has ended.

    It is cancelled until it ends: `asyncio.wait_for` of Python 3.11, in NATS, may swallow it.
    """
    task = asyncio.create_task(work)
    try:
        await asyncio.wait({task}, timeout=limit_s)
    finally:
        while not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=CANCEL_S)
    return task


def _access(address: Address) -> dict[str, Any]:
    """Return the options of the client that let it in. `ClusterError` if a file is no good."""
    access: dict[str, Any] = {}
    if (tls := address.tls()) is not None:
        # Otherwise the client would send its password in the clear to a node that asks for no TLS.
        access = {"tls": tls, "tls_handshake_first": True}
    if address.nkey is not None:
        try:
            seed = address.nkey.read_text(encoding="ascii").strip()
            nkeys.from_seed(bytearray(seed, "ascii")).wipe()
        except (OSError, ValueError, nkeys.NkeysError) as error:
            raise ClusterError(
                f"{address}: {address.nkey}: has no seed of an nkey: {_told(error)}"
            ) from error
        access["nkeys_seed_str"] = seed
    return access


def _of(message: Msg) -> Stored | None:
    """Return the message that a node gave; `None` if it says that there is no further one."""
    headers: Mapping[str, str] = message.headers or {}
    if "Status" in headers:
        return None
    return Stored(int(headers["Nats-Sequence"]), headers, message.data)


def stored_of(message: Msg) -> Stored | None:
    """Return what was republished; `None` if a message is no such."""
    headers: Mapping[str, str] = message.headers or {}
    sequence = headers.get("Nats-Sequence", "")
    return Stored(int(sequence), headers, message.data) if sequence.isdigit() else None


def _parse_headers(block: bytes) -> dict[str, str]:
    found = {}
    for line in block.decode().split("\r\n")[1:]:
        key, colon, value = line.partition(":")
        if colon:
            found[key] = value.strip()
    return found


def _told(error: BaseException) -> str:
    return str(error) or type(error).__name__
