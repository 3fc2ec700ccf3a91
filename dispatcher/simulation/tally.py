"""What the farm has done in its day, counted as it happens and summed up at the end."""

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
    """One hour; `waiting` and `working` are the jobs at its end."""

    submitted: int = 0
    completed: int = 0
    waiting: int = 0
    working: int = 0


class Day(msgspec.Struct, frozen=True):
    """The sums. `worked_s` has the seconds that engines worked, by what came of them.

    `utilisation` is the share of the engines' time in which they worked, `thrown_away` the share
    of that work of which nothing came.
    """

    jobs: dict[str, int]
    hours: list[Hour]
    waits: Spread | None
    longest_wait_s: float
    attempts: Spread | None
    retried_attempts: int
    late_answers: int
    lost_engines: int
    utilisation: float
    thrown_away: float
    worked_s: dict[str, float]


class Tally:
    """Counts while the day goes on."""

    def __init__(self) -> None:
        self._statistics = Statistics()
        self._hours = [Hour()]
        self._worked_s: dict[str, float] = dict.fromkeys(FATES, 0.0)
        self._lost_engines = 0
        self._waiting_since: dict[str, float] = {}
        self._longest_wait_s = 0.0

    def seen(self, recorded: Recorded) -> None:
        """Count an event; `at` is its true time."""
        event = recorded.event
        if isinstance(event, events.EngineSeen | events.JobProgressed):
            return  # most events are these, and nothing here follows from them
        self._statistics.apply(recorded)
        match event:
            case events.JobSubmitted(job_id):
                self._hours[-1].submitted += 1
                self._waiting_since[job_id] = recorded.at.timestamp()
            case events.JobAssigned(job_id):
                if (since_s := self._waiting_since.pop(job_id, None)) is not None:
                    waited_s = recorded.at.timestamp() - since_s
                    self._longest_wait_s = max(self._longest_wait_s, waited_s)
            case events.JobCompleted():
                self._hours[-1].completed += 1
            case events.EngineLost():
                self._lost_engines += 1
            case _:
                pass

    def spent(self, seconds: float, fate: Fate) -> None:
        """Count an engine's work, once it is known what came of it."""
        self._worked_s[fate] += seconds

    def hour_ends(self, fleet: Fleet) -> None:
        """Begin another hour."""
        self._hours[-1].waiting = len(fleet.queue)
        self._hours[-1].working = sum(it.holds is not None for it in fleet.engines.values())
        self._hours.append(Hour())

    def day(self, machines: Iterable[Machine], hours: float, now_us: int) -> Day:
        """Sum up what has been so far."""
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
            utilisation=sum(worked_s.values()) / (len(machines) * hours * HOUR_S),
            thrown_away=thrown_s / max(sum(worked_s.values()), 1.0),
            worked_s={fate: round(seconds, 3) for fate, seconds in worked_s.items()},
        )
