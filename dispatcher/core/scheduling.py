"""Which job goes to which engine (protocol.md 2.5).

Laws:
- Jobs are assigned in the order of the queue, among those that the engine can do. An engine that
  asks by name gets work for itself only.
- Without a name, the first job that any idle engine can do is taken, and the job's size decides
  which engine gets it. A small job goes to the slowest engine, so that the fast ones stay free for
  large jobs.
- `obstacle` says, and explains, what keeps an engine from a job. `choose_for` applies the same
  conditions to whole lines of the queue, so that it need not look at each job. A property test
  checks that the two agree.
- A job is not given again to an engine that failed it while another could be given it.
"""

import math
from collections.abc import Iterable
from enum import Enum
from functools import partial
from typing import Final, NamedTuple

from dispatcher.core.engine import Engine
from dispatcher.core.events import ASKED_BY_NAME
from dispatcher.core.fleet import Fleet
from dispatcher.core.job import Job
from dispatcher.core.queue import QueueLine, Sizes

__all__ = [
    "LARGE_MB",
    "MEDIUM_MB",
    "Choice",
    "Obstacle",
    "choose_any",
    "choose_for",
    "is_free_elsewhere",
    "may_free_jobs",
    "obstacle",
    "sizes_of",
]

MEDIUM_MB = 50.0
"""From this size, a job goes to the fastest engine instead of the slowest."""
LARGE_MB = 100.0
"""From this size, a job is better streamed than fetched first."""
CONSIDERED = 20
"""The most engines that are recorded with an assignment as able to take the job."""


class Obstacle(Enum):
    """What can keep an engine from being given a job, and the text that explains it."""

    BACKOFF = "the job is in its pause after a failure"
    WAITS = "the job waits for other jobs"
    CODEC = "it does not encode the job's codec"
    ABILITY = "it lacks an ability that the job needs"
    STORAGE = "its storage can't hold the source, and it can't stream"
    BLOCKED = "it is blocked, for having failed too many jobs in a row"
    DRAINED = "it is drained"
    FAILED_IT = "this job did not succeed on it before, and another engine could take it"
    BUSY = "it is busy"
    OFFLINE = "it is offline"


class Choice(NamedTuple):
    """A job, the engine that gets it, the rule that chose it, and the engines considered."""

    job: Job
    engine: Engine
    rule: str
    considered: tuple[str, ...]


def choose_for(fleet: Fleet, engine: Engine) -> Choice | None:
    """Choose a job for the engine that asks; `None` if it may have none or none fits."""
    job = _first_for(fleet, engine)
    return None if job is None else Choice(job, engine, ASKED_BY_NAME, ())


def choose_any(fleet: Fleet) -> Choice | None:
    """Choose a job and an idle engine for it. Engines without a benchmark are skipped."""
    ready = [
        engine
        for engine in fleet.engines.values()
        if engine.idle and engine.online and engine.trusted and engine.benchmark_time is not None
    ]
    found = (_first_for(fleet, engine) for engine in ready)
    firsts = [job for job in found if job is not None]
    if not firsts:
        return None
    job = min(firsts, key=lambda job: job.place)
    able = [engine for engine in ready if obstacle(fleet, engine, job) is None]
    engine, rule = _by_size(job.size_mb, able)
    return Choice(job, engine, rule, tuple(e.engine_id for e in able[:CONSIDERED]))


def obstacle(fleet: Fleet, engine: Engine, job: Job, *, is_asking: bool = True) -> Obstacle | None:
    """Return what keeps an engine from being given a pending job, or `None`.

    If there are several obstacles, it is the one that will last the longest. An engine that
    `is_asking` counts as online, whether or not it has sent heartbeats.
    """
    found: Obstacle | None = None
    if not engine.takes(job.codec):
        found = Obstacle.CODEC
    elif engine.lacks(job.needs):
        found = Obstacle.ABILITY
    elif job.size_mb > engine.room_mb:
        found = Obstacle.STORAGE
    elif engine.blocked is not None:
        found = Obstacle.BLOCKED
    elif engine.drained:
        found = Obstacle.DRAINED
    elif engine.engine_id in job.failed_by and job.size_mb <= _room_elsewhere(
        fleet, job.codec, job.needs, job.failed_by
    ):
        found = Obstacle.FAILED_IT
    elif not is_asking and not engine.online:
        found = Obstacle.OFFLINE
    elif job.ties.waits_for:
        found = Obstacle.WAITS
    elif job.job_id in fleet.queue.paused:
        found = Obstacle.BACKOFF
    elif not engine.idle:
        found = Obstacle.BUSY
    return found


def is_free_elsewhere(fleet: Fleet, job: Job) -> bool:
    """Return whether an engine other than the job's holder is free and could be given the job."""
    return any(
        engine.engine_id != job.holder
        and obstacle(fleet, engine, job, is_asking=False) in {None, Obstacle.BACKOFF}
        for engine in fleet.engines.values()
    )


def may_free_jobs(report: Iterable[str]) -> bool:
    """Return whether a report of these fields can make an engine unfit for jobs kept for it."""
    return not _FITNESS.isdisjoint(report)


_FITNESS: Final = frozenset(
    {"supported_codecs", "abilities", "storage_capacity_gb", "streaming_support"}
)


def _first_for(fleet: Fleet, engine: Engine) -> Job | None:
    """Return the first job that an engine may be given."""
    if not engine.idle or not engine.trusted:
        return None
    room_mb = engine.room_mb
    return fleet.queue.first(engine.codecs, partial(sizes_of, fleet, engine, room_mb))


def sizes_of(fleet: Fleet, engine: Engine, room_mb: float, line: QueueLine) -> Sizes | None:
    """Return which sizes of a line of its codecs the engine may have: `obstacle` for a line."""
    if line.needs and engine.lacks(line.needs):
        return None
    over = -1.0
    if engine.engine_id in line.failed_by:
        over = _room_elsewhere(fleet, line.codec, line.needs, line.failed_by)
    return Sizes(over, room_mb) if over < room_mb else None


def _room_elsewhere(
    fleet: Fleet, codec: str, needs: tuple[str, ...], failed_by: frozenset[str]
) -> float:
    """Return how large such a job can be and still go to an engine not in `failed_by`."""
    return max(
        (
            engine.room_mb
            for engine in fleet.engines.values()
            if engine.online
            and engine.trusted
            and engine.takes(codec)
            and not engine.lacks(needs)
            and engine.engine_id not in failed_by
        ),
        default=-math.inf,
    )


def _by_size(size_mb: float, engines: list[Engine]) -> tuple[Engine, str]:
    """Choose by speed. Of equals, take the engine that registered first."""

    def slowness(engine: Engine) -> float:
        return engine.benchmark_time or 0.0

    if size_mb < MEDIUM_MB:
        return max(engines, key=slowness), "small: slowest"
    if size_mb < LARGE_MB:
        return min(engines, key=slowness), "medium: fastest"
    if streaming := [engine for engine in engines if engine.streams]:
        return min(streaming, key=slowness), "large: fastest that streams"
    return min(engines, key=slowness), "large: fastest"
