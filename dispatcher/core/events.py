"""The events that can happen on the farm.

Laws:
- An event is a fact: past tense, frozen, complete. It holds what was decided, never what is still
  to be decided, so that a replay needs no rules and no clock.
- The name under which an event is recorded is in `log.serialization` and never changes.
- Only events change state. `fleet` folds them into the state that decisions need, `projections`
  into what readers see.
"""

from datetime import datetime
from typing import Any, Final, Literal, get_args

import msgspec
from msgspec import UNSET, UnsetType

__all__ = [
    "ASKED_BY_NAME",
    "FINAL",
    "MOST_REPLACED",
    "OF_ENGINES",
    "OF_JOBS",
    "AnswerRefused",
    "Cause",
    "EngineAsked",
    "EngineBenchmarked",
    "EngineBlamed",
    "EngineBlocked",
    "EngineDrained",
    "EngineFenced",
    "EngineForgotten",
    "EngineLost",
    "EngineReplaced",
    "EngineReported",
    "EngineResumed",
    "EngineSeen",
    "EngineUnblocked",
    "Event",
    "JobAssigned",
    "JobCancelled",
    "JobCompleted",
    "JobFailedPermanently",
    "JobMadeWhole",
    "JobProgressed",
    "JobReleased",
    "JobReprioritized",
    "JobRequeued",
    "JobRetried",
    "JobSplit",
    "JobSubmitted",
    "Recorded",
    "engine_of",
    "job_of",
]

Cause = Literal[
    "reported",
    "engine_at_fault",
    "source_bad",
    "source_away",
    "given_back",
    "timed_out",
    "engine_silent",
    "engine_restarted",
    "engine_asked",
    "engine_forgotten",
    "inexact",
    "prerequisite_failed",
]
"""Why an attempt ended.

The first five are reports of an engine: a failure of which it did not say more, one of its own, a
source that no retry makes better, a source that can't be had now, or a stop of the engine. The
others the dispatcher observed; `engine_asked`: the engine kept asking for other work. `inexact` is
an engine's report too: the film can't be cut exactly where this part of it begins or ends. A job
that waits for others fails without an attempt when one of them does: `prerequisite_failed`.
"""


MOST_REPLACED: Final = 32
"""The most former instances that are remembered of an engine."""

FINAL: Final = frozenset({"completed", "failed_permanently", "cancelled"})
"""The states of a job in which nothing more can happen to it, unless it is retried."""

ASKED_BY_NAME: Final = "asked by name"
"""The rule of an assignment that the engine itself asked for."""


class JobSubmitted(msgspec.Struct, frozen=True, gc=False):
    """A client submitted a job. `job_size` is in MB (protocol.md 1.1).

    `arrived_at` is the time of submission, but never before that of an earlier job, even if the
    clock was set back. `waits_since` gives its place in the queue: `arrived_at`, moved back for its
    priority. `recipe` has the fields of a `recipes.Recipe`, and `output_name` is a template (see
    `output_names`). `needs` are the abilities that an engine must have told to be given the job.
    It is not assigned before all jobs of `after` are completed; `waits_for` are those of them that
    were not yet. The job of a part of a film has that film's job as its `parent`, and in `part` the
    fields of a `segments.Part`. Who is told at `callback_url` when it is over, see `webhooks`. Of
    these, what there is not is left out.
    """

    job_id: str
    source_url: str
    target_codec: str
    job_size: float
    max_retries: int
    priority: int = 0
    waits_since: datetime | None = None
    idempotency_key: str | None = None
    arrived_at: datetime | None = None
    recipe: dict[str, Any] | UnsetType = UNSET
    output_name: str | UnsetType = UNSET
    needs: tuple[str, ...] | UnsetType = UNSET
    after: tuple[str, ...] | UnsetType = UNSET
    waits_for: tuple[str, ...] | UnsetType = UNSET
    parent: str | UnsetType = UNSET
    part: dict[str, Any] | UnsetType = UNSET
    callback_url: str | UnsetType = UNSET


class JobAssigned(msgspec.Struct, frozen=True, gc=False):
    """A job was given to an engine.

    `attempt` numbers the assignments of this job from 1. `rule` is the rule of `scheduling` that
    chose the engine from those `considered`.
    """

    job_id: str
    engine_id: str
    attempt: int
    rule: str
    considered: tuple[str, ...] = ()


class JobCompleted(msgspec.Struct, frozen=True, gc=False):
    """A job's output is ready. `engine_id` is the engine that held the job, if one did.

    `result` has the fields of a `results.Result`; it is left out if the engine told none.
    """

    job_id: str
    engine_id: str | None
    attempt: int
    output_url: str
    result: dict[str, Any] | UnsetType = UNSET


class JobRequeued(msgspec.Struct, frozen=True, gc=False):
    """An attempt ended without an output, and the job waits for the next one.

    `retries` includes this attempt if it counts as a failure, `losses` if its engine was lost, and
    `source_tries` if the source could not be had. `source_waited_s` is the sum of the pauses for
    the source, including the one that begins. `blames_engine` says whether the attempt counts
    against the engine. With `not_before`, the job waits for `JobReleased` first.
    """

    job_id: str
    engine_id: str | None
    attempt: int
    retries: int
    error_message: str
    cause: Cause = "reported"
    blames_engine: bool = False
    not_before: datetime | None = None
    losses: int = 0
    source_tries: int = 0
    source_waited_s: float = 0.0


class JobFailedPermanently(msgspec.Struct, frozen=True, gc=False):
    """The last attempt of a job failed; see `JobRequeued` for the fields."""

    job_id: str
    engine_id: str | None
    attempt: int
    retries: int
    error_message: str
    cause: Cause = "reported"
    blames_engine: bool = False
    losses: int = 0


class JobReleased(msgspec.Struct, frozen=True, gc=False):
    """What a waiting job was kept for is over, and it may be assigned.

    That is its pause after a failure, or the last of the jobs that it waits for is completed.
    """

    job_id: str


class JobProgressed(msgspec.Struct, frozen=True, gc=False):
    """An engine reported its progress with a heartbeat; `progress` is in percent."""

    job_id: str
    engine_id: str
    attempt: int
    progress: float


class JobCancelled(msgspec.Struct, frozen=True, gc=False):
    """A client cancelled the job. `engine_id` is the engine that held it, if one did.

    With `because_of`, the client cancelled that job, or it failed or was made whole, and this one
    was of no use without it.
    """

    job_id: str
    engine_id: str | None
    attempt: int
    because_of: str | UnsetType = UNSET


class JobRetried(msgspec.Struct, frozen=True, gc=False):
    """A client put a failed or cancelled job back in the queue, with all its retries.

    `waits_for` are the jobs that it waits for again; it is left out if there are none. With
    `because_of`, the client retried that job, which this one waits for or is needed by.
    """

    job_id: str
    waits_for: tuple[str, ...] | UnsetType = UNSET
    because_of: str | UnsetType = UNSET


class JobReprioritized(msgspec.Struct, frozen=True, gc=False):
    """A client gave a waiting job another priority.

    `waits_since` gives its new place in the queue, as in `JobSubmitted`: the time at which it
    arrived, moved back for the priority.
    """

    job_id: str
    priority: int
    waits_since: datetime


class JobSplit(msgspec.Struct, frozen=True, gc=False):
    """The engine that held a film's job made a plan by which it is split, and holds it no more.

    `parts` are the jobs of the parts, in their order in the queue, which are submitted next. The
    film's job waits for them. Then its next attempt joins their outputs.
    """

    job_id: str
    engine_id: str
    attempt: int
    parts: tuple[str, ...]


class JobMadeWhole(msgspec.Struct, frozen=True, gc=False):
    """A film that was split can't be cut exactly: its job is done in one piece, without its parts.

    `reason` is what the engine reported that found it out.
    """

    job_id: str
    reason: str


class AnswerRefused(msgspec.Struct, frozen=True, gc=False):
    """An engine's answer came too late and changed nothing.

    `engine_id` and `attempt` are those that the answer named. `answer` is `complete` or `fail`.
    `reason` is the text that the engine was sent.
    """

    job_id: str
    engine_id: str | None
    attempt: int | None
    answer: Literal["complete", "fail", "split"]
    reason: str


class EngineReported(msgspec.Struct, frozen=True, gc=False):
    """A heartbeat reported something new.

    `report` has only the fields that are new or differ from the engine's earlier reports, under the
    names of protocol.md 2.1, and any others that the engine sent. An engine's first heartbeat is
    always recorded like this, even if it reports nothing but its id.
    """

    engine_id: str
    report: dict[str, Any]


class EngineReplaced(msgspec.Struct, frozen=True, gc=False):
    """A heartbeat came from another `instance` of the engine than the one known before.

    From `since` (UTC), `instance` speaks for the engine, and the instance that it `replaced` no
    longer does. If it has the engine's job and goes on with it, that is its `kept_job`, and counts
    as a loss of the job's.
    """

    engine_id: str
    instance: str
    replaced: str
    since: datetime
    kept_job: str | None = None


class EngineFenced(msgspec.Struct, frozen=True, gc=False):
    """A replaced instance was heard again and refused. Each is recorded once.

    So it did not die: the loss that its replacement cost a job is taken back.
    """

    engine_id: str
    instance: str


class EngineAsked(msgspec.Struct, frozen=True, gc=False):
    """An engine that holds the job, and never tells its job or instance, asked for other work."""

    engine_id: str
    job_id: str


class EngineSeen(msgspec.Struct, frozen=True, gc=False):
    """A heartbeat only repeated what was known: the engine is alive."""

    engine_id: str


class EngineBenchmarked(msgspec.Struct, frozen=True, gc=False):
    """An engine's benchmark took `benchmark_time` seconds; less is faster."""

    engine_id: str
    benchmark_time: float


class EngineLost(msgspec.Struct, frozen=True, gc=False):
    """An engine was silent for a whole lease. It is offline until it is heard from again.

    `since` is the time (UTC) at which it was given up.
    """

    engine_id: str
    silent_s: float
    since: datetime | None = None


class EngineBlamed(msgspec.Struct, frozen=True, gc=False):
    """The engine alone could not have the source of a job that another has now completed."""

    engine_id: str
    job_id: str


class EngineBlocked(msgspec.Struct, frozen=True, gc=False):
    """An engine failed too many different jobs in a row.

    It gets no more until the time `until` (UTC), or until it is resumed.
    """

    engine_id: str
    reason: str
    until: datetime | None = None


class EngineUnblocked(msgspec.Struct, frozen=True, gc=False):
    """The time of a block is over: the engine may have jobs. If it fails the next, it is blocked.

    Only a success or an operator clears its failures.
    """

    engine_id: str


class EngineDrained(msgspec.Struct, frozen=True, gc=False):
    """An operator drained the engine: it finishes its job and gets no more."""

    engine_id: str


class EngineResumed(msgspec.Struct, frozen=True, gc=False):
    """An operator let an engine have jobs again, and knows of other machines that use its id."""

    engine_id: str


class EngineForgotten(msgspec.Struct, frozen=True, gc=False):
    """The engine was removed from the list: by an operator, or for its long absence."""

    engine_id: str


Event = (
    JobSubmitted
    | JobAssigned
    | JobCompleted
    | JobRequeued
    | JobFailedPermanently
    | JobReleased
    | JobProgressed
    | JobCancelled
    | JobRetried
    | JobReprioritized
    | JobSplit
    | JobMadeWhole
    | AnswerRefused
    | EngineReported
    | EngineReplaced
    | EngineFenced
    | EngineAsked
    | EngineSeen
    | EngineBenchmarked
    | EngineLost
    | EngineBlamed
    | EngineBlocked
    | EngineUnblocked
    | EngineDrained
    | EngineResumed
    | EngineForgotten
)


OF_JOBS: Final = frozenset(it for it in get_args(Event) if "job_id" in it.__struct_fields__)
OF_ENGINES: Final = frozenset(it for it in get_args(Event) if "engine_id" in it.__struct_fields__)
"""The events that have the id of a job, or of an engine. To look here is faster than to ask each
event for what it may lack."""


class Recorded(msgspec.Struct, frozen=True, gc=False):
    """An event with its position in the log.

    `seq` counts from 1 without gaps, and alone defines the order. `at` is the wall-clock time (UTC)
    when the command came in. It may step back when the clock is set. `actor` is the caller: the
    name of the key that the request carried. `request_id` is that of the request (`X-Request-ID`),
    or `None` for what the dispatcher did itself.
    """

    seq: int
    at: datetime
    actor: str
    event: Event
    request_id: str | None = None


def job_of(event: Event) -> str | None:
    """Return the id of the job that an event concerns, or `None`."""
    job_id: str | None = getattr(event, "job_id", None)
    return job_id


def engine_of(event: Event) -> str | None:
    """Return the id of the engine that an event concerns, or `None`."""
    engine_id: str | None = getattr(event, "engine_id", None)
    return engine_id
