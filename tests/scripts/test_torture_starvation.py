"""The short form of what a greedy key may take; `scripts/torture.py` has the long one."""

import pytest

from tests.support.outcomes import counted
from tests.support.servers import Running
from torturing import starvation

pytestmark = pytest.mark.anyio


async def test_an_operator_is_answered_whatever_other_keys_take() -> None:
    (outcome,) = await starvation.run(starvation.SHORT, 1, print)
    assert (outcome.name, outcome.failures) == ("Key starvation", [])
    assert counted(outcome, "rounds of the operator") == starvation.ROUNDS
    assert counted(outcome, "polls opened") >= starvation.POLLS
    assert counted(outcome, "pages asked for") >= 2 * starvation.PAGES
    assert counted(outcome, "of these refused") > 0


async def test_a_dispatcher_that_refuses_the_operator_is_seen(server: Running) -> None:
    """One that has another key refuses it too."""
    told = await starvation._refusals(server.port, 0)
    assert "round 0: the operator's GET /jobs/?limit=1&as_of=1 got 401" in told
    assert len(told) == 4, "health needs no key"
