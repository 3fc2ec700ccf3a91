"""When a dispatcher claims the lead, by a clock of the test's own."""

from typing import Final

import pytest

from dispatcher.cluster.leadership import GONE_S, JITTER, SILENCE_S, SUSPECT_S, Beat, Leadership
from dispatcher.cluster.log import LEASE_S

STEP_S: Final = 0.05


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def beat(term: int = 1, *, leads: bool = True) -> Beat:
    return Beat("other", term, 1, 1, leads)


def due_after(clock: Clock, leadership: Leadership, at_most_s: float = 10) -> float:
    """Give the time after which a claim is due, if nothing is heard."""
    began_s = clock.now_s
    while clock.now_s < began_s + at_most_s:
        clock.now_s += STEP_S
        if leadership.is_due():
            return clock.now_s - began_s
    return at_most_s


@pytest.mark.parametrize("chance", [0.0, 0.5, 1.0])
def test_a_silent_leader_is_replaced_after_a_while_and_a_little_chance(chance: float) -> None:
    clock = Clock()
    leadership = Leadership(clock, lambda: chance)
    due_s = due_after(clock, leadership)
    assert SILENCE_S < due_s <= SILENCE_S * (1 + JITTER) + 2 * STEP_S


def test_a_leader_that_nobody_can_reach_is_replaced_soon_but_not_within_its_lease() -> None:
    clock = Clock()
    leadership = Leadership(clock, lambda: 0.0)
    leadership.gone()
    due_s = due_after(clock, leadership)
    assert LEASE_S < GONE_S <= due_s < SILENCE_S


def test_who_hears_the_leader_does_not_claim() -> None:
    clock = Clock()
    leadership = Leadership(clock, lambda: 0.0)
    for _ in range(100):
        clock.now_s += 0.3
        leadership.take(beat(), 1)
        assert not leadership.is_due()
    assert leadership.is_heard


@pytest.mark.parametrize("told", [beat(1), beat(2, leads=False)], ids=["old term", "a follower"])
def test_the_beats_of_others_are_no_sign_of_the_leader(told: Beat) -> None:
    clock = Clock()
    leadership = Leadership(clock, lambda: 0.0)
    for _ in range(20):
        clock.now_s += 0.1
        leadership.take(told, 2)
        leadership.is_due()
    assert leadership.is_due() or due_after(clock, leadership) <= 2 * STEP_S
    assert not leadership.is_heard
    assert leadership.beat is None
    assert set(leadership.peers) == {"other"}


def test_a_sign_of_life_takes_back_that_it_is_gone() -> None:
    clock = Clock()
    leadership = Leadership(clock, lambda: 0.0)
    leadership.gone()
    leadership.heard()
    assert due_after(clock, leadership) > SILENCE_S - STEP_S


def test_who_stood_still_waits_anew() -> None:
    """It was this dispatcher that was silent, and what the leader said waits to be read."""
    clock = Clock()
    leadership = Leadership(clock, lambda: 0.0)
    assert not leadership.is_due()
    clock.now_s += 60
    assert not leadership.is_due()
    assert due_after(clock, leadership) > SILENCE_S - STEP_S


def test_a_silent_leader_is_asked_for_before_it_is_replaced() -> None:
    clock = Clock()
    leadership = Leadership(clock, lambda: 0.0)
    assert leadership.is_suspect is False
    clock.now_s += SUSPECT_S + STEP_S
    suspects = [leadership.is_suspect]
    leadership.gone()
    suspects.append(leadership.is_suspect)  # it is known
    assert suspects == [True, False]
