"""What a receiver is sent, and what is told of receivers. Pure."""

import hashlib

import msgspec

from dispatcher.log import serialization
from dispatcher.log.serialization import LogEntry

__all__ = ["WebhookView", "body_of", "id_of"]


class WebhookView(msgspec.Struct, frozen=True):
    """A receiver, as `GET /webhooks` shows it.

    `state` is `ok`, `failing` since `failing_since` (seconds since the epoch) with the newest
    `error`, or `dead`: so many messages were given up. `waiting` counts all that it has not taken,
    and `sent` those that it took since the dispatcher was started.
    """

    name: str
    url: str | None
    events: list[str]
    state: str
    waiting: int = 0
    dead: int = 0
    sent: int = 0
    failing_since: float | None = None
    error: str | None = None


def id_of(entry: LogEntry) -> str:
    """Return the id of a message: the same each time that it is sent, and that of no other."""
    return f"msg_{hashlib.sha256(serialization.line(entry)).hexdigest()[:32]}"


def body_of(entry: LogEntry) -> bytes:
    """Return the body of a message: the event as it stands in the log, with its type and time."""
    return b'{"type":%b,"timestamp":%b,"data":%b}' % (
        msgspec.json.encode(entry.type),
        msgspec.json.encode(entry.time),
        serialization.line(entry),
    )
