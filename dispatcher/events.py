"""What can have happened on the farm.

Laws:
- An event is a fact: past tense, frozen, complete. It holds what was decided, never what has yet
  to be decided, so that a replay needs no rules and no clock.
- The name under which an event is recorded lives in `codec` and never changes.
- Events are the only way in which anything changes. `fleet` folds them into what decisions need,
  `projections` into what readers see.
"""

from datetime import datetime
from typing import Any

import msgspec

__all__ = [
    "EngineBenchmarked",
    "EngineReported",
    "EngineSeen",
    "Event",
    "JobAssigned",
    "JobCompleted",
    "JobFailedPermanently",
    "JobRequeued",
    "JobSubmitted",
    "Recorded",
]


class JobSubmitted(msgspec.Struct, frozen=True):
    """A client handed in a job. `job_size` is in MB (protocol.md 1.1)."""

    job_id: str
    source_url: str
    target_codec: str
    job_size: float
    max_retries: int


class JobAssigned(msgspec.Struct, frozen=True):
    """A job was given to an engine.

    `attempt` counts the assignments of this job from 1 and tells one from the next.
    `rule` is the rule of `scheduling` that chose the engine.
    """

    job_id: str
    engine_id: str
    attempt: int
    rule: str


class JobCompleted(msgspec.Struct, frozen=True):
    """A job's output is ready. `engine_id` is the engine that held the job, if one did."""

    job_id: str
    engine_id: str | None
    attempt: int
    output_url: str


class JobRequeued(msgspec.Struct, frozen=True):
    """An attempt failed and the job waits for the next one. `retries` counts this failure too."""

    job_id: str
    engine_id: str | None
    attempt: int
    retries: int
    error_message: str


class JobFailedPermanently(msgspec.Struct, frozen=True):
    """An attempt failed and it was the last one. `retries` counts this failure too."""

    job_id: str
    engine_id: str | None
    attempt: int
    retries: int
    error_message: str


class EngineReported(msgspec.Struct, frozen=True):
    """A heartbeat that told something new.

    `report` has only the fields that are new or differ from the engine's earlier reports, under
    the names of protocol.md 2.1, and any others that the engine sent. An engine's first heartbeat
    is always recorded so, even when it says nothing but its id.
    """

    engine_id: str
    report: dict[str, Any]


class EngineSeen(msgspec.Struct, frozen=True):
    """A heartbeat that only repeated what was known: the engine is alive."""

    engine_id: str


class EngineBenchmarked(msgspec.Struct, frozen=True):
    """An engine's benchmark took `benchmark_time` seconds; less is faster."""

    engine_id: str
    benchmark_time: float


Event = (
    JobSubmitted
    | JobAssigned
    | JobCompleted
    | JobRequeued
    | JobFailedPermanently
    | EngineReported
    | EngineSeen
    | EngineBenchmarked
)


class Recorded(msgspec.Struct, frozen=True):
    """An event in its place in the log.

    `seq` counts from 1 without gaps; it alone gives the order. `at` is the wall clock (UTC) when
    the command came in, which may step back when the clock is set. `actor` names who asked: the
    name of the key that the request carried.
    """

    seq: int
    at: datetime
    actor: str
    event: Event
