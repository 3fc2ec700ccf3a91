"""Conversion of recorded events to log entries and back.

Laws:
- A name in `NAMES` is permanent: existing logs hold it.
- What is decoded equals what was encoded, so that a replay gives the live state.
- An entry has one line, `line(entry)`: the bytes that the log's tree is built from, and that the
  API, the stream and an export show. An old entry keeps its line, even if this version would write
  another today.

To change the fields of an event, change the class in `events`, raise its number in `VERSIONS`, and
add to `_UPCASTERS` a function that converts the fields of the previous version to the new ones. The
steps are chained, so older ones need no change. A new field needs none of this if its default is
true of all past events. Then put a log that has the old version into `tests/log/golden`, where it
must replay forever.
"""

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, Final

import msgspec

from dispatcher.core import events
from dispatcher.core.events import Event, Recorded

__all__ = [
    "NAMES",
    "VERSIONS",
    "LogEntry",
    "UndecodableError",
    "decode",
    "decode_time",
    "encode",
    "encode_all",
    "encode_time",
    "line",
    "lines",
    "parse_line",
]

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
    events.JobReprioritized: "job_reprioritized",
    events.JobSplit: "job_split",
    events.JobMadeWhole: "job_made_whole",
    events.AnswerRefused: "answer_refused",
    events.EngineReported: "engine_reported",
    events.EngineReplaced: "engine_replaced",
    events.EngineFenced: "engine_fenced",
    events.EngineAsked: "engine_asked",
    events.EngineSeen: "engine_seen",
    events.EngineBenchmarked: "engine_benchmarked",
    events.EngineLost: "engine_lost",
    events.EngineBlamed: "engine_blamed",
    events.EngineBlocked: "engine_blocked",
    events.EngineUnblocked: "engine_unblocked",
    events.EngineDrained: "engine_drained",
    events.EngineResumed: "engine_resumed",
    events.EngineForgotten: "engine_forgotten",
}
VERSIONS: Final[dict[str, int]] = dict.fromkeys(NAMES.values(), 1)
"""The version of each event's fields that this code writes."""

_UPCASTERS: Final[dict[tuple[str, int], Callable[[dict[str, Any]], dict[str, Any]]]] = {}
"""For a name and an older version: the function that returns the fields of the next version."""


class LogEntry(msgspec.Struct, frozen=True, gc=False):
    """A recorded event as it is stored in a log; see `events.Recorded` for the meaning.

    `time` is RFC 3339 in UTC with microseconds. `type` is a name of `NAMES`. `version` is that of
    the fields in `data`, which is a JSON object.
    """

    seq: int
    time: str
    type: str
    version: int
    actor: str
    request_id: str | None
    data: bytes


class UndecodableError(ValueError):
    """The content of a log is not an event that this version knows."""


class _Head(msgspec.Struct, frozen=True, gc=False):
    """The fields at the start of a line."""

    seq: int
    time: str
    type: str
    version: int
    actor: str
    request_id: str | None


_TIME_FORM: Final = "YYYY-MM-DDThh:mm:ss.ffffffZ"
_TIME_LENGTH: Final = 27

_encoder = msgspec.json.Encoder()
_head_decoder = msgspec.json.Decoder(_Head)
_fields_decoder = msgspec.json.Decoder(dict[str, Any])
_types: Final = {name: of_type for of_type, name in NAMES.items()}
_decoders: Final[dict[str, msgspec.json.Decoder[Any]]] = {
    name: msgspec.json.Decoder(of_type) for name, of_type in _types.items()
}


def encode(recorded: Recorded) -> LogEntry:
    """Return the entry of an event."""
    return _encode(recorded, encode_time(recorded.at))


def _encode(recorded: Recorded, time: str) -> LogEntry:
    name = NAMES[type(recorded.event)]
    return LogEntry(
        recorded.seq,
        time,
        name,
        VERSIONS[name],
        recorded.actor,
        recorded.request_id,
        _encoder.encode(recorded.event),
    )


def encode_all(records: Iterable[Recorded]) -> list[LogEntry]:
    """Return the entries of many events."""
    entries: list[LogEntry] = []
    at, time = None, ""
    for recorded in records:
        if recorded.at is not at:  # those of one command share it, and formatting it takes longest
            at, time = recorded.at, encode_time(recorded.at)
        entries.append(_encode(recorded, time))
    return entries


def decode(entry: LogEntry) -> Recorded:
    """Return the event of an entry of any version. Raises `UndecodableError` if it is none."""
    return Recorded(
        entry.seq,
        decode_time(entry.time),
        entry.actor,
        _decode_event(entry.type, entry.version, entry.data),
        entry.request_id,
    )


def line(entry: LogEntry) -> bytes:
    """Return an entry's line: one JSON object, without a line end (docs/log.md, "The line").

    It is the entry's own data, byte for byte, with the entry's other fields put before it.
    """
    head = _Head(entry.seq, entry.time, entry.type, entry.version, entry.actor, entry.request_id)
    return _encoder.encode(head)[:-1] + b"," + entry.data[1:]


def lines(entries: Iterable[LogEntry]) -> list[bytes]:
    """Return the lines of many entries."""
    return [line(entry) for entry in entries]


def parse_line(text: bytes) -> LogEntry:
    """Return the entry that has this line. Raises `UndecodableError` if there is none."""
    try:
        head = _head_decoder.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UndecodableError(f"is no line of a log: {error}") from error
    start = _encoder.encode(head)[:-1] + b","
    if not (text.startswith(start) and text.endswith(b"}")):
        raise UndecodableError(
            "is no line of a log: seq, time, type, version, actor and request_id come first, "
            "without spaces, and nothing stands around the object"
        )
    return LogEntry(
        head.seq,
        head.time,
        head.type,
        head.version,
        head.actor,
        head.request_id,
        b"{" + text[len(start) :],
    )


def encode_time(at: datetime) -> str:
    """Format a UTC time as RFC 3339 text with microseconds, which sorts by time."""
    return at.isoformat(timespec="microseconds")[:26] + "Z"


def decode_time(text: str) -> datetime:
    """Parse a time that `encode_time` wrote. Raises `UndecodableError` for any other text."""
    if len(text) != _TIME_LENGTH or text[-1] != "Z":
        raise UndecodableError(f"{text!r} is no time as the log has it, {_TIME_FORM}")
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise UndecodableError(f"{text!r} is no time as the log has it, {_TIME_FORM}") from error


def _decode_event(name: str, version: int, data: bytes) -> Event:
    decoder = _decoders.get(name)
    if decoder is None:
        raise UndecodableError(f"unknown event type {name!r}")
    known = VERSIONS[name]
    if not 1 <= version <= known:
        raise UndecodableError(
            f"{name} of version {version}: this dispatcher knows versions up to {known}; "
            "use the one that wrote it, or a newer one"
        )
    try:
        if version == known:
            event: Event = decoder.decode(data)
            return event
        fields = _fields_decoder.decode(data)
        for older in range(version, known):
            fields = _UPCASTERS[name, older](fields)
        return msgspec.convert(fields, _types[name])
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError) as error:
        raise UndecodableError(f"{name}: {error}") from error
