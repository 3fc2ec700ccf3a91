"""The order in which waiting jobs are owed an engine.

Laws:
- A job that waits is here exactly once; a job that does not wait is not here.
- A job's place is fixed when it is submitted, so a job that is re-queued comes back to it.
- Jobs stand in lines: those of a line have the same codec, have failed on the same engines, and
  are of about the same size. Which engine may take which line is for `scheduling` to say.
- To add, remove, or find the first job costs O(log n) in the jobs that wait, times the lines of
  the codecs asked for. Only for an engine that cannot stream, the jobs of the one line whose
  sizes lie on both sides of its storage are looked through one by one, up to the first that fits.
- A job in its pause after a failure is here, but in no line.
"""

import math
import sys
from collections.abc import Callable, Container, Iterable, Iterator
from operator import attrgetter
from typing import Final, Generic, NamedTuple, Protocol, Self, TypeVar

import msgspec
from sortedcontainers import SortedKeyList

__all__ = ["Line", "Place", "Queue", "Sizes", "Waiting"]


# Of these there are as many as jobs, and none can be part of a cycle: the garbage collector, which
# would hold everything up to look at each, need not know of them (gc=False).
class Place(msgspec.Struct, frozen=True, order=True, array_like=True, gc=False):
    """Where a job stands: microseconds since the epoch, then the order of submission."""

    waits_since_us: int
    number: int


class Waiting(Protocol):
    """What the queue knows of a job: none of it changes while the job is in it."""

    @property
    def job_id(self) -> str:
        """Its id."""

    @property
    def codec(self) -> str:
        """The codec to encode to."""

    @property
    def size_mb(self) -> float:
        """The size of its source."""

    @property
    def place(self) -> Place:
        """Where it stands."""

    @property
    def failed_by(self) -> frozenset[str]:
        """The engines on which it has failed."""


W = TypeVar("W", bound=Waiting)
_place: Final = attrgetter("place")


class Line(msgspec.Struct, frozen=True):
    """What the jobs of a line have in common. Sizes are 2**(size_class-1) to 2**size_class MB."""

    codec: str
    failed_by: frozenset[str]
    size_class: int


class Sizes(NamedTuple):
    """Sizes of more than `over` and at most `upto` MB."""

    over: float
    upto: float


class Queue(Generic[W]):
    """Waiting jobs, in order, in lines."""

    def __init__(self) -> None:
        self._codecs: dict[str, dict[Line, SortedKeyList[W, Place]]] = {}
        self._paused: dict[str, W] = {}

    def add(self, waiting: W, *, paused: bool = False) -> None:
        """Put a job in its place."""
        if paused:
            self._paused[waiting.job_id] = waiting
        else:
            line, lines = _line(waiting), self._codecs.setdefault(waiting.codec, {})
            if (jobs := lines.get(line)) is None:
                jobs = lines[line] = SortedKeyList(key=_place)
            jobs.add(waiting)

    @classmethod
    def restore(cls, waiting: Iterable[W], paused: Container[str]) -> Self:
        """Make a queue of jobs, some of them in their pause; faster than to add one by one."""
        queue = cls()
        lines: dict[Line, list[W]] = {}
        for job in waiting:
            if job.job_id in paused:
                queue.add(job, paused=True)
            else:
                lines.setdefault(_line(job), []).append(job)
        for line, jobs in lines.items():
            queue._codecs.setdefault(line.codec, {})[line] = SortedKeyList(jobs, _place)
        return queue

    def remove(self, waiting: W) -> None:
        """Take a job out, if it is here."""
        self._paused.pop(waiting.job_id, None)
        line, lines = _line(waiting), self._codecs.get(waiting.codec, {})
        if (jobs := lines.get(line)) is not None:
            jobs.discard(waiting)
            if not jobs:
                del lines[line]
            if not lines:
                del self._codecs[waiting.codec]

    def is_paused(self, job_id: str) -> bool:
        """Whether the job is in its pause after a failure."""
        return job_id in self._paused

    def first(
        self, codecs: Iterable[str] | None, sizes_of: Callable[[Line], Sizes | None]
    ) -> W | None:
        """Find the first job in one of `codecs` (`None`: in any) of a size that its line admits."""
        best: W | None = None
        for line, jobs in self._lines(codecs):
            if (sizes := sizes_of(line)) is None:
                continue
            found = _first_of(line, jobs, sizes)
            if found is not None and (best is None or found.place < best.place):
                best = found
        return best

    def ahead_of(self, place: Place) -> int:
        """Count the jobs in line before a place."""
        return sum(jobs.bisect_key_left(place) for _, jobs in self._lines())

    def __iter__(self) -> Iterator[str]:
        """Give every waiting job once, line by line, then those in their pause."""
        for _, jobs in self._lines():
            for waiting in jobs:
                yield waiting.job_id
        yield from self._paused

    def __len__(self) -> int:
        return sum(len(jobs) for _, jobs in self._lines()) + len(self._paused)

    def _lines(
        self, codecs: Iterable[str] | None = None
    ) -> Iterator[tuple[Line, SortedKeyList[W, Place]]]:
        if codecs is None:
            codecs = self._codecs
        for codec in codecs:
            yield from self._codecs.get(codec, {}).items()


def _line(waiting: Waiting) -> Line:
    size_class = max(0, math.frexp(waiting.size_mb)[1])
    return Line(waiting.codec, waiting.failed_by, size_class)


def _first_of(line: Line, jobs: SortedKeyList[W, Place], sizes: Sizes) -> W | None:
    low = math.ldexp(0.5, line.size_class) if line.size_class else 0.0
    high = (
        math.ldexp(1.0, line.size_class) if line.size_class < sys.float_info.max_exp else math.inf
    )
    if high <= sizes.over or low > sizes.upto:
        return None
    if sizes.over < low and high <= sizes.upto:
        return jobs[0]
    return next((w for w in jobs if sizes.over < w.size_mb <= sizes.upto), None)
