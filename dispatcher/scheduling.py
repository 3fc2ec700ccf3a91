"""Which job goes to which engine (protocol.md 2.5).

Jobs go out first in, first out, among those that the engine can do. An engine that asks by name
gets work for itself only. Without a name the first job that any idle engine can do is taken, and
the engine is chosen by the job's size: a small job goes to the slowest engine, so that the fast
ones are free for the large.
"""

from typing import Literal, NamedTuple

from dispatcher.fleet import Engine, Fleet, Job

__all__ = ["LARGE_MB", "MEDIUM_MB", "Choice", "Rule", "choose_any", "choose_for"]

MEDIUM_MB = 50.0
"""From this size a job goes to the fastest engine instead of the slowest."""
LARGE_MB = 100.0
"""From this size a job is better streamed than fetched first."""

Rule = Literal[
    "asked by name",
    "small: slowest",
    "medium: fastest",
    "large: fastest that streams",
    "large: fastest",
]


class Choice(NamedTuple):
    """A job, the engine that is to do it, and the rule that says so."""

    job: Job
    engine: Engine
    rule: Rule


def choose_for(fleet: Fleet, engine: Engine) -> Choice | None:
    """Choose a job for the engine that asks, or `None` if it is busy or nothing fits."""
    if not engine.idle or (job_id := fleet.queue.first(engine.codecs)) is None:
        return None
    return Choice(fleet.jobs[job_id], engine, "asked by name")


def choose_any(fleet: Fleet) -> Choice | None:
    """Choose a job and an idle engine for it; engines without a benchmark are passed over."""
    idle = [e for e in fleet.engines.values() if e.idle and e.benchmark_time is not None]
    if not idle or (job_id := fleet.queue.first(_codecs_of(idle))) is None:
        return None
    job = fleet.jobs[job_id]
    engine, rule = _by_size(job, [e for e in idle if e.takes(job.target_codec)])
    return Choice(job, engine, rule)


def _codecs_of(engines: list[Engine]) -> set[str] | None:
    codecs: set[str] = set()
    for engine in engines:
        if engine.codecs is None:
            return None
        codecs.update(engine.codecs)
    return codecs


def _by_size(job: Job, engines: list[Engine]) -> tuple[Engine, Rule]:
    """Pick by speed; of equals, the engine that registered first."""

    def slowness(engine: Engine) -> float:
        return engine.benchmark_time or 0.0

    if job.job_size < MEDIUM_MB:
        return max(engines, key=slowness), "small: slowest"
    if job.job_size < LARGE_MB:
        return min(engines, key=slowness), "medium: fastest"
    if streaming := [engine for engine in engines if engine.streams]:
        return min(streaming, key=slowness), "large: fastest that streams"
    return min(engines, key=slowness), "large: fastest"
