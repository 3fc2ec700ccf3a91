"""Where jobs and engines stand in their lives, and the steps that an event makes them take."""

from collections.abc import Iterator
from typing import NamedTuple

from dispatcher.core.engine import Engine
from dispatcher.core.events import Event
from dispatcher.core.fleet import Fleet
from dispatcher.core.lifecycles import JOB_LIFE, PRESENCE, STANDING, Step

__all__ = ["ALL_STEPS", "Standing", "Taken", "standing_in", "steps_between"]


class Taken(NamedTuple):
    """A step that was taken: `None` is not to be there."""

    life: str
    event: type[Event]
    before: str | None
    after: str | None


Standing = dict[tuple[str, str], str]
"""A state for each life of each job or engine."""


def standing_in(fleet: Fleet) -> Standing:
    standing: Standing = {}
    for job in fleet.jobs.values():
        is_paused, is_blocked = (
            job.job_id in it for it in (fleet.queue.paused, fleet.queue.blocked)
        )
        standing["job", job.job_id] = (
            "paused" if is_paused else "blocked" if is_blocked else job.status
        )
    for engine in fleet.engines.values():
        standing["presence", engine.engine_id] = "online" if engine.online else "offline"
        standing["standing", engine.engine_id] = _standing(engine)
    return standing


def _standing(engine: Engine) -> str:
    barred = ["drained"] * engine.drained + ["blocked"] * (engine.blocked is not None)
    return " and ".join(barred) or "trusted"


def steps_between(before: Standing, event: Event, after: Standing) -> Iterator[Taken]:
    """Give the steps that an event made anybody take, arrows from a state to itself included."""
    named = {getattr(event, "job_id", None), getattr(event, "engine_id", None)}
    for life, name in {**before, **after}:
        was, now = before.get((life, name)), after.get((life, name))
        taken = Taken(life, type(event), was, now)
        if was != now or (name in named and taken in ALL_STEPS):
            yield taken


def _steps(life: str, table: tuple[Step, ...]) -> Iterator[Taken]:
    for step in table:
        for before in step.before or (None,):
            for after in step.after or (None,):
                yield Taken(life, step.event, before, after)


ALL_STEPS: frozenset[Taken] = frozenset(
    {
        *_steps("job", JOB_LIFE),
        *_steps("presence", PRESENCE),
        *_steps("standing", STANDING),
    }
)
"""Every arrow in the tables."""
