"""Numbers of the farm over time, for charts: of minutes for a day, of longer steps for years.

Laws:
- Time is that of the events. An event counts in the steps in which its own time is, wherever the
  clock was before. The series ends at the newest event.
- Memory is bounded for ever: each level has a ring of places for its steps. Where a step of another
  lap comes to a place, the older one is forgotten.
- An event costs nothing here unless it is the first of its minute. Sums are not counted event by
  event: what the farm had done in all is looked at when the log's time enters and leaves a minute.
"""

from datetime import UTC, datetime, timedelta
from typing import Final, Self

import msgspec

__all__ = ["LONGEST_H", "NOTHING", "Gauges", "Series", "SeriesShown", "SeriesSnapshot", "Sums"]

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
LAST: Final = datetime.max.replace(tzinfo=UTC)
FIRST_S: Final = (datetime.min.replace(tzinfo=UTC) - EPOCH) // timedelta(seconds=1)
MINUTE: Final = timedelta(minutes=1)
HOUR_S: Final = 3600
DAY_S: Final = 24 * HOUR_S

LEVELS: Final = ((60, 1_447), (600, 1_009), (HOUR_S, 769), (DAY_S, 3_671))
"""The seconds of a step, and the places of a ring: for a day, a week, 32 days and ten years. They
are primes, so that a clock that is wrong by whole days comes to other places."""
LONGEST_H: Final = 10 * 366 * 24


class Sums(msgspec.Struct, frozen=True, array_like=True):
    """How many jobs were ever submitted, and how often one ended in each way."""

    submitted: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0

    def plus(self, later: Self, earlier: Self) -> "Sums":
        """Return these and what was added to the earlier ones until the later ones."""
        return Sums(
            self.submitted + later.submitted - earlier.submitted,
            self.completed + later.completed - earlier.completed,
            self.failed + later.failed - earlier.failed,
            self.cancelled + later.cancelled - earlier.cancelled,
        )


class Gauges(msgspec.Struct, frozen=True, array_like=True):
    """Pending jobs, engines that hold a job, and engines that are online."""

    waiting: int = 0
    busy: int = 0
    online: int = 0


NOTHING: Final = Sums()


class _Step(msgspec.Struct, array_like=True):
    """What happened in a step, and how it was when the log's time came to it last."""

    number: int
    sums: Sums
    before: Gauges


class SeriesSnapshot(msgspec.Struct, frozen=True):
    """The part of a snapshot that holds the series: the sums, and the steps of each level."""

    sums: Sums
    levels: list[list[_Step]]


class SeriesShown(msgspec.Struct, frozen=True, rename={"since": "from"}):
    """The numbers of each step of `step_s` seconds, from the time `since` (`from` on the wire) on.

    The newest step is the one in which `time` is, that of the newest event; both are `None` if
    there is no event. What was `submitted`, `completed`, `failed` and `cancelled` is counted in
    each step: a job that was retried may have ended several times. Jobs `waiting`, engines `busy`
    (they hold a job) and `online` are as at the end of each step.
    """

    seq: int
    time: datetime | None
    since: datetime | None
    step_s: int
    submitted: list[int]
    completed: list[int]
    failed: list[int]
    cancelled: list[int]
    waiting: list[int]
    busy: list[int]
    online: list[int]


class _Level:
    """Steps of one length, in so many places."""

    def __init__(self, step_s: int, places: int) -> None:
        self.step_s = step_s
        self.places = places
        self.steps: dict[int, _Step] = {}
        self.present: int | None = None

    def enter(self, second: int, before: Gauges) -> None:
        number = second // self.step_s
        if number == self.present:
            return
        self.present = number
        if (step := self.at(number)) is None:
            self.steps[number % self.places] = _Step(number, NOTHING, before)
        else:
            step.before = before

    def at(self, number: int) -> _Step | None:
        step = self.steps.get(number % self.places)
        return step if step is not None and step.number == number else None


class Series:
    """The numbers of the farm over time. `begins` and `ends` are those of the present minute."""

    def __init__(self) -> None:
        self.begins = self.ends = EPOCH
        self._levels = [_Level(step_s, places) for step_s, places in LEVELS]
        self._second = 0  # in which the present minute begins
        self._sums = NOTHING  # when the log's time came to it

    def enter(self, at: datetime, sums: Sums, before: Gauges) -> None:
        """Note that the log's time came to another minute: what was until then, in all and now."""
        self._count(sums)
        self._place(at)
        for level in self._levels:
            level.enter(self._second, before)

    def shown(
        self, seq: int, time: datetime | None, sums: Sums, now: Gauges, hours: int
    ) -> SeriesShown:
        """Return the steps of the last `hours`, the finest that reach back so far."""
        level = next(it for it in self._levels if hours * HOUR_S < it.step_s * it.places)
        step_s = level.step_s
        if time is None:
            return SeriesShown(seq, None, None, step_s, [], [], [], [], [], [], [])
        self._count(sums)
        last = self._second // step_s
        first = max(last - -(-hours * HOUR_S // step_s) + 1, -(-FIRST_S // step_s))
        counts, gauges = list[Sums](), list[Gauges]()
        at_end = now
        for number in range(last, first - 1, -1):
            step = level.at(number)
            counts.append(NOTHING if step is None else step.sums)
            gauges.append(at_end)
            at_end = at_end if step is None else step.before
        counts.reverse()
        gauges.reverse()
        return SeriesShown(
            seq,
            time,
            EPOCH + timedelta(seconds=first * step_s),
            step_s,
            [it.submitted for it in counts],
            [it.completed for it in counts],
            [it.failed for it in counts],
            [it.cancelled for it in counts],
            [it.waiting for it in gauges],
            [it.busy for it in gauges],
            [it.online for it in gauges],
        )

    def snapshot(self, sums: Sums) -> SeriesSnapshot:
        """Return what `restore` takes."""
        self._count(sums)
        return SeriesSnapshot(sums, [[*it.steps.values()] for it in self._levels])

    @classmethod
    def restore(cls, snapshot: SeriesSnapshot, time: datetime | None) -> Self:
        """Restore the series of a log whose newest event has this time from a snapshot."""
        series = cls()
        series._sums = snapshot.sums
        for level, steps in zip(series._levels, snapshot.levels, strict=True):
            level.steps = {step.number % level.places: step for step in steps}
        if time is not None:
            series._place(time)
            for level in series._levels:
                level.present = series._second // level.step_s
        return series

    def _place(self, at: datetime) -> None:
        self._second = (at - EPOCH) // MINUTE * 60
        self.begins = EPOCH + timedelta(seconds=self._second)
        self.ends = min(self.begins, LAST - MINUTE) + MINUTE

    def _count(self, sums: Sums) -> None:
        """Count what was added to the sums in the present minute, in every level."""
        if sums != self._sums:
            for level in self._levels:
                if level.present is not None and (step := level.at(level.present)) is not None:
                    step.sums = step.sums.plus(sums, self._sums)
            self._sums = sums
