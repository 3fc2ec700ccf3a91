"""The search for the lowest quality that reaches a score, on curves that are made up."""

import math
import re
from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.engine.searching import MOST_TRIALS, NEAR, found_place, next_place, what_was_missed

PLACES = 51


def falling(middle: float, steepness: float = 8) -> list[float]:
    """Return scores such as encoders have: flat at both ends."""
    return [100 / (1 + math.exp((place - middle) / steepness)) for place in range(PLACES)]


EXPECTED = falling(38)
SCORES = st.floats(0, 100)


def searched(
    score: Callable[[int], float] | Sequence[float], target: float, expected: Sequence[float]
) -> dict[int, float]:
    """Search, and return what was tried."""
    tried: dict[int, float] = {}
    while (place := next_place(expected, tried, target)) is not None:
        assert place not in tried
        assert 0 <= place < len(expected)
        tried[place] = score(place) if callable(score) else score[place]
    return tried


def test_what_is_expected_is_found_by_the_first_trial() -> None:
    tried = searched(EXPECTED, 93, EXPECTED)
    assert len(tried) == 1
    assert abs(tried[found_place(tried, 93)] - 93) <= 1


@pytest.mark.parametrize("middle", [25, 30, 42, 48])
def test_a_film_that_is_easier_or_harder_takes_few_trials(middle: float) -> None:
    scores = falling(middle)
    tried = searched(scores, 90, EXPECTED)
    assert len(tried) <= 4
    best = min(scores, key=lambda score: abs(score - 90))
    assert abs(tried[found_place(tried, 90)] - 90) <= abs(best - 90) + 1


def test_a_score_above_the_best_gives_the_best_place() -> None:
    scores = [it * 0.8 for it in EXPECTED]
    tried = searched(scores, 93, EXPECTED)
    assert found_place(tried, 93) == 0


def test_a_score_below_the_worst_gives_the_worst_place() -> None:
    scores = [99 - place * 0.01 for place in range(PLACES)]
    tried = searched(scores, 93, EXPECTED)
    assert found_place(tried, 93) == PLACES - 1


@pytest.mark.parametrize(("level", "found"), [(97.0, PLACES - 1), (40.0, 0)])
def test_of_a_flat_curve_an_end_is_found(level: float, found: int) -> None:
    tried = searched(lambda _: level, 93, EXPECTED)
    assert found in tried
    assert len(tried) <= 4


def test_a_step_that_no_place_hits_ends_between_its_sides() -> None:
    scores = [98.0] * 20 + [70.0] * (PLACES - 20)
    tried = searched(scores, 93, EXPECTED)
    assert tried[found_place(tried, 93)] == 98


def test_what_is_found_reaches_the_target_if_anything_does() -> None:
    assert found_place({10: 94.0, 11: 92.4}, 93) == 10
    assert found_place({57: 82.9, 58: 82.3, 59: 78.9}, 80) == 58
    assert found_place({10: 93.2, 11: 92.9}, 93) == 10


def test_half_a_point_is_missed_rather_than_more_than_a_point_too_many_taken() -> None:
    assert found_place({10: 94.5, 11: 92.9}, 93) == 11
    assert found_place({10: 94.5, 11: 92.4}, 93) == 10


@pytest.mark.parametrize(
    ("tried", "told"),
    [
        ({1: 93.9}, None),
        ({1: 82.3, 2: 78.9}, "56 gives 82.3, and the next one, 58, gives 78.9; 56 was taken"),
        ({0: 70.0}, "can't reach .* the nearest is 70.0, below it, at 54, its best quality"),
        ({3: 97.0}, "can't reach .* the nearest is 97.0, above it, at 60, its lowest quality"),
        ({1: 70.0, 3: 60.0}, "ended after 2 trials: .* gives 70.0, below it, at 56"),
        ({1: 97.0, 3: 60.0}, "ended after 2 trials: .* gives 97.0, above it, at 56"),
    ],
)
def test_it_is_told_why_a_score_was_missed(tried: dict[int, float], told: str | None) -> None:
    target = 80 if tried.get(2) else 93
    missed = what_was_missed(tried, [54, 56, 58, 60], target)
    assert (missed is None) == (told is None)
    assert told is None or re.search(told, missed or "")


@given(st.dictionaries(st.integers(0, PLACES), SCORES, min_size=1), SCORES)
def test_what_is_found_is_below_only_by_half_a_point_if_anything_reaches_the_target(
    tried: dict[int, float], target: float
) -> None:
    score = tried[found_place(tried, target)]
    if max(tried.values()) >= target:
        assert score >= target - NEAR
    else:
        assert score == max(tried.values())


def test_without_places_there_is_nothing_to_try() -> None:
    assert next_place([], {}, 93) is None


@given(st.floats(-10, 60), st.floats(5, 14), st.floats(20, 99))
def test_any_falling_curve_is_searched_to_the_nearest_place(
    middle: float, steepness: float, target: float
) -> None:
    scores = falling(middle, steepness)
    tried = searched(scores, target, EXPECTED)
    best = min(abs(score - target) for score in scores)
    assert abs(tried[found_place(tried, target)] - target) <= best + 3


@given(st.lists(SCORES, min_size=PLACES, max_size=PLACES), SCORES)
def test_a_search_ends_whatever_the_scores_are(scores: list[float], target: float) -> None:
    tried = searched(scores, target, EXPECTED)
    assert 1 <= len(tried) <= MOST_TRIALS
    assert found_place(tried, target) in tried


@given(
    st.lists(SCORES, min_size=1, max_size=5),
    st.floats(20, 99),
    st.data(),
)
def test_a_search_ends_whatever_was_expected(
    expected: list[float], target: float, data: st.DataObject
) -> None:
    tried = searched(lambda _: data.draw(SCORES), target, expected)
    assert len(tried) <= len(expected)


@given(st.floats(32, 45), st.floats(80, 97), st.integers(0, 1 << 30))
def test_noise_of_half_a_point_misleads_by_little(middle: float, target: float, seed: int) -> None:
    scores = falling(middle)
    noisy = [score + ((seed >> (place % 30)) & 1) - 0.5 for place, score in enumerate(scores)]
    tried = searched(noisy, target, EXPECTED)
    steepest = max(a - b for a, b in pairwise(scores))
    assert abs(tried[found_place(tried, target)] - target) <= 2 * steepest + NEAR
