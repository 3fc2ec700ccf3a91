"""What somebody wishes to happen.

A command has been checked for shape (types and ranges, see `api.bodies`); whether it may be
granted, given what has happened so far, is for `decider` to say. Its time and its caller travel
beside it and are recorded with whatever events follow (see `dispatcher`). What the passing of time
brings about (see `deadlines`) is a command too.
"""

from typing import Any

import msgspec

__all__ = [
    "AssignJob",
    "Caller",
    "CancelJob",
    "Command",
    "CompleteJob",
    "DrainEngine",
    "FailJob",
    "ForgetEngine",
    "LoseEngine",
    "ReleaseJob",
    "ReportBenchmark",
    "ReportHeartbeat",
    "ResumeEngine",
    "RetryJob",
    "SubmitJob",
    "TimeOutJob",
]


class Caller(msgspec.Struct, frozen=True):
    """Who wishes it: the name of a key, and the id of the request that carried it, if one did."""

    name: str
    request_id: str | None = None


class SubmitJob(msgspec.Struct, frozen=True):
    """Queue a job (protocol.md 1.1). `job_size` is in MB, `priority` 0 to 100.

    A job that comes without a `job_id` is given one that follows from the time. A second submission
    with the same `idempotency_key` is the first one again.
    """

    job_id: str | None
    source_url: str
    target_codec: str
    job_size: float = 0.0
    max_retries: int = 3
    priority: int = 0
    idempotency_key: str | None = None


class ReportHeartbeat(msgspec.Struct, frozen=True):
    """Register an engine or refresh what it says of itself (protocol.md 2.1).

    `report` is everything that the engine sent of itself, save its id; what it sent of the job in
    hand stands apart, with `progress` in percent.
    """

    engine_id: str
    report: dict[str, Any]
    current_job: str | None = None
    attempt: int | None = None
    progress: float | None = None


class ReportBenchmark(msgspec.Struct, frozen=True):
    """Note how long an engine's benchmark took, in seconds."""

    engine_id: str
    benchmark_time: float


class CompleteJob(msgspec.Struct, frozen=True):
    """Accept a job's output (protocol.md 2.3).

    `engine_id` and `attempt`, where given, must be those of the job's holder.
    """

    job_id: str
    output_url: str
    engine_id: str | None = None
    attempt: int | None = None


class FailJob(msgspec.Struct, frozen=True):
    """Note that an attempt failed (protocol.md 2.4); see `CompleteJob` for the other fields."""

    job_id: str
    error_message: str
    engine_id: str | None = None
    attempt: int | None = None


class AssignJob(msgspec.Struct, frozen=True):
    """Give out a job: to the engine named, or to the one that fits best (protocol.md 2.5).

    With `resume`, an engine that still holds a job is told that one again.
    """

    engine_id: str | None = None
    resume: bool = False


class CancelJob(msgspec.Struct, frozen=True):
    """Give a job up, whoever holds it."""

    job_id: str


class RetryJob(msgspec.Struct, frozen=True):
    """Put a failed or cancelled job back."""

    job_id: str


class DrainEngine(msgspec.Struct, frozen=True):
    """Let an engine finish its job and give it no more."""

    engine_id: str


class ResumeEngine(msgspec.Struct, frozen=True):
    """Give a drained or blocked engine jobs again."""

    engine_id: str


class ForgetEngine(msgspec.Struct, frozen=True):
    """Take an engine off the list."""

    engine_id: str


class LoseEngine(msgspec.Struct, frozen=True):
    """Time's own: the engine has been silent for a whole lease."""

    engine_id: str
    silent_s: float


class TimeOutJob(msgspec.Struct, frozen=True):
    """Time's own: the attempt has taken `after_s` and may take no longer."""

    job_id: str
    attempt: int
    after_s: float


class ReleaseJob(msgspec.Struct, frozen=True):
    """Time's own: a re-queued job's pause is over."""

    job_id: str


Command = (
    SubmitJob
    | ReportHeartbeat
    | ReportBenchmark
    | CompleteJob
    | FailJob
    | AssignJob
    | CancelJob
    | RetryJob
    | DrainEngine
    | ResumeEngine
    | ForgetEngine
    | LoseEngine
    | TimeOutJob
    | ReleaseJob
)
