"""Search for the lowest quality of an encoder that reaches a score, by as few trials as possible.

A place is an index into the qualities of an encoder, the best first: for most the CRF. What score
to expect at each is known of other films. A film is as if it were so many places easier or harder,
which trials tell; between two of them that is taken to change evenly.

Laws:
- No place is tried twice, and none that is not there.
- A search ends after `MOST_TRIALS`, whatever the scores are: also if they rise where they should
  fall, or are all the same.
- What is found has been tried.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final

__all__ = ["MOST_TRIALS", "NEAR", "found_place", "next_place"]

MOST_TRIALS: Final = 8
NEAR: Final = 0.3
"""A score that differs by no more from what was asked for needs no further trial."""
_HALVES: Final = 5
"""After so many trials the middle is tried: what was expected has led nowhere."""


def next_place(expected: Sequence[float], tried: Mapping[int, float], target: float) -> int | None:
    """Return the place to try next; `None` if there is no need.

    `expected` has the expected score of each place, and `tried` the scores so far.
    """
    if not expected:
        return None
    last = len(expected) - 1
    goal = _place_of(expected, target)
    if not tried:
        return min(max(round(goal), 0), last)
    if len(tried) >= MOST_TRIALS or any(abs(it - target) <= NEAR for it in tried.values()):
        return None
    match _bracket(tried, target):
        case int(enough), int(short):
            if short - enough == 1:
                return None
            left, right = (_place_of(expected, tried[it]) for it in (enough, short))
            part = (goal - left) / (right - left) if right > left else 0.5
            if len(tried) >= _HALVES:
                part = 0.5
            return min(max(round(enough + part * (short - enough)), enough + 1), short - 1)
        case int(enough), None:
            stride = max(1, round(goal - _place_of(expected, tried[enough]))) << (len(tried) - 1)
            return min(enough + stride, last) if enough < last else None
        case _, int(short):
            stride = max(1, round(_place_of(expected, tried[short]) - goal)) << (len(tried) - 1)
            return max(short - stride, 0) if short > 0 else None
        case _:
            return None


def found_place(tried: Mapping[int, float], target: float) -> int:
    """Return the place, of those that were tried, whose score is nearest to the target.

    To miss it counts twice.
    """

    def distance(place: int) -> float:
        above = tried[place] - target
        return above if above >= 0 else -2 * above

    # Of equal scores the one that takes fewer bits.
    return min(sorted(tried, reverse=True), key=distance)


def _bracket(tried: Mapping[int, float], target: float) -> tuple[int | None, int | None]:
    """Return the last place that reaches the target, before the first that does not."""
    short = min((place for place, score in tried.items() if score < target), default=None)
    enough = (
        place
        for place, score in tried.items()
        if score >= target and (short is None or place < short)
    )
    return max(enough, default=None), short


def _place_of(expected: Sequence[float], score: float) -> float:
    """Return where a score is expected, between places too; beyond the ends a place for a point."""
    if score >= expected[0]:
        return expected[0] - score
    for place, (above, below) in enumerate(pairwise(expected)):
        if score >= below:
            return place + (above - score) / (above - below) if above > below else place
    return len(expected) - 1 + expected[-1] - score
