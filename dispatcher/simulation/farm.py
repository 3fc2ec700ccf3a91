"""A whole farm: its parts, its simulated day, and the time after it without faults.

Laws:
- A run depends on its plan alone. Each part has its own random generator, so that a change in one
  part does not disturb the others.
- Once nothing goes wrong any more, every job becomes final, or the outcome says why not.
"""

from collections.abc import Iterator
from random import Random
from typing import Final

import msgspec

from dispatcher.core.engine import Engine
from dispatcher.core.fleet import Fleet
from dispatcher.core.invariants import ViolationError
from dispatcher.core.job import Job
from dispatcher.core.scheduling import Obstacle, obstacle
from dispatcher.simulation.agenda import HOUR_S, MICROS, Agenda
from dispatcher.simulation.dispatching import Dispatcher
from dispatcher.simulation.machines import Machine, build
from dispatcher.simulation.network import Network
from dispatcher.simulation.people import Clients, Operators, work_of_a_job_s
from dispatcher.simulation.plan import CALM, Plan
from dispatcher.simulation.story import Story
from dispatcher.simulation.tally import Day, Tally
from dispatcher.simulation.weather import Weather
from dispatcher.simulation.world import World

__all__ = ["FailedError", "Farm", "Outcome", "simulate"]

BUSY: Final = 0.8
"""The share of the farm at work in the busiest hour, unless the plan gives the jobs an hour."""
REPAIRS_H: Final = 3
"""After so many hours everything that was down is up again."""
LONGEST_END_H: Final = 24 * 7
NEVER: Final = frozenset({Obstacle.CODEC, Obstacle.ABILITY, Obstacle.STORAGE})
"""Obstacles that neither time nor an operator removes."""
FOR_NOW: Final = NEVER | {Obstacle.BLOCKED}
"""Obstacles that stay at least until an operator acts, once an hour."""


class Outcome(msgspec.Struct, frozen=True):
    """The outcome of a run. `ended_h` is how long after the day the last job was final.

    `unservable` counts the jobs that no engine of the farm can ever do, `backlog` those that are
    not final after `LONGEST_END_H`. The same plan gives the same `digest` of all events.
    """

    jobs_per_hour: float
    day: Day
    ended_h: int
    unservable: int
    backlog: int
    faults: int
    lost_messages: int
    steps: int
    events: int
    digest: str


class FailedError(Exception):
    """A run in which an invariant was broken; the text tells its story."""


def simulate(plan: Plan) -> Outcome:
    """Run a plan. Raises `FailedError` if an invariant is broken."""
    farm = Farm(plan, Story())
    try:
        return farm.run()
    except ViolationError as violation:
        raise FailedError(_failure_text(plan, violation)) from violation
    except Exception as error:
        error.add_note(f"Seed {plan.seed}; again with: {plan.command_line()}")
        raise


def _failure_text(plan: Plan, violation: ViolationError) -> str:
    """Run the plan again, recording the story of the jobs and engines of the violation."""
    story = Story(violation.names)
    ends = "and this time all went well: the run does not follow from its seed alone"
    try:
        Farm(plan, story).run()
    except ViolationError as again:
        if str(again) == str(violation):
            ends = str(again)
    names = ", ".join(violation.names) or "nobody"
    return "\n".join(
        [
            f"Broken: {violation}",
            f"Seed {plan.seed}; again with: {plan.command_line()}",
            f"The story of {names}, the last {len(story.lines)} of {story.told} lines:",
            *(f"  {line}" for line in story.lines),
            f"  {ends}",
        ]
    )


class Farm:
    """All parts of a simulated farm."""

    def __init__(self, plan: Plan, story: Story) -> None:
        self._plan = plan
        self._agenda = agenda = Agenda()
        self._network = Network(agenda, plan.weather, story, self._random("network"))
        self._tally = Tally()
        world = World(plan, agenda, self._network, story)
        self._dispatcher = Dispatcher(world, self._tally.seen)
        self._network.receive = self._dispatcher.receive
        builds, work = self._random("builds"), self._random("work")
        self._machines = [
            Machine(build(number, plan, builds), world, work, self._tally.spent)
            for number in range(plan.engines)
        ]
        self._by_name = {machine.name: machine for machine in self._machines}
        for machine in self._machines:
            agenda.after(builds.random() * plan.beats_every_s, machine.boot)
        self._jobs_per_hour = plan.jobs_per_hour or self._default_load()
        self._clients = Clients(world, self._random("clients"), self._jobs_per_hour)
        self._operators = Operators(world, self._random("operators"), self._machines)
        self._weather = Weather(world, self._dispatcher, self._machines, self._random("weather"))

    def run(self) -> Outcome:
        """Simulate the day, then run without faults until every job is final."""
        day = self._run_day()
        lost_messages = self._network.lost_messages
        ended_h, unservable, backlog = self._finish()
        return Outcome(
            jobs_per_hour=round(self._jobs_per_hour, 1),
            day=day,
            ended_h=ended_h,
            unservable=unservable,
            backlog=backlog,
            faults=self._weather.faults,
            lost_messages=lost_messages,
            steps=self._dispatcher.steps,
            events=self._dispatcher.events,
            digest=self._dispatcher.digest,
        )

    def _run_day(self) -> Day:
        end_us = int(self._plan.hours * HOUR_S * MICROS)
        while self._agenda.now_us < end_us:
            self._agenda.run(min(self._agenda.now_us + HOUR_S * MICROS, end_us))
            self._dispatcher.check()
            self._tally.hour_ends(self._dispatcher.fleet)
        return self._tally.day(self._machines, self._plan.hours, end_us)

    def _finish(self) -> tuple[int, int, int]:
        """Stop all faults, and wait until every job is final."""
        self._clients.close()
        self._operators.leave()
        self._weather.clear_up()
        self._network.weather(CALM)
        for machine in self._machines:
            machine.failing = 0.0
        suspects: set[tuple[str, int]] = set()
        for hour in range(LONGEST_END_H):
            fleet = self._dispatcher.fleet
            unfinished = [job for job in fleet.jobs.values() if not job.final]
            if not unfinished or (hour > REPAIRS_H and self._are_unservable(unfinished)):
                self._dispatcher.check_replay()
                return hour, len(unfinished), 0
            if hour > REPAIRS_H:
                suspects = self._suspects(unfinished, suspects)
            self._operators.resume_all()
            self._agenda.run(self._agenda.now_us + HOUR_S * MICROS)
            self._dispatcher.check()
        self._dispatcher.check_replay()
        return LONGEST_END_H, 0, len(unfinished)

    def _are_unservable(self, unfinished: list[Job]) -> bool:
        fleet = self._dispatcher.fleet
        return all(
            job.holder is None
            and (job.ties.waits_for or next(_capable_engines(fleet, job), None) is None)
            for job in unfinished
        )

    def _suspects(
        self, unfinished: list[Job], before: set[tuple[str, int]]
    ) -> set[tuple[str, int]]:
        """Return the jobs that no engine works on. Raise if one was so an hour ago: it is stuck."""
        fleet = self._dispatcher.fleet
        held = [job for job in unfinished if job.holder is not None]
        idle = [job for job in held if not self._is_worked_on(job)]
        if not held:  # then every engine is free for the waiting jobs
            kept = fleet.queue.paused.keys() | fleet.queue.blocked.keys()
            waiting = (job for job in unfinished if job.job_id not in kept)
            idle = [
                job
                for job in waiting
                if next(_capable_engines(fleet, job, FOR_NOW), None) is not None
            ]
        for job in idle:
            if (job.job_id, job.attempt) in before:
                raise _stuck(fleet, job)
        return {(job.job_id, job.attempt) for job in idle}

    def _is_worked_on(self, job: Job) -> bool:
        task = self._by_name[job.holder or ""].task
        return task is not None and (task.job.job_id, task.attempt) == (job.job_id, job.attempt)

    def _default_load(self) -> float:
        speeds = sum(machine.built.speed for machine in self._machines)
        return BUSY * speeds * HOUR_S / work_of_a_job_s(self._plan, self._random("load"))

    def _random(self, part: str) -> Random:
        return Random(f"{self._plan.seed}/{part}")  # noqa: S311 - must be repeatable, not secret


def _capable_engines(
    fleet: Fleet, job: Job, excluded: frozenset[Obstacle] = NEVER
) -> Iterator[tuple[Engine, Obstacle | None]]:
    """Yield the engines that could do a job, except those with one of these obstacles."""
    for engine in fleet.engines.values():
        if (found := obstacle(fleet, engine, job)) not in excluded:
            yield engine, found


def _stuck(fleet: Fleet, job: Job) -> ViolationError:
    what = f"job {job.job_id} is stuck though nothing goes wrong any more: engine"
    if job.holder is not None:
        what = f"{what} {job.holder} holds it, but does not work on it"
        return ViolationError(what, job.job_id, job.holder)
    engine, found = next(_capable_engines(fleet, job, FOR_NOW))
    why = "nothing stands in its way" if found is None else found.value
    what = f"{what} {engine.engine_id} could do it; {why}"
    return ViolationError(what, job.job_id, engine.engine_id)
