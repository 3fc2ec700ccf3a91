"""What somebody wishes to happen.

A command has been checked for shape (types and ranges, see `api.bodies`); whether it may be
granted, given what has happened so far, is for `decider` to say. It carries every id that the
outcome needs, because the core never makes one up. Its time and actor travel beside it and are
recorded with whatever events follow (see `service`).
"""

from typing import Any

import msgspec

__all__ = [
    "AssignJob",
    "Command",
    "CompleteJob",
    "FailJob",
    "ReportBenchmark",
    "ReportHeartbeat",
    "SubmitJob",
]


class SubmitJob(msgspec.Struct, frozen=True):
    """Queue a job (protocol.md 1.1). `job_size` is in MB."""

    job_id: str
    source_url: str
    target_codec: str
    job_size: float = 0.0
    max_retries: int = 3


class ReportHeartbeat(msgspec.Struct, frozen=True):
    """Register an engine or refresh what it says of itself (protocol.md 2.1).

    `report` is everything that the engine sent, save its id.
    """

    engine_id: str
    report: dict[str, Any]


class ReportBenchmark(msgspec.Struct, frozen=True):
    """Note how long an engine's benchmark took, in seconds."""

    engine_id: str
    benchmark_time: float


class CompleteJob(msgspec.Struct, frozen=True):
    """Accept a job's output (protocol.md 2.3)."""

    job_id: str
    output_url: str


class FailJob(msgspec.Struct, frozen=True):
    """Note that an attempt failed (protocol.md 2.4)."""

    job_id: str
    error_message: str


class AssignJob(msgspec.Struct, frozen=True):
    """Give out a job: to the engine named, or to the one that fits best (protocol.md 2.5).

    With `resume`, an engine that still holds a job is told that one again.
    """

    engine_id: str | None = None
    resume: bool = False


Command = SubmitJob | ReportHeartbeat | ReportBenchmark | CompleteJob | FailJob | AssignJob
