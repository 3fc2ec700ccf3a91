"""Every fleet that a test has made or used, to be looked through when the test has ended."""

from typing import Any
from weakref import WeakSet

from dispatcher.core.dispatcher import Dispatcher
from dispatcher.core.invariants import ViolationError, check_fleet
from dispatcher.state.replay import State

__all__ = ["check_all", "watch"]

_alive: WeakSet[Dispatcher | State] = WeakSet()
_new: list[Dispatcher | State] = []
"""Those made by the present test: it may have let go of them when they are looked through."""


def watch() -> None:
    """Remember every dispatcher and every state that is made from now on."""
    begin_core, begin_state = Dispatcher.__init__, State.__init__

    def core(self: Dispatcher, *args: Any, **more: Any) -> None:
        begin_core(self, *args, **more)
        _new.append(self)

    def state(self: State, *args: Any, **more: Any) -> None:
        begin_state(self, *args, **more)
        _new.append(self)

    Dispatcher.__init__ = core  # type: ignore[method-assign]
    State.__init__ = state  # type: ignore[method-assign]


def check_all() -> None:
    """Check the new ones, and those of earlier tests that are still in use."""
    fleets = {id(it.fleet): it.fleet for it in (*_alive, *_new)}
    _alive.update(_new)
    _new.clear()
    try:
        for fleet in fleets.values():
            check_fleet(fleet)
    except ViolationError:
        _alive.clear()  # one test is to blame for it, and no other
        raise
