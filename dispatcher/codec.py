"""Events to text and back.

Laws:
- A name in `NAMES` is for ever: logs out there hold it.
- What is decoded equals what was encoded, so that a replay gives what was live.
- Text is JSON that SQLite's own functions can query, and times sort as text.
"""

from datetime import datetime
from typing import Any, Final

import msgspec

from dispatcher import events
from dispatcher.events import Event

__all__ = ["NAMES", "UndecodableError", "decode", "decode_time", "encode", "encode_time"]

NAMES: Final[dict[type[Event], str]] = {
    events.JobSubmitted: "job_submitted",
    events.JobAssigned: "job_assigned",
    events.JobCompleted: "job_completed",
    events.JobRequeued: "job_requeued",
    events.JobFailedPermanently: "job_failed_permanently",
    events.JobReleased: "job_released",
    events.JobProgressed: "job_progressed",
    events.JobCancelled: "job_cancelled",
    events.JobRetried: "job_retried",
    events.AnswerRefused: "answer_refused",
    events.EngineReported: "engine_reported",
    events.EngineSeen: "engine_seen",
    events.EngineBenchmarked: "engine_benchmarked",
    events.EngineLost: "engine_lost",
    events.EngineBlocked: "engine_blocked",
    events.EngineDrained: "engine_drained",
    events.EngineResumed: "engine_resumed",
    events.EngineForgotten: "engine_forgotten",
}

_encoder = msgspec.json.Encoder()
_decoders: Final[dict[str, msgspec.json.Decoder[Any]]] = {
    name: msgspec.json.Decoder(of_type) for of_type, name in NAMES.items()
}


class UndecodableError(ValueError):
    """What stands in a log is no event that this version knows."""


def encode(event: Event) -> tuple[str, str]:
    """Give an event's name and its fields as JSON."""
    return NAMES[type(event)], _encoder.encode(event).decode()


def decode(name: str, data: str | bytes) -> Event:
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
