"""Whether the search for one order finds one where there is one, and only there."""

from itertools import permutations
from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torturing.linear import Call, explained
from torturing.lives import Assign, Cancel, Complete, Fail, Life, Read, Submit, is_sound


def follows(value: int, call: Call) -> int | None:
    """Say what follows for a register that is written and read."""
    match call.asked:
        case "read":
            return value if value == call.answered else None
        case written:
            assert isinstance(written, int)
            return written


def is_explained_by_trying_all(calls: list[Call]) -> bool:
    """Try every order of every choice of the unanswered calls."""
    lost = [it for it in calls if it.answered is None]
    for number in range(1 << len(lost)):
        left_out = [it for n, it in enumerate(lost) if number >> n & 1]
        done = [it for it in calls if all(it is not other for other in left_out)]
        if any(fits(order) for order in permutations(done)):
            return True
    return False


def fits(order: tuple[Call, ...]) -> bool:
    value = 0
    for place, call in enumerate(order):
        if any(later.ended_s < call.invoked_s for later in order[place + 1 :]):
            return False
        after = follows(value, call)
        if after is None:
            return False
        value = after
    return True


@st.composite
def calls_of_a_register(draw: st.DrawFn) -> Call:
    invoked_s = draw(st.integers(0, 6))
    ended_s = invoked_s + draw(st.integers(0, 4))
    if draw(st.booleans()):
        return Call("read", draw(st.integers(0, 2)), invoked_s, ended_s)
    written = draw(st.integers(0, 2))
    if draw(st.booleans()):
        return Call(written, True, invoked_s, ended_s)
    return Call(written, None, invoked_s, inf)


@given(st.lists(calls_of_a_register(), max_size=5))
def test_what_it_says_is_what_trying_every_order_says(calls: list[Call]) -> None:
    assert explained(calls, 0, follows) == is_explained_by_trying_all(calls)


OUT = "http://media.test/out"


def one_after_the_other(*told: tuple[Any, Any]) -> list[Call]:
    return [
        Call(asked, answered, 10.0 * n, 10.0 * n + 5 if answered is not None else inf)
        for n, (asked, answered) in enumerate(told)
    ]


SUBMITTED = (Submit(), "1")
GIVEN = (Assign("a"), 1)
DONE = (Complete("a", 1, OUT), True)


@pytest.mark.parametrize(
    "told",
    [
        [SUBMITTED, GIVEN, DONE, (Read(), Life("completed", attempts=1, output=OUT))],
        [SUBMITTED, SUBMITTED, GIVEN, GIVEN, DONE, DONE],
        [SUBMITTED, GIVEN, (Fail("a", 1), True), (Assign("b"), 2), (Fail("a", 1), False)],
        [SUBMITTED, (Cancel(), True), (Complete("a", 1, OUT), False)],
        [(Submit(), None), (Read(), Life("absent")), (Read(), Life("pending"))],
        [SUBMITTED, GIVEN, (Complete("a", 1, OUT), None), (Cancel(), False)],
        [SUBMITTED, (Cancel(), None), GIVEN, (Fail("a", 1), None), (Assign("b"), 2)],
    ],
)
def test_a_life_as_the_protocol_has_it_is_sound(told: list[tuple[Any, Any]]) -> None:
    assert is_sound(one_after_the_other(*told))


@pytest.mark.parametrize(
    "told",
    [
        pytest.param([SUBMITTED, (Read(), Life("absent"))], id="lost"),
        pytest.param([SUBMITTED, (Submit(), "2")], id="submitted twice"),
        pytest.param([SUBMITTED, GIVEN, (Assign("b"), 2)], id="given to two"),
        pytest.param([SUBMITTED, GIVEN, (Assign("b"), 1)], id="one attempt of two"),
        pytest.param([SUBMITTED, GIVEN, DONE, (Cancel(), True)], id="cancelled when done"),
        pytest.param([SUBMITTED, GIVEN, DONE, (Read(), Life("pending"))], id="older than seen"),
        pytest.param([SUBMITTED, (Complete("a", 1, OUT), True)], id="done by nobody"),
        pytest.param(
            [SUBMITTED, GIVEN, (Complete("a", 1, OUT), False)], id="refused to who has it"
        ),
        pytest.param(
            [(Submit(), None), (Read(), Life("pending")), (Read(), Life("absent"))], id="gone again"
        ),
    ],
)
def test_a_life_that_breaks_a_promise_is_not(told: list[tuple[Any, Any]]) -> None:
    assert not is_sound(one_after_the_other(*told))
