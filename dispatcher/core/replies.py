"""What the core replies, as data: replies to commands, and explanations of a job's state.

`api` decides how a reply is worded on the wire. A reply names jobs and engines by their ids. The
code that renders it looks them up in the projections once the command's events are durable.
"""

from collections.abc import Sequence
from enum import Enum
from typing import Final, NamedTuple

import msgspec

from dispatcher.core.events import Event

__all__ = [
    "DONE",
    "NO_WORK",
    "Decision",
    "Done",
    "Ended",
    "EngineAnswer",
    "Explanation",
    "JobIs",
    "NoWork",
    "Orders",
    "Reason",
    "Refused",
    "Reply",
    "Requeued",
    "Submitted",
]


class Reason(Enum):
    """Why a command was refused, in the protocol's own words where it has any."""

    JOB_NOT_FOUND = "Job not found"
    ENGINE_NOT_FOUND = "Engine not found"
    JOB_IS_FINAL = "Bad Request: Job is already in a final state."
    JOB_NOT_RETRYABLE = "Bad Request: Job is neither failed nor cancelled."
    JOB_NOT_WAITING = "Conflict: only a job that waits can be given another priority."
    JOB_ID_TAKEN = "Conflict: a job with this id exists already."
    KEY_REUSED = "Conflict: this Idempotency-Key was used for another job."
    REPORT_TOO_LARGE = "Bad Request: all fields of an engine together must be at most 65536 bytes."
    NOT_THE_HOLDER = "Conflict: this answer comes too late."
    NOT_TO_BE_SPLIT = "Conflict: this job can't be split."
    NO_PREREQUISITE = "Bad Request: 'after' names a job that is not known."
    LOST_PREREQUISITE = "Conflict: a job in 'after' has ended without an output."
    INSTANCE_REPLACED = "Conflict: another instance speaks for this engine now."
    NOT_ITS_ENGINE = "Forbidden: this key speaks for another engine."


class Refused(msgspec.Struct, frozen=True):
    """A rule refuses the command. Nothing changes, but some refusals are recorded.

    `detail` replaces the general text of the reason.
    """

    reason: Reason
    detail: str | None = None

    @property
    def text(self) -> str:
        """The text for the caller."""
        return self.detail or self.reason.value


class Done(msgspec.Struct, frozen=True):
    """The requested state holds, whether or not that took an event."""


class JobIs(msgspec.Struct, frozen=True, gc=False):
    """The job that a submission made, or that was assigned.

    It is not `is_new` if the same submission made it earlier, or if the engine that resumes already
    holds it.
    """

    job_id: str
    is_new: bool


class NoWork(msgspec.Struct, frozen=True):
    """There is no job to assign."""


class Requeued(msgspec.Struct, frozen=True):
    """The attempt failed, and the job waits for the next one."""


class Ended(msgspec.Struct, frozen=True):
    """The attempt failed, and it was the job's last."""


class Orders(msgspec.Struct, frozen=True):
    """What an engine is told in reply to its heartbeat.

    `cancel` is the job that it named as its own, if it does not hold that job, or not in that
    attempt. With `drain` it gets no more jobs.
    """

    cancel: str | None = None
    drain: bool = False


class Submitted(msgspec.Struct, frozen=True):
    """What became of each of many submissions."""

    replies: tuple[JobIs | Refused, ...]


Reply = Refused | Done | JobIs | NoWork | Requeued | Ended | Orders | Submitted

DONE: Final = Done()
NO_WORK: Final = NoWork()


class Decision(NamedTuple):
    """What follows from a command."""

    events: Sequence[Event]
    reply: Reply


class EngineAnswer(msgspec.Struct, frozen=True):
    """What keeps an engine from being given the job: an `obstacle` and its meaning.

    Both are null for an engine that would be given the job as soon as its turn comes.
    """

    engine_id: str
    obstacle: str | None
    because: str | None


class Explanation(msgspec.Struct, frozen=True):
    """Why a job is in its present state.

    `because` explains it in a sentence. For a pending job, `place` is its place in the queue from 1
    (null in its pause after a failure, or while it waits for other jobs), `waiting` is the number
    of pending jobs, and `engines` has an entry for each engine. For a job that was assigned, `rule`
    is the rule that chose `engine_id` from those `considered`.
    """

    job_id: str
    status: str
    because: str
    place: int | None = None
    waiting: int | None = None
    engines: list[EngineAnswer] = []
    engine_id: str | None = None
    attempt: int | None = None
    rule: str | None = None
    considered: tuple[str, ...] = ()
