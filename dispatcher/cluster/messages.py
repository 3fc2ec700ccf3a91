"""The messages of a replicated log: what stands in one, and its form on the wire.

    headers    First, Count, Term, By, Batch, Root, and Claim, Commands, Encoding where they apply
    body       the events' lines, joined by line ends; then, `Commands` bytes long, which commands
               of other dispatchers these events answer, as JSON

Laws:
- A message is a batch (`Count` events from seq `First`), a barrier (no event), or a claim (no
  event, with a `Claim`: the name of the dispatcher that leads from here).
- `Root` is that of the log's tree after the message, in hexadecimal.
- `Batch` is chosen at random by the sender, which knows its message by it.
- A long body is compressed. A message that is too long even so is refused before it is sent.
"""

import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from dispatcher.cluster import CorruptionError
from dispatcher.cluster.wire import COMPRESSED_FROM_BYTES, decompressed, reply_from, reply_to
from dispatcher.core.replies import Reply
from dispatcher.log import TooLargeError, serialization
from dispatcher.log.merkle import HASH_BYTES
from dispatcher.log.serialization import LogEntry

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = ["MESSAGE_BYTES", "Answered", "Message"]

MESSAGE_BYTES: Final = 4 << 20
"""The most bytes of a message, with its headers."""
HEADER_BYTES: Final = 1 << 10


class Answered(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a message says about a forwarded command.

    Its events are the `count` ones before the message's event number `upto`, counted from 0; a part
    of a batch may have none. `reply` is in the form of `wire`.
    """

    id: str
    upto: int
    count: int
    reply: list[Any]

    @classmethod
    def of(cls, command_id: str, upto: int, count: int, reply: Reply) -> "Answered":
        """Make it from the core's reply."""
        return cls(command_id, upto, count, reply_to(reply))

    def to_reply(self) -> Reply:
        """Return the core's reply."""
        return reply_from(self.reply)


class Message(msgspec.Struct, frozen=True):
    """A message. `root` is that of the tree after it, `claim` the name of a leader that begins."""

    first: int
    term: int
    by: str
    batch: str
    root: bytes
    lines: Sequence[bytes] = ()
    answered: Sequence[Answered] = ()
    claim: str | None = None

    @property
    def upto(self) -> int:
        """The seq of the log's head after this message."""
        return self.first + len(self.lines) - 1

    def entries(self) -> list[LogEntry]:
        """Return the entries of its events. `CorruptionError` if they are none, or misnumbered."""
        entries = []
        for seq, line in enumerate(self.lines, self.first):
            try:
                entry = serialization.parse_line(line)
            except serialization.UndecodableError as error:
                raise CorruptionError(f"its event {seq} {error}") from error
            if entry.seq != seq:
                raise CorruptionError(f"its event {seq} says that it is {entry.seq}")
            entries.append(entry)
        return entries

    def encode(self) -> tuple[dict[str, str], bytes]:
        """Return the headers and the body. `TooLargeError` if they are too long."""
        headers = {
            "First": str(self.first),
            "Count": str(len(self.lines)),
            "Term": str(self.term),
            "By": self.by,
            "Batch": self.batch,
            "Root": self.root.hex(),
        }
        if self.claim is not None:
            headers["Claim"] = self.claim
        body = b"\n".join(self.lines)
        if self.answered:
            commands = msgspec.json.encode(self.answered)
            headers["Commands"] = str(len(commands))
            body += commands
        if len(body) >= COMPRESSED_FROM_BYTES:
            headers["Encoding"] = "zstd"
            body = zstd.compress(body, 1)
        if len(body) > MESSAGE_BYTES - HEADER_BYTES:
            raise TooLargeError(
                f"{len(self.lines)} events take {len(body):,} bytes, compressed, but a message of "
                f"the replicated log has at most {MESSAGE_BYTES:,}; submit less at once"
            )
        return headers, body

    @classmethod
    def decode(cls, headers: Mapping[str, str], body: bytes) -> "Message":
        """Return the message. `CorruptionError` if it has another form."""
        try:
            if headers.get("Encoding") == "zstd":
                body = decompressed(body)
            count, commands = int(headers["Count"]), int(headers.get("Commands", "0"))
            cut = len(body) - commands
            lines = body[:cut].split(b"\n") if cut or count else []
            answered = msgspec.json.decode(body[cut:], type=list[Answered]) if commands else []
            root = bytes.fromhex(headers["Root"])
            message = cls(
                int(headers["First"]),
                int(headers["Term"]),
                headers["By"],
                headers["Batch"],
                root,
                lines,
                answered,
                headers.get("Claim"),
            )
        except (KeyError, ValueError, msgspec.DecodeError, zstd.ZstdError) as error:
            raise CorruptionError(f"it has not the form of a message: {error!r}") from error
        if len(lines) != count or len(root) != HASH_BYTES or message.first < 1:
            raise CorruptionError(f"it has {len(lines)} lines where it says {count}")
        return message
