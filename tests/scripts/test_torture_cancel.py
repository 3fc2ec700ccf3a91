"""The short form of cutting requests off; `scripts/torture.py` has the long one."""

from random import Random
from typing import Any

import pytest

from dispatcher.core.dispatcher import Dispatcher, Effect
from dispatcher.core.waiting import Waiting
from tests.support.outcomes import counted
from tests.support.plain_loop import anyio_backend
from torturing import cancel
from torturing.exchanges import KINDS

__all__ = ["anyio_backend"]

pytestmark = pytest.mark.anyio


async def test_wherever_a_client_hangs_up_all_stays_whole() -> None:
    outcomes = await cancel.run(cancel.SHORT, 1, print)
    assert [(it.name, it.failures) for it in outcomes] == [("Cancel", []), ("Hang up", [])]
    assert counted(outcomes[0], "await points") > 4 * len(KINDS)


@pytest.fixture
def only_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    waits = tuple(kind for kind in KINDS if kind.name == "wait in vain")
    monkeypatch.setattr(cancel, "KINDS", waits)
    monkeypatch.setattr(cancel, "CUTS_BY_TURNS", 0)
    monkeypatch.setattr(cancel, "ANSWER_S", 0.2)


@pytest.mark.usefixtures("only_waits")
async def test_a_waiter_that_is_kept_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Waiting, "leave", lambda *_: None)
    outcome = await cancel._cut_everywhere(1, Random(1), print)
    assert not outcome.held
    assert "left behind: {'tasks': 0, 'waiters': 1," in outcome.failures[0]


@pytest.mark.usefixtures("only_waits")
async def test_a_fleet_that_the_log_does_not_give_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    take = Dispatcher.take

    def take_and_more(core: Dispatcher, *args: Any, **more: Any) -> list[Effect]:
        effects = take(core, *args, **more)
        for engine in core.fleet.engines.values():
            engine.drained = True  # of which no event tells
        return effects

    monkeypatch.setattr(Dispatcher, "take", take_and_more)
    outcome = await cancel._cut_everywhere(1, Random(1), print)
    assert "the replay gives another state than the one that is live" in outcome.failures[0]
