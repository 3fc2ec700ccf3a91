"""What the core answers, as data: the reply to a command, and why a job is where it is.

How a reply is worded on the wire is for `api` to say.
"""

import msgspec

__all__ = ["EngineAnswer", "Explanation"]


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
