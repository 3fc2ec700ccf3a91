"""What a receiver is sent. Pure."""

import hashlib

import msgspec

from dispatcher.log import serialization
from dispatcher.log.serialization import LogEntry

__all__ = ["body_of", "id_of"]


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
