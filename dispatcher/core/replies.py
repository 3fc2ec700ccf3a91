"""What the core answers, as data: the reply to a command, and why a job is where it is.

How a reply is worded on the wire is for `api` to say. A reply names jobs and engines by their ids:
whoever renders it looks them up in the projections once the command's events are durable.
"""

from enum import Enum
from typing import Final

import msgspec

__all__ = [
    "DONE",
    "NO_WORK",
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
]


class Reason(Enum):
    """Why a command was refused, in the words of the protocol where it has any."""

    JOB_NOT_FOUND = "Job not found"
    ENGINE_NOT_FOUND = "Engine not found"
    JOB_IS_FINAL = "Bad Request: Job is already in a final state."
    JOB_NOT_RETRYABLE = "Bad Request: Job is neither failed nor cancelled."
    JOB_ID_TAKEN = "Conflict: a job with this id exists already."
    KEY_REUSED = "Conflict: this Idempotency-Key was used for another job."
    NOT_THE_HOLDER = "Conflict: this answer comes too late."


class Refused(msgspec.Struct, frozen=True):
    """A rule says no, and nothing changes but that a late answer is recorded.

    `detail` replaces the general text of the reason.
    """

    reason: Reason
    detail: str | None = None

    @property
    def text(self) -> str:
        """What the caller is told."""
        return self.detail or self.reason.value


class Done(msgspec.Struct, frozen=True):
    """What was asked for is so, whether or not it took an event."""


class JobIs(msgspec.Struct, frozen=True):
    """The job that a submission made or an ask was given.

    Not `is_new`: the same submission made it earlier, or the engine that resumes holds it already.
    """

    job_id: str
    is_new: bool


class NoWork(msgspec.Struct, frozen=True):
    """There is no job to give out."""


class Requeued(msgspec.Struct, frozen=True):
    """The attempt failed, and the job waits for the next one."""


class Ended(msgspec.Struct, frozen=True):
    """The attempt failed, and it was the job's last."""


class Orders(msgspec.Struct, frozen=True):
    """What an engine is told with the answer to its heartbeat.

    `cancel` is the job that it named as its own and that is not, or not in that attempt. With
    `drain` it takes no more.
    """

    cancel: str | None = None
    drain: bool = False


Reply = Refused | Done | JobIs | NoWork | Requeued | Ended | Orders

DONE: Final = Done()
NO_WORK: Final = NoWork()


class EngineAnswer(msgspec.Struct, frozen=True):
    """What stands between an engine and the job: an `obstacle` and what it means.

    Both are null for an engine that would be given the job as soon as its turn comes.
    """

    engine_id: str
    obstacle: str | None
    because: str | None


class Explanation(msgspec.Struct, frozen=True):
    """Why a job is where it is.

    `because` says it in a sentence. For a pending job, `place` is its place in the queue from 1
    (null in its pause after a failure), `waiting` how many wait, and `engines` tells of each
    engine. For one that was assigned, `rule` chose `engine_id` out of those `considered`.
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
