"""Figures: what one measurement gives, and what several of them say together."""

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple, Self

__all__ = ["Sample", "Spread", "number", "percentile"]


def percentile(ordered: Sequence[float], share: float) -> float:
    """Give the value below which `share` of the ordered values lie."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


class Sample(NamedTuple):
    """What one measurement of load gives."""

    done: int
    per_s: float
    p50_ms: float
    p99_ms: float
    longest_ms: float

    @classmethod
    def of(cls, durations_s: Sequence[float], elapsed_s: float) -> Self:
        """Sum up how long each of the things took that were done in `elapsed_s`."""
        if not durations_s:
            raise RuntimeError("nothing was done while the load ran; see what the contestant said")
        ordered = sorted(durations_s)
        return cls(
            len(ordered),
            len(ordered) / elapsed_s,
            percentile(ordered, 0.50) * 1e3,
            percentile(ordered, 0.99) * 1e3,
            ordered[-1] * 1e3,
        )


class Spread(NamedTuple):
    """The median of the rounds, the least and the greatest."""

    median: float
    least: float
    greatest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Sum up the rounds."""
        return cls(median(values), min(values), max(values))

    def __str__(self) -> str:
        """Give the median, with the spread behind it if there is one."""
        if self.least == self.greatest:
            return number(self.median)
        return f"{number(self.median)} ({number(self.least)} to {number(self.greatest)})"


def number(value: float) -> str:
    """Write a figure with about three digits that mean something."""
    if abs(value) >= 100:  # noqa: PLR2004
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"  # noqa: PLR2004
