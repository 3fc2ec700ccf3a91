"""Which messages follow from a page of the log: pure."""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import msgspec

from dispatcher.log.serialization import LogEntry
from dispatcher.webhooks.outbox import Queued
from dispatcher.webhooks.settings import ENDS

__all__ = ["CALLBACKS", "Collected", "collect", "receiver_of"]

CALLBACKS: Final = "callback:"
"""How the receivers of callbacks begin: the host and port follow. No webhook has such a name."""


class _Concerns(msgspec.Struct):
    job_id: str | None = None
    engine_id: str | None = None
    callback_url: str | None = None


class Collected(NamedTuple):
    """What to send to webhooks, which jobs have a callback, and which of them have ended.

    Of these last, the message is complete but for the URL, which may have been given long ago.
    """

    messages: list[Queued]
    callbacks: dict[str, str]
    ended: list[tuple[str, int]]


def collect(entries: Iterable[LogEntry], wanted: Mapping[str, Iterable[str]]) -> Collected:
    """Collect from entries. `wanted` has the webhooks for each type of event."""
    found = Collected([], {}, [])
    for entry in entries:
        receivers = [*wanted.get(entry.type, ())]
        has_url = entry.type == "job_submitted" and b'"callback_url"' in entry.data
        if not receivers and not has_url and entry.type not in ENDS:
            continue
        told = _decode(entry.data)
        lane = f"job {told.job_id}" if told.job_id is not None else f"engine {told.engine_id}"
        found.messages.extend(Queued(name, lane, entry.seq) for name in receivers)
        if told.job_id is not None and has_url and told.callback_url is not None:
            found.callbacks[told.job_id] = told.callback_url
        if told.job_id is not None and entry.type in ENDS:
            found.ended.append((told.job_id, entry.seq))
    return found


def receiver_of(url: str) -> str:
    """Name the receiver of a callback: those at one host and port are one."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return f"{CALLBACKS}{parts.hostname}:{port}"


_decode: Final = msgspec.json.Decoder(_Concerns).decode
