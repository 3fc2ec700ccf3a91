"""Simulated clients, who submit jobs and sometimes change their minds, and operators.

Law: a client that gets no response submits the job again if it has an idempotency key, with the
same key.
"""

import math
from collections.abc import Callable
from random import Random
from typing import Final

import msgspec

from dispatcher.core.commands import (
    CancelJob,
    DrainEngine,
    ForgetEngine,
    PrioritizeJob,
    ResumeEngine,
    RetryJob,
    SubmitJob,
)
from dispatcher.recipes import Recipe
from dispatcher.simulation.agenda import DAY_S, HOUR_S
from dispatcher.simulation.calls import Call, Endpoint
from dispatcher.simulation.films import SPLIT
from dispatcher.simulation.machines import BROKEN, Machine
from dispatcher.simulation.plan import COSTS, Plan, mix_of
from dispatcher.simulation.world import World

__all__ = ["Clients", "Operators", "work_of_a_job_s"]

SIGMA: Final = 0.7
"""The sigma of the log-normal distribution of job sizes."""
LARGEST: Final = 3.0
"""The largest job, as a multiple of the mean."""
BUSIEST_HOUR: Final = 15
QUIETEST: Final = 0.3
"""The load of the quietest hour, as a share of the busiest."""
KEYED: Final = 0.8
"""The share of submissions with an idempotency key."""
WHIMS: Final = ("cancel", "cancel and retry", "retry", "retry", "submit again", "hurry")
"""What a fickle client does next."""
NOBODYS_CODEC: Final = "prores"
RECIPES: Final = (Recipe(quality=60.0), Recipe(max_height=720), Recipe(vmaf=93.0))
"""What is asked for of one job after the other of those that have a recipe."""
A_RECIPE_EVERY: Final = 10
"""One of so many jobs has a recipe."""
CHAINED: Final = 0.03
"""The share of the jobs that wait for others."""
RECENT: Final = 5
"""Those are among so many that were submitted just before."""


class Clients:
    """All clients. Their load follows the hour of the day."""

    def __init__(self, world: World, rng: Random, peak: float) -> None:
        self.submitted = 0
        self._plan, self._agenda, self._network, _ = world
        self._rng = rng
        self._peak = peak
        self._mix = mix_of(world.plan)
        self._endpoint = Endpoint("client")
        self._is_closed = False
        self._agenda.after(0.0, self._next)

    def close(self) -> None:
        """Submit, cancel and retry nothing any more."""
        self._is_closed = True

    def _next(self) -> None:
        """Draw submissions at the rate of the busiest hour, and skip some at other hours."""
        if self._is_closed:
            return
        hour = self._agenda.seconds() / HOUR_S
        wave = (1 + math.cos((hour - BUSIEST_HOUR) * math.tau / 24)) / 2
        if self._rng.random() < QUIETEST + (1 - QUIETEST) * wave:
            self._submit(self._new_job())
        self._agenda.after(self._rng.expovariate(self._peak / HOUR_S), self._next)

    def _new_job(self) -> SubmitJob:
        rng, faults = self._rng, self._plan.weather
        self.submitted += 1
        number = self.submitted
        codec = rng.choices(list(self._mix), list(self._mix.values()))[0]
        if rng.random() < faults.unservable_jobs:
            codec = NOBODYS_CODEC
        source = BROKEN if rng.random() < faults.broken_jobs else "good"
        nth, rest = divmod(number, A_RECIPE_EVERY)
        recipe = None if rest else RECIPES[nth % len(RECIPES)]
        if rng.random() < self._plan.split_share:
            recipe = SPLIT
        recent = range(max(1, number - RECENT), number)
        is_chained = rng.random() < CHAINED
        after = sorted(rng.sample(recent, min(2, len(recent)))) if is_chained else []
        return SubmitJob(
            job_id=f"job-{number}",
            source_url=f"http://media/{source}/{number}.mp4",
            target_codec=codec,
            job_size=round(_size(self._plan, rng), 1),
            max_retries=rng.choice([1, 3, 3, 3, 5]),
            priority=rng.choice([0, 0, 0, 0, 0, 0, 0, 5, 5, 50]),
            idempotency_key=f"key-{number}" if rng.random() < KEYED else None,
            recipe=None if recipe is None else recipe.wire(),
            needs=() if recipe is None else tuple(sorted(recipe.needs)),
            after=tuple(f"job-{it}" for it in after),
        )

    def _submit(self, job: SubmitJob) -> None:
        self._send(job, None if job.idempotency_key is None else lambda: self._resubmit(job))
        if self._rng.random() < self._plan.weather.fickle_clients:
            self._agenda.after(self._rng.expovariate(1 / HOUR_S), self._change_of_mind, job)

    def _resubmit(self, job: SubmitJob) -> None:
        """Submit again, with another job id: the dispatcher makes a new id for each request."""
        again = msgspec.structs.replace(job, job_id=f"{job.job_id}+")
        self._send(again, lambda: self._resubmit(again))

    def _change_of_mind(self, job: SubmitJob) -> None:
        if self._is_closed:
            return
        job_id = str(job.job_id)  # every simulated submission has one
        match self._rng.choice(WHIMS):
            case "retry":
                self._retry(job_id)
            case "hurry":
                self._send(PrioritizeJob(job_id, self._rng.randrange(101)))
            case "submit again" if job.idempotency_key is not None:
                self._resubmit(job)
            case "submit again":
                pass
            case whim:
                self._send(CancelJob(job_id))
                if whim == "cancel and retry":
                    self._agenda.after(self._rng.expovariate(1 / HOUR_S), self._retry, job_id)

    def _retry(self, job_id: str) -> None:
        if not self._is_closed:
            self._send(RetryJob(job_id))

    def _send(
        self,
        command: SubmitJob | CancelJob | RetryJob | PrioritizeJob,
        lost: Callable[[], None] | None = None,
    ) -> None:
        self._network.send(Call(self._endpoint, command, lambda _: None, lost))


class Operators:
    """All operators: they drain, resume and forget engines, and resume blocked ones."""

    def __init__(self, world: World, rng: Random, machines: list[Machine]) -> None:
        plan, self._agenda, self._network, _ = world
        self._rng = rng
        self._machines = machines
        self._endpoint = Endpoint("operator")
        self._is_off = False
        self._schedule(plan.weather.drains_a_day, self._drain)
        self._schedule(plan.weather.forgets_a_day, self._forget)
        self._schedule(plan.weather.drains_a_day, self._resume)

    def leave(self) -> None:
        """Stop acting at random."""
        self._is_off = True

    def resume_all(self) -> None:
        """Resume every engine."""
        for machine in self._machines:
            self._send(ResumeEngine(machine.name))

    def _drain(self) -> None:
        engine_id = self._rng.choice(self._machines).name
        self._send(DrainEngine(engine_id))
        self._agenda.after(self._rng.expovariate(1 / HOUR_S), self._send, ResumeEngine(engine_id))

    def _forget(self) -> None:
        self._send(ForgetEngine(self._rng.choice(self._machines).name))

    def _resume(self) -> None:
        """Resume some engines, whether they are blocked or not."""
        for machine in self._rng.sample(self._machines, min(20, len(self._machines))):
            self._send(ResumeEngine(machine.name))

    def _schedule(self, a_day: float, act: Callable[[], None]) -> None:
        if a_day:
            self._agenda.after(self._rng.expovariate(a_day / DAY_S), self._do, a_day, act)

    def _do(self, a_day: float, act: Callable[[], None]) -> None:
        if not self._is_off:
            act()
            self._schedule(a_day, act)

    def _send(self, command: DrainEngine | ResumeEngine | ForgetEngine) -> None:
        self._network.send(Call(self._endpoint, command))


def _size(plan: Plan, rng: Random) -> float:
    """Draw a size in MB, at most `LARGEST` times the mean."""
    size = rng.lognormvariate(math.log(plan.mean_mb) - SIGMA**2 / 2, SIGMA)
    return min(size, LARGEST * plan.mean_mb)


def work_of_a_job_s(plan: Plan, rng: Random) -> float:
    """Return how long a typical engine works on a job, on average."""
    cost = sum(share * COSTS[codec] for codec, share in mix_of(plan).items())
    sizes = [_size(plan, rng) for _ in range(10_000)]
    return cost * sum(sizes) / len(sizes) / plan.mb_per_s
