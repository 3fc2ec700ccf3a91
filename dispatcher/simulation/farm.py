"""A whole farm: its parts put together, its day, and its end.

Laws:
- A run follows from its plan alone. Each part draws from a generator of its own, so that a change
  in one does not disturb the others.
- When nothing goes wrong any more, every job comes to its end, or it can be said why not.
"""

from collections.abc import Iterator
from random import Random
from typing import Final

import msgspec

from dispatcher.core.fleet import Engine, Fleet
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
"""The share of the farm that works at the busiest hour, unless the plan says how many jobs come."""
REPAIRS_H: Final = 3
"""After so many hours everything that was down is back."""
LONGEST_END_H: Final = 24 * 7
NEVER: Final = frozenset({Obstacle.CODEC, Obstacle.STORAGE})
"""What no time and no operator changes."""
FOR_NOW: Final = NEVER | {Obstacle.BLOCKED}
"""What stays so until an operator comes by, once an hour."""


class Outcome(msgspec.Struct, frozen=True):
    """What a run gave. `ended_h` is how long after the day the last job was final.

    `unservable` are the jobs that no engine of the farm could ever do, `backlog` those that it
    had not come to after `LONGEST_END_H`. The same plan gives the same `digest` of all events.
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
    """A run in which something happened that must never be; the text tells its story."""


def simulate(plan: Plan) -> Outcome:
    """Run a plan. `FailedError` if an invariant was broken."""
    farm = Farm(plan, Story())
    try:
        return farm.run()
    except ViolationError as violation:
        raise FailedError(_told(plan, violation)) from violation
    except Exception as error:
        error.add_note(f"Seed {plan.seed}; again with: {plan.command_line()}")
        raise


def _told(plan: Plan, violation: ViolationError) -> str:
    """Run the plan once more, this time with an ear for those whom the violation is about."""
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
    """Everything that a plan has."""

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
        self._jobs_per_hour = plan.jobs_per_hour or self._fitting_load()
        self._clients = Clients(world, self._random("clients"), self._jobs_per_hour)
        self._operators = Operators(world, self._random("operators"), self._machines)
        self._weather = Weather(world, self._dispatcher, self._machines, self._random("weather"))

    def run(self) -> Outcome:
        """Live through the day, then let the farm come to its end."""
        day = self._live()
        lost_messages = self._network.lost_messages
        ended_h, unservable, backlog = self._end()
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

    def _live(self) -> Day:
        end_us = int(self._plan.hours * HOUR_S * MICROS)
        while self._agenda.now_us < end_us:
            self._agenda.run(min(self._agenda.now_us + HOUR_S * MICROS, end_us))
            self._dispatcher.check()
            self._tally.hour_ends(self._dispatcher.fleet)
        return self._tally.day(self._machines, self._plan.hours, end_us)

    def _end(self) -> tuple[int, int, int]:
        """Let nothing go wrong any more, and wait until every job is final."""
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
            job.holder is None and next(_able(fleet, job), None) is None for job in unfinished
        )

    def _suspects(
        self, unfinished: list[Job], before: set[tuple[str, int]]
    ) -> set[tuple[str, int]]:
        """Find the jobs that nobody works on; those that were here an hour ago are stuck."""
        fleet = self._dispatcher.fleet
        held = [job for job in unfinished if job.holder is not None]
        idle = [job for job in held if not self._is_worked_on(job)]
        if not held:  # then nobody keeps the engines from those that wait
            waiting = (job for job in unfinished if job.job_id not in fleet.queue.paused)
            idle = [job for job in waiting if next(_able(fleet, job, FOR_NOW), None) is not None]
        for job in idle:
            if (job.job_id, job.attempt) in before:
                raise _stuck(fleet, job)
        return {(job.job_id, job.attempt) for job in idle}

    def _is_worked_on(self, job: Job) -> bool:
        task = self._by_name[job.holder or ""].task
        return task is not None and (task.job.job_id, task.attempt) == (job.job_id, job.attempt)

    def _fitting_load(self) -> float:
        speeds = sum(machine.built.speed for machine in self._machines)
        return BUSY * speeds * HOUR_S / work_of_a_job_s(self._plan, self._random("load"))

    def _random(self, part: str) -> Random:
        return Random(f"{self._plan.seed}/{part}")  # noqa: S311 - to be had again, not to be secret


def _able(
    fleet: Fleet, job: Job, hindered: frozenset[Obstacle] = NEVER
) -> Iterator[tuple[Engine, Obstacle | None]]:
    """Give the engines that could do a job, save those that are hindered so."""
    for engine in fleet.engines.values():
        if (found := obstacle(fleet, engine, job)) not in hindered:
            yield engine, found


def _stuck(fleet: Fleet, job: Job) -> ViolationError:
    what = f"job {job.job_id} is stuck though nothing goes wrong any more: engine"
    if job.holder is not None:
        what = f"{what} {job.holder} holds it, but does not work on it"
        return ViolationError(what, job.job_id, job.holder)
    engine, found = next(_able(fleet, job, FOR_NOW))
    why = "nothing stands in its way" if found is None else found.value
    what = f"{what} {engine.engine_id} could do it; {why}"
    return ViolationError(what, job.job_id, engine.engine_id)
