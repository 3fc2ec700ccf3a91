"""Commands and replies between dispatchers, as JSON.

Laws:
- What is decoded equals what was encoded. A command is known by the name of its class, as its
  fields are by theirs, so all dispatchers of a cluster must be of versions that share these.
- What is received is data: unknown names and wrong fields are errors of whoever sent them.
"""

import sys
from typing import Any, Final, TypeVar

import msgspec

from dispatcher.core import commands, replies
from dispatcher.core.commands import Caller, Command, SubmitJob
from dispatcher.core.replies import Reply

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = [
    "COMPRESSED_FROM_BYTES",
    "Ack",
    "Answer",
    "Answers",
    "Ask",
    "Request",
    "command_from",
    "command_to",
    "decompressed",
    "packed",
    "reply_from",
    "reply_to",
    "unpacked",
]

T = TypeVar("T")
COMPRESSED_FROM_BYTES: Final = 32 << 10
TEXT_BYTES: Final = 256 << 20
"""The most bytes that a text may have when it is decompressed."""
_ZSTD: Final = b"\x28\xb5\x2f\xfd"

COMMANDS: Final[dict[str, type[Command]]] = {
    of_type.__name__: of_type
    for of_type in (
        commands.SubmitJob,
        commands.AssignJob,
        commands.CompleteJob,
        commands.FailJob,
        commands.SplitJob,
        commands.CancelJob,
        commands.RetryJob,
        commands.PrioritizeJob,
        commands.ReportHeartbeat,
        commands.ReportBenchmark,
        commands.DrainEngine,
        commands.ResumeEngine,
        commands.ForgetEngine,
    )
}
"""Those that come from callers."""
REPLIES: Final[dict[str, type[Reply]]] = {
    of_type.__name__: of_type
    for of_type in (
        replies.Refused,
        replies.Done,
        replies.JobIs,
        replies.NoWork,
        replies.Requeued,
        replies.Ended,
        replies.Orders,
    )
}


class Ask(msgspec.Struct, frozen=True, omit_defaults=True):
    """A command on its way to the leader.

    It has a `command`, or a batch: `submissions`, all or none of which are wanted if it
    `is_atomic`, or neither: then it asks how far the log reaches. `wait_ms` is how long a request
    for work may wait. `caller` and `request_id` are for the log.
    """

    id: str
    caller: str
    request_id: str | None = None
    kind: str = ""
    command: msgspec.Raw = msgspec.Raw(b"{}")
    submissions: tuple[SubmitJob, ...] = ()
    is_atomic: bool = False
    wait_ms: int = 0

    def by(self) -> Caller:
        """Return the caller."""
        return Caller(self.caller, self.request_id)


class Request(msgspec.Struct, frozen=True):
    """What a dispatcher sends to the leader at once.

    It is from `member`, which asks the leader of a `term` and has applied the stream up to
    `position`. `number` counts its requests. `hangups` are ids whose callers are gone.
    """

    member: str
    term: int
    number: int
    position: int
    asks: list[Ask]
    hangups: list[str] = []


class Ack(msgspec.Struct, frozen=True):
    """Whether a request was taken, and the term of whoever received it."""

    term: int
    taken: bool


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the leader answers without events, as of `seq`.

    `replies` has one reply, or one for each part of a batch. `refusals` are those of an atomic
    batch that is refused. `fault` says why the command could not be carried out.
    """

    id: str
    seq: int
    replies: list[list[Any]] = []
    refusals: list[list[Any] | None] | None = None
    fault: str | None = None


class Answers(msgspec.Struct, frozen=True):
    """What the leader of a term tells one dispatcher at once."""

    term: int
    answers: list[Answer]


def packed(told: msgspec.Struct) -> bytes:
    """Encode what dispatchers tell each other; a long text is compressed."""
    text = msgspec.json.encode(told)
    return text if len(text) < COMPRESSED_FROM_BYTES else zstd.compress(text, 1)


def unpacked(data: bytes, of_type: type[T]) -> T:
    """Decode it. `ValueError` if it is nothing of the kind."""
    try:
        if data.startswith(_ZSTD):
            data = decompressed(data)
        return msgspec.json.decode(data, type=of_type)
    except (msgspec.DecodeError, zstd.ZstdError) as error:
        raise ValueError(str(error)) from error


def decompressed(data: bytes) -> bytes:
    """Decompress at most `TEXT_BYTES`. `ValueError` or `ZstdError` if there are more, or others."""
    decompressor = zstd.ZstdDecompressor()
    text = decompressor.decompress(data, TEXT_BYTES)
    if not decompressor.eof:
        raise ValueError("it is too long, or cut off")
    return text


def command_to(command: Command) -> tuple[str, msgspec.Raw]:
    """Return a command's name and its fields."""
    return type(command).__name__, msgspec.Raw(msgspec.json.encode(command))


def command_from(kind: str, fields: msgspec.Raw) -> Command:
    """Return the command. `ValueError` if there is none of that kind, or with these fields."""
    if (of_type := COMMANDS.get(kind)) is None:
        raise ValueError(f"{kind!r} is no command that is forwarded")
    return msgspec.json.decode(fields, type=of_type)


def reply_to(reply: Reply) -> list[Any]:
    """Return a reply as its name and its fields."""
    if isinstance(reply, replies.Submitted):
        return ["Submitted", [reply_to(it) for it in reply.replies]]
    return [type(reply).__name__, msgspec.to_builtins(reply)]


def reply_from(told: list[Any]) -> Reply:
    """Return the reply. `ValueError` if it is none."""
    match told:
        case ["Submitted", [*parts]]:
            found = tuple(map(reply_from, parts))
            if not all(isinstance(it, replies.JobIs | replies.Refused) for it in found):
                raise ValueError("a submission has another reply")
            return replies.Submitted(found)  # type: ignore[arg-type]  # as was just seen
        case [str() as name, fields] if name in REPLIES:
            reply = msgspec.convert(fields, REPLIES[name])
            if isinstance(reply, replies.NoWork):
                return replies.NO_WORK
            return reply
        case _:
            raise ValueError(f"{told!r:.80} is no reply")
