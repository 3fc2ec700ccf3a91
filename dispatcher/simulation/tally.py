"""Counts of what the farm does in its day, summed up at the end."""

from collections.abc import Iterable

import msgspec

from dispatcher.core import events
from dispatcher.core.events import Recorded
from dispatcher.core.fleet import Fleet
from dispatcher.evidence.statistics import Spread, Statistics, Totals
from dispatcher.simulation.agenda import HOUR_S
from dispatcher.simulation.machines import FATES, Fate, Machine

__all__ = ["Day", "Hour", "Tally"]


class Hour(msgspec.Struct):
    """One hour. `waiting` and `working` are the numbers of jobs at its end.

    The parts of films are counted among these, but not among those submitted and completed.
    """

    submitted: int = 0
    completed: int = 0
    waiting: int = 0
    working: int = 0


class Day(msgspec.Struct, frozen=True):
    """The totals of a day. `worked_s` has the seconds that engines worked, by what became of them.

    `utilisation` is the share of the engines' time in which they worked. `thrown_away` is the share
    of that work that was wasted. `films_split` were split into parts, and of these `films_whole`
    were found to be inexact, and encoded whole.
    """

    jobs: dict[str, int]
    hours: list[Hour]
    waits: Spread | None
    longest_wait_s: float
    attempts: Spread | None
    retried_attempts: int
    late_answers: int
    lost_engines: int
    films_split: int
    films_whole: int
    utilisation: float
    thrown_away: float
    worked_s: dict[str, float]


class Tally:
    """Counts during the day."""

    def __init__(self) -> None:
        self._statistics = Statistics()
        self._hours = [Hour()]
        self._worked_s: dict[str, float] = dict.fromkeys(FATES, 0.0)
        self._lost_engines = 0
        self._films_split = 0
        self._films_whole = 0
        self._parts: set[str] = set()
        self._waiting_since: dict[str, float] = {}
        self._longest_wait_s = 0.0

    def seen(self, recorded: Recorded) -> None:
        """Count an event, whose `at` is the true time."""
        event = recorded.event
        if isinstance(event, events.EngineSeen | events.JobProgressed):
            return  # most events are these, and none of the counts needs them
        self._statistics.apply(recorded)
        match event:
            case events.JobSubmitted(job_id) if job_id in self._parts:
                pass
            case events.JobSubmitted(job_id):
                self._hours[-1].submitted += 1
                self._waiting_since[job_id] = recorded.at.timestamp()
            case events.JobAssigned(job_id):
                if (since_s := self._waiting_since.pop(job_id, None)) is not None:
                    waited_s = recorded.at.timestamp() - since_s
                    self._longest_wait_s = max(self._longest_wait_s, waited_s)
            case events.JobCompleted(job_id):
                self._hours[-1].completed += job_id not in self._parts
            case events.JobSplit(parts=parts):
                self._films_split += 1
                self._parts.update(parts)
            case events.JobMadeWhole():
                self._films_whole += 1
            case events.EngineLost():
                self._lost_engines += 1
            case _:
                pass

    def spent(self, seconds: float, fate: Fate) -> None:
        """Count the time that an engine worked, once its fate is known."""
        self._worked_s[fate] += seconds

    def hour_ends(self, fleet: Fleet) -> None:
        """End the hour and begin the next."""
        self._hours[-1].waiting = len(fleet.queue)
        self._hours[-1].working = sum(it.holds is not None for it in fleet.engines.values())
        self._hours.append(Hour())

    def day(self, machines: Iterable[Machine], hours: float, now_us: int) -> Day:
        """Return the totals so far."""
        machines = list(machines)
        totals: Totals = self._statistics.totals()
        under_way_s = sum(it.task.worked_s(now_us) for it in machines if it.task)
        worked_s = self._worked_s | {"under way": under_way_s}
        thrown_s = sum(self._worked_s.values()) - self._worked_s["useful"]
        return Day(
            jobs=totals.jobs,
            hours=self._hours[:-1],
            waits=totals.waits,
            longest_wait_s=self._longest_wait_s,
            attempts=totals.attempts,
            retried_attempts=totals.retries,
            late_answers=totals.refused_answers,
            lost_engines=self._lost_engines,
            films_split=self._films_split,
            films_whole=self._films_whole,
            utilisation=sum(worked_s.values()) / (len(machines) * hours * HOUR_S),
            thrown_away=thrown_s / max(sum(worked_s.values()), 1.0),
            worked_s={fate: round(seconds, 3) for fate, seconds in worked_s.items()},
        )
