"""The short form of what is done to the log's files; `scripts/torture.py` has the long one."""

import pytest

from tests.support.outcomes import counted
from torturing import submitting, swapped

pytestmark = pytest.mark.anyio


async def test_nothing_is_acknowledged_that_is_not_in_the_file_that_is_the_log() -> None:
    (outcome,) = await swapped.run(swapped.SHORT, 1, print)
    assert outcome.failures == []
    for swap in swapped.SWAPS:
        assert counted(outcome, swap.name) == 1
    for of in ("acknowledged", "refused", "sent after the swap"):
        assert counted(outcome, of) > 0


async def test_a_dispatcher_that_does_not_notice_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A swap that swaps nothing is like one that is not noticed."""
    monkeypatch.setattr(submitting, "PATIENCE_S", 0.5)
    unnoticed = swapped.Swap("nothing", "", lambda path: path, lambda path: path)
    outcome = await swapped.tried((unnoticed,), 1, 1, print)
    assert "round 0, nothing: a write after the swap got 200" in outcome.failures
