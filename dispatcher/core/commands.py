"""Commands: requests that something should happen.

The shape of a command (types and ranges) has been checked before, see `api.bodies`. `decider`
decides whether to accept it, given all past events. Its time and its caller are passed beside it
and recorded with the resulting events (see `dispatcher`). When a deadline passes, it issues a
command too (see `deadlines`).
"""

from typing import Any, Literal

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
    "ForgetLostEngine",
    "LoseEngine",
    "NoticeAsking",
    "PrioritizeJob",
    "ReleaseJob",
    "ReportBenchmark",
    "ReportHeartbeat",
    "ReportedCause",
    "ResumeEngine",
    "RetryJob",
    "SplitJob",
    "SubmitJob",
    "SubmitJobs",
    "TakeBackJob",
    "TimeOutJob",
    "UnblockEngine",
]

ReportedCause = Literal[
    "reported", "engine_at_fault", "source_bad", "source_away", "given_back", "inexact"
]
"""The causes that an engine can report; see `events.Cause`."""


class Caller(msgspec.Struct, frozen=True):
    """The caller: the name of its key, and the id of the request that it sent, if it sent one."""

    name: str
    request_id: str | None = None


class SubmitJob(msgspec.Struct, frozen=True, gc=False):
    """Queue a job (protocol.md 1.1). `job_size` is in MB, `priority` 0 to 100.

    A job without a `job_id` is given one that is derived from the time. A second submission with
    the same `idempotency_key` stands for the first one. `recipe` has the fields of a
    `recipes.Recipe` as JSON has them, and `output_name` is a template (see `output_names`). `needs`
    are the abilities that an engine must have told to be given the job, in order. It waits until
    the jobs of `after` are completed. `part` has the fields of a `segments.Part`. `callback_url` is
    where it is told that the job is over.
    """

    job_id: str | None
    source_url: str
    target_codec: str
    job_size: float = 0.0
    max_retries: int = 3
    priority: int = 0
    idempotency_key: str | None = None
    recipe: dict[str, Any] | None = None
    output_name: str | None = None
    needs: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    part: dict[str, Any] | None = None
    callback_url: str | None = None


class SubmitJobs(msgspec.Struct, frozen=True):
    """Queue many jobs, each as a `SubmitJob` of its own would be, one after the other."""

    submissions: tuple[SubmitJob, ...]


class ReportHeartbeat(msgspec.Struct, frozen=True):
    """Register an engine or update what it reports about itself (protocol.md 2.1).

    `report` is everything that the engine sent about itself, except its id. The other fields are
    what it sent about its current job; `progress` is in percent. Unless it `is_due`, numbers that
    jitter are not recorded; see `reports`.
    """

    engine_id: str
    report: dict[str, Any]
    current_job: str | None = None
    attempt: int | None = None
    progress: float | None = None
    is_due: bool = True


class ReportBenchmark(msgspec.Struct, frozen=True):
    """Record how long an engine's benchmark took, in seconds."""

    engine_id: str
    benchmark_time: float


class CompleteJob(msgspec.Struct, frozen=True):
    """Accept a job's output (protocol.md 2.3).

    `engine_id` and `attempt`, where given, must be those of the job's holder, and `instance` must
    not be one that was replaced. A caller that `speaks_for` one engine may answer for no other;
    `None` if it speaks for all. `result` has the fields of a `results.Result` as JSON has them.
    """

    job_id: str
    output_url: str
    engine_id: str | None = None
    attempt: int | None = None
    instance: str | None = None
    speaks_for: str | None = None
    result: dict[str, Any] | None = None


class FailJob(msgspec.Struct, frozen=True):
    """Record that an attempt failed (protocol.md 2.4); see `CompleteJob` for the other fields.

    `cause` is the engine's own report of it.
    """

    job_id: str
    error_message: str
    engine_id: str | None = None
    attempt: int | None = None
    instance: str | None = None
    cause: ReportedCause = "reported"
    speaks_for: str | None = None


class SplitJob(msgspec.Struct, frozen=True):
    """Submit the `parts` of a film, and let its job wait for them.

    `parts` are in the order in which they are to be done. Their priorities, and places in the
    queue, are those of the film. See `CompleteJob` for the other fields.
    """

    job_id: str
    parts: tuple[SubmitJob, ...]
    engine_id: str
    attempt: int
    instance: str | None = None
    speaks_for: str | None = None


class AssignJob(msgspec.Struct, frozen=True):
    """Assign a job to the named engine, or to the one that fits best (protocol.md 2.5).

    With `resume`, an engine that still holds a job is given that job again. See `CompleteJob` for
    `instance`.
    """

    engine_id: str | None = None
    resume: bool = False
    instance: str | None = None


class CancelJob(msgspec.Struct, frozen=True):
    """Cancel a job, whether or not an engine holds it."""

    job_id: str


class RetryJob(msgspec.Struct, frozen=True):
    """Put a failed or cancelled job back in the queue."""

    job_id: str


class PrioritizeJob(msgspec.Struct, frozen=True):
    """Give a waiting job another priority, 0 to 100."""

    job_id: str
    priority: int


class DrainEngine(msgspec.Struct, frozen=True):
    """Let an engine finish its job, and assign it no more."""

    engine_id: str


class ResumeEngine(msgspec.Struct, frozen=True):
    """Let a drained or blocked engine have jobs again."""

    engine_id: str


class ForgetEngine(msgspec.Struct, frozen=True):
    """Remove an engine from the list."""

    engine_id: str


class LoseEngine(msgspec.Struct, frozen=True):
    """Issued by a deadline: the engine has been silent for a whole lease."""

    engine_id: str
    silent_s: float


class TimeOutJob(msgspec.Struct, frozen=True):
    """Issued by a deadline: the attempt has taken `after_s`, the longest that it may take.

    If it `is_stalled`, that is the longest that it may show no progress.
    """

    job_id: str
    attempt: int
    after_s: float
    is_stalled: bool = False


class NoticeAsking(msgspec.Struct, frozen=True):
    """Issued by the dispatcher: the engine asks for other work while it holds the job."""

    engine_id: str
    job_id: str


class TakeBackJob(msgspec.Struct, frozen=True):
    """Issued by the dispatcher: the holder has asked for other work for a whole lease."""

    engine_id: str
    job_id: str
    asked_s: float


class UnblockEngine(msgspec.Struct, frozen=True):
    """Issued by a deadline: the time of the engine's block is over."""

    engine_id: str


class ForgetLostEngine(msgspec.Struct, frozen=True):
    """Issued by a deadline: the engine has been offline for so long that it is forgotten."""

    engine_id: str


class ReleaseJob(msgspec.Struct, frozen=True):
    """Issued by a deadline: the pause of a re-queued job is over."""

    job_id: str


Command = (
    SubmitJob
    | SubmitJobs
    | ReportHeartbeat
    | ReportBenchmark
    | CompleteJob
    | FailJob
    | SplitJob
    | AssignJob
    | CancelJob
    | RetryJob
    | PrioritizeJob
    | DrainEngine
    | ResumeEngine
    | ForgetEngine
    | LoseEngine
    | TimeOutJob
    | NoticeAsking
    | TakeBackJob
    | UnblockEngine
    | ForgetLostEngine
    | ReleaseJob
)
