"""What calls about one job may be answered, one after the other: the model of a history.

It is the protocol's, said once more in few words, so that the dispatcher is not held against
itself. Leases do not end in these histories, so a job changes by calls alone.
"""

from typing import Final, Literal, NamedTuple

from .linear import Call, explained

__all__ = ["ABSENT", "Assign", "Cancel", "Complete", "Fail", "Life", "Read", "Submit", "is_sound"]

Status = Literal["absent", "pending", "assigned", "completed", "failed", "cancelled"]


class Life(NamedTuple):
    """A job. It has an `engine` or an `output` if its status has one, and an id once it is known.

    `attempts` is how many there were.
    """

    status: Status
    job_id: str = ""
    attempts: int = 0
    engine: str = ""
    output: str = ""


ABSENT: Final = Life("absent")


class Submit(NamedTuple):
    """Submit it under its idempotency key. The answer is the job's id."""


class Assign(NamedTuple):
    """Give it to an engine, or tell this one that it has it. The answer is the attempt."""

    engine: str


class Complete(NamedTuple):
    """Report that an attempt is done. The answer is whether that was accepted."""

    engine: str
    attempt: int
    output: str


class Fail(NamedTuple):
    """Report that an attempt failed; others follow. The answer is whether that was accepted."""

    engine: str
    attempt: int


class Cancel(NamedTuple):
    """Cancel it. The answer is whether that was accepted."""


class Read(NamedTuple):
    """Look at it. The answer is a `Life`, with a status of `absent` if there is no such job."""


def is_sound(calls: list[Call]) -> bool:
    """Whether the history of one job is linearizable."""
    return explained(calls, ABSENT, _follows)


def _follows(life: Life, call: Call) -> Life | None:
    match call.asked:
        case Submit():
            if life.status == "absent":
                return Life("pending", call.answered or "")
            if life.job_id and call.answered not in {None, life.job_id}:
                return None
            return life._replace(job_id=life.job_id or call.answered or "")
        case Assign(engine):
            return _assigned(life, engine, call.answered)
        case Complete(engine, attempt, output):
            holds = _holds(life, engine, attempt)
            is_told_again = life.status == "completed" and life.output == output
            after = life._replace(status="completed", output=output) if holds else life
            return _decided(after, call.answered, may=holds or is_told_again)
        case Fail(engine, attempt):
            holds = _holds(life, engine, attempt)
            after = life._replace(status="pending", engine="") if holds else life
            return _decided(after, call.answered, may=holds)
        case Cancel():
            may = life.status in {"pending", "assigned"}
            if life.status == "cancelled":
                return life
            return _decided(life._replace(status="cancelled") if may else life, call.answered, may)
        case Read():
            return life if _shown(life) == call.answered else None
        case _:
            raise TypeError(call.asked)


def _assigned(life: Life, engine: str, attempt: int) -> Life | None:
    if life.status == "assigned" and life.engine == engine and life.attempts == attempt:
        return life
    if life.status == "pending" and life.attempts + 1 == attempt:
        return life._replace(status="assigned", engine=engine, attempts=attempt)
    return None


def _holds(life: Life, engine: str, attempt: int) -> bool:
    return (life.status, life.engine, life.attempts) == ("assigned", engine, attempt)


def _decided(after: Life, accepted: bool | None, may: bool) -> Life | None:
    """Return what follows if it was accepted, as it may be, or refused, as it must be else."""
    return after if accepted is None or accepted is may else None


def _shown(life: Life) -> Life:
    """Return what a reader sees of it."""
    return Life(
        life.status,
        attempts=life.attempts,
        engine=life.engine if life.status == "assigned" else "",
        output=life.output,
    )
