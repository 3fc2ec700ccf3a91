"""The windows that stand for a film."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.engine.windows import Window, is_sampled, windows_of


def in_all(windows: list[Window]) -> float:
    return sum(it.length_s or 0 for it in windows)


def within(windows: list[Window], begin_s: float, end_s: float) -> float:
    """Return how much of the windows lies in a part of the film."""
    return sum(
        max(0.0, min(end_s, it.at_s + (it.length_s or 0)) - max(begin_s, it.at_s)) for it in windows
    )


def test_a_short_film_is_one_window_to_its_end() -> None:
    assert not is_sampled(4)
    assert windows_of(4) == [Window(0, None)]


def test_a_short_part_of_a_film_is_one_window() -> None:
    assert windows_of(4, from_s=60) == [Window(60, 4)]


def test_of_a_film_of_unknown_length_the_beginning_must_do() -> None:
    [only] = windows_of(None)
    assert only.at_s == 0
    assert only.length_s is not None


@pytest.mark.parametrize("length_s", [45, 60, 120])
def test_the_windows_are_a_sixteenth_of_a_film(length_s: float) -> None:
    assert in_all(windows_of(length_s)) == pytest.approx(length_s / 16, rel=0.02)


def test_a_long_film_has_windows_of_24_seconds_in_all() -> None:
    windows = windows_of(7_200)
    assert in_all(windows) == pytest.approx(24, rel=0.02)
    assert windows[0].at_s < 300
    assert windows[-1].at_s > 6_900


def test_scenes_have_as_much_of_the_windows_as_of_the_film() -> None:
    cuts = [6, 15, 18, 22, 31]
    windows = windows_of(80, [2 * it for it in cuts])
    for begin_s, end_s in pairwise([0, *(2 * it for it in cuts), 80]):
        assert within(windows, begin_s, end_s) == pytest.approx((end_s - begin_s) / 16, abs=0.01)


def test_a_flash_before_a_long_scene_has_no_window_of_its_own() -> None:
    windows = windows_of(60, [0.2])
    assert windows[0].length_s == pytest.approx(0.4)
    assert within(windows, 0.2, 60) > 3.5


@given(st.floats(6.1, 20_000), st.lists(st.floats(0, 20_000), max_size=60), st.floats(0, 1_000))
def test_windows_are_in_order_within_the_film_and_long_enough(
    length_s: float, cuts: list[float], from_s: float
) -> None:
    windows = windows_of(length_s, cuts, from_s)
    end_s = from_s
    for window in windows:
        assert window.length_s is not None
        assert window.at_s >= end_s - 0.01
        assert window.length_s >= 0.34
        end_s = window.at_s + window.length_s
    assert end_s <= from_s + length_s + 0.01
    assert in_all(windows) <= 24.1
