"""A share is counted by key, given back, and never more than it is."""

import pytest

from dispatcher.serving.quotas import Asker, Holding, KeyLimits, Quota, Quotas, Shares, TooManyError

ANNA, BEN = Asker("anna", is_operator=False), Asker("ben", is_operator=False)
OLGA, OTTO = Asker("olga", is_operator=True), Asker("otto", is_operator=True)


def quota() -> Quota:
    return Quota("places are taken", Shares(each=2, operator=4, others=3, all=5))


def test_each_share_is_a_limit_of_its_own() -> None:
    places = quota()
    places.take(ANNA, 2)
    with pytest.raises(TooManyError, match="2 places are taken for the key 'anna'"):
        places.take(ANNA)
    places.take(BEN)
    with pytest.raises(TooManyError, match="3 places are taken for clients and engines"):
        places.take(BEN)
    places.take(OLGA, 2)
    with pytest.raises(TooManyError, match="5 places are taken, which is the most"):
        places.take(OTTO)
    assert places.held == 5


def test_what_was_refused_is_not_held_and_what_is_given_back_can_be_had_again() -> None:
    places = quota()
    places.take(ANNA, 2)
    for _ in range(9):
        with pytest.raises(TooManyError):
            places.take(ANNA)
    places.give_back(ANNA, 2)
    assert places.held == 0
    assert not places._of_key
    with places.holding(ANNA), places.holding(ANNA):
        assert places.held == 2
    assert places.held == 0


def test_a_place_is_given_back_after_an_error_too() -> None:
    places = quota()
    with pytest.raises(ValueError, match="oh"), places.holding(OLGA):
        raise ValueError("oh")
    assert places.held == 0


def test_a_request_holds_what_it_needs_most_and_gives_it_back_once() -> None:
    places = quota()
    holding = Holding(places, OLGA)
    for amount in (1, 3, 2):
        holding.at_least(amount)
    assert places.held == 3
    holding.end()
    holding.end()
    assert places.held == 0


def test_what_is_larger_than_the_share_takes_all_of_it() -> None:
    places = quota()
    holding = Holding(places, ANNA)
    holding.at_least(1_000)
    assert places.held == 2
    with pytest.raises(TooManyError):
        Holding(places, ANNA).at_least(1)
    holding.end()
    Holding(places, ANNA).at_least(1_000)


@pytest.mark.parametrize("questions", [1, 7, 1_000])
def test_a_place_is_left_to_operators_whatever_is_set(questions: int) -> None:
    places = Quotas(KeyLimits(questions=questions)).questions
    for n in range(100):
        try:
            places.take(Asker(f"client {n}", is_operator=False))
        except TooManyError:
            continue
    places.take(OLGA)
