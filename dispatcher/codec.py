"""Events to text and back.

Laws:
- A name in `NAMES` is for ever: logs out there hold it.
- What is decoded equals what was encoded, so that a replay gives what was live.
- Text is JSON that SQLite's own functions can query, and times sort as text.
"""

from datetime import datetime
from typing import Any, Final

import msgspec

from dispatcher.events import (
    EngineBenchmarked,
    EngineReported,
    EngineSeen,
    Event,
    JobAssigned,
    JobCompleted,
    JobFailedPermanently,
    JobRequeued,
    JobSubmitted,
)

__all__ = ["NAMES", "UndecodableError", "decode", "decode_time", "encode", "encode_time"]

NAMES: Final[dict[type[Event], str]] = {
    JobSubmitted: "job_submitted",
    JobAssigned: "job_assigned",
    JobCompleted: "job_completed",
    JobRequeued: "job_requeued",
    JobFailedPermanently: "job_failed_permanently",
    EngineReported: "engine_reported",
    EngineSeen: "engine_seen",
    EngineBenchmarked: "engine_benchmarked",
}

_encoder = msgspec.json.Encoder()
_decoders: Final[dict[str, msgspec.json.Decoder[Any]]] = {
    name: msgspec.json.Decoder(event) for event, name in NAMES.items()
}


class UndecodableError(ValueError):
    """What stands in a log is no event that this version knows."""


def encode(event: Event) -> tuple[str, str]:
    """Give an event's name and its fields as JSON."""
    return NAMES[type(event)], _encoder.encode(event).decode()


def decode(name: str, data: str) -> Event:
    """Give back the event that `encode` took. `UndecodableError` if there is none."""
    decoder = _decoders.get(name)
    if decoder is None:
        raise UndecodableError(f"unknown event type {name!r}")
    try:
        event: Event = decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UndecodableError(f"{name}: {error}") from error
    return event


def encode_time(at: datetime) -> str:
    """Give a UTC time as RFC 3339 text with microseconds, which sorts by time."""
    return at.isoformat(timespec="microseconds")[:26] + "Z"


def decode_time(text: str) -> datetime:
    """Give back the time that `encode_time` took. `UndecodableError` if it is none."""
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise UndecodableError(f"{text!r} is no RFC 3339 time") from error
