"""Which waiting job would go to which engine, and when, if all went on as it is.

Laws:
- The engines and the order are those of `scheduling`: whenever an engine becomes free, it asks, and
  gets the first job in the queue that it may have. Of engines that are free at once, the one that
  registered first asks first. Engines that are offline, drained or blocked, or that report that
  they are busy with something else, get nothing.
- `Picture` is a copy: the fleet may go on while jobs are placed.
- `picture_of` is one step. It is short if few jobs wait, and in few lines: a line, or a job in its
  pause, takes far longer than a job of a line. Whoever asks on an event loop sees to that.
- `place` works in steps, none of which takes long, however many jobs and engines there are: it
  yields between them. In a step it looks at `STEP` lines, jobs or engines at most. With n jobs, m
  engines and k kinds of engines (those that may have the same jobs), it takes O((n + m) log n) and,
  at worst, O(n k log n).
"""

from bisect import bisect_left
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator
from datetime import datetime
from heapq import heapify, heappop, heappush, heapreplace, merge
from itertools import chain, islice
from math import inf
from operator import attrgetter
from typing import Final, NamedTuple

import msgspec

from dispatcher.core.engine import Engine
from dispatcher.core.fleet import Fleet
from dispatcher.core.job import Job, Place
from dispatcher.core.queue import QueueLine, Sizes, line_of
from dispatcher.core.scheduling import sizes_of

__all__ = ["STEP", "Blocked", "Picture", "Placed", "in_order", "picture_of", "place"]

STEP: Final = 100
"""Jobs, or engines, that are looked at between two yields."""
NO_MB: Final = -1.0
"""Every size is greater."""
_place_of: Final = attrgetter("place")


Waits = tuple[Place, Job]
"""A job that waits, after the place that it had. Of the job itself, which the fleet may change
meanwhile, only what never changes is looked at: its id, its codec, its needs and its size."""


class Paused(NamedTuple):
    """A job in its pause, the line that it will stand in, and the end of its pause."""

    until: datetime
    waits: Waits
    line: QueueLine


class Blocked(NamedTuple):
    """A job that waits for others: for the parts that it was split into, or for other ones."""

    job: Job
    is_in_parts: bool


class Picture(NamedTuple):
    """The engines and the waiting jobs of a moment: in line, in their pause, or `blocked`.

    The jobs of a line come in its order, and then their places. Those that are blocked wait for
    other jobs, and have no place.
    """

    engines: dict[str, Engine]
    lines: list[tuple[QueueLine, list[Job], list[Place]]]
    paused: list[Paused]
    blocked: list[Blocked]

    def all(self) -> Iterator[Job]:
        """Yield each job that waits once."""
        for _, jobs, _ in self.lines:
            yield from jobs
        for paused in self.paused:
            yield paused.waits[1]
        for blocked in self.blocked:
            yield blocked.job


class Placed(NamedTuple):
    """A job with the engine that gets it, and when that begins and ends, in seconds from now.

    Either is infinite if it can't be known.
    """

    engine_id: str
    begins_s: float
    ends_s: float


def picture_of(fleet: Fleet) -> Picture:
    """Copy what `place` needs of a fleet. This is one step, and 10,000 jobs take about 1 ms."""
    paused = []
    for job_id, until in fleet.queue.paused.items():
        job = fleet.jobs[job_id]
        paused.append(Paused(until, (job.place, job), line_of(job)))
    return Picture(
        {name: msgspec.structs.replace(engine) for name, engine in fleet.engines.items()},
        [(line, [*jobs], list(map(_place_of, jobs))) for line, jobs in fleet.queue.lines()],
        sorted(paused, key=lambda it: (it.until, it.waits[0])),
        [
            Blocked(job, bool(job.ties.parts))
            for job in map(fleet.jobs.__getitem__, fleet.queue.blocked)
        ],
    )


def in_order(picture: Picture, limit: int) -> Iterator[tuple[int | None, Job]]:
    """Yield the first jobs that wait, with their numbers in the queue.

    Those in line come first, in order. Those in their pause, and then those that are blocked, have
    no number.
    """
    number = 0
    lines = (zip(places, jobs, strict=True) for _, jobs, places in picture.lines)
    for number, (_, job) in enumerate(islice(merge(*lines), limit), 1):
        yield number, job
    for paused in picture.paused[: limit - number]:
        yield None, paused.waits[1]
    for blocked in picture.blocked[: max(0, limit - number - len(picture.paused))]:
        yield None, blocked.job


def place(
    picture: Picture,
    now: datetime,
    free_in_s: Callable[[str], float],
    takes_s: Callable[[str, str, float], float],
) -> Generator[None, None, dict[str, Placed]]:
    """Return where each job goes that an engine takes, by its id.

    `free_in_s` says in how many seconds an engine is done with the job that it holds, `takes_s`
    how long it needs for a job of a codec and a size; either is infinite if that is not known.
    """
    ready = [
        engine
        for engine in picture.engines.values()
        if engine.online and engine.trusted and (engine.holds is not None or engine.idle)
    ]
    stands, kinds = yield from _stands_and_kinds(picture, ready)
    free = [
        (0.0 if engine.holds is None else free_in_s(engine.engine_id), number)
        for number, engine in enumerate(ready)
    ]
    heapify(free)
    paused = [(max(0.0, (it.until - now).total_seconds()), it) for it in picture.paused]
    paused.reverse()  # the first comes last
    placed: dict[str, Placed] = {}
    different = [*{id(kind): kind for kind in kinds}.values()]
    steps = 0
    while free or paused:
        if (steps := steps + 1) % STEP == 0:
            yield
        if paused and (not free or paused[-1][0] <= free[0][0]):
            yield  # every kind of engine is asked
            at_s, back = paused.pop()
            for number in stands.put_back(back, different):
                heappush(free, (at_s, number))
            continue
        at_s, number = free[0]
        if (found := kinds[number].take()) is None:
            heappop(free)
            heappush(kinds[number].without, number)
            continue
        engine_id = ready[number].engine_id
        ends_s = at_s + takes_s(engine_id, found.codec, found.size_mb)
        placed[found.job_id] = Placed(engine_id, at_s, ends_s)
        heapreplace(free, (ends_s, number))
    return placed


class _Stand:
    """Jobs of a line, of sizes of which an engine may have all or none: a heap by place."""

    def __init__(self, over: float, upto: float) -> None:
        self.over, self.upto = over, upto  # in MB
        self.jobs: list[Waits] = []

    def __lt__(self, other: "_Stand") -> bool:
        return id(self) < id(other)  # only for a stand that a heap has twice


class _Kind:
    """Engines that may have the same jobs, and those of them that are free `without` one."""

    def __init__(self, sizes: dict[QueueLine, Sizes]) -> None:
        self.sizes = sizes
        self.heads: list[tuple[Place, _Stand]] = []
        self.without: list[int] = []

    def may_have(self, line: QueueLine, stand: _Stand) -> bool:
        sizes = self.sizes.get(line)
        return sizes is not None and sizes.over <= stand.over and stand.upto <= sizes.upto

    def take(self) -> Job | None:
        """Take the first job that these engines may have, or `None` if none waits."""
        heads = self.heads
        while heads:
            place, stand = heads[0]
            if not stand.jobs:
                heappop(heads)
            elif stand.jobs[0][0] != place:  # engines of another kind took that one
                heapreplace(heads, (stand.jobs[0][0], stand))
            else:
                _, job = heappop(stand.jobs)
                if stand.jobs:
                    heapreplace(heads, (stand.jobs[0][0], stand))
                return job
        return None


class _Stands:
    """The stands of every line, by their sizes."""

    def __init__(self) -> None:
        self._bounds: dict[QueueLine, list[float]] = {}
        self._of_line: dict[QueueLine, dict[int, _Stand]] = {}

    def of(self, line: QueueLine) -> Iterable[_Stand]:
        return self._of_line[line].values()

    def add(
        self, line: QueueLine, jobs: Iterable[Waits], bounds: set[float]
    ) -> Generator[None, None, None]:
        """Divide the jobs of a line at the sizes that tell engines apart."""
        self._bounds[line] = sorted(it for it in bounds if 0 <= it < inf)
        self._of_line[line] = {}
        for number, (place, job) in enumerate(jobs):
            if number % STEP == 0:
                yield
            self._of(line, job.size_mb).jobs.append((place, job))

    def put_back(self, back: Paused, kinds: Iterable[_Kind]) -> Iterator[int]:
        """Put a job in line after its pause. Yield an engine of each kind that was without one."""
        stand = self._of(back.line, back.waits[1].size_mb)
        heappush(stand.jobs, back.waits)
        for kind in kinds:
            if kind.may_have(back.line, stand):
                heappush(kind.heads, (stand.jobs[0][0], stand))
                if kind.without:
                    yield heappop(kind.without)

    def _of(self, line: QueueLine, size_mb: float) -> _Stand:
        inner, stands = self._bounds[line], self._of_line[line]
        number = bisect_left(inner, size_mb)
        if (stand := stands.get(number)) is None:
            over = inner[number - 1] if number else NO_MB
            upto = inner[number] if number < len(inner) else inf
            stand = stands[number] = _Stand(over, upto)
        return stand


def _stands_and_kinds(
    picture: Picture, ready: list[Engine]
) -> Generator[None, None, tuple[_Stands, list[_Kind]]]:
    """Return the stands, and the kind of each engine that is ready."""
    lines: dict[QueueLine, Iterable[Waits]] = {}
    failed: dict[str, list[QueueLine]] = {}
    bounds: dict[QueueLine, set[float]] = {}
    paused: Iterable[tuple[QueueLine, Iterable[Waits]]] = ((it.line, ()) for it in picture.paused)
    in_line = ((line, zip(places, jobs, strict=True)) for line, jobs, places in picture.lines)
    for number, (line, jobs) in enumerate(chain(paused, in_line), 1):
        if line not in lines:
            bounds[line] = set()
            for engine_id in line.failed_by:
                failed.setdefault(engine_id, []).append(line)
        lines[line] = jobs
        if number % STEP == 0:
            yield
    fleet, found = Fleet(engines=picture.engines), dict[Hashable, _Kind]()
    kinds = []
    for engine in ready:
        told = repr((engine.codecs, engine.report.get("abilities")))
        key = (told, engine.room_mb, tuple(failed.get(engine.engine_id, ())))
        if (kind := found.get(key)) is None:
            kind = found[key] = _Kind({})
            for number, line in enumerate(lines):
                if number % STEP == 0 or engine.engine_id in line.failed_by:  # it asks of each
                    yield
                if engine.takes(line.codec) and (
                    sizes := sizes_of(fleet, engine, engine.room_mb, line)
                ):
                    kind.sizes[line] = sizes
                    bounds[line] |= {sizes.over, sizes.upto}
        kinds.append(kind)
    stands = _Stands()
    for line, jobs in lines.items():
        yield from stands.add(line, jobs, bounds[line])
    for kind in found.values():
        for number, line in enumerate(kind.sizes):
            if number % STEP == 0:
                yield
            for stand in stands.of(line):
                if stand.jobs and kind.may_have(line, stand):
                    kind.heads.append((stand.jobs[0][0], stand))
        heapify(kind.heads)
    return stands, kinds
