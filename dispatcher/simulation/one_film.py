"""How soon one film is ready on a farm that does nothing else, in parts, and on one engine.

The film is done by one engine whole, by one in parts, and by all in parts.

Laws:
- The engines are equal, and nothing goes wrong.
- A segment takes up to a fifth more or less time than its size tells, as in a simulated day. So do
  the other steps of a film in parts. The film that is encoded whole takes what its size tells.
- Times are rounded up to whole seconds.
"""

from random import Random
from typing import Final

import msgspec

from dispatcher.core.commands import SubmitJob
from dispatcher.recipes import Recipe
from dispatcher.segments import ABILITY
from dispatcher.simulation.agenda import DAY_S, MICROS, Agenda
from dispatcher.simulation.calls import Call, Endpoint
from dispatcher.simulation.dispatching import Dispatcher
from dispatcher.simulation.films import BUILDS, SPLIT
from dispatcher.simulation.machines import Build, Machine
from dispatcher.simulation.network import Network
from dispatcher.simulation.plan import CALM, COSTS, Plan, PlanError, mix_of
from dispatcher.simulation.story import Story
from dispatcher.simulation.world import World

__all__ = ["FilmTimes", "times_of_one_film"]

FILM: Final = "film"
LONGEST_DAYS: Final = 365


class FilmTimes(msgspec.Struct, frozen=True):
    """How long after its submission a film was ready, in seconds, and in how many segments."""

    whole_on_one_s: float
    parts_on_one_s: float
    parts_on_all_s: float
    segments: int

    @property
    def times_sooner(self) -> float:
        """How many times sooner all engines have it ready in parts than one has it whole."""
        return self.whole_on_one_s / self.parts_on_all_s


def times_of_one_film(plan: Plan) -> FilmTimes:
    """Do the film of a plan. Raises `PlanError` if one engine would take more than a year."""
    if plan.film_mb * COSTS[_codec_of(plan)] / plan.mb_per_s > LONGEST_DAYS * DAY_S:
        raise PlanError("--film-mb: one engine would take more than a year for the film")
    whole_s, _ = _ready_after(plan, 1, None)
    one_s, _ = _ready_after(plan, 1, SPLIT)
    all_s, segments = _ready_after(plan, plan.engines, SPLIT)
    return FilmTimes(whole_s, one_s, all_s, segments)


def _ready_after(plan: Plan, engines: int, recipe: Recipe | None) -> tuple[float, int]:
    """Return after how many seconds the film is ready on so many engines, and its segments."""
    plan = msgspec.structs.replace(plan, engines=engines, faults="none", job_timeout_s=0.0)
    agenda, story = Agenda(), Story()
    work = Random(f"{plan.seed}/work")  # noqa: S311 - must be repeatable, not secret
    world = World(plan, agenda, Network(agenda, CALM, story, work), story)
    dispatcher = Dispatcher(world, lambda _: None)
    world.network.receive = dispatcher.receive
    for number in range(engines):
        machine = Machine(_build(number, plan), world, work, lambda *_: None)
        if recipe is None:
            machine.spread = 0.0  # chance evens out over many parts, and not in one job
        machine.boot()
    agenda.run(int(2 * plan.beats_every_s * MICROS))  # all ask for work by now
    began_us = agenda.now_us
    submission = SubmitJob(
        job_id=FILM,
        source_url="http://media/film.mp4",
        target_codec=_codec_of(plan),
        job_size=plan.film_mb,
        recipe=None if recipe is None else recipe.wire(),
        needs=() if recipe is None else tuple(sorted(recipe.needs)),
    )
    world.network.send(Call(Endpoint("client"), submission))
    while not (FILM in dispatcher.fleet.jobs and dispatcher.fleet.jobs[FILM].final):
        agenda.run(agenda.now_us + MICROS)
    dispatcher.check()
    segments = len(dispatcher.fleet.jobs[FILM].ties.parts) - 1
    return (agenda.now_us - began_us) / MICROS, max(segments, 0)


def _codec_of(plan: Plan) -> str:
    """Return the first codec of those with the largest share."""
    shares = mix_of(plan)
    return max(shares, key=lambda it: shares[it])


def _build(number: int, plan: Plan) -> Build:
    return Build(
        engine_id=f"engine-{number}",
        rack=0,
        speed=1.0,
        codecs=list(COSTS),
        storage_gb=plan.film_mb,
        streams=True,
        failing=0.0,
        abilities=["recipes", ABILITY, BUILDS[0]],
    )
