"""A job as the rules see it.

There are very many jobs, and none can be part of a reference cycle. So the garbage collector, which
would pause the process to look at each, does not track them (`gc=False`). A snapshot omits the
fields that have their default values (`omit_defaults`).
"""

import re
from typing import Final, Literal, NamedTuple, Self

import msgspec

from dispatcher.core.events import FINAL, Cause

__all__ = [
    "NO_ENGINES",
    "NO_SETBACKS",
    "NO_TIES",
    "Job",
    "JobStatus",
    "MadeId",
    "Place",
    "Setbacks",
    "Ties",
]

JobStatus = Literal["pending", "assigned", "completed", "failed_permanently", "cancelled"]

NO_ENGINES: Final = frozenset[str]()


class MadeId(NamedTuple):
    """The id `{micros}_{counter}` of a job. No later one that the dispatcher makes is less."""

    micros: int
    counter: int

    def __str__(self) -> str:
        """Return the job id."""
        return f"{self.micros}_{self.counter}"

    @classmethod
    def of(cls, job_id: str) -> Self | None:
        """Read a job id; `None` if it has another form than those that are made."""
        if (match := _MADE.fullmatch(job_id)) is None:
            return None
        return cls(int(match[1]), int(match[2]))


_MADE: Final = re.compile(r"(0|[1-9][0-9]{0,999})_(0|[1-9][0-9]{0,999})", re.ASCII)


class Place(msgspec.Struct, frozen=True, order=True, array_like=True, gc=False):
    """A job's place in the queue: microseconds since the epoch, then the order of submission."""

    waits_since_us: int
    number: int


class Setbacks(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What a job suffered that is no failure of its own, since it was submitted or retried.

    `losses` counts the engines that were lost with it. `source_tries` counts the attempts that
    could not have its source since one last could, and `source_waited_s` sums up the pauses after
    them. If only one engine lacked the source, that is `lacked_by`, which had succeeded
    `lacked_after` times then. `cause` is that of the newest attempt that ended without an output.
    """

    losses: int = 0
    source_tries: int = 0
    source_waited_s: float = 0.0
    lacked_by: str | None = None
    lacked_after: int = 0
    cause: Cause | None = None


NO_SETBACKS: Final = Setbacks()


class Ties(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What a job has to do with others; see `dependencies`.

    It is not assigned before `after` are completed, nor, if it is a film that was split, before its
    `parts` are. Those of them that were not when it began to wait are in `waits_for`, which is
    empty when it does not wait. `followers` are the jobs that wait, or waited, for this one, and
    `parent` is the film that it is a part of. `is_whole` says of a film that it is not to be split.
    `ended_with_other` says that the job ended since another one did, and not for itself.
    """

    after: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    waits_for: tuple[str, ...] = ()
    followers: tuple[str, ...] = ()
    parent: str | None = None
    is_whole: bool = False
    ended_with_other: bool = False

    @property
    def needed(self) -> tuple[str, ...]:
        """The jobs that have to be completed before this one is assigned."""
        return self.after + self.parts


NO_TIES: Final = Ties()


class Job(msgspec.Struct, gc=False, omit_defaults=True):
    """A job as the rules see it: what decides who may have it, and its progress.

    `attempt`, `last_holder`, `rule` and `considered` are those of its newest assignment, even after
    that has ended. `error_message` is that of its newest failure. `failed_by` are the engines on
    which it did not succeed since it was submitted or retried: it failed, they were lost with it,
    or they lacked its source and others are to be tried first. `needs` are the abilities that an
    engine must have told to be given it, in order. It arrived `early_us` after the time in its
    place: so much earlier its `priority` makes it seem to be. `ties` are those to other jobs.
    """

    job_id: str
    codec: str
    size_mb: float
    max_retries: int
    place: Place
    idempotency_key: str | None = None
    status: JobStatus = "pending"
    holder: str | None = None
    attempt: int = 0
    last_holder: str | None = None
    rule: str | None = None
    considered: tuple[str, ...] = ()
    retries: int = 0
    failed_by: frozenset[str] = NO_ENGINES
    setbacks: Setbacks = NO_SETBACKS
    progress: float | None = None
    output_url: str | None = None
    error_message: str | None = None
    needs: tuple[str, ...] = ()
    priority: int = 0
    early_us: int = 0
    ties: Ties = NO_TIES

    @property
    def final(self) -> bool:
        """Whether nothing more can happen to the job, unless it is retried."""
        return self.status in FINAL
