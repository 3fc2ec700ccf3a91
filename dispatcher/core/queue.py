"""The order in which pending jobs are assigned.

Laws:
- A pending job is here exactly once. No other job is here.
- The fields that define a job's line and place do not change while it is here.
- A job's place is fixed when it is submitted, and changes only with its priority. So a job that is
  re-queued returns to it.
- Jobs stand in lines. The jobs of a line have the same codec, need the same abilities, have failed
  on the same engines, and are of about the same size. `scheduling` decides which engine may take
  which line.
- Adding, removing, or finding the first job costs O(log n) in the pending jobs, times the lines of
  the codecs asked for. There is one exception, for an engine that cannot stream: in the one line
  whose sizes lie on both sides of its storage, jobs are scanned one by one, up to the first that
  fits.
- A job in its pause after a failure, or that waits for other jobs, is here, but in no line.
"""

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from operator import attrgetter
from typing import Final, Self

import msgspec
from sortedcontainers import SortedKeyList

from dispatcher.core.job import Job, Place

__all__ = ["Queue", "QueueLine", "Sizes", "line_of"]

_place: Final = attrgetter("place")


class QueueLine(msgspec.Struct, frozen=True):
    """What the jobs of a line have in common. Sizes are 2**(size_class-1) to 2**size_class MB."""

    codec: str
    failed_by: frozenset[str]
    size_class: int
    needs: tuple[str, ...] = ()


class Sizes(msgspec.Struct, frozen=True):
    """Sizes of more than `over` and at most `upto` MB."""

    over: float
    upto: float


class Queue:
    """Pending jobs, in order, in lines.

    `paused` maps the jobs that are in their pause to its end, and `blocked` has those that wait for
    other jobs. Only `add` and `remove` change them.
    """

    def __init__(self) -> None:
        self._codecs: dict[str, dict[QueueLine, SortedKeyList[Job, Place]]] = {}
        self.paused: dict[str, datetime] = {}
        self.blocked: dict[str, None] = {}

    def add(self, job: Job, not_before: datetime | None = None) -> None:
        """Put a job in its place. With `not_before`, it is in its pause until it is added again.

        A job that waits for others has no pause.
        """
        if job.ties.waits_for:
            self.blocked[job.job_id] = None
        elif not_before is not None:
            self.paused[job.job_id] = not_before
        else:
            line = line_of(job)
            if (lines := self._codecs.get(job.codec)) is None:
                lines = self._codecs[job.codec] = {}
            if (jobs := lines.get(line)) is None:
                jobs = lines[line] = SortedKeyList(key=_place)
            jobs.add(job)

    @classmethod
    def restore(cls, waiting: Iterable[Job], paused: Mapping[str, datetime]) -> Self:
        """Build a queue of jobs, some of them in their pause. Faster than adding each."""
        queue = cls()
        lines: dict[QueueLine, list[Job]] = {}
        for job in waiting:
            not_before = paused.get(job.job_id)
            if not_before is not None or job.ties.waits_for:
                queue.add(job, not_before)
            else:
                lines.setdefault(line_of(job), []).append(job)
        for line, jobs in lines.items():
            queue._codecs.setdefault(line.codec, {})[line] = SortedKeyList(jobs, _place)
        return queue

    def remove(self, job: Job) -> None:
        """Remove a job, which must be here and unchanged since it was added."""
        if self.paused.pop(job.job_id, None) is not None:
            return
        if job.job_id in self.blocked:
            del self.blocked[job.job_id]
            return
        line, lines = line_of(job), self._codecs[job.codec]
        jobs = lines[line]
        jobs.remove(job)
        if not jobs:
            del lines[line]
        if not lines:
            del self._codecs[job.codec]

    def first(
        self, codecs: Iterable[str] | None, sizes_of: Callable[[QueueLine], Sizes | None]
    ) -> Job | None:
        """Return the first job in one of `codecs` (`None`: any) of a size that its line admits."""
        best: Job | None = None
        for line, jobs in self._lines(codecs):
            if (sizes := sizes_of(line)) is None:
                continue
            found = _first_of(line, jobs, sizes)
            if found is not None and (best is None or found.place < best.place):
                best = found
        return best

    def may_hold(self, codecs: Iterable[str] | None, sizes: Sizes) -> bool:
        """Whether a job in line, in one of `codecs`, may have such a size, as far as lines tell."""
        bounds = (_bounds(line) for line, _ in self._lines(codecs))
        return any(low <= sizes.upto and sizes.over < high for low, high in bounds)

    def kept_from(self) -> set[str]:
        """Return the engines that have failed a job in line, so that it is kept for others."""
        return {engine_id for line, _ in self._lines() for engine_id in line.failed_by}

    def ahead_of(self, place: Place) -> int:
        """Count the jobs in line ahead of a place."""
        return sum(jobs.bisect_key_left(place) for _, jobs in self._lines())

    def lines(self) -> Iterator[tuple[QueueLine, Iterable[Job]]]:
        """Yield each line with its jobs, in order. They are the fleet's own."""
        yield from self._lines()

    @property
    def parts(self) -> int:
        """How many lines there are, and jobs in their pause, which stand apart."""
        return sum(map(len, self._codecs.values())) + len(self.paused)

    def __iter__(self) -> Iterator[str]:
        """Yield the id of every pending job once: line by line, then of those in no line."""
        for _, jobs in self._lines():
            for job in jobs:
                yield job.job_id
        yield from self.paused
        yield from self.blocked

    def __len__(self) -> int:
        in_line = sum(len(jobs) for _, jobs in self._lines())
        return in_line + len(self.paused) + len(self.blocked)

    def _lines(
        self, codecs: Iterable[str] | None = None
    ) -> Iterator[tuple[QueueLine, SortedKeyList[Job, Place]]]:
        if codecs is None:
            codecs = self._codecs
        for codec in codecs:
            yield from self._codecs.get(codec, {}).items()


def line_of(job: Job) -> QueueLine:
    """Return the line that a pending job stands in, or will stand in after its pause."""
    size_class = max(0, math.frexp(job.size_mb)[1])
    return QueueLine(job.codec, job.failed_by, size_class, job.needs)


def _bounds(line: QueueLine) -> tuple[float, float]:
    """Return the least size that a job of the line may have, and the one that is too large."""
    low = math.ldexp(0.5, line.size_class) if line.size_class else 0.0
    is_largest = line.size_class >= sys.float_info.max_exp
    return low, math.inf if is_largest else math.ldexp(1.0, line.size_class)


def _first_of(line: QueueLine, jobs: SortedKeyList[Job, Place], sizes: Sizes) -> Job | None:
    low, high = _bounds(line)
    if high <= sizes.over or low > sizes.upto:
        return None
    if sizes.over < low and high <= sizes.upto:
        return jobs[0]
    return next((job for job in jobs if sizes.over < job.size_mb <= sizes.upto), None)
