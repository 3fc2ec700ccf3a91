"""Read a log back with the eventsourcing library: `eventsourcing_replay.py make|read DB EVENTS`.

Runs in the peers' environment. `read` takes pages of notifications from the SQLite recorder, maps
each to its event and folds it into a dict: less than the projections of the dispatcher keep. The
garbage collector is off, as it is for the dispatcher.
"""

import gc
import json
import sys
import time
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid5

from eventsourcing.domain import DomainEvent
from eventsourcing.persistence import (
    DatetimeAsISO,
    DecimalAsStr,
    JSONTranscoder,
    Mapper,
    UUIDAsHex,
)
from eventsourcing.sqlite import SQLiteApplicationRecorder, SQLiteDatastore

PAGE = 2_000
SPACE = UUID(int=0)


@dataclass(frozen=True)
class JobSubmitted(DomainEvent):
    """A client handed in a job."""

    source_url: str
    target_codec: str
    job_size: float
    max_retries: int
    priority: int
    waits_since: datetime
    arrived_at: datetime


@dataclass(frozen=True)
class JobAssigned(DomainEvent):
    """A job was given to an engine."""

    engine_id: str
    attempt: int
    rule: str


@dataclass(frozen=True)
class EngineSeen(DomainEvent):
    """An engine gave a sign of life."""


@dataclass(frozen=True)
class JobCompleted(DomainEvent):
    """A job's output is ready."""

    engine_id: str
    attempt: int
    output_url: str


transcoder = JSONTranscoder()
for transcoding in (UUIDAsHex(), DecimalAsStr(), DatetimeAsISO()):
    transcoder.register(transcoding)
mapper: Mapper[UUID] = Mapper(transcoder)


def life(number: int) -> list[DomainEvent]:
    """Give the events of one job."""
    now = DomainEvent.create_timestamp()
    job, engine = uuid5(SPACE, f"job-{number}"), f"engine-{number % 20}"
    source = f"file:///media/{number}.mov"
    return [
        JobSubmitted(job, 1, now, source, "h264", float(number % 200), 3, 0, now, now),
        JobAssigned(job, 2, now, engine, 1, "asked by name"),
        EngineSeen(uuid5(SPACE, engine), 1 + number // 20, now),
        JobCompleted(job, 3, now, engine, 1, f"file:///out/{number}.mp4"),
    ]


def make(recorder: SQLiteApplicationRecorder, count: int) -> None:
    """Write a log."""
    recorder.create_table()
    for first in range(0, count // 4, PAGE // 4):
        lives = (life(number) for number in range(first, min(first + PAGE // 4, count // 4)))
        events = [mapper.to_stored_event(event) for events in lives for event in events]
        recorder.insert_events(events)


def read(recorder: SQLiteApplicationRecorder) -> int:
    """Fold the log into what a list of jobs would show, and give the number of events."""
    jobs: dict[UUID, dict[str, object]] = {}
    seen: dict[UUID, datetime] = {}
    position = 0
    while page := recorder.select_notifications(position + 1, PAGE):
        for notification in page:
            event = mapper.to_domain_event(notification)
            match event:
                case JobSubmitted():
                    jobs[event.originator_id] = {
                        "source_url": event.source_url,
                        "target_codec": event.target_codec,
                        "status": "pending",
                    }
                case JobAssigned():
                    jobs[event.originator_id]["engine"] = event.engine_id
                    jobs[event.originator_id]["status"] = "assigned"
                case JobCompleted():
                    jobs[event.originator_id]["output_url"] = event.output_url
                    jobs[event.originator_id]["status"] = "completed"
                case EngineSeen():
                    seen[event.originator_id] = event.timestamp
                case _:  # `make` writes no others
                    pass
        position = page[-1].id
    return position


what, path, events = sys.argv[1:]
store = SQLiteApplicationRecorder(SQLiteDatastore(path))
start = time.perf_counter()
if what == "make":
    make(store, int(events))
    folded = int(events)
else:
    gc.disable()
    folded = read(store)
print(json.dumps({"events": folded, "elapsed_s": time.perf_counter() - start}))
