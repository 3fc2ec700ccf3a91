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
from math import log
from typing import Final

__all__ = ["FAR", "MOST_TRIALS", "NEAR", "found_place", "next_place", "what_was_missed"]

MOST_TRIALS: Final = 6
_MOST_STEEP: Final = 2.5
NEAR: Final = 0.5
"""A score that differs by no more from what was asked for needs no further trial."""
FAR: Final = 1.0
"""A score that differs by more is told of."""


def next_place(
    expected: Sequence[float],
    tried: Mapping[int, float],
    target: float,
    hint: tuple[int, float] | None = None,
) -> int | None:
    """Return the place to try next; `None` if there is no need.

    `expected` has the expected score of each place, and `tried` the scores so far, in their order.
    `hint` is a place with a score that is only about right, from before all of them.
    """
    if not expected:
        return None
    last = len(expected) - 1
    goal = _place_of(expected, target)
    if not tried:
        return min(max(round(goal), 0), last)
    if len(tried) >= MOST_TRIALS or any(abs(it - target) <= NEAR for it in tried.values()):
        return None
    enough, short = _bracket(tried, target)
    last_is_short = [*tried.values()][-1] < target
    if enough is not None and short is not None:
        if short - enough == 1:
            return None
        # The end that stays while the other moves counts less and less, as in the Illinois method.
        stayed = 1 / (1 << (_again(tried, target) - 1))
        left = (_bent(tried[enough]) - _bent(target)) * (stayed if last_is_short else 1)
        right = (_bent(target) - _bent(tried[short])) * (1 if last_is_short else stayed)
        part = left / (left + right) if left + right > 0 else 0.5
        return min(max(round(enough + part * (short - enough)), enough + 1), short - 1)
    steep = _steepness(expected, [*([] if hint is None else [hint]), *tried.items()])
    if enough is not None:
        stride = max(1, round(steep * (goal - _place_of(expected, tried[enough]))))
        return min(enough + stride, last) if enough < last else None
    if short is not None:
        stride = max(1, round(steep * (_place_of(expected, tried[short]) - goal)))
        return max(short - stride, 0) if short > 0 else None
    return None


def found_place(tried: Mapping[int, float], target: float) -> int:
    """Return the place, of those that were tried, that is to be taken for the target.

    That is the one with the lowest score that reaches it. Where that is more than `FAR` above, one
    that misses it by `NEAR` or less is taken instead. Where none reaches it, it is the best one.
    """
    # Of equal scores the one that takes fewer bits.
    places = sorted(tried, reverse=True)
    least = min((it for it in places if tried[it] >= target), key=tried.__getitem__, default=None)
    best = max((it for it in places if tried[it] < target), key=tried.__getitem__, default=None)
    if best is None:
        assert least is not None, "nothing was tried"  # noqa: S101
        return least
    if least is None:
        return best
    misses_by_little = target - tried[best] <= NEAR and tried[least] - target > FAR
    return best if misses_by_little else least


def what_was_missed(
    tried: Mapping[int, float], numbers: Sequence[float], target: float
) -> str | None:
    """Tell why what was found is more than `FAR` from the target; `None` if it is not.

    `numbers` are the encoder's own, of each place.
    """
    place = found_place(tried, target)
    score, number = tried[place], numbers[place]
    if abs(score - target) <= FAR:
        return None
    is_short = score < target
    if place == (0 if is_short else len(numbers) - 1):
        side, end = ("below", "best") if is_short else ("above", "lowest")
        return (
            f"the encoder can't reach a VMAF score of {target:g} with this film: the nearest is "
            f"{score:.1f}, {side} it, at {number:g}, its {end} quality"
        )
    following = tried.get(place + 1)
    if not is_short and following is not None and following < target:
        return (
            f"no number of the encoder gives a VMAF score of {target:g} with this film: {number:g} "
            f"gives {score:.1f}, and the next one, {numbers[place + 1]:g}, gives {following:.1f}; "
            f"{number:g} was taken"
        )
    side = "below" if is_short else "above"
    return (
        f"the search for a VMAF score of {target:g} ended after {len(tried)} trials: "
        f"what was taken gives {score:.1f}, {side} it, at {number:g}"
    )


def _bracket(tried: Mapping[int, float], target: float) -> tuple[int | None, int | None]:
    """Return the last place that reaches the target, before the first that does not."""
    short = min((place for place, score in tried.items() if score < target), default=None)
    enough = (
        place
        for place, score in tried.items()
        if score >= target and (short is None or place < short)
    )
    return max(enough, default=None), short


def _again(tried: Mapping[int, float], target: float) -> int:
    """Return how many trials in a row, up to the last, were on the same side of the target."""
    sides = [score >= target for score in tried.values()]
    return next((n for n, it in enumerate(reversed(sides)) if it != sides[-1]), len(sides))


def _steepness(expected: Sequence[float], trials: Sequence[tuple[int, float]]) -> float:
    """Return how many places the film takes for a change that is expected of one.

    The last two trials tell; one tells nothing.
    """
    if len(trials) < 2:  # noqa: PLR2004 - a line takes two points
        return 1.25
    (place, score), (later, other) = trials[-2:]
    change = _place_of(expected, other) - _place_of(expected, score)
    if change * (later - place) <= 0:
        return _MOST_STEEP
    return min(max((later - place) / change, 0.5), _MOST_STEEP)


def _bent(score: float) -> float:
    """Return a score on a scale on which it falls about evenly from place to place."""
    return log((score + 1) / (101 - score))


def _place_of(expected: Sequence[float], score: float) -> float:
    """Return where a score is expected, between places too; beyond the ends a place for a point."""
    if score >= expected[0]:
        return expected[0] - score
    for place, (above, below) in enumerate(pairwise(expected)):
        if score >= below:
            return place + (above - score) / (above - below) if above > below else place
    return len(expected) - 1 + expected[-1] - score
